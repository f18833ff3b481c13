"""Activations of ferrum_nn and their gradients: elementwise ops, whose numbers C takes as operands.

None of this imports ferrum_nn: kernels are known by the names of their ops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ferrum.backend import Kernel
from ferrum.promotion import SCALARS
from ferrum_cpu import _front
from ferrum_cpu.kernels.elementwise import NUMBER

# The attributes, which are numbers, in the order in which C takes them.
_NUMBERS = {
    "elu": ("alpha", "scale", "input_scale"),
    "elu_backward": ("alpha", "scale", "input_scale"),
    "hardshrink": ("lambd",),
    "hardtanh": ("min_val", "max_val"),
    "hardtanh_backward": ("min_val", "max_val"),
    "leaky_relu": ("negative_slope",),
    "leaky_relu_backward": ("negative_slope",),
    "shrink_backward": ("lambd",),
    "softplus": ("beta", "threshold"),
    "softplus_backward": ("beta", "threshold"),
    "softshrink": ("lambd",),
    "threshold": ("threshold", "value"),
    "threshold_backward": ("threshold",),
}
_PLAIN = (
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_backward",
    "logsigmoid",
    "logsigmoid_backward",
    "mish",
    "mish_backward",
    "prelu",
    "prelu_backward",
    "silu",
    "silu_backward",
)
# The C of ops that is another's: a weight in the place of the slope.
_ALIKE = {"prelu": "leaky_relu", "prelu_backward": "leaky_relu_backward"}
_IN_PLACE = (
    "elu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "mish",
    "prelu",
    "silu",
    "threshold",
)
_GELU = {
    "none": _front.elementwise_kernel(NUMBER["gelu"]),
    "tanh": _front.elementwise_kernel(NUMBER["gelu_tanh"]),
}
_GELU_BACKWARD = {
    "none": _front.elementwise_kernel(NUMBER["gelu_backward"]),
    "tanh": _front.elementwise_kernel(NUMBER["gelu_tanh_backward"]),
}


def gelu(x: Any, *, approximate: str) -> Any:
    """Return x Φ(x)."""
    function = _GELU.get(approximate) if approximate.__class__ is str else None
    return NotImplemented if function is None else function(x)


def gelu_backward(g: Any, x: Any, *, approximate: str) -> Any:
    """Return g (Φ(x) + x Φ'(x))."""
    function = _GELU_BACKWARD.get(approximate) if approximate.__class__ is str else None
    return NotImplemented if function is None else function(g, x)


def with_numbers(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    """Return a kernel that gives `function` the attributes `names` after its operands."""

    def kernel(*operands: Any, **attrs: Any) -> Any:
        if len(attrs) != len(names):
            return NotImplemented
        for name in names:
            number = attrs.get(name)
            if number.__class__ not in SCALARS:
                return NotImplemented
            operands += (number,)
        return function(*operands)

    return kernel


def _kernel(name: str, make: Callable[[int], Callable[..., Any]]) -> Callable[..., Any]:
    """Return the kernel that `make`, of `_front`, makes of the op's C."""
    function = make(NUMBER[_ALIKE.get(name, name)])
    return with_numbers(function, _NUMBERS[name]) if name in _NUMBERS else function


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    found: dict[str, Callable[..., Any]] = {"gelu": gelu, "gelu_backward": gelu_backward}
    for name in (*_PLAIN, *_NUMBERS):
        found[name] = _kernel(name, _front.elementwise_kernel)
    for name in _IN_PLACE:
        found[f"{name}_"] = _kernel(name, _front.in_place_kernel)
    return {f"nn.{name}": Kernel(each, checked=True) for name, each in found.items()}
