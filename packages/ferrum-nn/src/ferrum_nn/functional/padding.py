"""Padding as a function."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

from ferrum import Tensor, tensor
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum_nn import ops
from ferrum_nn.functional.losses_checks import check_tensors

__all__ = ["pad"]


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Return x with more entries at both ends of its last axes.

    `pad` has two numbers for each axis, from the last one on: (left, right, top, bottom, ...). They
    are `value` (0 unless given) for "constant"; what lies inside, mirrored at the outermost entry,
    for "reflect"; the outermost entry for "replicate"; and what lies at the other end for
    "circular". Negative numbers take entries away. All but "constant" pad the one, two or three
    last axes of a tensor that has one or two axes more.

    Raises ArgumentError for another mode or count of numbers, ShapeError where x is too small.
    """
    check_tensors("pad", input)
    try:
        numbers = tuple(map(index, pad))
    except TypeError:
        raise OperandError(f"pad: expected integers, got {pad!r}") from None
    if len(numbers) % 2 or len(numbers) > 2 * input.ndim:
        raise ArgumentError(
            f"pad: expected two numbers for each of at most {input.ndim} axes, got {numbers}"
        )
    rest = (0,) * (input.ndim - len(numbers) // 2)
    before, after = rest + numbers[-2::-2], rest + numbers[::-2]
    if mode == "constant":
        fill = 0 if value is None else value
        return ops.pad(input, before=before, after=after, value=fill)
    _check_mirror(input, len(numbers) // 2, mode, value)
    less, fewer = (tuple(min(0, each) for each in given) for given in (before, after))
    x = ops.pad(input, before=less, after=fewer, value=0) if any(less + fewer) else input
    for axis, (b, a) in enumerate(zip(before, after, strict=True)):
        if b > 0 or a > 0:
            places = _places(mode, max(b, 0), x.shape[axis], max(a, 0))
            x = x.index_select(axis, tensor(places, device=x.device))
    return x


def _check_mirror(x: Tensor, axes: int, mode: str, value: float | None) -> None:
    """Raise unless `mode` is one that repeats what is there, and x has axes to go with it."""
    if mode not in ("reflect", "replicate", "circular"):
        raise ArgumentError(
            f"pad: expected mode 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}"
        )
    if value is not None:
        raise ArgumentError(f"pad: mode {mode!r} takes no value, got {value!r}")
    padded = [each for each in (1, 2, 3) if x.ndim in (each + 1, each + 2)]
    if not padded:
        raise ArgumentError(
            f"pad: mode {mode!r} is for tensors of 2 to 5 axes, got one of shape {x.shape}"
        )
    if axes not in padded:
        raise ArgumentError(
            f"pad: mode {mode!r} takes {' or '.join(str(2 * each) for each in padded)} numbers for "
            f"a tensor of {x.ndim} axes, got {2 * axes}"
        )


def _places(mode: str, before: int, size: int, after: int) -> list[int]:
    """Return which of `size` entries stands at each place of the padded axis."""
    most = {"reflect": size - 1, "circular": size, "replicate": before + after}[mode]
    if max(before, after) > most or size == 0:
        raise ShapeError(
            f"pad: mode {mode!r} cannot add {before} and {after} entries to an axis of {size}"
        )
    places = range(-before, size + after)
    if mode == "replicate":
        return [min(max(place, 0), size - 1) for place in places]
    if mode == "circular":
        return [place % size for place in places]
    return [size - 1 - abs(size - 1 - abs(place)) for place in places]
