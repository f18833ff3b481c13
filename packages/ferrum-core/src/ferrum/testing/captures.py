"""Recordings against eager: the same bits, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ferrum import capture
from ferrum.device import Device
from ferrum.dtypes import is_floating
from ferrum.errors import CaptureError
from ferrum.tensor import Tensor
from ferrum.testing.calls import Array, Call, download, nested, outputs_of, upload, with_copies
from ferrum.testing.differences import has_gradient, pulled, seeds_of
from ferrum.testing.failures import ConformanceFailure, NotApplicable, excerpt

if TYPE_CHECKING:
    from ferrum.testing.cases import Case


class Program:
    """A call as a function of its tensors: the op and, with `backward`, its gradient."""

    def __init__(self, call: Call, device: Device, backward: bool) -> None:
        self.call = call
        self.device = device
        self.attrs = call.attributes(device)
        self.seeds = seeds_of(call) if backward else []

    def operands(self, flipped: bool) -> list[Tensor]:
        """Return new tensors for the function: the values of the call, or those flipped."""
        arrays = [np.flip(x) if flipped else x for x in (*self.call.arrays, *self.seeds)]
        tensors = [upload(self.device, np.asarray(x)) for x in arrays]
        for number in self.call.moved if self.seeds else ():
            tensors[number].requires_grad_()
        return tensors

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the results, and after them the gradients of the operands."""
        op, count = self.call.op, len(self.call.arrays)
        rest = iter(tensors)
        operands = self.call.operands_on(self.device)
        args = with_copies(op, nested(lambda _: next(rest), operands))
        outs = outputs_of(op, args, op(*args, **self.attrs))
        leaves = [x for x in tensors[:count] if x.requires_grad]
        if not leaves:
            return tuple(outs)
        roots = [out for out in outs if is_floating(out.dtype)]
        found = pulled(roots, leaves, tensors[count:])
        return (*outs, *[g for g in found if g is not None])


def check_capture(case: Case) -> None:
    """Check that a replay gives the bits of eager: for the values of the recording and others."""
    call, device = case.call, case.device
    forward = Program(call, device, backward=False)
    if any(-1 in spec.shape for spec in call.specs(device)):
        _check_refusal(forward)
        return
    _check_replay(forward)
    if has_gradient(call):
        try:
            _check_replay(Program(call, device, backward=True))
        except CaptureError as error:  # a gradient by way of a fallback that reads values
            raise NotApplicable(str(error)) from error


def _check_replay(program: Program) -> None:
    graph = capture.record(program, *program.operands(flipped=False))
    for flipped in (False, True):
        eager = program(*program.operands(flipped))
        _compare(eager, graph.replay(*program.operands(flipped)), flipped)


def _check_refusal(program: Program) -> None:
    try:
        capture.record(program, *program.operands(flipped=False))
    except CaptureError:
        return
    raise ConformanceFailure(
        "the shape of the result depends on values, yet the op was recorded",
        expected="CaptureError",
    )


def _compare(eager: Sequence[Tensor], replayed: Sequence[Tensor], flipped: bool) -> None:
    values = "other values than it was recorded with" if flipped else "the values of the recording"
    if len(eager) != len(replayed):
        raise ConformanceFailure(
            f"a replay with {values} has another number of results",
            expected=len(eager),
            got=len(replayed),
        )
    for left, right in zip(eager, replayed, strict=True):
        want, got = download(left), download(right)
        if want.tobytes() != got.tobytes() or _kind(want) != _kind(got):
            raise ConformanceFailure(
                f"a replay with {values} differs from eager",
                expected=excerpt(want),
                got=excerpt(got),
            )


def _kind(array: Array) -> tuple[object, ...]:
    return array.shape, array.dtype
