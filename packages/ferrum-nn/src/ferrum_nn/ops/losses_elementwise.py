"""The ops of losses that compare an input with a target of its shape, element by element.

Their gradients are ops of their own: a backend may make each in one pass, and a composed gradient
would be wrong at a kink or NaN at an infinity.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, log, log1p, op, sigmoid, where
from ferrum.dtypes import int64
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.spec import Needs
from ferrum_nn.ops.losses import check_same, reduced_shape

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler

REDUCTIONS = ("none", "mean", "sum")


def _loss(name: str, input: TensorLike, target: TensorLike, reduction: str) -> Spec:
    check_same(name, input, target)
    return Spec(reduced_shape(name, input.shape, reduction), input.dtype)


def _backward(
    name: str, g: TensorLike, input: TensorLike, target: TensorLike, reduction: str
) -> Spec:
    check_same(name, input, target)
    if g.shape != reduced_shape(name, input.shape, reduction):
        raise ShapeError(f"{name}: a gradient of shape {g.shape} for {reduction!r}")
    return Spec(input.shape, input.dtype)


def reduced(each: Tensor, reduction: str) -> Tensor:
    """Return losses as they are, or their mean or sum."""
    if reduction == "none":
        return each
    return each.mean() if reduction == "mean" else each.sum()


def share(g: Tensor, input: Tensor, reduction: str) -> Tensor:
    """Return the gradient of each element's loss, given that of the reduced loss."""
    return g * (1 / max(input.numel(), 1)) if reduction == "mean" else g


# ---- absolute, smooth absolute and Huber's


def _check_beta(name: str, beta: float, scaled: bool) -> None:
    if not beta >= 0 or (scaled and not beta):
        least = "above" if scaled else "of at least"
        what = "delta" if scaled else "beta"
        raise ArgumentError(f"{name}: expected {what} {least} 0, got {beta}")


@op(ulp=8, scale=4.0)
def smooth_l1_loss(
    input: TensorLike, target: TensorLike, *, beta: float, scaled: bool, reduction: str
) -> Spec:
    """Return d² / (2 beta) where |d| < beta, else |d| - beta / 2, for d = input - target.

    With `scaled`, beta times that: Huber's loss. With beta 0, |d|.
    """
    _check_beta("smooth_l1_loss", beta, scaled)
    return _loss("smooth_l1_loss", input, target, reduction)


@smooth_l1_loss.fallback
def _(input: Tensor, target: Tensor, *, beta: float, scaled: bool, reduction: str) -> Tensor:
    far = (input - target).abs()
    if not beta:
        return reduced(far, reduction)
    if scaled:
        beyond = (far - 0.5 * beta) * beta
        each = where(far <= beta, far * far * 0.5, beyond)
    else:
        each = where(far < beta, far * far * 0.5 / beta, far - 0.5 * beta)
    return reduced(each, reduction)


@smooth_l1_loss.gradient
def _(
    g: Tensor,
    input: Tensor,
    target: Tensor,
    *,
    beta: float,
    scaled: bool,
    reduction: str,
    needs: Needs,
) -> tuple[Tensor | None, Tensor | None]:
    piece = smooth_l1_loss_backward(g, input, target, beta=beta, scaled=scaled, reduction=reduction)
    return None if needs[0] is None else piece, None if needs[1] is None else -piece


