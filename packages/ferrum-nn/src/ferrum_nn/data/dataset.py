"""Where samples come from."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from ferrum import Tensor
from ferrum.errors import ArgumentError, ShapeError

T_co = TypeVar("T_co", covariant=True)


class Dataset(Protocol[T_co]):
    """Samples by number: any object with `__len__` and `__getitem__`, a list for one."""

    def __len__(self) -> int:
        """Return how many samples there are."""
        ...

    def __getitem__(self, index: int, /) -> T_co:
        """Return sample number `index`, from 0 on."""
        ...


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Sample i is entry i of each of the tensors; ShapeError unless they have one length.

    What indexes a tensor indexes the data set: a slice or a tensor of indices gives a whole batch.
    """

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors:
            raise ArgumentError("TensorDataset: expected at least one tensor")
        sizes = [len(tensor) for tensor in tensors]
        if len(set(sizes)) > 1:
            raise ShapeError(f"TensorDataset: expected tensors of one length, got {sizes}")
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any, /) -> tuple[Tensor, ...]:
        return tuple([tensor[index] for tensor in self.tensors])
