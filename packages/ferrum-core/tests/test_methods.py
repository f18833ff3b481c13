"""The public methods and functions: values against NumPy, gradients against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum import ops
from ferrum.errors import ArgumentError

X = np.array([[0.5, -1.25, 2.0, 0.75], [1.5, 0.25, -0.5, 3.0], [2.25, -3.0, 1.0, -0.125]])
P = np.abs(X) + 0.013  # positive
V = np.array([1.45, 0.55, 2.35, 3.65])
N = np.array([[3, -1, 0, 7], [2, 2, -5, 1], [0, 4, 1, -2]])
B = N > 0
CUBE = np.linspace(-2, 3, 24).reshape(2, 3, 4)
AT = np.array([[0, 2, 1, 0], [2, 2, 0, 1]])


def put_along(x: Any, index: Any, values: Any) -> Any:
    out = x.copy()
    np.add.at(out, (index, np.arange(4)[None, :]), values)
    return out


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


Call = Callable[..., Any]
# Ours, NumPy's, and the arguments. Where the arguments are float64, gradients are checked too.
TABLE: list[tuple[Call, Call, tuple[Any, ...]]] = [
    # one operand
    (lambda x: x.sign(), np.sign, (X,)),
    (lambda x: x.exp(), np.exp, (X,)),
    (lambda x: x.expm1(), np.expm1, (X,)),
    (lambda x: x.log(), np.log, (P,)),
    (lambda x: x.log1p(), np.log1p, (P,)),
    (lambda x: x.sqrt(), np.sqrt, (P,)),
    (lambda x: x.rsqrt(), lambda x: 1 / np.sqrt(x), (P,)),
    (lambda x: x.reciprocal(), lambda x: 1 / x, (P,)),
    (lambda x: x.sin(), np.sin, (X,)),
    (lambda x: x.cos(), np.cos, (X,)),
    (lambda x: x.tanh(), np.tanh, (X,)),
    (lambda x: x.square(), np.square, (X,)),
    (lambda x: x.sigmoid(), lambda x: 1 / (1 + np.exp(-x)), (X,)),
    (lambda x: x.relu(), lambda x: np.maximum(x, 0), (X,)),
    (lambda x: x.abs(), np.abs, (X,)),
    (lambda x: -x, np.negative, (X,)),
    (lambda x: +x, np.positive, (X,)),
    (lambda x: abs(x), np.abs, (N,)),
    (lambda x: ~x, np.invert, (N,)),
    (lambda x: (x * 1.1).floor(), lambda x: np.floor(x * 1.1), (X,)),
    (lambda x: (x * 1.1).ceil(), lambda x: np.ceil(x * 1.1), (X,)),
    (lambda x: (x * 1.1).trunc(), lambda x: np.trunc(x * 1.1), (X,)),
    (lambda x: (x * 1.1).round(), lambda x: np.rint(x * 1.1), (X,)),
    (lambda x: x.round(decimals=1), lambda x: np.round(x, 1), (X + 0.01,)),
    (lambda x: (x * 99).round(decimals=-1), lambda x: np.round(x * 99, -1), (X + 0.01,)),
    (lambda x: x.logical_not(), np.logical_not, (N,)),
    (lambda x: x.isnan() | x.isinf() | ~x.isfinite(), np.isnan, (X,)),
    (lambda x: x.isinf() & x.isfinite(), np.zeros_like, (B,)),
    # two operands
    (lambda x, y: x.add(y, alpha=2), lambda x, y: x + 2 * y, (X, V)),
    (lambda x, y: x.sub(y, alpha=0.5), lambda x, y: x - 0.5 * y, (X, V)),
    (lambda x: x.add(3, alpha=2), lambda x: x + 6, (N,)),
    (lambda x, y: x.div(y), np.divide, (X, V)),
    (lambda x, y: x.div(y, rounding_mode="trunc"), lambda x, y: np.trunc(x / y), (X, V)),
    (lambda x, y: x.div(y, rounding_mode="floor"), np.floor_divide, (X, V)),
    (lambda x: x.div(3, rounding_mode="trunc"), lambda x: np.trunc(x / 3).astype(int), (N,)),
    (lambda x, y: x.atan2(y), np.arctan2, (X, V)),
    (lambda x, y: x.maximum(y), np.maximum, (X, V)),
    (lambda x, y: x.minimum(y), np.minimum, (X, V)),
    (lambda x, y: x.max(y), np.maximum, (X, V)),
    (lambda x, y: x.min(y), np.minimum, (X, V)),
    (lambda x, y: x**y, np.power, (P, V)),
    (lambda x: 2.0**x, lambda x: 2.0**x, (X,)),
    (lambda x: 3.0 - x, lambda x: 3.0 - x, (X,)),
    (lambda x: 3.0 / x, lambda x: 3.0 / x, (P,)),
    (lambda x: 7.0 // x, lambda x: 7.0 // x, (P,)),
    (lambda x: 7.0 % x, lambda x: 7.0 % x, (P + 0.1,)),
    (lambda x: x // 2, lambda x: x // 2, (N,)),
    (lambda x: (x << 2) + (x >> 1), lambda x: (x << 2) + (x >> 1), (N,)),
    (lambda x: (2 << x) + (99 >> x), lambda x: (2 << x) + (99 >> x), (np.abs(N),)),
    (lambda x: ((x & 3) | 4) ^ x, lambda x: ((x & 3) | 4) ^ x, (N,)),
    (lambda x: 3 & x, lambda x: 3 & x, (N,)),
    (lambda x, y: x.logical_and(y), np.logical_and, (N, B)),
    (lambda x, y: x.logical_or(y), np.logical_or, (N, B)),
    (lambda x: x.logical_xor(1), lambda x: np.logical_xor(x, 1), (N,)),
    (lambda x, y: (x < y) | (x >= y + 1), lambda x, y: (x < y) | (x >= y + 1), (X, V)),
    (lambda x, y: (x <= y) & (x != 2), lambda x, y: (x <= y) & (x != 2), (X, V)),
    (lambda x, y: (x > y) ^ (x == 0), lambda x, y: (x > y) ^ (x == 0), (X, V)),
    (lambda x: x.clamp(-1, 1.3), lambda x: np.clip(x, -1, 1.3), (X,)),
    (lambda x: x.clamp_min(0.1), lambda x: np.maximum(x, 0.1), (X,)),
    (lambda x: x.clamp_max(0.1), lambda x: np.minimum(x, 0.1), (X,)),
    (lambda x, y: x.clamp(-y, y), lambda x, y: np.clip(x, -y, y), (X, V)),
    (lambda x, m: x.masked_fill(m, 7), lambda x, m: np.where(m, 7.0, x), (X, B)),
    (lambda m: m.masked_fill(m, 0), np.zeros_like, (B,)),
    (lambda x, m, v: x.masked_fill(m, v[1]), lambda x, m, v: np.where(m, v[1], x), (X, B, V)),
    (lambda x, m, y: x.where(m, y), lambda x, m, y: np.where(m, x, y), (X, B, V)),
    (lambda m: fe.where(m, 1, 2), lambda m: np.where(m, 1, 2), (B,)),
    # reductions
    (lambda x: x.sum((0, -1), keepdim=True), lambda x: x.sum((0, -1), keepdims=True), (CUBE,)),
    (lambda x: x.sum(1, dtype=fe.float64), lambda x: x.sum(1, dtype=float), (N,)),
    (lambda x: x.prod(1), lambda x: x.prod(1), (CUBE,)),
    (lambda x: x.prod(1, dtype=fe.int32), lambda x: x.prod(1, dtype=np.int32), (N,)),
    (lambda x: x.mean(0), lambda x: x.mean(0), (CUBE,)),
    (lambda x: x.mean(dtype=fe.float64), np.mean, (N,)),
    (lambda x: x.var(1), lambda x: x.var(1, ddof=1), (X,)),
    (lambda x: x.var((0, 2), correction=0), lambda x: x.var((0, 2)), (CUBE,)),
    (lambda x: x.std(1, keepdim=True), lambda x: x.std(1, ddof=1, keepdims=True), (X,)),
    (lambda x: x.std(unbiased=False), np.std, (X,)),
    (lambda x: x.amax((0, 2)), lambda x: x.max((0, 2)), (CUBE,)),
    (lambda x: x.amin(), np.min, (X,)),
    (lambda x: x.max(1).values, lambda x: x.max(1), (X,)),
    (lambda x: x.max(1, True).indices, lambda x: x.argmax(1)[:, None], (X,)),
    (lambda x: x.min(0).values, lambda x: x.min(0), (X,)),
    (lambda x: x.max() + x.min(), lambda x: x.max() + x.min(), (X,)),
    (lambda x: x.argmax(keepdim=True), lambda x: np.array([[x.argmax()]]), (X,)),
    (lambda x: x.argmin(0), lambda x: x.argmin(0), (X,)),
    (lambda x: x.any(1) & x.all(1), lambda x: x.all(1), (N,)),
    (lambda x: x.cumsum(1), lambda x: x.cumsum(1), (X,)),
    (lambda x: x.cumsum(0, dtype=fe.int32), lambda x: x.cumsum(0, np.int32), (N,)),
    (lambda x: x.logsumexp(1), lambda x: np.log(np.exp(x).sum(1)), (X,)),
    (lambda x: x.logsumexp((0, 1), True), lambda x: np.log(np.exp(x).sum())[None, None], (X,)),
    (lambda x: x[:0].logsumexp(0), lambda x: np.full(4, -np.inf), (X,)),
    (lambda x: x.softmax(1), softmax, (X,)),
    (lambda x: x.log_softmax(-1), lambda x: np.log(softmax(x)), (X,)),
    (lambda x: x.softmax(1, dtype=fe.float64), softmax, (N,)),
    (lambda x: x.norm(), np.linalg.norm, (X,)),
    (lambda x: x.norm(1, 1), lambda x: np.abs(x).sum(1), (X,)),
    (lambda x: x.norm(3, 0), lambda x: (np.abs(x) ** 3).sum(0) ** (1 / 3), (X,)),
    (lambda x: x.norm(0.5, 0), lambda x: (np.abs(x) ** 0.5).sum(0) ** 2, (X,)),
    (lambda x: x.norm(float("inf"), 0), lambda x: np.abs(x).max(0), (X,)),
    (lambda x: x.norm(-float("inf")), lambda x: np.abs(x).min(), (X,)),
    (lambda x: x.norm(0, 1), lambda x: (x != 0).sum(1).astype(float), (X,)),
    (lambda x: x.sort(1).values, lambda x: np.sort(x, 1), (X,)),
    (lambda x: x.sort(0, descending=True).values, lambda x: -np.sort(-x, 0), (X,)),
    (lambda x: x.argsort(1), lambda x: np.argsort(x, 1, kind="stable"), (N,)),
    (lambda x: x.topk(2, 1).values, lambda x: -np.sort(-x, 1)[:, :2], (X,)),
    (lambda x: x.topk(1, 0, largest=False).indices, lambda x: x.argmin(0)[None], (X,)),
    # shapes
    (lambda x: x.reshape(4, -1), lambda x: x.reshape(4, -1), (CUBE,)),
    (lambda x: x.view((6, 4)).view_as(x), lambda x: x, (CUBE,)),
    (lambda x: x.flatten(1), lambda x: x.reshape(2, 12), (CUBE,)),
    (lambda x: x.unflatten(1, (2, -1)), lambda x: x.reshape(3, 2, 2), (X,)),
    (lambda x: x.unsqueeze(1).unsqueeze(-1), lambda x: x[:, None, :, None], (X,)),
    (lambda x: x[None, :, None].squeeze().squeeze(0), lambda x: x, (X,)),
    (lambda x: x[None].squeeze((0, 1)), lambda x: x, (X,)),
    (lambda x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1), (CUBE,)),
    (lambda x: x.transpose(0, -1), lambda x: x.swapaxes(0, -1), (CUBE,)),
    (lambda x: x.movedim(0, 2), lambda x: np.moveaxis(x, 0, 2), (CUBE,)),
    (lambda x: x.movedim((0, 1), (2, 0)), lambda x: np.moveaxis(x, (0, 1), (2, 0)), (CUBE,)),
    (lambda x: x.t() @ x.T.mT, lambda x: x.T @ x, (X,)),
    (lambda x: x.expand(2, -1, 4), lambda x: np.broadcast_to(x, (2, 3, 4)), (X,)),
    (lambda x, y: x.expand_as(y), lambda x, y: np.broadcast_to(x, (3, 4)), (V, X)),
    (lambda x: x.broadcast_to((3, 4)), lambda x: np.broadcast_to(x, (3, 4)), (V,)),
    (lambda x: x.repeat(2, 1, 2), lambda x: np.tile(x, (2, 1, 2)), (X,)),
    (lambda x: x.narrow(1, -3, 2), lambda x: x[:, 1:3], (X,)),
    (lambda x: x.select(1, -1), lambda x: x[:, -1], (X,)),
    (lambda x: x.split(3, 1)[1], lambda x: x[:, 3:], (X,)),
    (lambda x: x.split([1, 3], 1)[1], lambda x: x[:, 1:], (X,)),
    (lambda x: x.chunk(2, 1)[0], lambda x: x[:, :2], (X,)),
    (lambda x: x[:0].chunk(3)[2], lambda x: x[:0], (X,)),
    (lambda x: x.unbind(1)[2], lambda x: x[:, 2], (X,)),
    (lambda x: x.flip(0, 1), lambda x: x[::-1, ::-1], (X,)),
    (lambda x: x.flip((1,)).contiguous(), lambda x: x[:, ::-1], (X,)),
    (lambda x: fe.tril(x) - fe.triu(x, 1), lambda x: np.tril(x) - np.triu(x, 1), (X,)),
    (lambda x, y: fe.cat([x, y[None]]), lambda x, y: np.concatenate([x, y[None]]), (X, V)),
    (lambda x, y: fe.stack([x[0], y], 1), lambda x, y: np.stack([x[0], y], 1), (X, V)),
    (lambda x, y: fe.broadcast_tensors(x, y)[1], lambda x, y: np.broadcast_to(y, (3, 4)), (X, V)),
    # products
    (lambda x, y: x @ y, np.matmul, (X, V)),
    (lambda x, y: y @ x.T, lambda x, y: y @ x.T, (X, V)),
    (lambda x: x[0].dot(x[1]), lambda x: x[0] @ x[1], (X,)),
    (lambda x: x.mm(x.t()), lambda x: x @ x.T, (X,)),
    (lambda x: x.bmm(x.mT), lambda x: x @ x.swapaxes(1, 2), (CUBE,)),
    (lambda x, y: fe.matmul(x, y.mT), lambda x, y: x @ y.T, (CUBE, X)),
    # indices
    (lambda x, i: x.gather(0, i), lambda x, i: np.take_along_axis(x, i, 0), (X, AT)),
    (lambda x, i: x[0, 1].gather(0, i[0, :1]), lambda x, i: x[0, 1:2], (X, AT)),
    (lambda x, i, y: x.scatter_add(0, i, y), put_along, (X, AT, X[:2] * 2)),
    (lambda x, i: x.index_select(1, i[0]), lambda x, i: x[:, i[0]], (X, AT)),
    (lambda x, i: x.index_select(0, i[0, 1]), lambda x, i: x[2:3], (X, AT)),
    (lambda x, m: x.masked_select(m), lambda x, m: x[m], (X, B)),
    (lambda x: x.nonzero(), np.argwhere, (N,)),
    (lambda x: x.nonzero(as_tuple=True)[1], lambda x: x.nonzero()[1], (N,)),
    (lambda x: fe.where(x)[0], lambda x: x.nonzero()[0], (B,)),
    (lambda x: x[..., [0, 2]], lambda x: x[..., [0, 2]], (CUBE,)),
    (lambda x: x[(1, 0), None], lambda x: x[[1, 0], None], (X,)),
    # casts
    (lambda x: x.long() + x.int() + x.short(), lambda x: 3 * x.astype(int), (X,)),
    (lambda x: x.bool(), lambda x: x != 0, (N,)),
    (lambda x, n: n.type_as(x), lambda x, n: n.astype(float), (X, N)),
    (lambda x: x.float().double(), lambda x: x, (N / 4,)),
    (lambda x: x.half().float(), lambda x: x.astype(np.float32), (N / 4,)),
    (lambda x: x.type("bfloat16").type(fe.float64), lambda x: x, (N / 4,)),
]  # fmt: skip
ROWS = [pytest.param(*row, id=str(i)) for i, row in enumerate(TABLE)]


@pytest.mark.parametrize(("ours", "numpys", "args"), ROWS)
def test_values(ours: Call, numpys: Call, args: tuple[Any, ...]) -> None:
    got, want = ours(*map(fe.tensor, args)), np.asarray(numpys(*args))
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-14, atol=1e-14)


def coarse(ours: Call, args: tuple[Any, ...]) -> bool:
    """Say whether the result, or a step on the way to it, is no float64, or no number."""
    out = ours(*[fe.tensor(each, requires_grad=each.dtype == float) for each in args])
    text = str(ours.__code__.co_names)
    narrow = any(name in text for name in ("float", "half", "type"))
    return narrow or not out.requires_grad or not bool(out.isfinite().all())


@pytest.mark.parametrize(
    ("ours", "args"),
    [pytest.param(ours, args, id=str(i)) for i, (ours, _, args) in enumerate(TABLE)
     if not coarse(ours, args)],
)  # fmt: skip
def test_gradients(ours: Call, args: tuple[Any, ...]) -> None:
    leaves = [fe.tensor(each, requires_grad=each.dtype == float) for each in args]
    assert fe.gradcheck(ours, leaves)
    assert fe.gradgradcheck(ours, leaves)


def test_functions_are_methods_that_check_their_operand() -> None:
    for name in ("sum", "softmax", "reshape", "exp", "matmul", "gather"):
        with pytest.raises(fe.FerrumError, match=name):
            getattr(fe, name)([1.0, 2.0], 0) if name != "exp" else fe.exp([1.0])  # type: ignore
    assert fe.sum(fe.ones(3)).item() == 3


def test_allclose_and_equal() -> None:
    x = fe.tensor([1.0, float("inf"), float("nan")])
    assert not fe.allclose(x, x)
    assert fe.allclose(x, x, equal_nan=True)
    assert not fe.allclose(x[:1], x[1:2])
    assert not fe.allclose(x[1:2], x[:1])
    assert fe.allclose(x[:1], x[:1] + 1e-6)
    assert fe.allclose(fe.tensor([True]), fe.tensor([True]))
    assert fe.equal(x[:2], x[:2].clone())
    assert not fe.equal(x[:2], x[:1])


def test_set_grad_enabled_takes_effect_at_once() -> None:
    try:
        fe.set_grad_enabled(False)
        assert not fe.is_grad_enabled()
        with fe.set_grad_enabled(True):
            assert fe.is_grad_enabled()
        assert not fe.is_grad_enabled()
        again = fe.set_grad_enabled(True)
        assert fe.set_grad_enabled(False)(fe.is_grad_enabled)() is False
        assert fe.is_grad_enabled()
        with again, again:
            assert fe.is_grad_enabled()
        assert not fe.is_grad_enabled()
    finally:
        fe.set_grad_enabled(True)


def test_default_dtype() -> None:
    try:
        fe.set_default_dtype("float64")
        assert fe.get_default_dtype() is fe.tensor([1.0]).dtype is fe.float64
    finally:
        fe.set_default_dtype(fe.float32)
    for dtype in (fe.int64, "text", None):
        with pytest.raises(fe.FerrumError, match="expected"):
            fe.set_default_dtype(dtype)  # type: ignore[arg-type]


def test_numbers_that_do_not_fit() -> None:
    x = fe.tensor([44, 255], dtype=fe.uint8)
    assert (x + 300).tolist() == [88, 43]  # wraps, as in PyTorch
    for call in (
        lambda: x + 2**70,
        lambda: x.clamp(-1, 9),
        lambda: x.fill_(256),
        lambda: fe.full((1,), -1, dtype=fe.uint8),
        lambda: fe.tensor([300], dtype=fe.uint8),
        lambda: fe.tensor([float("nan")], dtype=fe.int32),
        lambda: fe.tensor([2**70]),
        lambda: x.masked_fill(x > 1, 0.5),
        lambda: x.bool().masked_fill(x > 1, 2),
        lambda: x.masked_fill(x > 1, fe.tensor(0.5)),
        lambda: fe.result_type("text"),
        lambda: x.bool().clamp(False, True),
        lambda: x.round(decimals=1),
    ):
        with pytest.raises(fe.FerrumError, match=r"fit|expected"):
            call()


def test_what_a_tensor_says_of_itself() -> None:
    x = fe.tensor(X)
    assert (x.dim(), x.ndim, len(x), x.numel(), x.nelement()) == (2, 2, 3, 12, 12)
    assert (x.size(), x.size(-1), x.shape) == ((3, 4), 4, (3, 4))
    assert x.is_floating_point()
    assert not (x > 0).is_floating_point()
    assert fe.is_tensor(x)
    assert x.is_contiguous()
    assert not x.t().is_contiguous()
    assert 2.0 in x
    assert [row.tolist() for row in x] == X.tolist()


WRITERS = ["exp_", "log_", "sqrt_", "tanh_", "sigmoid_", "relu_", "abs_", "neg_", "floor_", "ceil_",
           "round_", "trunc_", "sin_", "cos_", "square_", "reciprocal_", "expm1_", "log1p_",
           "rsqrt_", "sign_", "erf_", "negative_"]  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_methods_that_write(name: str) -> None:
    x = fe.tensor(P)
    want = getattr(x, name.removesuffix("_"))()
    assert getattr(x, name)() is x
    assert fe.equal(x, want)
    assert fe.gradcheck(lambda t: getattr(t.clone(), name)(), fe.tensor(P, requires_grad=True))


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or",
    "logical_xor", "atan2", "multiply", "subtract", "divide", "true_divide", "less", "greater",
    "clamp_min", "clamp_max", "clip", "not_equal"])  # fmt: skip
def test_methods_of_two_that_write(name: str) -> None:
    x, y = fe.tensor(X), fe.tensor(V)
    want = getattr(x, name)(y)
    assert getattr(x, name + "_")(y) is x
    assert x.dtype is fe.float64
    assert fe.equal(x, want.to(fe.float64))


def test_other_methods_that_write() -> None:
    n, m = fe.tensor(N), fe.tensor(N + 2)
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        assert fe.equal(getattr(n.clone(), name + "_")(m), getattr(n, name)(m))
    assert fe.equal(n.clone().bitwise_not_(), ~n)
    assert fe.equal(n.clone().logical_not_(), n.logical_not().long())
    x, at = fe.tensor(X), fe.tensor(AT)
    assert fe.equal(x.clone().cumsum_(0), x.cumsum(0))
    assert fe.equal(x.clone().scatter_add_(0, at, x), x.scatter_add(0, at, x))
    assert fe.equal((x + 0.013).round_(decimals=1), (x + 0.013).round(decimals=1))
    leaf = fe.tensor(X, requires_grad=True)
    for write in (lambda t: t.cumsum_(1), lambda t: t.clamp_max_(0.6), lambda t: t.atan2_(2.0)):
        assert fe.gradcheck(lambda t, write=write: write(t.clone() * 2), leaf)


def test_triangles_are_methods() -> None:
    x = fe.tensor(X)
    assert x.tril(-1).tolist() == np.tril(X, -1).tolist()
    assert x.triu(1).tolist() == fe.triu(x, 1).tolist() == np.triu(X, 1).tolist()


REDUCTIONS = ["sum", "prod", "mean", "var", "std", "amax", "amin", "any", "all", "argmax",
              "logsumexp"]  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
def test_numpys_names_are_taken(name: str) -> None:
    x = fe.tensor(X)
    for call in (getattr(fe, name), getattr(fe.Tensor, name)):
        want = call(x, dim=1, keepdim=True)
        assert fe.equal(call(x, axis=1, keepdims=True), want)
        with pytest.raises(
            fe.FerrumError, match=f"{name}: expected dim or axis, which is the same"
        ):
            call(x, dim=1, axis=1)


def test_numpys_axis_is_taken_where_there_is_no_keepdim() -> None:
    x = fe.tensor(X)
    assert fe.equal(x.softmax(axis=0), x.softmax(0))  # type: ignore[call-arg]
    assert fe.equal(x.max(axis=1).values, x.amax(1))
    assert fe.equal(fe.cat([x, x], axis=1), fe.cat([x, x], 1))  # type: ignore[call-arg]
    assert fe.stack([x, x], axis=2).shape == (3, 4, 2)  # type: ignore[call-arg]


def test_operators_that_write() -> None:
    x, n = fe.tensor(X), fe.tensor(N)
    y, m = x.numpy().copy(), n.numpy().copy()
    for target, other in ((x, fe.tensor(V)), (y, V)):
        target += other
        target -= 2
        target *= other
        target /= 4
        target //= 0.5
        target %= 3
        target **= 2
    for target in (n, m):
        target &= 7
        target |= 8
        target ^= 3
    np.testing.assert_allclose(x.numpy(), y, rtol=1e-14)
    assert np.array_equal(n.numpy(), m)


def test_in_place() -> None:
    x = fe.tensor([5.0, -7.0])
    x.div_(2).add_(1, alpha=2).sub_(x, alpha=3)
    assert x.tolist() == [-9.0, 3.0]
    assert fe.tensor([7, -7]).div_(2, rounding_mode="trunc").tolist() == [3, -3]
    assert fe.tensor([7, -7]).div_(2, rounding_mode="floor").tolist() == [3, -4]
    assert fe.tensor([7, -7]).clamp_(0, 5).tolist() == [5, 0]
    for call in (lambda n: n.div_(2), lambda n: n.div_(2.0, rounding_mode="floor"),
                 lambda n: n.clamp_(0.5, 1)):  # fmt: skip
        with pytest.raises(fe.FerrumError, match="does not fit|do not fit"):
            call(fe.tensor([7, -7]))
    with pytest.raises(fe.FerrumError, match="fill_: expected a number or a 0-d tensor"):
        x.fill_(x)


def test_values_that_are_added_at_indices_are_broadcast() -> None:
    at = fe.tensor([[0, 1], [1, -1]])
    added = ops.index_put(fe.zeros(4), fe.tensor([1.0, 2.0]), [at], accumulate=True)
    assert added.tolist() == [1.0, 3.0, 0.0, 2.0]


def test_the_count_of_a_norm_has_the_gradient_0() -> None:
    x = fe.tensor([[1.0, 0.0, math.inf], [math.nan, -2.0, 0.0]], requires_grad=True)
    counts = x.norm(0, 1)
    assert counts.tolist() == [2, 2]
    counts.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 0, 0], [0, 0, 0]]
    (count,) = fe.grad((x.norm(0, 1) * fe.tensor([math.inf, 1.0])).sum(), x, create_graph=True)
    assert count.tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("correction", ["a", None, float("nan"), float("inf")])
def test_corrections_that_are_no_number(correction: Any) -> None:
    with pytest.raises(ArgumentError, match="var: expected a finite number as correction"):
        fe.ones(3).var(correction=correction)
    assert fe.ones(3).var(correction=-(10**400)).item() == 0
    assert fe.tensor([0.0, 2.0]).var(correction=np.int64(1)).item() == 2  # type: ignore[arg-type]
