"""The ops of losses.

A loss and its gradient are ops of their own, so that a backend may do each in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, op, where, zeros_like
from ferrum.dtypes import DType, float32, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError
from ferrum.spec import Needs, Shape

if TYPE_CHECKING:
    from typing import Any

    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


def reduced_shape(name: str, shape: Shape, reduction: str) -> Shape:
    """Return the shape of a loss that has `shape` before its reduction."""
    if reduction not in ("none", "mean", "sum"):
        raise ArgumentError(
            f"{name}: expected reduction 'none', 'mean' or 'sum', got {reduction!r}"
        )
    return shape if reduction == "none" else ()


def check_smoothing(name: str, label_smoothing: float) -> None:
    """Raise ArgumentError unless `label_smoothing` is from 0 to 1."""
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"{name}: expected label_smoothing from 0 to 1, got {label_smoothing}")


# ---- mean squared error


def check_same(name: str, input: TensorLike, target: TensorLike) -> None:
    """Raise unless input and target have one shape and one floating-point dtype."""
    if input.shape != target.shape:
        raise ShapeError(
            f"{name}: expected input and target of one shape, got {input.shape} and "
            f"{target.shape}; reshape or expand one of them"
        )
    if input.dtype is not target.dtype or not is_floating(input.dtype):
        raise DTypeError(
            f"{name}: expected input and target of one floating-point dtype, got "
            f"{input.dtype.name} and {target.dtype.name}; cast one of them with .to(dtype)"
        )


@op(ulp=8, scale=4.0)
def mse_loss(input: TensorLike, target: TensorLike, *, reduction: str) -> Spec:
    """Return (input - target)² element by element, or the mean or sum of it."""
    check_same("mse_loss", input, target)
    return Spec(reduced_shape("mse_loss", input.shape, reduction), input.dtype)


@mse_loss.fallback
def _(input: Tensor, target: Tensor, *, reduction: str) -> Tensor:
    squares = (input - target).square()
    if reduction == "none":
        return squares
    return squares.mean() if reduction == "mean" else squares.sum()


@mse_loss.gradient
def _(
    g: Tensor, input: Tensor, target: Tensor, *, reduction: str, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    piece = mse_loss_backward(g, input, target, reduction=reduction)
    return (
        None if needs[0] is None else piece,
        None if needs[1] is None else -piece,
    )


@mse_loss.samples
def _(s: Sampler) -> Iterator[Sample]:
    for reduction in ("none", "mean", "sum"):
        yield s(s.real(3, 4), s.real(3, 4), reduction=reduction)
    yield s(s.real(), s.real(), reduction="mean")
    yield s(s.real(0, 2), s.real(0, 2), reduction="sum")
    yield s.bad(ShapeError, s.real(4, 1), s.real(4), reduction="mean")
    yield s.bad(DTypeError, s.typed(int64, 4), s.typed(int64, 4), reduction="mean")
    yield s.bad(ArgumentError, s.real(4), s.real(4), reduction="average")


@op(ulp=4, scale=4.0)
def mse_loss_backward(
    g: TensorLike, input: TensorLike, target: TensorLike, *, reduction: str
) -> Spec:
    """Return 2 g (input - target), over the number of elements for "mean"."""
    check_same("mse_loss_backward", input, target)
    if g.shape != reduced_shape("mse_loss_backward", input.shape, reduction):
        raise ShapeError(f"mse_loss_backward: a gradient of shape {g.shape} for {reduction!r}")
    return Spec(input.shape, input.dtype)


@mse_loss_backward.fallback
def _(g: Tensor, input: Tensor, target: Tensor, *, reduction: str) -> Tensor:
    count = input.numel() if reduction == "mean" else 1
    return (input - target) * (g * (2 / max(count, 1)))


@mse_loss_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(), s.real(3, 4), s.real(3, 4), reduction="mean")
    yield s(s.real(), s.real(3, 4), s.real(3, 4), reduction="sum")
    yield s(s.real(3, 4), s.real(3, 4), s.real(3, 4), reduction="none")
    yield s(s.real(), s.real(0, 4), s.real(0, 4), reduction="mean")
    yield s.bad(ShapeError, s.real(3), s.real(3), s.real(3), reduction="mean")
    yield s.bad(ShapeError, s.real(), s.real(3, 1), s.real(3), reduction="mean")


# ---- classification: scores (n, classes, ...), target (n, ...), weight (classes,) or None


def _classes(name: str, x: TensorLike, target: TensorLike, weight: TensorLike | None) -> None:
    if not is_floating(x.dtype):
        raise DTypeError(f"{name}: expected floating-point scores, got {x.dtype.name}")
    if target.dtype is not int64:
        raise DTypeError(f"{name}: expected int64 class indices, got {target.dtype.name}")
    if len(x.shape) < 2 or target.shape != (x.shape[0], *x.shape[2:]):
        raise ShapeError(
            f"{name}: expected scores (n, classes, ...) and class indices (n, ...), got {x.shape} "
            f"and {target.shape}; class probabilities are floating-point"
        )
    if weight is not None and (weight.shape != (x.shape[1],) or weight.dtype is not x.dtype):
        raise ShapeError(
            f"{name}: expected a weight of shape ({x.shape[1]},) and {x.dtype.name}, got "
            f"{weight.shape} {weight.dtype.name}"
        )


def _total_dtype(dtype: DType) -> DType:
    """Return the dtype of a sum of weights: 16-bit floats could not even count to 5000."""
    return float32 if dtype.itemsize == 2 else dtype


def _reduced(each: Tensor, total: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return each
    added = each.sum()
    return added if reduction == "sum" else (added / total).to(each.dtype)


def _kept(target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return where the target counts, and a target that is a class everywhere."""
    kept = target != ignore_index
    return kept, where(kept, target, 0)


