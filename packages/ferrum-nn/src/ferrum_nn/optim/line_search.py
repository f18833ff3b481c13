"""A line search for the strong Wolfe conditions.

Algorithms 3.5 and 3.6 of Nocedal and Wright, *Numerical Optimization* (2006), with the choices of
M. Schmidt's minFunc, which PyTorch shares: where to try next, and when to give up.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

from ferrum import Tensor

DECREASE = 1e-4
"""The share of the decrease that the first slope promises which is enough."""
FLATTER = 0.9
"""The share of the first slope that is flat enough."""


class Point(NamedTuple):
    """A point on the line: how far along it lies, and the loss, gradient and slope there."""

    t: float
    loss: float
    grad: Tensor
    slope: float


def strong_wolfe(
    at: Callable[[float], Point],
    start: Point,
    t: float,
    length: float,
    tolerance: float,
    most: int,
) -> tuple[Point, int]:
    """Return a point of enough decrease and a flat enough slope, and how many points were tried.

    `at` returns the point at a distance, `start` is the one at 0 and `t` the first to try. Once the
    bracket is shorter than `tolerance` (of which `length` is the length along the line), or `most`
    more points were tried, the best found is returned.
    """

    def is_too_high(point: Point) -> bool:
        return point.loss > start.loss + DECREASE * point.t * start.slope

    def is_flat(point: Point) -> bool:
        return abs(point.slope) <= -FLATTER * start.slope

    before, here, tried = start, at(t), 0
    while tried < most:  # go on until a minimum must lie between two points
        if is_too_high(here) or (tried > 1 and here.loss >= before.loss):
            break
        if is_flat(here):
            return here, tried + 1
        if here.slope >= 0:
            break
        t = _minimum(before, here, here.t + 0.01 * (here.t - before.t), here.t * 10)
        before, here = here, at(t)
        tried += 1
    else:
        before = start

    bracket, is_stuck = [before, here], False
    low = _lower(bracket)
    while tried < most:  # make the bracket smaller
        left, right = sorted((bracket[0].t, bracket[1].t))
        if (right - left) * length < tolerance:
            break
        t = _minimum(bracket[0], bracket[1], left, right)
        edge = 0.1 * (right - left)
        is_near = min(right - t, t - left) < edge
        if is_near and (is_stuck or t >= right or t <= left):
            t = right - edge if abs(t - right) < abs(t - left) else left + edge
            is_near = False
        is_stuck = is_near
        here = at(t)
        tried += 1
        if is_too_high(here) or here.loss >= bracket[low].loss:
            bracket[1 - low] = here
            low = _lower(bracket)
            continue
        if is_flat(here):
            return here, tried + 1
        if here.slope * (bracket[1 - low].t - bracket[low].t) >= 0:
            bracket[1 - low] = bracket[low]
        bracket[low] = here
    return bracket[low], tried + 1


def _lower(bracket: list[Point]) -> int:
    return 0 if bracket[0].loss <= bracket[1].loss else 1


def _minimum(a: Point, b: Point, least: float, most: float) -> float:
    """Return where the cubic through two points with their slopes has its minimum, within bounds.

    (3.59) of the book. Without a minimum, or with NaN, it is the middle of the bounds.
    """
    if a.t > b.t:
        a, b = b, a
    if a.t == b.t:
        return (least + most) / 2
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    d2 = sqrt(square) if square >= 0 else 0.0
    span = b.slope - a.slope + 2 * d2
    if not square >= 0 or span == 0:
        return (least + most) / 2
    return min(max(b.t - (b.t - a.t) * ((b.slope + d2 - d1) / span), least), most)
