"""The tensors that a module learns."""

from __future__ import annotations

from ferrum import Tensor
from ferrum.errors import OperandError


class Parameter(Tensor):
    """A tensor that counts as a parameter of the module that holds it.

    `Parameter(data)` shares memory with `data` and requires grad unless told otherwise; what is
    computed from it are plain tensors. Raises DTypeError if it shall require grad and is no float.
    """

    __slots__ = ()

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


def clear_grad(parameter: Tensor, set_to_none: bool) -> None:
    """Drop the gradient of `parameter`, or set it to zero in place."""
    if set_to_none:
        parameter.grad = None
    elif parameter.grad is not None:
        parameter.grad = parameter.grad.detach().zero_()
