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

# For each op: the C that computes it, in the order of its attributes, which are numbers.
_WITH_NUMBERS = {
    "elu": ("elu", ("alpha", "scale", "input_scale")),
    "elu_backward": ("elu_backward", ("alpha", "scale", "input_scale")),
    "hardshrink": ("hardshrink", ("lambd",)),
    "hardtanh": ("hardtanh", ("min_val", "max_val")),
    "hardtanh_backward": ("hardtanh_backward", ("min_val", "max_val")),
    "leaky_relu": ("leaky_relu", ("negative_slope",)),
    "leaky_relu_backward": ("leaky_relu_backward", ("negative_slope",)),
    "shrink_backward": ("shrink_backward", ("lambd",)),
    "softplus": ("softplus", ("beta", "threshold")),
    "softplus_backward": ("softplus_backward", ("beta", "threshold")),
    "softshrink": ("softshrink", ("lambd",)),
    "threshold": ("threshold", ("threshold", "value")),
    "threshold_backward": ("threshold_backward", ("threshold",)),
}
_PLAIN = {
    "hardsigmoid": "hardsigmoid",
    "hardsigmoid_backward": "hardsigmoid_backward",
    "hardswish": "hardswish",
    "hardswish_backward": "hardswish_backward",
    "logsigmoid": "logsigmoid",
    "logsigmoid_backward": "logsigmoid_backward",
    "mish": "mish",
    "mish_backward": "mish_backward",
    "prelu": "leaky_relu",  # its weight in the place of the slope
    "prelu_backward": "leaky_relu_backward",
    "silu": "silu",
    "silu_backward": "silu_backward",
}
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


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    found: dict[str, Callable[..., Any]] = {"gelu": gelu, "gelu_backward": gelu_backward}
    for name, of in _PLAIN.items():
        found[name] = _front.elementwise_kernel(NUMBER[of])
    for name, (of, numbers) in _WITH_NUMBERS.items():
        found[name] = with_numbers(_front.elementwise_kernel(NUMBER[of]), numbers)
    for name in _IN_PLACE:
        if name in _PLAIN:
            found[f"{name}_"] = _front.in_place_kernel(NUMBER[_PLAIN[name]])
        else:
            of, numbers = _WITH_NUMBERS[name]
            found[f"{name}_"] = with_numbers(_front.in_place_kernel(NUMBER[of]), numbers)
    return {f"nn.{name}": Kernel(each, checked=True) for name, each in found.items()}
