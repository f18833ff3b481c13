"""Where samples come from."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from ferrum import Tensor
from ferrum.errors import ArgumentError, OperandError, ShapeError, UnsupportedError

T_co = TypeVar("T_co", covariant=True)


class Dataset(Protocol[T_co]):
    """Samples by number: any object with `__len__` and `__getitem__`, a list for one."""

    def __len__(self) -> int:
        """Return how many samples there are."""
        raise UnsupportedError(f"{type(self).__name__}: the data set defines no __len__(self)")

    def __getitem__(self, index: int, /) -> T_co:
        """Return sample number `index`, from 0 on."""
        raise UnsupportedError(
            f"{type(self).__name__}: the data set defines no __getitem__(self, index)"
        )


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Sample i is entry i of each of the tensors; ShapeError unless they have one length.

    What indexes a tensor indexes the data set: a slice or a tensor of indices gives a whole batch.
    """

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors:
            raise ArgumentError("TensorDataset: expected at least one tensor")
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise OperandError(
                    f"TensorDataset: expected tensors, got {type(tensor).__name__}; make a tensor "
                    f"with fe.tensor(...)"
                )
        shapes = [tensor.shape for tensor in tensors]
        if () in shapes or len({shape[0] for shape in shapes}) > 1:
            raise ShapeError(f"TensorDataset: expected tensors of one length, got {shapes}")
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any, /) -> tuple[Tensor, ...]:
        return tuple([tensor[index] for tensor in self.tensors])
