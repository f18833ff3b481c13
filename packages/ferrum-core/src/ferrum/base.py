"""What every part of the Tensor class builds on: its memory, its device, its place in the graph."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

from ferrum.backend import Array
from ferrum.device import Device
from ferrum.dtypes import DType
from ferrum.graph import Edge, Storage, View
from ferrum.spec import Shape

if TYPE_CHECKING:
    from ferrum.tensor import Tensor as Tensor  # noqa: PLC0414 - `bind_tensor` exports it


class TensorBase:
    """An array on a device, and where it stands in the graph.

    `edge` leads to what made it, None if it does not require grad; `storage` is what tensors that
    share its memory share; `view_of` says of which tensor it is a view, and how.
    """

    __slots__ = ("__weakref__", "_unused_grad", "array", "device", "edge", "storage", "view_of")

    _unused_grad: Tensor | None

    def __init__(self, array: Array, device: Device) -> None:
        self.array = array
        self.device = device
        self.edge: Edge | None = None
        self.storage: Storage | None = None
        self.view_of: View | None = None

    @property
    def shape(self) -> Shape:
        """The size along each axis."""
        return self.array.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        return self.array.dtype  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.array.shape)


def bind_tensor(tensor_class: type[Tensor]) -> None:
    """Say what ops return, as `base.Tensor`.

    Tensors call ops and ops make tensors, the core's one knot.
    """
    globals()["Tensor"] = tensor_class
    for part in tensor_class.__mro__[-2::-1]:
        for name, method in reversed(list(vars(part).items())):  # of several names the first stays
            _name_method(method, f"{tensor_class.__name__}.{name}", tensor_class.__module__)


def _name_method(method: Any, name: str, module: str) -> None:
    """Name a method, and what it wraps, as users do: Python's errors tell of `Tensor.sum()`."""
    while isinstance(method, FunctionType):
        method.__qualname__, method.__module__ = name, module
        method = getattr(method, "__wrapped__", None)


def as_tensor(x: Any) -> Tensor:
    """Return `x` for callers that know it is a Tensor, which its base class does not say."""
    return x  # type: ignore[no-any-return]
