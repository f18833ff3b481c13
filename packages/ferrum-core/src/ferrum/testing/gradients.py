"""Gradients, first and second, against finite differences of the reference device in float64.

An operand of up to 24 elements is moved along each of its axes, so that its whole Jacobian counts;
a larger one along a few random directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ferrum.autograd import grad
from ferrum.device import Device
from ferrum.dtypes import DType, is_floating
from ferrum.errors import GradientError
from ferrum.tensor import Tensor
from ferrum.testing.calls import Array, Call, download, lifted, oracle_device, upload
from ferrum.testing.failures import ConformanceFailure
from ferrum.testing.layouts import constant_along, place
from ferrum.testing.trials import Trial

if TYPE_CHECKING:
    from ferrum.testing.cases import Case

Float64s: TypeAlias = npt.NDArray[np.float64]
# Maps the values of some tensors to a number.
Scalar: TypeAlias = Callable[[Sequence[Float64s]], float]

STEP = 6e-6  # the cube root of float64's precision: truncation and rounding weigh the same
WHOLE = 24
DIRECTIONS = 6


def floats_of(call: Call) -> list[Array]:
    """Return the floating-point operands of `call`."""
    return [x for x in call.arrays if is_floating(x.dtype)]


def with_floats(call: Call, values: Sequence[Array]) -> Call:
    """Return `call` with other floating-point operands."""
    rest = iter(values)
    return call.changed(lambda x: next(rest) if is_floating(x.dtype) else x)


def directions(size: int) -> Float64s:
    """Return the directions in which `size` elements are moved, one a row."""
    if size <= WHOLE:
        return np.eye(size)
    return np.random.default_rng(size).choice([-1.0, 1.0], (DIRECTIONS, size))


def has_gradient(call: Call) -> bool:
    """Return whether the call must pass a gradient to a floating-point operand."""
    op = call.op
    known = op.differentiable and (op.vjp is not None or op.compose is not None)
    return known and bool(floats_of(call)) and bool(_values_of(call))


def seeds_of(call: Call, device: Device) -> list[Array]:
    """Return incoming gradients for the floating-point outputs of `call`."""
    specs = [spec for spec in call.rule(device) if is_floating(spec.dtype)]
    return [w.astype(s.dtype) for w, s in zip(weights(_values_of(call), 1), specs, strict=True)]


def weights(arrays: Sequence[Array], salt: int) -> list[Float64s]:
    """Return random numbers between -1 and 1, in the shapes of `arrays`, the same at every call."""
    rng = np.random.default_rng(salt)
    return [rng.uniform(-1, 1, x.shape) for x in arrays]


def _values_of(call: Call) -> list[Array]:
    """Return the floating-point outputs of `call`, as the oracle has them."""
    return [x for x in call.wanted if is_floating(x.dtype)]


def slopes(function: Scalar, point: Sequence[Float64s], which: int) -> Float64s:
    """Return how fast `function` changes at `point` as tensor `which` moves in each direction."""
    rows = directions(point[which].size)
    found = np.zeros(len(rows))
    for i, row in enumerate(rows):
        step = STEP * row.reshape(point[which].shape)
        up, down = (np.asarray(point[which] + signed) for signed in (step, -step))
        rise = function(_replaced(point, which, up)) - function(_replaced(point, which, down))
        found[i] = rise / (2 * STEP)
    return found


def _replaced(point: Sequence[Float64s], which: int, value: Float64s) -> list[Float64s]:
    return [value if i == which else x for i, x in enumerate(point)]


def dot(left: Sequence[Array], right: Sequence[Array]) -> float:
    """Return the sum of the products of all elements."""
    return float(
        sum(np.vdot(np.float64(a), np.float64(b)) for a, b in zip(left, right, strict=True))
    )


def tolerance(dtypes: Iterable[DType]) -> float:
    """Return by how much a gradient may be off that passes through `dtypes`, relative to the largest."""
    return max(1e-6, *(48 * float(ml_dtypes.finfo(dtype).eps) for dtype in dtypes))


@dataclass(frozen=True)
class Slope:
    """What finite differences say of the gradient of `name`, which has the shape of `like`."""

    name: str
    like: Array
    along: Float64s

    def check(self, found: Tensor | None, allowed: float) -> None:
        """Raise ConformanceFailure unless the gradient `found` has these slopes."""
        like = self.like
        if found is not None and (found.shape, found.dtype) != (like.shape, like.dtype):
            raise ConformanceFailure(
                f"{self.name} has another shape or dtype than what it is the gradient of",
                expected=f"{like.dtype.name} {like.shape}",
                got=f"{found.dtype.name} {found.shape}",
            )
        values = np.zeros(like.shape) if found is None else download(found).astype(np.float64)
        got = directions(like.size) @ values.reshape(-1)
        off = np.abs(got - self.along) / max(1.0, float(np.abs(self.along).max(initial=0.0)))
        if not (off <= allowed).all():
            raise ConformanceFailure(
                f"{self.name} is {'missing' if found is None else 'wrong'}: it is off by "
                f"{np.max(off):.3g} of the largest, allowed are {allowed:.3g}",
                expected=_row(self.along),
                got="None" if found is None else _row(got),
            )


def _row(values: Float64s) -> str:
    return np.array2string(values, precision=6, threshold=WHOLE, max_line_width=10_000)


# ---- first order


def check_gradient(case: Case) -> None:
    """The gradient of each operand is that of finite differences, in every layout.

    Where there are several operands or outputs, each alone is asked for as well: the other operands
    then want no gradient, the other outputs have None.
    """
    if not has_gradient(case.call):
        _check_refusal(case)
        return
    operands, outputs = len(floats_of(case.call)), len(_values_of(case.call))
    everything = tuple(range(operands))
    _check_first(case, everything)
    if case.layout != "contiguous":
        return
    for i in everything if operands > 1 else ():
        _check_first(case, (i,))
    for i in range(outputs) if outputs > 1 else ():
        _check_first(case, everything, output=i)


def _check_refusal(case: Case) -> None:
    """Without a gradient by mathematics nothing is recorded; without one in code the call raises."""
    trial = case.trial(leaves=True)
    try:
        outs = trial.recorded()
    except GradientError:
        if case.op.differentiable:
            return
        raise
    if case.op.differentiable and outs:
        raise ConformanceFailure(
            "the op has neither a gradient nor a fallback, and did not refuse operands that require "
            "grad",
            expected="GradientError",
        )
    if any(out.requires_grad for out in outs):
        raise ConformanceFailure(
            "the op is declared without a gradient, yet its output requires grad"
        )


def _check_first(case: Case, which: tuple[int, ...], output: int | None = None) -> None:
    """Check the gradients of the operands `which`, of all outputs or of one alone."""
    call, layout = case.call, case.layout
    seeds = seeds_of(call, case.device)
    if layout == "broadcast":
        # Operands that repeat have ties, where a maximum has no derivative: only the seeds repeat.
        seeds, layout = [constant_along(seed) for seed in seeds], "contiguous"
    trial = Trial(call, case.device, layout, leaves=which)
    outs = _with_history(trial)
    given = [place(case.device, seed, case.layout).tensor for seed in seeds]
    if output is not None:
        outs, given, seeds = [outs[output]], [given[output]], [seeds[output]]
    found = grad(outs, trial.leaves, given, allow_unused=True)
    operands = floats_of(call)

    def function(values: Sequence[Float64s]) -> float:
        results = _values_of(with_floats(call, values))
        return dot(seeds, results if output is None else [results[output]])

    allowed = tolerance(x.dtype for x in (*operands, *seeds))
    for i, gradient in zip(which, found, strict=True):
        along = slopes(function, [lifted(x) for x in operands], i)
        Slope(f"the gradient of operand {i}", operands[i], along).check(gradient, allowed)


def _with_history(trial: Trial) -> list[Tensor]:
    outs = trial.recorded()
    for out in outs:
        if not out.requires_grad:
            raise ConformanceFailure(
                "the gradient is cut: operands require grad, the output does not"
            )
    return outs


# ---- second order


def check_second(case: Case) -> None:
    """The gradient of the gradient is that of finite differences: by operands, and by what comes in."""
    call, operands = case.call, floats_of(case.call)
    seeds = seeds_of(call, case.device)
    ends = [w.astype(x.dtype) for w, x in zip(weights(operands, 2), operands, strict=True)]
    point = [*operands, *seeds]

    def function(values: Sequence[Float64s]) -> float:
        xs, gs = values[: len(operands)], values[len(operands) :]
        trial = Trial(with_floats(call, xs), oracle_device(), leaves=True)
        given = [upload(oracle_device(), g) for g in gs]
        found = grad(trial.recorded(), trial.leaves, given, allow_unused=True)
        pairs = [(e, download(g)) for e, g in zip(ends, found, strict=True) if g is not None]
        return dot([end for end, _ in pairs], [g for _, g in pairs])

    allowed = tolerance(x.dtype for x in point)
    for i, gradient in enumerate(_second(case, seeds, ends)):
        what = f"operand {i}" if i < len(operands) else f"incoming gradient {i - len(operands)}"
        along = slopes(function, [lifted(x) for x in point], i)
        Slope(f"the second gradient, by {what},", point[i], along).check(gradient, allowed)


def _second(case: Case, seeds: Sequence[Array], ends: Sequence[Array]) -> tuple[Tensor | None, ...]:
    """Return the gradients of <ends, first gradients> by operands and incoming gradients."""
    trial = case.trial(leaves=True)
    given = [
        place(case.device, seed, case.layout).tensor.detach().requires_grad_() for seed in seeds
    ]
    outs = _with_history(trial)
    first = grad(outs, trial.leaves, given, create_graph=True, allow_unused=True)
    pairs = [
        (g, place(case.device, end, case.layout).tensor)
        for g, end in zip(first, ends, strict=True)
        if g is not None and g.requires_grad
    ]
    variables = [*trial.leaves, *given]
    if not pairs:
        return (None,) * len(variables)
    return grad([g for g, _ in pairs], variables, [end for _, end in pairs], allow_unused=True)
