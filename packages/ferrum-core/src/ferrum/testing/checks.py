"""What is asked of one call: its value, its dtype, whom it writes to, how it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ferrum import ops, philox
from ferrum.dtypes import DTYPES
from ferrum.errors import FerrumError, UnsupportedError
from ferrum.mode import no_grad
from ferrum.tensor import Tensor
from ferrum.testing.calls import Array, download, samples_of, upload
from ferrum.testing.failures import ConformanceFailure, NotApplicable, excerpt
from ferrum.testing.trials import Trial
from ferrum.testing.ulps import check_close

if TYPE_CHECKING:
    from typing import Any

    from ferrum.testing.cases import Case

# Standards leave open which zero these return, of two that are equal but for their signs.
EITHER_ZERO = frozenset(
    f"core.{name}" for name in ("maximum", "minimum", "max", "min", "relu", "sign", "clip")
)


def check_samples(case: Case) -> None:
    """Check that the op comes with samples, and with two bad calls among them."""
    samples = samples_of(case.op)
    bad = sum(sample.error is not None for sample in samples)
    if bad < 2 or bad == len(samples):
        raise ConformanceFailure(
            f"{case.op.name} has too few samples",
            expected="good calls, and at least 2 bad ones, from @op.samples",
            got=f"{len(samples) - bad} good and {bad} bad ones",
        )


def check_kernel(case: Case) -> None:
    """Check that the device has a kernel of its own for an op without a fallback."""
    op, device = case.op, case.device
    if device.kernels[op] is None and op.compose is None:
        raise ConformanceFailure(
            f"{op.name} has no fallback, and the backend has no kernel for it",
            expected=f"kernels[{op.name!r}], of revision {op.revision}",
            got=device.kernels.ignored.get(op.name, "none"),
        )


def check_value(case: Case) -> None:
    """Check that the values are those of float64, within the tolerance that the op declares."""
    trial = case.trial()
    compare_values(trial, trial.run())


def compare_values(trial: Trial, outs: list[Tensor]) -> None:
    """Raise ConformanceFailure unless `outs` are the values that the call must give."""
    call, specs = trial.call, trial.call.specs(trial.device)
    if len(outs) != len(specs):
        raise ConformanceFailure(
            "the op has another number of outputs", expected=len(specs), got=len(outs)
        )
    # An op's in-place form is as exact as the op.
    like = getattr(trial.op, "twin", trial.op)
    for out, want, spec in zip(outs, call.wanted, specs, strict=True):
        got = download(out)
        if got.shape != want.shape or got.dtype != spec.dtype:
            raise ConformanceFailure(
                "the result has the wrong shape or dtype",
                expected=f"{spec.dtype.name} {want.shape}",
                got=excerpt(got),
            )
        zeros = like.name not in EITHER_ZERO
        check_close(got, want, spec.dtype, ulp=like.ulp, scale=like.scale, zeros=zeros)


def check_spec(case: Case) -> None:
    """Check that shape, dtype and device are those that the op's rule names."""
    trial = case.trial()
    device = trial.attrs.get("target", case.device)
    for out, spec in zip(trial.run(), trial.call.specs(case.device), strict=True):
        array = out.array
        if out.device is not device:
            raise ConformanceFailure(
                "the result is on another device", expected=device, got=out.device
            )
        fits = len(array.shape) == len(spec.shape) and all(
            size in (-1, found) for size, found in zip(spec.shape, array.shape, strict=True)
        )
        host = out.device.backend.to_numpy(array)
        same = host.shape == array.shape and host.dtype == array.dtype
        if not (fits and type(array.shape) is tuple and array.dtype is spec.dtype and same):
            raise ConformanceFailure(
                "shape and dtype are not those of the op's rule, on the device and on the host",
                expected=f"{spec.dtype.name} {spec.shape}",
                got=f"{_dtype_text(array.dtype)} {array.shape}; host: {host.dtype} {host.shape}",
            )


def _dtype_text(dtype: Any) -> str:
    known = any(dtype is each for each in DTYPES)
    return str(dtype) if known else f"{dtype} (not the object of ferrum.dtypes)"


def check_inputs(case: Case) -> None:
    """Check that operands stay as they are, but for what the op declares to write."""
    trial = case.trial()
    trial.run()
    for i, placed in enumerate(trial.read):
        if not placed.intact():
            raise ConformanceFailure(
                f"the op wrote into operand {i} of those that it may only read",
                expected=excerpt(placed.before),
                got=excerpt(download(placed.base)),
            )
    for placed in trial.written:
        expected, got = placed.base_with(download(placed.tensor)), download(placed.base)
        if expected.tobytes() != got.tobytes():
            raise ConformanceFailure(
                "what was written is not what the op returned, or it wrote beside its operand",
                expected=excerpt(expected),
                got=excerpt(got),
            )


