"""The kit against the device that it takes its answers from, and the parts of the kit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest

from ferrum import Spec, Tensor, TensorLike, float32, float64, op, ops, where
from ferrum.device import Device
from ferrum.dtypes import DTYPES, FLOATS, bfloat16, bool_, float16, int64, is_floating, uint8
from ferrum.errors import ArgumentError, DTypeError, GradientError, UnsupportedError
from ferrum.op import OPS
from ferrum.reference import KERNELS, Reference
from ferrum.samples import Input, Sample, Sampler
from ferrum.testing import (
    ASPECTS,
    BackendConformance,
    ConformanceFailure,
    NotApplicable,
    cases,
    main,
    run,
)
from ferrum.testing.calls import call_of, download, in_dtype, samples_of, takes_dtypes
from ferrum.testing.cases import selected
from ferrum.testing.layouts import LAYOUTS, place, suits
from ferrum.testing.ulps import check_close, rounded, spacing

REFERENCE = "reference"


class TestReference(BackendConformance):
    device = REFERENCE
    ops = ("core.*",)


CORE = [each for each in selected(["core.*"]) if each.rule.__module__.startswith("ferrum.")]


@pytest.mark.parametrize("each", CORE, ids=lambda each: each.name)
def test_every_op_has_samples_and_two_bad_ones(each: Any) -> None:
    bad = [sample for sample in samples_of(each) if sample.error is not None]
    assert len(bad) >= 2
    assert len(bad) < len(samples_of(each))


@pytest.mark.parametrize("each", CORE, ids=lambda each: each.name)
def test_every_op_has_a_gradient_or_says_that_it_has_none(each: Any) -> None:
    """On tensors that require grad: a history, a declaration, or an error at forward."""
    asked = 0
    for case in cases(REFERENCE, [each.name], ["gradient"]):
        if case.call.dtype not in (None, float64) or case.layout != "contiguous":
            continue
        asked += 1
        trial = case.trial(leaves=case.call.moved)
        if each.differentiable and each.vjp is None and each.compose is None:
            with pytest.raises(GradientError):
                trial.recorded()
            continue
        histories = [out.requires_grad for out in trial.recorded()]
        assert histories == [each.differentiable] * len(histories)
    takes_floats = any(
        is_floating(x.dtype)
        for case in cases(REFERENCE, [each.name], ["value"])
        for x in case.call.arrays
    )
    assert asked or not takes_floats


# ---- the text and the file


def test_report_counts_prints_and_writes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    assert main([REFERENCE, "--ops", "matmul", "core.exp", "--json", str(file)]) == 0
    text = capsys.readouterr().out
    assert "core.matmul native" in text
    assert "'reference' conforms" in text
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["passed"]
    assert found["cases"]["failed"] == found["cases"]["skipped"] == 0
    cells = [cell for row in found["ops"].values() for cell in row["aspects"].values()]
    assert sum(cell["passed"] for cell in cells) == found["cases"]["passed"]
    assert found["cases"]["passed"] == len(list(cases(REFERENCE, ["matmul", "exp"])))


def test_names_of_cases_are_unique_stable_and_run_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([REFERENCE, "--ops", "softmax", "--list"]) == 0
    names = capsys.readouterr().out.split()
    assert len(names) == len(set(names))
    name = "core.softmax-float32-strided-value-1"
    assert name in names
    assert main([REFERENCE, "--case", name]) == 0
    assert capsys.readouterr().out == f"{name}: passed\n"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["nonesuch"], "no backend for device 'nonesuch'"),
        ([REFERENCE, "--ops", "nonesuch"], "no op is called 'nonesuch'"),
        ([REFERENCE, "--case", "core.add-float32-contiguous-value-99"], "see --list"),
    ],
)
def test_what_cannot_be_asked_is_said(
    argv: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    assert text in capsys.readouterr().err


# ---- backends with gaps


class Small(Reference):
    """A backend of few dtypes that lacks a kernel."""

    dtypes = frozenset({bool_, int64, float32})

    @property
    def kernels(self) -> Any:
        return {name: kernel for name, kernel in KERNELS.items() if name != "core.sin"}


SMALL = Device("small", None, Small())
SOME = ["sin", "cos", "exp", "softmax", "var", "astype", "argmax", "full", "uniform", "matmul"]


def test_a_backend_with_gaps_is_told_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    report = run(SMALL, SOME)
    assert report.missing == ["core.sin"]
    assert [failure["case"] for failure in report.failures] == ["core.sin-any-contiguous-kernel-0"]
    assert "kernels that are missing (1): core.sin" in report.summary()
    assert report.runs["core.sin"] == "missing"
    assert any("core.sin" in reason or "sin:" in reason for reason in report.skips)
    assert set(report.counts["core.matmul"]["value"]) == {"passed"}
    assert sum(report.skips.values()) == report.total["skipped"] > 0
    json.dumps(report.as_json())


def test_a_backend_without_float64_has_its_gradients_checked_in_float32() -> None:
    names = [case.id for case in cases(SMALL, ["exp"], ["gradient", "second"])]
    assert "core.exp-float32-transposed-gradient-0" in names
    assert "core.exp-float32-contiguous-second-0" in names


def test_an_unclaimed_dtype_must_be_refused() -> None:
    class Claims(Reference):
        dtypes = frozenset(DTYPES) - {float16}

        def from_numpy(self, value: Any) -> Any:
            return value

    device = Device("claims", None, Claims())
    report = run(device, ["exp"], ["dtypes"])
    assert report.passed
    with pytest.raises(UnsupportedError):
        device.from_numpy(np.zeros(2, np.float16))


# ---- what third parties declare


@op(outputs=("low", "high"))
def split_sign(x: TensorLike) -> tuple[Spec, Spec]:
    """Return min(x, 0) and max(x, 0)."""
    if not is_floating(x.dtype):
        raise DTypeError(f"split_sign: expected a floating-point tensor, got {x.dtype.name}")
    return Spec(x.shape, x.dtype), Spec(x.shape, x.dtype)


@split_sign.fallback
def _(x: Tensor) -> tuple[Tensor, Tensor]:
    return where(x < 0, x, 0), where(x < 0, 0, x)


@split_sign.gradient
def _(g: Any, x: Tensor) -> Any:
    low, high = g
    pieces = [None if low is None else where(x < 0, low, 0)]
    pieces.append(None if high is None else where(x < 0, 0, high))
    return sum(piece for piece in pieces if piece is not None)


@split_sign.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4))
    yield s.bad(TypeError, "text")
    yield s.bad(TypeError, s.real(2), s.real(2))


def test_an_op_of_several_outputs_conforms() -> None:
    report = run(REFERENCE, [split_sign.name])
    assert report.passed, report.summary()


def test_none_for_an_output_must_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(g: Any, x: Tensor) -> Any:
        return where(x < 0, g[0], 0) + where(x < 0, 0, g[1])

    monkeypatch.setattr(split_sign, "vjp", trusting)
    report = run(REFERENCE, [split_sign.name])
    assert {failure["aspect"] for failure in report.failures} == {"gradient"}


def test_an_op_without_samples_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_sign, "sampler", None)
    report = run(REFERENCE, [split_sign.name])
    assert [failure["aspect"] for failure in report.failures] == ["samples"]


def test_an_op_without_gradient_and_fallback_must_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    exp = OPS["core.exp"]
    monkeypatch.setattr(exp, "vjp", None)
    assert run(REFERENCE, ["exp"], ["gradient"]).passed
    monkeypatch.setattr(exp, "differentiable", False)
    assert run(REFERENCE, ["exp"], ["gradient"]).passed


@op(ulp=1)
def noisy(x: TensorLike, *, key: tuple[int, int]) -> Spec:
    """Return x plus random numbers."""
    if not is_floating(x.dtype):
        raise DTypeError(f"noisy: expected a floating-point tensor, got {x.dtype.name}")
    return Spec(x.shape, x.dtype)


@noisy.fallback
def _(x: Tensor, *, key: tuple[int, int]) -> Tensor:
    return x + ops.uniform(shape=x.shape, dtype=x.dtype, key=key, device=x.device)


@noisy.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), key=(1, 2**40))
    yield s.bad(TypeError, "text", key=(1, 2))
    yield s.bad(DTypeError, s.typed(int64, 3), key=(1, 2))


def test_an_op_that_draws_random_numbers_is_held_against_reference() -> None:
    report = run(REFERENCE, [noisy.name])
    assert report.passed, report.summary()
    assert "random" in report.counts[noisy.name]
    assert "value" not in report.counts[noisy.name]
    device = Device("other", None, OtherNoise())
    failed = run(device, [noisy.name]).failures
    assert "random" in {failure["aspect"] for failure in failed}


class OtherNoise(Reference):
    @property
    def kernels(self) -> Any:
        return {**KERNELS, "core.uniform": lambda **attrs: 1 - KERNELS["core.uniform"](**attrs)}


def test_ops_of_tests_are_asked_only_by_name() -> None:
    assert split_sign not in selected()
    assert selected([split_sign.name]) == [split_sign]


# ---- the pytest class


class FakeMetafunc:
    """Takes down what pytest would be told."""

    def parametrize(self, names: tuple[str, ...], cells: list[Any], ids: list[str]) -> None:
        self.names, self.cells, self.ids = names, cells, ids


class Broken(Reference):
    @property
    def kernels(self) -> Any:
        return {**KERNELS, "core.exp": lambda x: KERNELS["core.exp"](x) * x.dtype.type(1.5)}


class OfBroken(BackendConformance):
    device = Device("broken", None, Broken())
    ops = ("exp",)


def test_class_has_a_test_for_each_op_and_aspect() -> None:
    told = FakeMetafunc()
    OfBroken().pytest_generate_tests(told)
    assert told.names == ("op", "aspect")
    assert told.ids[:3] == ["core.exp-samples", "core.exp-kernel", "core.exp-dtypes"]
    assert "core.exp-random" not in told.ids


def test_class_without_a_device_says_so() -> None:
    with pytest.raises(ArgumentError, match="set `device`"):
        BackendConformance().pytest_generate_tests(FakeMetafunc())


def test_class_shows_failures_and_takes_excuses() -> None:
    with pytest.raises(ConformanceFailure, match=r"(?s)cases failed.*core.exp-.*-value-.*worst"):
        OfBroken().test_conformance(OPS["core.exp"], "value")

    class Excused(OfBroken):
        excuses: ClassVar = {"core.exp-*-value-*": "known"}

    with pytest.raises(BaseException, match="known") as skip:
        Excused().test_conformance(OPS["core.exp"], "value")
    assert type(skip.value).__name__ == "SkipTest"


# ---- comparing numbers


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_spacing_is_the_distance_of_neighbours(dtype: Any) -> None:
    info = ml_dtypes.finfo(dtype)
    tiny, top = float(info.smallest_subnormal), float(info.max)
    values = np.array([1.0, 1.75, 2.0, 3.0, 0.0, tiny, float(info.tiny), top])
    exact = values.astype(dtype)
    with np.errstate(over="ignore"):
        above = np.nextafter(exact, np.array(np.inf, dtype)).astype(np.float64)
    steps = spacing(exact.astype(np.float64), dtype)
    finite = np.isfinite(above)
    assert (steps[finite] == (above - exact.astype(np.float64))[finite]).all()


@pytest.mark.parametrize("dtype", [float16, float32], ids=str)
def test_rounded_agrees_with_casts(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(2000) * 10.0 ** rng.integers(-12, 12, 2000)
    values = np.concatenate([values, [0.0, -0.0, math.inf, -math.inf, math.nan]])
    with np.errstate(over="ignore"):
        cast = values.astype(dtype).astype(np.float64)
    found = rounded(values, dtype)
    assert np.array_equal(found, cast, equal_nan=True)
    assert (np.signbit(found) == np.signbit(cast)).all()


def test_rounded_to_bfloat16_rounds_once() -> None:
    value = 1 + 2**-8 + 2**-30  # above the middle of two neighbours, which float32 does not see
    assert rounded(np.array([value]), bfloat16) == [1 + 2**-7]


@pytest.mark.parametrize(
    ("got", "want", "ulp", "passes"),
    [
        (1.0, 1.0, 0, True),
        (1.0, 1.0 + 2**-30, 0, True),  # rounds to 1
        (np.nextafter(np.float32(1), np.float32(2)), 1.0, 0, False),
        (np.nextafter(np.float32(1), np.float32(2)), 1.0, 1, True),
        (math.nan, math.nan, 0, True),
        (math.nan, 1.0, 100, False),
        (1.0, math.nan, 100, False),
        (math.inf, math.inf, 0, True),
        (math.inf, -math.inf, 100, False),
        (math.inf, float(np.finfo(np.float32).max), 1, True),
        (math.inf, 1.0, 100, False),
        (-0.0, 0.0, 0, False),
        (-0.0, 0.0, 1, True),
    ],
)
def test_check_close(got: Any, want: float, ulp: float, passes: bool) -> None:
    arrays = np.array([got], np.float32), np.array([want])
    if passes:
        check_close(*arrays, float32, ulp=ulp, scale=0.0, zeros=True)
    else:
        with pytest.raises(ConformanceFailure, match="expected"):
            check_close(*arrays, float32, ulp=ulp, scale=0.0, zeros=True)


def test_scale_is_the_size_that_errors_are_measured_by() -> None:
    got, want = np.array([1e-7], np.float32), np.array([0.0])
    check_close(got, want, float32, ulp=1, scale=1.0)
    with pytest.raises(ConformanceFailure) as failure:
        check_close(got, want, float32, ulp=1, scale=0.0)
    assert failure.value.ulp is not None
    assert failure.value.ulp > 1e30


# ---- operands


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 4), (2, 1, 3), (), (0, 2), (5,)], ids=str)
@pytest.mark.parametrize("dtype", [float32, uint8], ids=str)
def test_layouts_hold_their_values(layout: str, shape: tuple[int, ...], dtype: Any) -> None:
    from ferrum.testing.calls import oracle_device
    from ferrum.testing.layouts import constant_along

    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    array = constant_along(array) if layout == "broadcast" else array
    placed = place(oracle_device(), array, layout)
    assert np.array_equal(download(placed.tensor), array)
    assert placed.intact()
    if layout not in ("contiguous", "broadcast") and suits(layout, shape):
        other = placed.base_with(array + 1)
        assert (other != placed.before).sum() >= array.size


def test_samples_in_integers_round_and_use_the_whole_range() -> None:
    points = Input(np.array([0.6, -1.0, math.inf, -math.inf, math.nan]))
    assert in_dtype(points, uint8).tolist() == [1, 255, 255, 0, 0]
    assert in_dtype(points, int64).tolist() == [1, -1, 2**63 - 1, -(2**63), 0]
    assert in_dtype(points, bool_).tolist() == [True, True, True, True, False]


def test_samples_of_creation_take_every_dtype() -> None:
    sample = Sample((), {"dtype": float32})
    assert takes_dtypes(sample)
    assert call_of(OPS["core.full"], 0, sample, int64).attrs == {"dtype": int64}


def test_every_aspect_says_what_it_demands() -> None:
    assert all(check.__doc__ for check in ASPECTS.values())


def test_reasons_are_no_failures() -> None:
    assert not issubclass(NotApplicable, AssertionError)
