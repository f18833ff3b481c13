"""How tensors print, against PyTorch's text, and where FERRUM keeps columns that PyTorch breaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum.dtypes import DTYPES, DType

INF, NAN = float("inf"), float("nan")
RNG = np.random.default_rng(0)

VALUES: dict[str, Any] = {
    "a vector": [1.0, 2.0, 3.0],
    "fractions": [1.5, 2.25, -3.125],
    "a matrix": [[0.1, -0.2], [10.25, 3.0]],
    "integers": [[1, -2], [300, 4]],
    "large integers": [10**12, 1],
    "bools": [[True, False], [False, False]],
    "a number": 1.5,
    "a whole number": 2.0,
    "an integer": 3,
    "a bool": True,
    "a small number": 1e-6,
    "a large number": 1e10,
    "nan alone": NAN,
    "nothing": [],
    "zeros": [0.0, 0.0],
    "nan and a fraction": [NAN, 1.5],
    "a narrow range": [0.001, 1.0],
    "a wide range": [0.001, 1000.0],
    "small numbers": [1e-10, 2e-10],
    "beside large ones": [123456789.0, 0.5],
    "thirds": [1 / 3, 2 / 3],
    "three axes": np.arange(8.0).reshape(2, 2, 2).tolist(),
}


@pytest.fixture
def torch(twins: Any) -> Any:
    return twins.theirs.module


def same_text(torch: Any, ours: fe.Tensor, theirs: Any) -> None:
    assert repr(ours) == repr(theirs).replace("torch.", "")


@pytest.mark.torch
@pytest.mark.parametrize("label", VALUES)
def test_values(torch: Any, label: str) -> None:
    same_text(torch, fe.tensor(VALUES[label]), torch.tensor(VALUES[label]))


@pytest.mark.torch
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(torch: Any, dtype: DType) -> None:
    for values in ([1, 0], [[1], [0]], 1, []):
        name = getattr(torch, dtype.name)
        same_text(torch, fe.tensor(values, dtype=dtype), torch.tensor(values, dtype=name))
    same_text(torch, fe.zeros(2, 0, 3, dtype=dtype), torch.zeros(2, 0, 3, dtype=name))


SHAPES = [(20,), (5, 12), (40, 40), (1001,), (3, 4, 5), (2, 2, 2, 2), (200, 3), (3, 200), (1, 1200),
          (7, 9, 30), (1000,)]  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layouts(torch: Any, shape: tuple[int, ...]) -> None:
    x = RNG.standard_normal(shape).astype(np.float32)
    for values in (x, np.exp(4 * x), np.round(10 * x), x > 0, (100 * x).astype(np.int64)):
        same_text(torch, fe.tensor(values), torch.tensor(values))
    same_text(torch, fe.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True))
    same_text(torch, fe.tensor(x, dtype=fe.float64), torch.tensor(x, dtype=torch.float64))


@pytest.fixture
def options(torch: Any) -> Iterator[None]:
    yield
    for module in (fe, torch):
        module.set_printoptions(precision=4, threshold=1000, edgeitems=3, linewidth=80)


@pytest.mark.torch
@pytest.mark.usefixtures("options")
@pytest.mark.parametrize(
    "given", [{"precision": 2}, {"threshold": 10}, {"threshold": 5, "edgeitems": 1},
              {"linewidth": 40}, {"precision": 7, "linewidth": 120}], ids=str,
)  # fmt: skip
def test_options(torch: Any, given: dict[str, int]) -> None:
    for module in (fe, torch):
        module.set_printoptions(**given)
    x = RNG.standard_normal((5, 11)).astype(np.float32)
    for values in (x, x[0], np.exp(5 * x), np.ceil(np.abs(x))):
        same_text(torch, fe.tensor(values), torch.tensor(values))


NICER = {
    "columns stay in line": ([NAN, 1.0, 20.0], "tensor([nan,  1., 20.])"),
    "beside infinity": ([[INF, 1.0], [-INF, 2.0]], "tensor([[ inf,   1.],\n        [-inf,   2.]])"),
    "whole numbers stay whole": ([1.0, 2000.0], "tensor([   1., 2000.])"),
    "up to a hundred million": ([1e8, 1.0], "tensor([100000000.,         1.])"),
    "and from there on do not": ([1e9, 1.0], "tensor([1.0000e+09, 1.0000e+00])"),
    "the sign of zero": ([-0.0, 0.5], "tensor([-0.0000,  0.5000])"),
}


@pytest.mark.parametrize("label", NICER)
def test_where_ours_is_nicer(label: str) -> None:
    values, text = NICER[label]
    assert repr(fe.tensor(values)) == text


LONG = fe.arange(2000).reshape(2, 1000)
TEXTS = {
    "tensor([], size=(2, 0), dtype=int64)": fe.zeros(2, 0, dtype=fe.int64),
    "tensor([1.5000, 0.2500], dtype=bfloat16)": fe.tensor([1.5, 0.25], dtype=fe.bfloat16),
    "tensor([[ True],\n        [False]])": fe.tensor([[True], [False]]),
    "tensor([[[1, 2]],\n\n        [[3, 4]]])": fe.tensor([[[1, 2]], [[3, 4]]]),
    "tensor([[   0,    1,    2,  ...,  997,  998,  999],\n"
    "        [1000, 1001, 1002,  ..., 1997, 1998, 1999]])": LONG,
    "tensor([[0],\n        [1],\n        [2],\n        ...,\n        [7],\n        [8],\n"
    "        [9]])": LONG[0, :10, None],
}


@pytest.mark.parametrize("text", TEXTS)
def test_texts(text: str) -> None:
    try:
        fe.set_printoptions(threshold=9 if text.startswith("tensor([[0],") else None)
        assert repr(TEXTS[text]) == text
    finally:
        fe.set_printoptions(precision=4, threshold=1000, edgeitems=3, linewidth=80)


def test_notes() -> None:
    x = fe.tensor([1.0, 2.0], requires_grad=True)
    assert repr(x * 2) == "tensor([2., 4.], grad_fn=<core.multiply>)"
    assert repr(x.detach()) == str(x.detach()) == f"{x.detach()}" == "tensor([1., 2.])"
    assert f"{fe.tensor(1.5):.3f}" == "1.500"
    long = fe.tensor([float(i) for i in range(14)], dtype=fe.float64, requires_grad=True)
    assert repr(long).endswith("13.],\n       dtype=float64, requires_grad=True)")


def test_a_subclass_prints_its_own_name() -> None:
    class Parameter(fe.Tensor):
        __slots__ = ()

    x = fe.tensor([1.0])
    assert repr(Parameter(x.array, x.device)) == "Parameter([1.])"