@smooth_l1_loss.samples
def _(s: Sampler) -> Iterator[Sample]:
    for reduction in REDUCTIONS:
        for beta, scaled in ((0.0, False), (0.7, False), (1.3, True)):
            attrs = {"beta": beta, "scaled": scaled, "reduction": reduction}
            low = -2.0 if beta else 2.5  # |d| jumps at 0
            yield s(s.real(3, 4), s.real(3, 4, low=low, high=3.0), **attrs)
    attrs = {"beta": 1.0, "scaled": False, "reduction": "sum"}
    yield s(s.real(), s.real(), **attrs)
    yield s(s.real(0, 2), s.real(0, 2), **attrs)
    yield s.bad(ShapeError, s.real(4, 1), s.real(4), **attrs)
    yield s.bad(DTypeError, s.typed(int64, 4), s.typed(int64, 4), **attrs)
    yield s.bad(ArgumentError, s.real(4), s.real(4), **(attrs | {"reduction": "average"}))
    yield s.bad(ArgumentError, s.real(4), s.real(4), **(attrs | {"beta": -1.0}))
    yield s.bad(ArgumentError, s.real(4), s.real(4), **(attrs | {"beta": 0.0, "scaled": True}))


@op(ulp=8, scale=4.0)
def smooth_l1_loss_backward(
    g: TensorLike,
    input: TensorLike,
    target: TensorLike,
    *,
    beta: float,
    scaled: bool,
    reduction: str,
) -> Spec:
    """Return g times d / beta within ±1 (d within ±beta if `scaled`), or the sign of d at beta 0.

    Over the number of elements for "mean".
    """
    _check_beta("smooth_l1_loss_backward", beta, scaled)
    return _backward("smooth_l1_loss_backward", g, input, target, reduction)


@smooth_l1_loss_backward.fallback
def _(
    g: Tensor, input: Tensor, target: Tensor, *, beta: float, scaled: bool, reduction: str
) -> Tensor:
    g, d = share(g, input, reduction), input - target
    if not beta:
        return d.sign() * g
    near = d.abs() < beta
    slope: Tensor = where(near, d, d.sign() * beta) if scaled else where(near, d / beta, d.sign())
    return slope * g


@smooth_l1_loss_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    for beta, scaled in ((0.0, False), (0.7, False), (1.3, True)):
        attrs = {"beta": beta, "scaled": scaled, "reduction": "mean"}
        low = -2.0 if beta else 2.5
        yield s(s.real(), s.real(3, 4), s.real(3, 4, low=low, high=3.0), **attrs)
    attrs["reduction"] = "none"
    yield s(s.real(3, 4), s.real(3, 4), s.real(3, 4), **attrs)
    yield s.bad(ShapeError, s.real(), s.real(3), s.real(3), **attrs)
    yield s.bad(ShapeError, s.real(3), s.real(3, 1), s.real(3), **attrs)


# ---- binary cross entropy


@op(ulp=16, scale=4.0)
def bce_with_logits(input: TensorLike, target: TensorLike, *, reduction: str) -> Spec:
    """Return -(t log σ(x) + (1 - t) log(1 - σ(x))) as max(x, 0) - x t + log(1 + exp(-|x|))."""
    return _loss("bce_with_logits", input, target, reduction)


@bce_with_logits.fallback
def _(input: Tensor, target: Tensor, *, reduction: str) -> Tensor:
    linear = where(input > 0, 1 - target, -target) * input  # max(x, 0) - x t, of infinities, too
    each = linear + log1p((-input.abs()).exp())
    return reduced(each, reduction)


