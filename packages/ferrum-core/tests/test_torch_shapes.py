"""Views, joins and matrix products against PyTorch: every argument on tensors of many shapes."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum.dtypes import DTYPES, DType

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*deprecated")]

Shape = tuple[int, ...]
RNG = np.random.default_rng(0)
SHAPES: list[Shape] = [
    (),
    (1,),
    (4,),
    (3, 4),
    (2, 3, 4),
    (1, 3, 1),
    (0, 3),
    (2, 0, 3),
    (2, 1, 3, 1),
]
DIMS = (0, 1, -1, -2, 2, -3, 4, -5)


def grid(*shape: int) -> Any:
    return np.asarray(RNG.permutation(prod(shape)).reshape(shape) * 0.7 - 3.1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
class TestViews:
    @pytest.mark.parametrize(
        "to", [(-1,), (), (2, -1), (-1, 2), (4, 3), (3, -1, 2), (0, -1), (-1, -1), (1, -1, 1), (5,),
               (-2, 3), (3, 2, 2), (12,), (0,), (6, 4)], ids=str,
    )  # fmt: skip
    def test_reshape_and_view(self, twins: Any, shape: Shape, to: Shape) -> None:
        x = grid(*shape)
        twins.agree("reshape", x, to)
        twins.agree(lambda t: t.view(to), x)
        twins.agree(lambda t: t.transpose(0, -1).view(to), x)
        twins.agree(lambda t: t.reshape(*to) if to else t, x)

    @pytest.mark.parametrize("name", ["squeeze", "unsqueeze", "unbind"])
    @pytest.mark.parametrize("dim", DIMS)
    def test_one_dim(self, twins: Any, shape: Shape, name: str, dim: int) -> None:
        twins.agree(name, grid(*shape), dim)

    @pytest.mark.parametrize("name", ["transpose", "swapaxes", "movedim", "flatten"])
    @pytest.mark.parametrize("dims", [*product((0, 1, -1, -2, 2), repeat=2), (0, 9)], ids=str)
    def test_two_dims(self, twins: Any, shape: Shape, name: str, dims: Shape) -> None:
        twins.agree(name, grid(*shape), *dims)

    @pytest.mark.parametrize(
        "dims", [(0,), (1, 0), (0, 1), (2, 0, 1), (-1, 0, 1), (0, 0), (), (0, -2), (3, 1, 0, 2),
                 (5, 0)], ids=str,
    )  # fmt: skip
    def test_permute_flip_squeeze(self, twins: Any, shape: Shape, dims: Shape) -> None:
        for name in ("permute", "flip", "squeeze"):
            twins.agree(name, grid(*shape), dims)
        if dims:
            twins.agree(lambda t: t.permute(*dims), grid(*shape))

    @pytest.mark.parametrize(
        "to", [(), (4,), (3, 4), (-1, 4), (2, 3, 4), (-1, -1), (-1, 3, 4), (2, -1, 3, -1),
               (5, 1, 3, 4), (0, 3), (3, 0), (2, 2, 0, 3), (-2, 4), (1,)], ids=str,
    )  # fmt: skip
    def test_expand_and_repeat(self, twins: Any, shape: Shape, to: Shape) -> None:
        x = grid(*shape)
        for name in ("expand", "broadcast_to"):
            twins.agree(lambda t, name=name: getattr(t, name)(to), x)
        if min(to, default=0) >= 0:
            twins.agree(lambda t: t.repeat(to), x)
        if to:
            twins.agree(lambda t: t.expand(*to), x)

    @pytest.mark.parametrize("dim", DIMS)
    def test_split_and_chunk(self, twins: Any, shape: Shape, dim: int) -> None:
        x = grid(*shape)
        for size in (1, 2, 3, 5, -1, [1, 2], [3, 1], (2, 2), [0, 3], [1, 3], []):
            twins.agree("split", x, size, dim)
        for count in (1, 2, 3, 5, 0, -1):
            twins.agree("chunk", x, count, dim)

    @pytest.mark.parametrize("dim", DIMS)
    def test_narrow_and_select(self, twins: Any, shape: Shape, dim: int) -> None:
        x = grid(*shape)
        for start, length in product((0, 1, -1, -2, 2, 4), (0, 1, 2, 3, -1)):
            twins.agree("narrow", x, dim, start, length)
        for index in (0, 1, -1, 2, -3, 7):
            twins.agree("select", x, dim, index)

    @pytest.mark.parametrize("dim", DIMS)
    def test_unflatten(self, twins: Any, shape: Shape, dim: int) -> None:
        for sizes in ((2, 2), (4, 1), (1, -1), (2, -1), (-1,), (3,), (0, -1), (-1, -1), (7,)):
            twins.agree("unflatten", grid(*shape), dim, sizes)

    @pytest.mark.parametrize(
        "name", ["t", "T", "mT", "numel", "dim", "size", "shape", "tolist", "item", "contiguous",
                 "is_contiguous", "len", "iter", "unbind", "squeeze", "flatten", "ndim"],
    )  # fmt: skip
    def test_without_arguments(self, twins: Any, shape: Shape, name: str) -> None:
        if name == "mT" and not shape:
            return  # PyTorch returns a number transposed
        calls = {"len": len, "iter": list, "shape": lambda t: tuple(t.shape)}
        found = calls.get(name, lambda t: called(getattr(t, name)))
        twins.agree(found, grid(*shape))
        if len(shape) > 1:
            twins.agree(lambda t: found(t.transpose(0, 1)), grid(*shape))

    @pytest.mark.parametrize("name", ["tril", "triu"])
    @pytest.mark.parametrize("diagonal", [-5, -1, 0, 1, 2])
    def test_triangles(self, twins: Any, shape: Shape, name: str, diagonal: int) -> None:
        twins.agree(name, grid(*shape), diagonal)

    @pytest.mark.parametrize("dim", DIMS)
    def test_cat_and_stack(self, twins: Any, shape: Shape, dim: int) -> None:
        twins.agree("cat", [grid(*shape), grid(*shape)], dim)
        twins.agree("stack", (grid(*shape), grid(*shape)), dim)

    def test_like_another(self, twins: Any, shape: Shape) -> None:
        for other in SHAPES:
            twins.agree(lambda t, u: t.expand_as(u), grid(*shape), grid(*other))
            twins.agree(lambda t, u: t.view_as(u), grid(*shape), grid(*other))


def called(value: Any) -> Any:
    return value() if callable(value) and not hasattr(value, "detach") else value


@pytest.mark.parametrize(
    ("source", "destination"),
    [((0, 1), (1, 0)), ((0,), (2,)), ((2, 0), (0, 1)), ([0, 1], [2, 1]), ((0, 0), (1, 2)),
     ((0, 1), (2,)), ((-1, -2), (0, 1)), ((), ())], ids=str,
)  # fmt: skip
def test_movedim_of_several(twins: Any, source: Any, destination: Any) -> None:
    twins.agree("movedim", grid(2, 3, 4), source, destination)


JOINS = {
    "mixed dtypes": [grid(3, 4), np.ones((2, 4), np.float32), np.ones((1, 4), np.int64)],
    "ints and bools": [np.array([[1, 2]]), np.array([[True, False]])],
    "different sizes": [grid(3, 4), grid(3, 3)],
    "different ndims": [grid(3, 4), grid(3)],
    "one": [grid(3, 2)],
    "none": [],
    "empty": [grid(2, 3), grid(0, 3), grid(1, 3)],
}


@pytest.mark.parametrize("name", ["cat", "stack", "concat", "concatenate"])
@pytest.mark.parametrize("label", JOINS)
def test_joins(twins: Any, name: str, label: str) -> None:
    if (name, label) != ("stack", "mixed dtypes"):
        twins.agree(name, JOINS[label])
        twins.agree(name, JOINS[label], dim=1)


def test_cat_skips_no_tensor() -> None:
    """PyTorch leaves out vectors without elements, whatever the others are."""
    with pytest.raises(fe.FerrumError, match=r"concat: .* differ"):
        fe.cat([fe.ones(3, 4), fe.ones(0)])


@pytest.mark.parametrize("pair", [*product([(3, 1), (4,), (), (2, 3, 4), (0, 4), (5,)], repeat=2)],
                         ids=str)  # fmt: skip
def test_broadcast_tensors(twins: Any, pair: tuple[Shape, Shape]) -> None:
    twins.agree("broadcast_tensors", *[grid(*shape) for shape in pair])


FACTORS: list[Shape] = [(3, 4), (4, 2), (4,), (3,), (2, 3, 4), (2, 4, 5), (4, 5), (1, 4, 2),
                        (5, 1, 3, 4), (), (0, 4), (4, 0), (0,), (2, 0, 4)]  # fmt: skip


@pytest.mark.parametrize("left", FACTORS, ids=str)
class TestProducts:
    @pytest.mark.parametrize("right", FACTORS, ids=str)
    def test_matmul(self, twins: Any, left: Shape, right: Shape) -> None:
        twins.agree("matmul", grid(*left), grid(*right))
        twins.agree(lambda a, b: a @ b, grid(*left), grid(*right), order=1)

    @pytest.mark.parametrize("name", ["dot", "mm", "bmm"])
    def test_strict_products(self, twins: Any, left: Shape, name: str) -> None:
        for right in FACTORS:
            twins.agree(name, grid(*left), grid(*right), order=1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products_of_each_dtype(twins: Any, dtype: DType) -> None:
    a, b = (np.abs(grid(*shape) % 3).astype(dtype) for shape in ((3, 4), (4, 2)))
    twins.agree("matmul", a, b)
    twins.agree("matmul", a, np.ones((4, 2), np.float32 if dtype != np.float32 else np.int64))