@op(outputs=("out", "total"), ulp=8, scale=4.0)
def nll_loss(
    log_probs: TensorLike,
    target: TensorLike,
    weight: TensorLike | None,
    *,
    ignore_index: int,
    reduction: str,
) -> tuple[Spec, Spec]:
    """Return -weight[t] log_probs[t] of the target class t, and the sum of weight[t].

    Where the target is `ignore_index` both are 0. "mean" divides by the sum of the weights.
    A target that is no class raises OutOfRangeError.
    """
    _classes("nll_loss", log_probs, target, weight)
    shape = reduced_shape("nll_loss", target.shape, reduction)
    return Spec(shape, log_probs.dtype), Spec((), _total_dtype(log_probs.dtype))


@nll_loss.fallback
def _(
    log_probs: Tensor, target: Tensor, weight: Tensor | None, *, ignore_index: int, reduction: str
) -> tuple[Tensor, Tensor]:
    kept, classes = _kept(target, ignore_index)
    picked = log_probs.gather(1, classes.unsqueeze(1)).squeeze(1)
    each = where(kept, -picked, 0)
    dtype = _total_dtype(log_probs.dtype)
    if weight is None:
        total = kept.sum().to(dtype)
    else:
        weights = weight[classes]
        each = each * weights
        total = where(kept, weights, 0).sum(dtype=dtype)
    return _reduced(each, total, reduction), total


@nll_loss.samples
def _(s: Sampler) -> Iterator[Sample]:
    for reduction in ("none", "mean", "sum"):
        attrs = {"ignore_index": -100, "reduction": reduction}
        yield s(s.real(4, 3), s.index(3, 4), None, **attrs)
        yield s(s.real(2, 3, 5), s.index(3, 2, 5), s.positive(3), **attrs)
    yield s(s.real(3, 2), s.indices(1, -1, 0), s.positive(2), ignore_index=-1, reduction="mean")
    yield s(s.real(0, 2), s.index(2, 0), None, ignore_index=-1, reduction="sum")
    attrs = {"ignore_index": -100, "reduction": "mean"}
    yield s.bad(OutOfRangeError, s.real(2, 3), s.indices(0, 3), None, **attrs)
    yield s.bad(OutOfRangeError, s.real(2, 3), s.indices(0, -1), None, **attrs)
    yield s.bad(ShapeError, s.real(2, 3), s.indices(0, 1, 2), None, **attrs)
    yield s.bad(ShapeError, s.real(2, 3), s.indices(0, 1), s.real(2), **attrs)
    yield s.bad(DTypeError, s.real(2, 3), s.real(2), None, **attrs)


