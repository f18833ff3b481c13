"""Creation, casts, bounds and comparisons against PyTorch, over their arguments."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum import dtypes
from ferrum.dtypes import DTYPES, DType

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:Converting a tensor")]

A = np.array
INF, NAN = float("inf"), float("nan")
X, Y = A([0.3, 1.7, 2.2, -1.1]), A([1.5, -2.0, 0.5, 3.0])
WHOLE, MASK = A([1, 2, 5, 0]), A([True, False, True, False])
ANY: list[DType | None] = [None, *DTYPES]


def options(dtype: DType | None) -> dict[str, Any]:
    return {} if dtype is None else {"dtype": dtype}


# ---- creation


@pytest.mark.parametrize("dtype", ANY, ids=str)
class TestCreation:
    @pytest.mark.parametrize("name", ["zeros", "ones"])
    def test_constants(self, twins: Any, dtype: DType | None, name: str) -> None:
        for shape in ((3,), (2, 3), (0,), (2, 0), (-1,), (1.5,), ("a",)):
            twins.agree(name, *shape, **options(dtype))
            twins.agree(name, shape, **options(dtype))
            twins.agree(name, list(shape), **options(dtype))
        twins.agree(name, (), **options(dtype))
        for x in (X, WHOLE, MASK, np.zeros((2, 0))):
            twins.agree(f"{name}_like", x, order=0, **options(dtype))

    @pytest.mark.parametrize("value", [0, 1, 2.5, -1, True, NAN, INF, 300, 3.9, 2**40], ids=repr)
    def test_full(self, twins: Any, dtype: DType | None, value: float) -> None:
        for x in (None, X, WHOLE, MASK):
            kind = (None if x is None else x.dtype) if dtype is None else dtype
            if value == -1 and kind == np.uint8:
                continue  # PyTorch wraps -1, though not 300
            if abs(value) >= 2**16 and kind == np.float16:
                continue  # inf, as in NumPy; PyTorch refuses
            if x is None:
                twins.agree("full", (2, 2), value, **options(dtype))
            else:
                twins.agree("full_like", x, value, order=0, **options(dtype))

    @pytest.mark.parametrize(
        "args",
        [(5,), (0,), (2, 7), (2, 7, 2), (7, 2, -2), (5, 0), (0, 5, -1), (0, 5, 0), (-3,), (3, 3),
         (1, 10, 3), (0.0, 1.0), (0, -1, -0.3), (1.5, 4.0), (0, 1, 0.1), (NAN,), (INF,), ("a",),
         (0, 1, NAN), (True,)], ids=str,
    )  # fmt: skip
    def test_arange(self, twins: Any, dtype: DType | None, args: Any) -> None:
        if dtype is None or dtype.kind == "f" or not isinstance(args[-1], float):
            twins.agree("arange", *args, **options(dtype))

    @pytest.mark.parametrize(
        "args",
        [(0, 1, 5), (1, 0, 3), (-2, 2, 1), (0, 1, 0), (0, 10, 11), (0.1, 0.9, 7), (0, 1, -1)],
        ids=str,
    )  # fmt: skip
    def test_linspace(self, twins: Any, dtype: DType | None, args: Any) -> None:
        if dtype is None or dtype.kind == "f":
            twins.agree("linspace", *args, **options(dtype))

    def test_eye(self, twins: Any, dtype: DType | None) -> None:
        for args in [(3,), (3, 4), (0,), (2, 0), (4, 2), (-1,), (1,), (2, -1), ("a",), (1.5,)]:
            twins.agree("eye", *args, **options(dtype))

    @pytest.mark.parametrize("name", ["tensor", "as_tensor"])
    @pytest.mark.parametrize(
        "data",
        [1, 1.5, True, [1, 2], [1.0, 2], [[1, 2], [3, 4]], [], [[]], [True, 1], [True, 2.5], (1, 2),
         [(1, 2), [3, 4]], [[1], [2, 3]], "a", None, [None], ["a"], [[1, 2], 3], 2**40, -(2**63),
         2**63, [INF, NAN], range(3), [[[1.5]]]], ids=str,
    )  # fmt: skip
    def test_data(self, twins: Any, dtype: DType | None, name: str, data: Any) -> None:
        if data == 2**63 and dtype is not None and dtype.kind in "fbV":
            return  # an integer of more than 64 bits, whatever it shall become
        twins.agree(name, data, **options(dtype))

    def test_of_tensors(self, twins: Any, dtype: DType | None) -> None:
        if dtype is None:
            return
        for other in DTYPES:
            x, y = A([1, 0], dtype), A([1, 1], other)
            twins.agree(lambda t, u: of(t).tensor([t.detach()[0], u.detach()[1]]), x, y, order=0)
            twins.agree(lambda t: of(t).tensor([[t.detach()[0]], [2]]), x, order=0)
            twins.agree(lambda t: of(t).tensor([t.detach()[1], 2.5]), x, order=0)


@pytest.mark.parametrize("name", ["rand", "randn"])
def test_random_shapes(twins: Any, name: str) -> None:
    for size in ((2,), ((2, 3),), (0,), ((),), (-1,), (1.5,), ("a",)):
        twins.agree(lambda t, *size: tuple(getattr(of(t), name)(*size).shape), X, *size, order=0)
    twins.refused(name, 2, dtype=dtypes.int64)


@pytest.mark.parametrize("args", [(5, (2,)), (2, 5, (2,)), (5, 2, (2,)), (0, (2,)), (5,), (5, [2])],
                         ids=str)  # fmt: skip
def test_randint(twins: Any, args: Any) -> None:
    twins.agree(lambda t: tuple(of(t).randint(*args).shape), X, order=0)


def of(tensor: Any) -> Any:
    """Return the library that `tensor` comes from."""
    return fe if isinstance(tensor, fe.Tensor) else pytest.importorskip("torch")


# ---- casts


@pytest.mark.parametrize("source", DTYPES, ids=str)
@pytest.mark.parametrize("target", DTYPES, ids=str)
def test_casts(twins: Any, source: DType, target: DType) -> None:
    values = A([0.0, 1.9, 3.4, 100.7]) if source.kind == "u" else A([0.0, 1.9, -3.4, 100.7])
    x = values.astype(source)
    if target is dtypes.uint8:
        x = np.abs(x)  # what a negative float becomes is up to the processor
    twins.agree(lambda t, dtype: t.to(dtype), x, target, order=1)
    twins.agree(lambda t, u: t.type_as(u), x, np.zeros(1, target), order=0)


@pytest.mark.parametrize("name", ["float", "double", "half", "bfloat16", "int", "long", "short",
                                  "bool"])  # fmt: skip
def test_named_casts(twins: Any, name: str) -> None:
    for x in (X, WHOLE, MASK, A([0.0, 0.5, 2.0]), np.zeros((2, 0))):
        twins.agree(lambda t: getattr(t, name)(), x, order=1)


@pytest.mark.parametrize("number", [0, 3, -2.5, True, NAN, INF, 2**53 + 1], ids=repr)
def test_python_numbers(twins: Any, number: float) -> None:
    kinds = [bool, int, float] if np.isfinite(number) else [bool, float]
    for value in (A(number), A([number]), A([[number]])):
        for kind in kinds:
            twins.agree(lambda t, kind=kind: kind(t), value, order=0)
        twins.agree(lambda t: t.item(), value, order=0)
    for kind in kinds:
        twins.refused(kind, A([number, number]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_as_indices_of_lists(twins: Any, dtype: DType) -> None:
    twins.agree(lambda t: [0.5, 1.5, 2.5][t], A(1, dtype), order=0)
    with pytest.raises(TypeError):
        [0.5, 1.5][fe.tensor([1])]  # type: ignore[call-overload]


# ---- arguments of arithmetic


@pytest.mark.parametrize("alpha", [2, -1.5, 3.0, 0], ids=repr)
@pytest.mark.parametrize("name", ["add", "sub", "add_", "sub_"])
def test_alpha(twins: Any, name: str, alpha: float) -> None:
    for x, y in product((X, WHOLE, X.astype(np.float32), A(2.0), A(3)), repeat=2):
        order = 0 if np.float32 in (x.dtype, y.dtype) else 2
        twins.agree(lambda t, u: getattr(t.clone(), name)(u, alpha=alpha), x, y, order=order)
    twins.agree(lambda t: getattr(t.clone(), name)(2, alpha=alpha), X)
    twins.agree(lambda t: getattr(t.clone(), name)(2, alpha=alpha), WHOLE)


@pytest.mark.parametrize("mode", [None, "floor", "trunc", "bad"])
def test_rounding_mode(twins: Any, mode: str | None) -> None:
    pairs = [(X * 9, Y), (WHOLE * 7, WHOLE - 8), (-WHOLE * 7, WHOLE + 3), (WHOLE * 7, Y),
             (A([2**53 + 1, -(2**53) - 1]), A([1, 2])), (X, WHOLE + 1), (MASK, WHOLE + 1),
             (A([200, 7], np.uint8), A([3, 2], np.uint8))]  # fmt: skip
    for x, y in pairs:
        twins.agree("div", x, y, rounding_mode=mode, order=0 if mode == "floor" else 1)
    for x, number in product((X, WHOLE, -WHOLE), (2, 2.5, -3)):
        twins.agree("div", x, number, rounding_mode=mode, order=0 if mode == "floor" else 1)


BOUNDS = [None, 0.5, 1, 2, -1, 1.5]
TENSOR_BOUNDS = [None, Y, Y + 1.75, A(1.25), A(2), A([1, 2, 3, 1])]


@pytest.mark.parametrize("name", ["clamp", "clip"])
@pytest.mark.parametrize(
    "x", [X, WHOLE, X.astype(np.float32), A(0.7), np.zeros((0, 3)), MASK], ids=str
)
def test_bounds(twins: Any, name: str, x: Any) -> None:
    for low, high in product(BOUNDS, repeat=2):
        twins.agree(name, x, low, high)
    # where both bounds are equal, PyTorch gives the gradient to none of the three
    for low, high in product(TENSOR_BOUNDS, repeat=2):
        if low is not high and x.shape == (4,):
            twins.agree(name, x, low, high, order=0 if x.dtype == np.float32 else 2)


@pytest.mark.parametrize("name", ["clamp_min", "clamp_max"])
def test_one_bound(twins: Any, name: str) -> None:
    for x, bound in product((X, WHOLE), (0.5, 1, Y, A(2), -1)):
        twins.agree(name, x, bound)


def test_bounds_and_nan(twins: Any) -> None:
    x = A([NAN, -INF, INF, 0.5, -0.0])
    for low, high in ((-1, 1), (NAN, 1), (None, NAN), (2, -2), (-INF, INF), (0, None)):
        twins.agree("clamp", x, low, high)
    twins.agree("clamp", x[1:], A(-1.0), A(1.0))
    for low, high in ((A(NAN), None), (A(-1.0), A(NAN))):
        twins.agree("clamp", x, low, high, order=0)


@pytest.mark.parametrize("name", ["max", "min", "maximum", "minimum"])
def test_the_larger_and_the_smaller(twins: Any, name: str) -> None:
    for y in (Y, X[::-1].copy(), A(0.3), WHOLE, X, A([NAN, INF, -INF, 0.0]), np.ones((3, 1))):
        twins.agree(name, X, y)


@pytest.mark.parametrize("decimals", [0, 1, 2, -1, 3])
def test_decimals(twins: Any, decimals: int) -> None:
    for x in (X * 17.37, A([0.125, 0.375, 12.5, NAN, INF])):
        twins.agree("round", x, decimals=decimals)
    if decimals:  # PyTorch has no way to round integers to none
        twins.refused("round", WHOLE, decimals=decimals)


@pytest.mark.parametrize("mode", [None, "floor", "trunc", "bad"])
def test_division_in_place(twins: Any, mode: str | None) -> None:
    for x, y in ((X * 9, Y), (WHOLE * 7, WHOLE - 8), (WHOLE, 2.5), (X, 0.3)):
        twins.agree(lambda t, u: t.detach().clone().div_(u, rounding_mode=mode), x, y, order=0)
    twins.agree(lambda t: t.clone().div_(0.3, rounding_mode=mode), X)


@pytest.mark.parametrize("unbiased", [True, False])
def test_the_older_name_of_the_correction(twins: Any, unbiased: bool) -> None:
    for name, dim in product(("var", "std"), (0, -1, (0, 1))):
        twins.agree(name, np.outer(X, Y), dim, unbiased=unbiased, keepdim=True)


# ---- questions


SAMPLES = [X, Y, WHOLE, MASK, X.astype(np.float32), A([NAN, 1.0]), A([]), A(1.0), A([INF, 1.0])]


@pytest.mark.parametrize("first", range(len(SAMPLES)))
def test_equal_and_allclose(twins: Any, first: int) -> None:
    x = SAMPLES[first]
    for y in SAMPLES:
        if x.shape == y.shape:
            twins.agree("equal", x, y, order=0)
        if x.dtype == y.dtype:  # PyTorch wants it so
            twins.agree("allclose", x, y, order=0)
        if x.dtype == y.dtype == np.float64:
            twins.agree("allclose", x, np.asarray(y + 1e-7), order=0)
    twins.agree("allclose", x, x, equal_nan=True, order=0)
    twins.agree("is_floating_point", x, order=0)
    twins.agree("is_tensor", x, order=0)
    twins.agree("numel", x, order=0)


@pytest.mark.parametrize("tolerance", [(0.1, 0.1), (0.0, 0.05), (0.1, 0.0), (0.0, 0.0)], ids=str)
def test_tolerances(twins: Any, tolerance: tuple[float, float]) -> None:
    for gap in (0.01, 0.06, 0.11, 0.5):
        twins.agree("allclose", A([1.0, -2.0]), A([1.0, -2.0]) + gap, *tolerance, order=0)


def test_set_grad_enabled_takes_effect_at_once(twins: Any) -> None:
    def states(x: Any) -> list[bool]:
        library = of(x)
        found = []

        def note() -> None:
            found.append(library.is_grad_enabled())

        try:
            library.set_grad_enabled(False)
            note()
            with library.set_grad_enabled(True):
                note()
                library.set_grad_enabled(False)
                note()
            note()
            library.set_grad_enabled(True)(note)()
            note()
        finally:
            library.set_grad_enabled(True)
        note()
        return found

    twins.agree(states, X, order=0)
