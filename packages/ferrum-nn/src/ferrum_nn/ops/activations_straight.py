"""The ops of activations that are made of straight lines; `activations` has the curves.

Where two lines meet the gradient is PyTorch's. The second derivative is 0 everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, op
from ferrum.inplace import InPlaceTwin
from ferrum.ops import where
from ferrum.spec import Needs
from ferrum_nn.ops.pointwise import pair, spec, tried, widely, zeros_for

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


# ---- one slope above 0, another below


@op(ulp=2)
def leaky_relu(x: TensorLike, *, negative_slope: float) -> Spec:
    """Return x where it is above 0, else negative_slope · x."""
    return spec("leaky_relu", x, negative_slope=negative_slope)


@leaky_relu.fallback
@widely
def _(x: Tensor, *, negative_slope: float) -> Tensor:
    return where(x > 0, x, x * negative_slope)


@leaky_relu.gradient
def _(g: Tensor, x: Tensor, *, negative_slope: float) -> Tensor:
    return leaky_relu_backward(g, x, negative_slope=negative_slope)


@op(ulp=2)
def leaky_relu_backward(g: TensorLike, x: TensorLike, *, negative_slope: float) -> Spec:
    """Return g where x is above 0, else negative_slope · g."""
    return spec("leaky_relu_backward", g, x, negative_slope=negative_slope)


@leaky_relu_backward.fallback
@widely
def _(g: Tensor, x: Tensor, *, negative_slope: float) -> Tensor:
    return where(x > 0, g, g * negative_slope)


@leaky_relu_backward.gradient
def _(
    gg: Tensor, x: Tensor, *, negative_slope: float, needs: Needs
) -> tuple[Tensor, Tensor | None]:
    return leaky_relu_backward(gg, x, negative_slope=negative_slope), zeros_for(needs[1], gg)


@op(ulp=1)
def prelu(x: TensorLike, weight: TensorLike) -> Spec:
    """Return x where it is above 0, else weight · x; the weight broadcasts."""
    return spec("prelu", x, weight)


@prelu.fallback
@widely
def _(x: Tensor, weight: Tensor) -> Tensor:
    return where(x > 0, x, x * weight)


@prelu.gradient
def _(g: Tensor, x: Tensor, weight: Tensor, *, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    return (
        None if needs[0] is None else prelu_backward(g, x, weight),
        None if needs[1] is None else where(x > 0, 0, g * x),
    )


@prelu.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(2, 3, 4), s.real(1, 3, 1))


@op(ulp=1)
def prelu_backward(g: TensorLike, x: TensorLike, weight: TensorLike) -> Spec:
    """Return g where x is above 0, else weight · g: the gradient of prelu by x."""
    return spec("prelu_backward", g, x, weight)


@prelu_backward.fallback
@widely
def _(g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return where(x > 0, g, g * weight)


@prelu_backward.gradient
def _(
    gg: Tensor, g: Tensor, x: Tensor, weight: Tensor, *, needs: Needs
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    to_weight = None if needs[2] is None else where(x > 0, 0, gg * g)
    return prelu_backward(gg, x, weight), zeros_for(needs[1], gg), to_weight


# ---- between bounds


@op(ulp=1)
def hardtanh(x: TensorLike, *, min_val: float, max_val: float) -> Spec:
    """Return x, but `min_val` below that and `max_val` above that."""
    return spec("hardtanh", x, min_val=min_val, max_val=max_val)


@hardtanh.fallback
def _(x: Tensor, *, min_val: float, max_val: float) -> Tensor:
    return x.clamp(min_val, max_val)


@hardtanh.gradient
def _(g: Tensor, x: Tensor, *, min_val: float, max_val: float) -> Tensor:
    return hardtanh_backward(g, x, min_val=min_val, max_val=max_val)


@op(ulp=1)
def hardtanh_backward(g: TensorLike, x: TensorLike, *, min_val: float, max_val: float) -> Spec:
    """Return the gradient of hardtanh: 0 where x is a bound or beyond, else g."""
    return spec("hardtanh_backward", g, x, min_val=min_val, max_val=max_val)


@hardtanh_backward.fallback
def _(g: Tensor, x: Tensor, *, min_val: float, max_val: float) -> Tensor:
    return where((x <= min_val) | (x >= max_val), 0, g)


@hardtanh_backward.gradient
def _(
    gg: Tensor, x: Tensor, *, min_val: float, max_val: float, needs: Needs
) -> tuple[Tensor, Tensor | None]:
    to_g = hardtanh_backward(gg, x, min_val=min_val, max_val=max_val)
    return to_g, zeros_for(needs[1], gg)


hardsigmoid, hardsigmoid_backward = pair(
    "hardsigmoid",
    "Return min(max(x + 3, 0), 6) / 6.",
    lambda x: (x + 3).clamp(0, 6) / 6,
    "Return the gradient of hardsigmoid: g / 6 between -3 and 3, else 0.",
    lambda g, x: where((x > -3) & (x < 3), g / 6, 0),
    ulp=2,
    slope_ulp=2,
    flat=True,
)
hardswish, hardswish_backward = pair(
    "hardswish",
    """Return x min(max(x + 3, 0), 6) / 6. Source: Howard et al., "MobileNetV3", 2019.""",
    lambda x: x * (x + 3).clamp(0, 6) / 6,
    "Return the gradient of hardswish: g (x / 3 + 1/2) between -3 and 3, 0 below and g above.",
    lambda g, x: where(x <= -3, 0, where(x < 3, g * (x / 3 + 0.5), g)),
    ulp=4,
    slope_ulp=4,
    slope_scale=1.0,
)


# ---- nothing near 0


@op(ulp=1)
def hardshrink(x: TensorLike, *, lambd: float) -> Spec:
    """Return 0 where x is from -lambd to lambd, else x."""
    return spec("hardshrink", x, lambd=lambd)


@hardshrink.fallback
def _(x: Tensor, *, lambd: float) -> Tensor:
    return where((x >= -lambd) & (x <= lambd), 0, x)


@hardshrink.gradient
def _(g: Tensor, x: Tensor, *, lambd: float) -> Tensor:
    return shrink_backward(g, x, lambd=lambd)


@op(ulp=2)
def softshrink(x: TensorLike, *, lambd: float) -> Spec:
    """Return x moved towards 0 by `lambd`, 0 where it is from -lambd to lambd."""
    return spec("softshrink", x, lambd=lambd)


@softshrink.fallback
@widely
def _(x: Tensor, *, lambd: float) -> Tensor:
    return x - x.clamp(-lambd, lambd)


@softshrink.gradient
def _(g: Tensor, x: Tensor, *, lambd: float) -> Tensor:
    return shrink_backward(g, x, lambd=lambd)


@op(ulp=1)
def shrink_backward(g: TensorLike, x: TensorLike, *, lambd: float) -> Spec:
    """Return 0 where x is from -lambd to lambd, else g: hardshrink's gradient and softshrink's."""
    return spec("shrink_backward", g, x, lambd=lambd)


@shrink_backward.fallback
def _(g: Tensor, x: Tensor, *, lambd: float) -> Tensor:
    return where((x >= -lambd) & (x <= lambd), 0, g)


@shrink_backward.gradient
def _(gg: Tensor, x: Tensor, *, lambd: float, needs: Needs) -> tuple[Tensor, Tensor | None]:
    return shrink_backward(gg, x, lambd=lambd), zeros_for(needs[1], gg)


# ---- a number up to a threshold


@op(ulp=1)
def threshold(x: TensorLike, *, threshold: float, value: float) -> Spec:
    """Return `value` where x is at most `threshold`, else x."""
    return spec("threshold", x, threshold=threshold, value=value)


@threshold.fallback
def _(x: Tensor, *, threshold: float, value: float) -> Tensor:
    return where(x <= threshold, value, x)


@threshold.gradient
def _(g: Tensor, x: Tensor, *, threshold: float, value: float) -> Tensor:
    return threshold_backward(g, x, threshold=threshold)


@op(ulp=1)
def threshold_backward(g: TensorLike, x: TensorLike, *, threshold: float) -> Spec:
    """Return 0 where x is at most `threshold`, else g."""
    return spec("threshold_backward", g, x, threshold=threshold)


@threshold_backward.fallback
def _(g: Tensor, x: Tensor, *, threshold: float) -> Tensor:
    return where(x <= threshold, 0, g)


@threshold_backward.gradient
def _(gg: Tensor, x: Tensor, *, threshold: float, needs: Needs) -> tuple[Tensor, Tensor | None]:
    return threshold_backward(gg, x, threshold=threshold), zeros_for(needs[1], gg)


# ---- what tests try, and the forms in place

tried((leaky_relu, leaky_relu_backward), negative_slope=0.1)
tried((prelu, prelu_backward))
tried((hardtanh, hardtanh_backward), -1.0, 1.5, min_val=-1.0, max_val=1.5)
tried((hardsigmoid, hardsigmoid_backward), 3.0, -3.0)
tried((hardswish, hardswish_backward), 3.0, -3.0)
tried((hardshrink, softshrink, shrink_backward), 1.5, -1.5, lambd=1.5)
tried((threshold,), threshold=1.0, value=2.5)
tried((threshold_backward,), threshold=1.0)

hardsigmoid_ = InPlaceTwin(hardsigmoid)
hardswish_ = InPlaceTwin(hardswish)
hardtanh_ = InPlaceTwin(hardtanh)
leaky_relu_ = InPlaceTwin(leaky_relu)
prelu_ = InPlaceTwin(prelu)
threshold_ = InPlaceTwin(threshold)
