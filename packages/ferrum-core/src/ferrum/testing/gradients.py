"""Gradients, first and second, against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ferrum.dtypes import DType
from ferrum.errors import GradientError
from ferrum.tensor import Tensor
from ferrum.testing.calls import Array, download
from ferrum.testing.differences import (
    STEP,
    WHOLE,
    Float64s,
    along_directions,
    dot,
    ends_of,
    has_gradient,
    jacobian,
    operands_of,
    pulled,
    results_of,
    second_slopes,
    seeds_of,
)
from ferrum.testing.failures import ConformanceFailure, NotApplicable
from ferrum.testing.layouts import constant_along, place
from ferrum.testing.trials import Trial
from ferrum.testing.ulps import limits

if TYPE_CHECKING:
    from ferrum.testing.cases import Case

FACTOR = 32  # how many times the precision of its dtype a gradient may be off


def tolerance(dtypes: Iterable[DType]) -> float:
    """Return by how much gradients that pass through `dtypes` may be off: a part of the largest."""
    return max(1e-6, *(FACTOR * float(limits(dtype).eps) for dtype in dtypes))


def compare(
    name: str,
    found: Tensor | None,
    like: Array,
    slopes: Callable[[float], Float64s],
    allowed: float,
) -> None:
    """Raise ConformanceFailure unless the gradient `found` has these slopes.

    `slopes(step)` are those of finite differences, `like` has the shape and dtype to be expected.
    """
    if found is not None and (found.shape, found.dtype) != (like.shape, like.dtype):
        raise ConformanceFailure(
            f"{name} has another shape or dtype than what it is the gradient of",
            expected=f"{like.dtype.name} {like.shape}",
            got=f"{found.dtype.name} {found.shape}",
        )
    got = along_directions(np.zeros(like.shape) if found is None else download(found))
    want = slopes(STEP)
    off = _relative(got, want)
    if off <= allowed:
        return
    # Where a function jumps, slopes depend on the step. `not <`, as they may be NaN.
    if not _relative(slopes(8 * STEP), want) < 0.1:
        raise NotApplicable("rounded to this dtype, the sample lies where the function jumps")
    raise ConformanceFailure(
        f"{name} is {'missing' if found is None else 'wrong'}: it is off by {off:.3g} of the "
        f"largest, allowed are {allowed:.3g}",
        expected=_row(want),
        got="None" if found is None else _row(got),
    )


def _relative(got: Float64s, want: Float64s) -> float:
    """Return the largest difference, relative to the largest of `want` or 1; NaN if one is NaN."""
    off = np.abs(got - want).max(initial=0.0)
    return float(off / max(1.0, np.abs(want).max(initial=0.0)))


def _row(values: Float64s) -> str:
    return np.array2string(values, precision=6, threshold=WHOLE, max_line_width=10_000)


# ---- first order


def check_gradient(case: Case) -> None:
    """Check the gradients of the operands against finite differences.

    Where there are several operands or outputs, each alone is asked for as well: the other operands
    then want no gradient, the other outputs have None.
    """
    call = case.call
    if not has_gradient(call):
        _check_refusal(case)
        return
    _check_first(case, call.moved)
    if case.layout != "contiguous":
        return
    for number in call.moved if len(call.moved) > 1 else ():
        _check_first(case, (number,))
    outputs = len(results_of(call))
    for output in range(outputs) if outputs > 1 else ():
        _check_first(case, call.moved, slice(output, output + 1))


def _check_refusal(case: Case) -> None:
    """Check that an op without a gradient records nothing, or refuses operands that require grad.

    The first where mathematics has none, the second where nobody has written one.
    """
    trial = case.trial(leaves=case.call.moved)
    try:
        outs = trial.recorded()
    except GradientError:
        if case.op.differentiable:
            return
        raise
    if case.op.differentiable and outs:
        raise ConformanceFailure(
            "the op has neither a gradient nor a fallback, yet took operands that require grad",
            expected="GradientError",
        )
    if any(out.requires_grad for out in outs):
        raise ConformanceFailure("the op has no gradient, yet its output requires grad")


def _check_first(case: Case, which: Sequence[int], outputs: slice = slice(None)) -> None:
    """Check the gradients of the arrays `which`, of some of the outputs."""
    call, layout = case.call, case.layout
    seeds = seeds_of(call)
    if layout == "broadcast":
        # Operands that repeat have ties, where a maximum has no derivative: only the seeds repeat.
        seeds, layout = [constant_along(seed) for seed in seeds], "contiguous"
    trial = Trial(call, case.device, layout, leaves=which)
    given = [place(case.device, seed, case.layout).tensor for seed in seeds[outputs]]
    found = pulled(trial.recorded()[outputs], trial.leaves, given)
    operands = operands_of(call)
    allowed = tolerance(x.dtype for x in (*operands, *seeds))
    for number, gradient in zip(which, found, strict=True):
        i = call.moved.index(number)

        def slopes(step: float, i: int = i) -> Float64s:
            return np.array([dot(seeds[outputs], row[outputs]) for row in jacobian(call, i, step)])

        compare(f"the gradient of operand {number}", gradient, operands[i], slopes, allowed)


# ---- second order


def check_second(case: Case) -> None:
    """Check the gradients of the gradients, by operands and incoming gradients, likewise."""
    call = case.call
    variables = [*operands_of(call), *seeds_of(call)]
    allowed = tolerance(x.dtype for x in variables)
    for i, gradient in enumerate(_second(case)):

        def slopes(step: float, i: int = i) -> Float64s:
            return second_slopes(call, i, step)

        count = len(call.moved)
        what = f"operand {call.moved[i]}" if i < count else f"incoming gradient {i - count}"
        compare(f"the second gradient, by {what},", gradient, variables[i], slopes, allowed)


def _second(case: Case) -> tuple[Tensor | None, ...]:
    """Return the gradients of <ends, first gradients> by operands and incoming gradients."""
    call, device, layout = case.call, case.device, case.layout
    trial = case.trial(leaves=call.moved)
    seeds = [place(device, x, layout).tensor.detach().requires_grad_() for x in seeds_of(call)]
    first = pulled(trial.recorded(), trial.leaves, seeds, create_graph=True)
    pairs = [
        (g, place(device, end, layout).tensor)
        for g, end in zip(first, ends_of(call), strict=True)
        if g is not None
    ]
    return pulled([g for g, _ in pairs], [*trial.leaves, *seeds], [end for _, end in pairs])