@bce_with_logits.gradient
def _(
    g: Tensor, input: Tensor, target: Tensor, *, reduction: str, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    wanted, of_target = needs
    return (
        None if wanted is None else bce_with_logits_backward(g, input, target, reduction=reduction),
        None if of_target is None else -input * share(g, input, reduction),
    )


@bce_with_logits.samples
def _(s: Sampler) -> Iterator[Sample]:
    for reduction in REDUCTIONS:
        yield s(s.real(3, 4), s.real(3, 4), reduction=reduction)
    yield s(s.real(), s.real(), reduction="mean")
    yield s(s.real(0, 2), s.real(0, 2), reduction="sum")
    yield s.bad(ShapeError, s.real(4, 1), s.real(4), reduction="mean")
    yield s.bad(DTypeError, s.real(4), s.typed(int64, 4), reduction="mean")
    yield s.bad(ArgumentError, s.real(4), s.real(4), reduction="average")


@op(ulp=8, scale=4.0)
def bce_with_logits_backward(
    g: TensorLike, input: TensorLike, target: TensorLike, *, reduction: str
) -> Spec:
    """Return g (σ(input) - target), over the number of elements for "mean"."""
    return _backward("bce_with_logits_backward", g, input, target, reduction)


@bce_with_logits_backward.fallback
def _(g: Tensor, input: Tensor, target: Tensor, *, reduction: str) -> Tensor:
    return (sigmoid(input) - target) * share(g, input, reduction)


@bce_with_logits_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(), s.real(3, 4), s.real(3, 4), reduction="mean")
    yield s(s.real(3, 4), s.real(3, 4), s.real(3, 4), reduction="none")
    yield s.bad(ShapeError, s.real(3), s.real(3), s.real(3), reduction="mean")
    yield s.bad(ShapeError, s.real(), s.real(3, 1), s.real(3), reduction="mean")


@op(ulp=8, scale=4.0)
def binary_cross_entropy(input: TensorLike, target: TensorLike, *, reduction: str) -> Spec:
    """Return -(t log x + (1 - t) log(1 - x)), each logarithm at least -100, of x from 0 to 1."""
    return _loss("binary_cross_entropy", input, target, reduction)


def _logarithms(input: Tensor) -> tuple[Tensor, Tensor]:
    return log(input).clamp_min(-100), log1p(-input).clamp_min(-100)


@binary_cross_entropy.fallback
def _(input: Tensor, target: Tensor, *, reduction: str) -> Tensor:
    of_one, of_zero = _logarithms(input)
    return reduced((target - 1) * of_zero - target * of_one, reduction)


@binary_cross_entropy.gradient
def _(
    g: Tensor, input: Tensor, target: Tensor, *, reduction: str, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    of_input = of_target = None
    if needs[0] is not None:
        of_input = binary_cross_entropy_backward(g, input, target, reduction=reduction)
    if needs[1] is not None:
        of_one, of_zero = _logarithms(input)
        of_target = (of_zero - of_one) * share(g, input, reduction)
    return of_input, of_target


@binary_cross_entropy.samples
def _(s: Sampler) -> Iterator[Sample]:
    for reduction in REDUCTIONS:
        yield s(s.real(3, 4, low=0.05, high=0.95), s.real(3, 4), reduction=reduction)
    yield s(s.real(0, 2, low=0.05, high=0.95), s.real(0, 2), reduction="sum")
    yield s.bad(ShapeError, s.real(4, 1), s.real(4), reduction="mean")
    yield s.bad(DTypeError, s.real(4), s.typed(int64, 4), reduction="mean")
    yield s.bad(ArgumentError, s.real(4), s.real(4), reduction="average")


@op(ulp=8, scale=4.0)
def binary_cross_entropy_backward(
    g: TensorLike, input: TensorLike, target: TensorLike, *, reduction: str
) -> Spec:
    """Return g (x - t) / max(x (1 - x), 1e-12), over the number of elements for "mean"."""
    return _backward("binary_cross_entropy_backward", g, input, target, reduction)


@binary_cross_entropy_backward.fallback
def _(g: Tensor, input: Tensor, target: Tensor, *, reduction: str) -> Tensor:
    below = ((1 - input) * input).clamp_min(1e-12)
    return (input - target) / below * share(g, input, reduction)


@binary_cross_entropy_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(), s.real(3, 4, low=0.05, high=0.95), s.real(3, 4), reduction="mean")
    yield s(s.real(3, 4), s.real(3, 4, low=0.05, high=0.95), s.real(3, 4), reduction="none")
    yield s.bad(ShapeError, s.real(3), s.real(3), s.real(3), reduction="mean")
    yield s.bad(ShapeError, s.real(), s.real(3, 1), s.real(3), reduction="mean")
