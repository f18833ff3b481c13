"""Finite differences of the reference device in float64: what gradients are held against.

An operand of up to 24 elements is moved along each of its axes, so that its whole Jacobian counts;
a larger one along a few random directions. What is learned of a call serves all its layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ferrum.autograd import grad
from ferrum.dtypes import is_floating
from ferrum.tensor import Tensor
from ferrum.testing.calls import Array, Call, download, lifted, oracle_device, upload
from ferrum.testing.trials import Trial

Float64s: TypeAlias = npt.NDArray[np.float64]
Function: TypeAlias = Callable[[Sequence[Float64s]], Sequence[Float64s]]

STEP = 6e-6  # the cube root of float64's precision: truncation and rounding weigh the same
WHOLE = 24
DIRECTIONS = 6


def has_gradient(call: Call) -> bool:
    """Return whether the call must pass a gradient to a floating-point operand."""
    op = call.op
    known = op.differentiable and (op.vjp is not None or op.compose is not None)
    return known and bool(call.moved) and bool(results_of(call))


def results_of(call: Call) -> list[Array]:
    """Return the floating-point outputs of `call`, as the oracle has them."""
    return [x for x in call.wanted if is_floating(x.dtype)]


def operands_of(call: Call) -> list[Array]:
    """Return the operands that gradients are asked for."""
    return [call.arrays[number] for number in call.moved]


def seeds_of(call: Call) -> list[Array]:
    """Return incoming gradients for the floating-point outputs of `call`."""
    specs = [spec for spec in call.specs(oracle_device()) if is_floating(spec.dtype)]
    return [w.astype(s.dtype) for w, s in zip(_weights(results_of(call), 1), specs, strict=True)]


def ends_of(call: Call) -> list[Array]:
    """Return incoming second gradients, for the gradients of the operands of `call`."""
    operands = operands_of(call)
    return [w.astype(x.dtype) for w, x in zip(_weights(operands, 2), operands, strict=True)]


def _weights(arrays: Sequence[Array], salt: int) -> list[Float64s]:
    """Return random numbers between -1 and 1, in the shapes of `arrays`, the same at every call."""
    rng = np.random.default_rng(salt)
    return [rng.uniform(-1, 1, x.shape) for x in arrays]


def directions(size: int) -> Float64s:
    """Return the directions in which `size` elements are moved, one a row."""
    if size <= WHOLE:
        return np.eye(size)
    return np.random.default_rng(size).choice([-1.0, 1.0], (DIRECTIONS, size))


def along_directions(gradient: Array) -> Float64s:
    """Return how fast a function of this gradient changes in each direction."""
    slopes: Float64s = directions(gradient.size) @ gradient.astype(np.float64).reshape(-1)
    return slopes


def dot(left: Sequence[Array], right: Sequence[Array]) -> float:
    """Return the sum of the products of all elements."""
    pairs = zip(left, right, strict=True)
    return float(sum(np.vdot(np.float64(a), np.float64(b)) for a, b in pairs))


def _quotients(
    function: Function, point: Sequence[Float64s], which: int, step: float
) -> list[list[Float64s]]:
    """Return for each direction of tensor `which` how fast the results of `function` change."""

    def at(value: Float64s) -> Sequence[Float64s]:
        return function([value if i == which else x for i, x in enumerate(point)])

    found = []
    for row in directions(point[which].size):
        move = step * row.reshape(point[which].shape)
        up, down = (at(np.asarray(point[which] + signed)) for signed in (move, -move))
        found.append([(a - b) / (2 * step) for a, b in zip(up, down, strict=True)])
    return found


@lru_cache(maxsize=64)
def jacobian(call: Call, which: int, step: float = STEP) -> list[list[Float64s]]:
    """Return for each direction of the operand `which` how fast each output changes."""
    point = [lifted(x) for x in operands_of(call)]
    return _quotients(lambda values: results_of(call.with_moved(values)), point, which, step)


@lru_cache(maxsize=64)
def second_slopes(call: Call, which: int, step: float = STEP) -> Float64s:
    """Return for each direction how fast <ends, gradients> changes.

    `which` counts the operands, and after them the incoming gradients.
    """
    device, ends, count = oracle_device(), ends_of(call), len(call.moved)

    def function(values: Sequence[Float64s]) -> Sequence[Float64s]:
        trial = Trial(call.with_moved(values[:count]).lifted(), device, leaves=call.moved)
        seeds = [upload(device, seed) for seed in values[count:]]
        found = pulled(trial.recorded(), trial.leaves, seeds)
        pairs = [(end, download(g)) for end, g in zip(ends, found, strict=True) if g is not None]
        return [np.array(dot([end for end, _ in pairs], [g for _, g in pairs]))]

    point = [lifted(x) for x in (*operands_of(call), *seeds_of(call))]
    return np.array([row[0] for row in _quotients(function, point, which, step)])


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
    roots = [out for out, _ in pairs]
    given = [seed.to(out.device) for out, seed in pairs]  # `to_device` has outputs elsewhere
    return grad(roots, leaves, given, create_graph=create_graph, allow_unused=True)
