"""Every gradient of the op table against finite differences, and gradcheck against wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ferrum as fe
from ferrum.dtypes import is_floating
from ferrum.errors import ArgumentError, DTypeError, GradcheckError, OperandError
from ferrum.inplace import InPlaceTwin
from ferrum.op import OPS
from ferrum.plugins import load_ops
from ferrum.samples import Input, Sample, Sampler
from ferrum.tensor import Tensor

load_ops()  # ferrum_nn's ops too, where it is installed

F64 = fe.float64


# ---- the table


def operands(values: Any) -> Any:
    """Make the operands of a sample: floats become float64 leaves, the rest keeps its dtype."""
    if isinstance(values, (list, tuple)):
        return [operands(each) for each in values]
    if not isinstance(values, Input):
        return values
    dtype = F64 if values.dtype is None else values.dtype
    return fe.tensor(values.values, dtype=dtype, requires_grad=dtype is F64)


def leaves(args: Any) -> list[Tensor]:
    if isinstance(args, list):
        return [leaf for each in args for leaf in leaves(each)]
    return [args] if isinstance(args, Tensor) and args.requires_grad else []


def refilled(args: Any, given: Iterator[Tensor]) -> Any:
    """Return `args` with its leaves, in order, replaced by those of `given`."""
    if isinstance(args, list):
        return [refilled(each, given) for each in args]
    return next(given) if isinstance(args, Tensor) and args.requires_grad else args


def coarse(attrs: dict[str, Any]) -> bool:
    """Say whether a sample casts to a dtype that finite differences cannot follow."""
    dtype = attrs.get("dtype", F64)
    return is_floating(dtype) and dtype is not F64


def smooth_samples(op: Any) -> Iterator[Sample]:
    if op.sampler is not None and op.differentiable and op.inputs:
        for sample in op.sampler(Sampler(op.name)):
            if sample.error is None and sample.smooth and not coarse(sample.attrs):
                yield sample


def fits_itself(op: Any, args: list[Any], attrs: dict[str, Any]) -> bool:
    """Say whether what a writing op makes of `args` has the shape of the first, its target."""
    if not isinstance(op, InPlaceTwin):
        return True
    if not isinstance(args[0], Tensor):
        return False
    with fe.no_grad():
        return bool(op.twin(*args, **attrs).shape == args[0].shape)


class Case:
    """A good call of an op, as a function of its leaves."""

    def __init__(self, op: Any, sample: Sample) -> None:
        self.op = op
        self.args = operands(list(sample.inputs))
        self.attrs = dict(sample.attrs)
        if op.name == "core.to_device":
            self.attrs = {"source": fe.default_device(), "target": fe.default_device()}
        self.leaves = leaves(self.args)

    @property
    def applies(self) -> bool:
        return bool(self.leaves) and fits_itself(self.op, self.args, self.attrs)

    def __call__(self, *given: Tensor) -> Any:
        args = refilled(self.args, iter(given))
        for i in self.op.writes:  # leaves must not be written
            args[i] = [x.clone() for x in args[i]] if isinstance(args[i], list) else args[i].clone()
        return self.op(*args, **self.attrs)


CASES = [
    pytest.param(case, id=f"{name}-{i}")
    for name, op in sorted(OPS.items())
    for i, sample in enumerate(smooth_samples(op))
    if (case := Case(op, sample)).applies
]


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_finite_differences(case: Case) -> None:
    assert fe.gradcheck(case, case.leaves)


@pytest.mark.parametrize("case", CASES)
def test_the_second_gradient_is_that_of_finite_differences(case: Case) -> None:
    assert fe.gradgradcheck(case, case.leaves, gen_non_contig_grad_outputs=True)


def test_the_table_gives_enough_cases() -> None:
    assert len(CASES) >= 300
    missing = {op.name for op in OPS.values() if op.vjp is not None} - {
        case.values[0].op.name for case in CASES
    }
    assert not missing


# ---- gradcheck itself


def f64(*values: float) -> Tensor:
    return fe.tensor(values, dtype=F64, requires_grad=True)


def function(
    forward: Callable[..., Any], backward: Callable[..., Any], materialize: bool = True
) -> Callable[..., Any]:
    """Return a custom function that saves its inputs for `backward(*inputs, *grads)`."""

    class Custom(fe.Function):
        @staticmethod
        def forward(ctx: Any, *args: Tensor) -> Any:
            ctx.save_for_backward(*args)
            ctx.set_materialize_grads(materialize)
            return forward(*args)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return backward(*ctx.saved_tensors, *grads)

    return Custom.apply


def test_the_message_shows_both_jacobians_and_the_place() -> None:
    wrong = function(lambda x, y: x * y, lambda x, y, g: (g * y, g * x * 1.5))
    with pytest.raises(GradcheckError) as caught:
        fe.gradcheck(wrong, (f64(1, 2), f64(3, 4)))
    text = str(caught.value)
    assert "output 0 of shape (2,) with respect to input 1 of shape (2,)" in text
    assert "2 of 4 entries" in text
    assert "numerical:\n[[1. 0.]\n [0. 2.]]" in text
    assert "analytical:\n[[1.5 0. ]\n [0.  3. ]]" in text
    assert fe.gradcheck(wrong, (f64(1, 2), f64(3, 4)), raise_exception=False) is False


def drifting() -> Callable[..., Any]:
    """Return a function whose backward gives a little more at each pass."""
    passes = iter(range(1000))
    return function(lambda x: x * 2, lambda x, g: g * (2 + 1e-9 * next(passes)))


WRONG = {
    "a factor": (function(lambda x: x * x, lambda x, g: g * x * 2.01), "mismatch"),
    "a sign": (function(lambda x: x.exp(), lambda x, g: -g * x.exp()), "mismatch"),
    "dropped": (function(lambda x: x * x, lambda x, g: None), "mismatch"),
    "cut off": (lambda x: x * x.detach(), "mismatch"),
    "all cut off": (lambda x: x.detach() * 2, "no output requires grad"),
    "a transposed Jacobian": (
        function(lambda x: x.cumsum(0), lambda x, g: g.cumsum(0)),
        "mismatch",
    ),
    "not a number": (function(lambda x: x * 1, lambda x, g: g * float("nan")), "zero|mismatch"),
    "not multiplied": (function(lambda x: x * 2, lambda x, g: g * 0 + 2), "multiply by"),
    "not linear": (function(lambda x: x * 1, lambda x, g: g * g), "not the sum"),
    "not deterministic": (drifting(), "not deterministic"),
    "None is not taken": (
        function(lambda x: (x * 2, x * 3), lambda x, g, h: g * 2 + h * 3, materialize=False),
        "must take None",
    ),
    "outputs mixed up": (
        function(lambda x: (x * 2, x * 3), lambda x, g, h: g * 3 + h * 2),
        "output 0 of shape",
    ),
    "the second output": (
        function(lambda x: (x * 2, x * 3), lambda x, g, h: g * 2 + h * 2),
        "output 1 of shape",
    ),
}


@pytest.mark.parametrize(("func", "message"), WRONG.values(), ids=WRONG)
def test_wrong_gradients_are_caught(func: Callable[..., Any], message: str) -> None:
    with pytest.raises(GradcheckError, match=message):
        fe.gradcheck(func, f64(0.3, -1.2, 2.1))


def test_a_wrong_second_gradient_is_caught_by_gradgradcheck_alone() -> None:
    detached = function(lambda x: x**3, lambda x, g: g * 3 * x.detach() ** 2)
    assert fe.gradcheck(detached, f64(0.5, 1.5))
    with pytest.raises(GradcheckError, match="with respect to input 0"):
        fe.gradgradcheck(detached, f64(0.5, 1.5))
    assert not fe.gradgradcheck(detached, f64(0.5, 1.5), raise_exception=False)


def test_a_planted_mutant_in_the_table_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    op = OPS["core.multiply"]
    monkeypatch.setattr(op, "vjp", lambda g, x1, x2, *, needs: (g * x2, g * x2))
    with pytest.raises(GradcheckError, match="with respect to input 1"):
        fe.gradcheck(lambda x, y: x * y, (f64(1, 2), f64(3, 5)))


def test_nondeterminism_within_its_tolerance_passes() -> None:
    assert fe.gradcheck(drifting(), f64(0.3), nondet_tol=1e-6)


def test_none_for_an_output_may_be_left_unchecked() -> None:
    func = WRONG["None is not taken"][0]
    assert fe.gradcheck(func, f64(1, 2), check_undefined_grad=False)


def test_several_inputs_and_outputs_some_of_which_do_not_count() -> None:
    def func(x: Tensor, n: int, y: Tensor, index: Tensor, xs: list[Tensor]) -> Any:
        return x @ y * n, x.argmax(), [y[index], x.detach(), xs[0] * xs[1]][0], xs[0] * xs[1]

    x = fe.rand(2, 3, dtype=F64, requires_grad=True)
    y = fe.rand(3, 2, dtype=F64, requires_grad=True)
    args = (x, 3, y, fe.tensor([2, 0]), [f64(1, 2), fe.tensor([3.0, 4.0], dtype=F64)])
    assert fe.gradcheck(func, args)
    assert fe.gradgradcheck(func, args)


def test_inputs_that_are_captured_and_not_passed_on_are_moved_too() -> None:
    weight = f64(1, 2, 3)
    assert fe.gradcheck(lambda _: weight * weight, weight)
    assert weight.tolist() == [1, 2, 3]
    assert weight.grad is None


def test_views_and_results_as_inputs() -> None:
    base = fe.rand(3, 4, dtype=F64, requires_grad=True)
    assert fe.gradcheck(lambda x: x * x, base.T[1:])
    assert fe.gradcheck(lambda x: x * x, base * 2)


def test_empty_tensors_and_numbers() -> None:
    assert fe.gradcheck(lambda x, y: (x @ y, x.sum()), (fe.zeros(0, 3, dtype=F64), f64(1, 2, 3)))
    assert fe.gradgradcheck(lambda x: x * x, fe.tensor(2.0, dtype=F64, requires_grad=True))
    assert fe.gradcheck(lambda x: x[:0], f64(1, 2))


def test_given_gradients_of_the_outputs() -> None:
    x, g = f64(1, 2), f64(3, 4)
    assert fe.gradgradcheck(lambda x: x**3, x, g)
    assert fe.gradgradcheck(lambda x: x**3, x, fe.tensor([3.0, 4.0], dtype=F64))


def test_within_no_grad() -> None:
    with fe.no_grad():
        assert fe.gradcheck(lambda x: x * x, f64(1, 2))


@pytest.mark.parametrize("check", [fe.gradcheck, fe.gradgradcheck])
def test_refusals(check: Callable[..., bool]) -> None:
    with pytest.raises(DTypeError, match=r"input 0 is float32.*pass x\.double\(\)"):
        check(lambda x: x * x, fe.ones(2, requires_grad=True))
    with pytest.raises(ArgumentError, match="at least one input that requires grad"):
        check(lambda x: x * x, fe.ones(2, dtype=F64))
    with pytest.raises(ArgumentError, match=r"gradcheck: input 0: .*expanded tensor"):
        check(lambda x: x * x, f64(1).expand(3))
    with pytest.raises(OperandError, match="expected func to return tensors, got float"):
        check(lambda x: 1.0, f64(1, 2))


def test_only_functions_are_taken() -> None:
    with pytest.raises(OperandError, match="^gradcheck: expected a function, got int"):
        fe.gradcheck(5, fe.ones(1, requires_grad=True))  # type: ignore[arg-type]
    with pytest.raises(OperandError, match="^gradgradcheck: expected a function, got int"):
        fe.gradgradcheck(5, fe.ones(1, requires_grad=True))  # type: ignore[arg-type]