def check_alias(case: Case) -> None:
    """Check that a view, and nothing else, shares memory: by writing into operands afterwards."""
    trial = case.trial()
    outs = trial.run()
    if not trial.placed:
        _check_fresh(case, outs)
        return
    shares = trial.op.view and outs[0].view_of is not None
    if trial.op.view and not shares and case.layout == "contiguous":
        raise ConformanceFailure("of a contiguous operand the op must give a view, it gave a copy")
    before = [download(out) for out in outs]
    for placed in trial.read:
        _overwrite(placed.base)
    for old, out in zip(before, outs, strict=True):
        got = download(out)
        if shares and got.tobytes() != _other(old).tobytes():
            raise ConformanceFailure(
                "a view must share memory with its operand; a write to the operand does not show",
                expected=excerpt(_other(old)),
                got=excerpt(got),
            )
        if not shares and got.tobytes() != old.tobytes():
            raise ConformanceFailure(
                "the result shares memory with an operand, and the op is not declared a view",
                expected=excerpt(old),
                got=excerpt(got),
            )


def _check_fresh(case: Case, outs: list[Tensor]) -> None:
    """Two calls that create a tensor may not give the same memory."""
    again = case.trial().run()
    before = [download(out) for out in again]
    for out in outs:
        _overwrite(out)
    for old, out in zip(before, again, strict=True):
        if download(out).tobytes() != old.tobytes():
            raise ConformanceFailure("two calls gave the same memory: a write to one shows in both")


def _other(values: Array) -> Array:
    """Return an array that differs from `values` everywhere."""
    return np.asarray(values == 0).astype(values.dtype)


def _overwrite(tensor: Tensor) -> None:
    with no_grad():
        ops.copy_(tensor, upload(tensor.device, _other(download(tensor))))


def check_repeat(case: Case) -> None:
    """Check that the same call gives the same bits."""
    first, second = ([download(out) for out in case.trial().run()] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        if a.tobytes() != b.tobytes():
            raise ConformanceFailure(
                "two equal calls gave different bits", expected=excerpt(a), got=excerpt(b)
            )


PHILOX: dict[str, Callable[..., Array]] = {
    "core.uniform": philox.uniform,
    "core.normal": philox.normal,
    "core.randint": philox.randint,
    "core.randperm": philox.permutation,
}


def check_random(case: Case) -> None:
    """Check that random numbers are, bit by bit, those of `ferrum.philox`."""
    trial = case.trial()
    outs = trial.run()
    draw = PHILOX.get(case.op.name)
    if draw is None:
        compare_values(trial, outs)
        return
    want, got = draw(**trial.attrs), download(outs[0])
    if want.tobytes() != got.tobytes() or want.shape != got.shape:
        raise ConformanceFailure(
            f"the bits are not those of ferrum.philox.{draw.__name__}",
            expected=excerpt(want),
            got=excerpt(got),
        )


def check_fallback(case: Case) -> None:
    """Check that the fallback gives what the kernel gives: both within the op's tolerance."""
    trial = case.trial()
    compare_values(trial, trial.decompose())


def check_errors(case: Case) -> None:
    """Check that a bad call raises the error of the op's rule, and changes no operand."""
    error = case.error
    assert error is not None  # only bad calls are asked this
    trial = case.trial()
    try:
        outs = trial.run()
    except error as raised:
        if isinstance(raised, FerrumError) and ": " not in str(raised):
            raise ConformanceFailure(
                "the error does not say which op it comes from",
                expected=f"{case.op.__name__}: ...",
                got=str(raised),
            ) from raised
    except UnsupportedError:
        raise  # for `Case.run` to say whether it comes from a kernel that is missing
    except Exception as raised:
        raise ConformanceFailure(
            "a bad call raised the wrong error",
            expected=error.__name__,
            got=f"{type(raised).__name__}: {raised}",
        ) from raised
    else:
        raise ConformanceFailure(
            "a bad call was accepted",
            expected=error.__name__,
            got=", ".join(excerpt(download(out)) for out in outs),
        )
    for placed in trial.placed:
        if not placed.intact() or placed.tensor._version:
            raise ConformanceFailure(
                "a bad call changed an operand before it raised",
                expected=excerpt(placed.before),
                got=excerpt(download(placed.base)),
            )


def check_dtypes(case: Case) -> None:
    """Check that dtypes the rule refuses raise DTypeError, and those it allows work."""
    if case.error is not None:
        check_errors(case)
        return
    foreign = case.call.dtypes(case.device) - case.device.backend.dtypes
    try:
        case.trial().run()
    except UnsupportedError:
        if not foreign:
            raise
    else:
        if foreign:
            names = ", ".join(sorted(dtype.name for dtype in foreign))
            raise NotApplicable(f"works although the backend does not claim {names}")
