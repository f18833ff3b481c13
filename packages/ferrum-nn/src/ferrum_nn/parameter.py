"""The tensors that a module learns, and those that it only keeps."""

from __future__ import annotations

from ferrum import Tensor, empty
from ferrum.errors import OperandError


class Parameter(Tensor):
    """A tensor that counts as a parameter of the module that holds it.

    `Parameter(data)` shares memory with `data` and requires grad unless told otherwise; what is
    computed from it are plain tensors. It bears attributes of any name, which copies and pickles
    keep. Raises DTypeError if it shall require grad and is no float.
    """

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        if not isinstance(data, Tensor):
            raise OperandError(
                f"Parameter: expected a tensor, got {type(data).__name__}; make a tensor with "
                f"fe.tensor(...)"
            )
        source = data.detach()
        super().__init__(source.array, source.device)
        self.storage = source.storage
        self.requires_grad_(requires_grad)


class Buffer(Tensor):
    """A tensor that becomes a buffer of the module that it is assigned to.

    `self.mean = Buffer(data)` does what `self.register_buffer("mean", data, persistent)` does. It
    shares memory with `data`, by default no elements, and requires grad if `data` does.
    """

    persistent: bool

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        if data is not None and not isinstance(data, Tensor):
            raise OperandError(
                f"Buffer: expected a tensor, got {type(data).__name__}; make a tensor with "
                f"fe.tensor(...)"
            )
        data = empty(0) if data is None else data
        source = data.detach()
        super().__init__(source.array, source.device)
        self.storage = source.storage
        self.persistent = persistent
        self.requires_grad_(data.requires_grad)


def clear_grad(parameter: Tensor, set_to_none: bool) -> None:
    """Drop the gradient of `parameter`, or set it to zero in place."""
    if set_to_none:
        parameter.grad = None
    elif parameter.grad is not None:
        parameter.grad = parameter.grad.detach().zero_()
