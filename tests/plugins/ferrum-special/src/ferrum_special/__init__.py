"""An op that FERRUM does not have, with the tools that its own are made with."""

import ferrum as fe
from ferrum.errors import ArgumentError, DTypeError


@fe.op(ulp=8)
def pseudo_huber(x: fe.TensorLike, *, delta: float) -> fe.Spec:
    """Return delta² (sqrt(1 + (x / delta)²) - 1): x² / 2 near 0, and straight far from it."""
    if not delta > 0:
        raise ArgumentError(f"pseudo_huber: expected a delta above 0, got {delta}")
    if x.dtype.kind != "f":
        raise DTypeError(f"pseudo_huber: expected float32 or float64, got {x.dtype.name}")
    return fe.Spec(x.shape, x.dtype)


@pseudo_huber.fallback
def _(x, *, delta):
    return x * x / (fe.sqrt(1 + (x / delta) ** 2) + 1)


@pseudo_huber.gradient
def _(g, x, *, delta):
    return g * x / fe.sqrt(1 + (x / delta) ** 2)


@pseudo_huber.samples
def _(s):
    yield s(s.real(3, 4), delta=1.0)
    yield s(s.real(2, 1, 3), delta=0.25)
    yield s(s.real(), delta=2)
    yield s(s.real(0, 2), delta=1.0)
    yield s.kink(s.exact(0.0, -0.0, float("nan")), delta=1.0)
    yield s.bad(ArgumentError, s.real(3), delta=0.0)
    yield s.bad(ArgumentError, s.real(3), delta=float("nan"))
    yield s.bad(TypeError, "text", delta=1.0)
