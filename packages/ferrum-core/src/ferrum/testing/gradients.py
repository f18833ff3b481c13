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
from ferrum.testing.failures import ConformanceFailure, NotApplicable
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
FACTOR = 32


def directions(size: int) -> Float64s:
    """Return the directions in which `size` elements are moved, one a row."""
    if size <= WHOLE:
        return np.eye(size)
    return np.random.default_rng(size).choice([-1.0, 1.0], (DIRECTIONS, size))


def has_gradient(call: Call) -> bool:
    """Return whether the call must pass a gradient to a floating-point operand."""
    op = call.op
    known = op.differentiable and (op.vjp is not None or op.compose is not None)
    return known and bool(call.moved) and bool(_values_of(call))


def seeds_of(call: Call, device: Device) -> list[Array]:
    """Return incoming gradients for the floating-point outputs of `call`."""
    specs = [spec for spec in call.specs(device) if is_floating(spec.dtype)]
    return [w.astype(s.dtype) for w, s in zip(weights(_values_of(call), 1), specs, strict=True)]


def weights(arrays: Sequence[Array], salt: int) -> list[Float64s]:
    """Return random numbers between -1 and 1, in the shapes of `arrays`, the same at every call."""
    rng = np.random.default_rng(salt)
    return [rng.uniform(-1, 1, x.shape) for x in arrays]


def _values_of(call: Call) -> list[Array]:
    """Return the floating-point outputs of `call`, as the oracle has them."""
    return [x for x in call.wanted if is_floating(x.dtype)]


def slopes(
    function: Scalar, point: Sequence[Float64s], which: int, size: float = STEP
) -> Float64s:
    """Return how fast `function` changes at `point` as tensor `which` moves in each direction."""
    rows = directions(point[which].size)
    found = np.zeros(len(rows))
    for i, row in enumerate(rows):
        step = size * row.reshape(point[which].shape)
        up, down = (np.asarray(point[which] + signed) for signed in (step, -step))
        rise = function(_replaced(point, which, up)) - function(_replaced(point, which, down))
        found[i] = rise / (2 * size)
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
    return max(1e-6, *(FACTOR * float(ml_dtypes.finfo(dtype).eps) for dtype in dtypes))


@dataclass(frozen=True)
class Expected:
    """What finite differences of `function` at `point` say of its gradient by tensor `which`.

    `like` has the shape and dtype that the gradient must have, `allowed` is the tolerance.
    """

    name: str
    function: Scalar
    point: Sequence[Float64s]
    which: int
    like: Array
    allowed: float

    def check(self, found: Tensor | None) -> None:
        """Raise ConformanceFailure unless `found` is the gradient."""
        like = self.like
        if found is not None and (found.shape, found.dtype) != (like.shape, like.dtype):
            raise ConformanceFailure(
                f"{self.name} has another shape or dtype than what it is the gradient of",
                expected=f"{like.dtype.name} {like.shape}",
                got=f"{found.dtype.name} {found.shape}",
            )
        values = np.zeros(like.shape) if found is None else download(found).astype(np.float64)
        got = directions(like.size) @ values.reshape(-1)
        want = slopes(self.function, self.point, self.which)
        off = _relative(got, want)
        if not off <= self.allowed:
            self._check_smooth(want)
            raise ConformanceFailure(
                f"{self.name} is {'missing' if found is None else 'wrong'}: it is off by {off:.3g} "
                f"of the largest, allowed are {self.allowed:.3g}",
                expected=_row(want),
                got="None" if found is None else _row(got),
            )

    def _check_smooth(self, want: Float64s) -> None:
        """Raise NotApplicable where the function jumps: a slope that depends on the step is none."""
        if not _relative(slopes(self.function, self.point, self.which, 8 * STEP), want) < 0.1:
            raise NotApplicable("rounded to this dtype, the sample lies where the function jumps")


def _relative(got: Float64s, want: Float64s) -> float:
    """Return the largest difference, relative to the largest of `want` or 1; NaN if one is NaN."""
    off = np.abs(got - want).max(initial=0.0)
    return float(off / max(1.0, np.abs(want).max(initial=0.0)))


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
    call = case.call
    _check_first(case, call.moved)
    if case.layout != "contiguous":
        return
    for number in call.moved if len(call.moved) > 1 else ():
        _check_first(case, (number,))
    outputs = len(_values_of(call))
    for output in range(outputs) if outputs > 1 else ():
        _check_first(case, call.moved, output)