@op(outputs=("out", "log_probs", "total"), ulp=8, scale=4.0)
def cross_entropy(
    x: TensorLike,
    target: TensorLike,
    weight: TensorLike | None,
    *,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> tuple[Spec, Spec, Spec]:
    """Return nll_loss of log_softmax(x), log_softmax(x), and the sum of the targets' weights.

    With `label_smoothing` ε the loss of an element is 1 - ε times that of its class, plus
    ε / classes times that of every class.
    """
    _classes("cross_entropy", x, target, weight)
    check_smoothing("cross_entropy", label_smoothing)
    shape = reduced_shape("cross_entropy", target.shape, reduction)
    return Spec(shape, x.dtype), Spec(x.shape, x.dtype), Spec((), _total_dtype(x.dtype))


@cross_entropy.fallback
def _(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    *,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> tuple[Tensor, Tensor, Tensor]:
    log_probs = x.log_softmax(1)
    each, total = nll_loss(log_probs, target, weight, ignore_index=ignore_index, reduction="none")
    if label_smoothing:
        weighted = log_probs if weight is None else log_probs * along_classes(weight, x)
        everywhere = where(target != ignore_index, weighted.sum(1), 0)
        each = each * (1 - label_smoothing) - everywhere * (label_smoothing / x.shape[1])
    return _reduced(each, total, reduction), log_probs, total


def along_classes(weight: Tensor, x: TensorLike) -> Tensor:
    """Return a weight (classes,) in a shape that goes with x (n, classes, ...)."""
    return weight.reshape(-1, *(1,) * (len(x.shape) - 2))


@cross_entropy.gradient
def _(
    g: tuple[Tensor | None, ...],
    target: Tensor,
    weight: Tensor | None,
    log_probs: Tensor,
    total: Tensor,
    *,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
    needs: Needs,
) -> Any:
    loss, *others = g
    if loss is None or needs[2] is not None or any(each is not None for each in others):
        return NotImplemented  # rare: the fallback's gradient serves
    piece = cross_entropy_backward(
        loss,
        log_probs,
        target,
        weight,
        total,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )
    return piece, None, None


@cross_entropy.samples
def _(s: Sampler) -> Iterator[Sample]:
    for reduction in ("none", "mean", "sum"):
        attrs = {"ignore_index": -100, "label_smoothing": 0.0, "reduction": reduction}
        yield s(s.real(4, 3), s.index(3, 4), None, **attrs)
        yield s(s.real(2, 3, 5), s.index(3, 2, 5), s.positive(3), **attrs)
        attrs = {"ignore_index": 1, "label_smoothing": 0.3, "reduction": reduction}
        yield s(s.real(5, 3), s.indices(0, 1, 2, 1, 0), None, **attrs)
        yield s(s.real(5, 3), s.indices(0, 1, 2, 1, 0), s.positive(3), **attrs)
    attrs = {"ignore_index": -100, "label_smoothing": 0.0, "reduction": "sum"}
    yield s(s.real(0, 3), s.index(3, 0), None, **attrs)
    yield s.bad(OutOfRangeError, s.real(2, 3), s.indices(0, 3), None, **attrs)
    yield s.bad(OutOfRangeError, s.real(2, 3), s.indices(0, -1), None, **attrs)
    yield s.bad(ShapeError, s.real(3), s.indices(0), None, **attrs)
    yield s.bad(DTypeError, s.typed(int64, 2, 3), s.indices(0, 1), None, **attrs)
    attrs["label_smoothing"] = 1.5
    yield s.bad(ArgumentError, s.real(2, 3), s.indices(0, 1), None, **attrs)


@op(ulp=8, scale=4.0)
def cross_entropy_backward(
    g: TensorLike,
    log_probs: TensorLike,
    target: TensorLike,
    weight: TensorLike | None,
    total: TensorLike,
    *,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> Spec:
    """Return the gradient of cross_entropy: g (softmax(x) ∑q - q), over `total` for "mean".

    q is what the loss multiplies -log_probs with: weight times (1 - ε) at the target class, plus
    weight times ε / classes at every class; nothing where the target is `ignore_index`.
    """
    _classes("cross_entropy_backward", log_probs, target, weight)
    shape = reduced_shape("cross_entropy_backward", target.shape, reduction)
    if g.shape != shape or total.shape != ():
        raise ShapeError(
            f"cross_entropy_backward: expected a gradient {shape} and a total (), got {g.shape} "
            f"and {total.shape}"
        )
    return Spec(log_probs.shape, log_probs.dtype)


@cross_entropy_backward.fallback
def _(
    g: Tensor,
    log_probs: Tensor,
    target: Tensor,
    weight: Tensor | None,
    total: Tensor,
    *,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> Tensor:
    kept, classes = _kept(target, ignore_index)
    g = (g / total).to(g.dtype) if reduction == "mean" else g
    g = where(kept, g, 0).unsqueeze(1)
    share = (kept.to(g.dtype) if weight is None else weight[classes]).unsqueeze(1)
    q = zeros_like(log_probs).scatter_add(1, classes.unsqueeze(1), share * (1 - label_smoothing))
    if label_smoothing:
        q = q + (1 if weight is None else along_classes(weight, q)) * (label_smoothing / q.shape[1])
    return (log_probs.exp() * q.sum(1, keepdim=True) - q) * g


@cross_entropy_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {"ignore_index": 1, "label_smoothing": 0.3, "reduction": "mean"}
    target = s.indices(0, 1, 2, 1, 0)
    yield s(s.real(), s.real(5, 3), target, None, s.positive(), **attrs)
    yield s(s.real(), s.real(5, 3), target, s.positive(3), s.positive(), **attrs)
    attrs["reduction"] = "none"
    yield s(s.real(2, 4), s.real(2, 3, 4), s.index(3, 2, 4), None, s.positive(), **attrs)
    yield s.bad(ShapeError, s.real(), s.real(5, 3), target, None, s.positive(), **attrs)
    yield s.bad(ShapeError, s.real(5), s.real(5, 3), target, None, s.positive(1), **attrs)
