"""What optimizers keep for each parameter: the table `kept` is made of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ferrum import Tensor, float32, full
from ferrum.spec import Shape


def same(shape: Shape) -> Shape:
    """Return the parameter's own shape."""
    return shape


class Kept(NamedTuple):
    """A tensor that is kept for a parameter.

    `option` switches it on, nothing does if that is "". Before a first step all its elements are
    `begin`, a number or the name of the option that is. `shape_of` makes its shape of the
    parameter's, None if such a parameter has none. It has the parameter's dtype, or if it is a
    `number` the dtype float32 and no axes.
    """

    option: str = ""
    begin: float | str = 0.0
    shape_of: Callable[[Shape], Shape | None] = same
    number: bool = False

    def begun(self, param: Tensor, options: Mapping[str, Any]) -> Tensor | None:
        """Return what there is before a first step."""
        shape = self.shape_of(param.shape)
        if shape is None:
            return None
        begin = options[self.begin] if isinstance(self.begin, str) else self.begin
        dtype = float32 if self.number else param.dtype
        return full(shape, begin, dtype=dtype, device=param.device)


def number(begin: float | str = 0.0) -> Kept:
    """Return that a number is kept: a 0-d float32 tensor."""
    return Kept(begin=begin, shape_of=lambda _: (), number=True)


ALIKE = Kept()
COUNT = number()