def _check_refusal(case: Case) -> None:
    """Without a gradient by mathematics nothing is recorded; without one in code the call raises."""
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
        raise ConformanceFailure("the op is declared without a gradient, yet its output requires grad")


def pulled(
    outs: Sequence[Tensor],
    leaves: Sequence[Tensor],
    seeds: Sequence[Tensor],
    create_graph: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of `leaves`: None where no output depends on one."""
    pairs = [(out, seed) for out, seed in zip(outs, seeds, strict=True) if out.requires_grad]
    if not pairs:
        return (None,) * len(leaves)
    roots, given = [out for out, _ in pairs], [seed for _, seed in pairs]
    return grad(roots, leaves, given, create_graph=create_graph, allow_unused=True)


def _check_first(case: Case, which: Sequence[int], output: int | None = None) -> None:
    """Check the gradients of the arrays `which`: of all outputs, or of one alone."""
    call, layout = case.call, case.layout
    seeds = seeds_of(call, case.device)
    if layout == "broadcast":
        # Operands that repeat have ties, where a maximum has no derivative: only the seeds repeat.
        seeds, layout = [constant_along(seed) for seed in seeds], "contiguous"
    chosen = slice(None) if output is None else slice(output, output + 1)
    trial = Trial(call, case.device, layout, leaves=which)
    given = [place(case.device, seed, case.layout).tensor for seed in seeds[chosen]]
    found = pulled(trial.recorded()[chosen], trial.leaves, given)

    def function(values: Sequence[Float64s]) -> float:
        return dot(seeds[chosen], _values_of(call.with_moved(values))[chosen])

    like = [call.arrays[number] for number in call.moved]
    point = [lifted(x) for x in like]
    allowed = tolerance(x.dtype for x in (*like, *seeds))
    for number, gradient in zip(which, found, strict=True):
        i = call.moved.index(number)
        name = f"the gradient of operand {number}"
        Expected(name, function, point, i, like[i], allowed).check(gradient)


# ---- second order


def check_second(case: Case) -> None:
    """The gradient of the gradient is that of finite differences: by operands, and by what comes in."""
    call, device = case.call, oracle_device()
    operands = [call.arrays[number] for number in call.moved]
    seeds = seeds_of(call, case.device)
    ends = [w.astype(x.dtype) for w, x in zip(weights(operands, 2), operands, strict=True)]
    point = [*operands, *seeds]

    def function(values: Sequence[Float64s]) -> float:
        wide = call.with_moved(values[: len(operands)]).lifted()
        trial = Trial(wide, device, leaves=call.moved)
        given = [upload(device, g) for g in values[len(operands) :]]
        found = pulled(trial.recorded(), trial.leaves, given)
        pairs = [(e, download(g)) for e, g in zip(ends, found, strict=True) if g is not None]
        return dot([end for end, _ in pairs], [g for _, g in pairs])

    lie = [lifted(x) for x in point]
    allowed = tolerance(x.dtype for x in point)
    for i, gradient in enumerate(_second(case, seeds, ends)):
        what = f"operand {i}" if i < len(operands) else f"incoming gradient {i - len(operands)}"
        name = f"the second gradient, by {what},"
        Expected(name, function, lie, i, point[i], allowed).check(gradient)


def _second(
    case: Case, seeds: Sequence[Array], ends: Sequence[Array]
) -> tuple[Tensor | None, ...]:
    """Return the gradients of <ends, first gradients> by operands and incoming gradients."""
    trial = case.trial(leaves=case.call.moved)
    given = [
        place(case.device, seed, case.layout).tensor.detach().requires_grad_() for seed in seeds
    ]
    first = pulled(trial.recorded(), trial.leaves, given, create_graph=True)
    pairs = [
        (g, place(case.device, end, case.layout).tensor)
        for g, end in zip(first, ends, strict=True)
        if g is not None
    ]
    return pulled([g for g, _ in pairs], [*trial.leaves, *given], [end for _, end in pairs])
