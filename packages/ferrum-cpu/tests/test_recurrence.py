"""Recurrent layers in C, on each instruction set and any threads, against their fallbacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum_cpu.kernels import recurrence as kernels
from ferrum_nn import ops

Array = np.ndarray[Any, Any]
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
SIZES = {
    "padded": (13,) * 5,
    "packed": (13, 12, 7, 7, 1),
    "one sequence": (1,) * 6,
    "one step": (9,),
    "empty steps": (4, 2, 0, 0),
}


def operands(name: str, sizes: tuple[int, ...], n: int) -> list[Any]:
    """Return what an op takes, in float64."""
    rng = np.random.default_rng(n)
    rows, batch, wide = sum(sizes), sizes[0], GATES[name] * n
    x, h, weight = (rng.normal(size=size) for size in ((rows, wide), (batch, n), (wide, n)))
    weight /= n**0.5
    if name == "lstm":
        return [x, h, rng.normal(size=(batch, n)), weight, None]
    return [x, h, weight] if name == "rnn" else [x, h, weight, rng.normal(size=wide)]


def attributes(name: str, sizes: tuple[int, ...], reverse: bool) -> dict[str, Any]:
    more = {"nonlinearity": "tanh"} if name == "rnn" else {}
    return {"sizes": sizes, "reverse": reverse, **more}


def results(name: str, given: list[Any], attrs: dict[str, Any]) -> list[Array]:
    """Return what the kernels make of operands: the results, then the gradients."""
    outs = getattr(kernels, name)(*given, **attrs)
    assert outs is not NotImplemented
    seeds = [np.cos(np.arange(each.size)).reshape(each.shape) for each in outs]
    first = 2 if name != "lstm" else 3
    g = [seed.astype(outs[0].dtype) for seed in seeds[:first]]
    kept = outs[0], *outs[first:]
    states = given[1:4] if name == "lstm" else given[1:3]
    return [*outs, *getattr(kernels, f"{name}_backward")(*g, *kept, *states, **attrs)]


def expected(name: str, given: list[Any], attrs: dict[str, Any]) -> list[Array]:
    """Return the same of the fallback on the device `reference`, gradients by autograd."""
    op = getattr(ops, name)
    leaves = [
        None if each is None else fe.tensor(each, device="reference", requires_grad=True)
        for each in given
    ]
    outs = op(*leaves, **attrs)
    first = 2 if name != "lstm" else 3
    seeds = [np.cos(np.arange(each.numel())).reshape(each.shape) for each in outs[:first]]
    total = sum(
        (out * fe.tensor(seed, device="reference")).sum()
        for out, seed in zip(outs, seeds, strict=False)
    )
    wanted = [each for each in leaves if each is not None]
    return [each.detach().numpy() for each in (*outs, *fe.grad(total, wanted))]


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n", [1, 16, 37])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_and_gradients(
    name: str, sizes: tuple[int, ...], reverse: bool, n: int, dtype: str, each_isa: str
) -> None:
    given, attrs = operands(name, sizes, n), attributes(name, sizes, reverse)
    narrow = [None if each is None else each.astype(dtype) for each in given]
    bound = 1e-12 if dtype == "float64" else 2e-5
    for one, two in zip(results(name, narrow, attrs), expected(name, given, attrs), strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, two, rtol=bound, atol=bound)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("reverse", [False, True])
def test_bits_do_not_depend_on_threads(name: str, reverse: bool) -> None:
    sizes = (33, 33, 20, 5)
    given, attrs = operands(name, sizes, 70), attributes(name, sizes, reverse)
    narrow = [None if each is None else each.astype("float32") for each in given]
    before, found = fe.get_num_threads(), []
    try:
        for threads in (1, 2, 5, 8):
            fe.set_num_threads(threads)
            found.append(results(name, narrow, attrs))
    finally:
        fe.set_num_threads(before)
    for others in found[1:]:
        for one, two in zip(found[0], others, strict=True):
            assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("name", GATES)
def test_a_sequence_does_not_depend_on_its_batch(name: str, each_isa: str) -> None:
    """Bit by bit: its sums are the same alone and among others."""
    sizes, n = (11,) * 4, 19
    given, attrs = operands(name, sizes, n), attributes(name, sizes, False)
    whole = getattr(kernels, name)(*given, **attrs)[0].reshape(4, 11, n)
    for k in (0, 7, 10):
        x = given[0].reshape(4, 11, -1)[:, k].copy()
        states = [each[k : k + 1].copy() for each in given[1 : 3 if name == "lstm" else 2]]
        others = given[1 + len(states) :]
        alone = getattr(kernels, name)(x, *states, *others, **attributes(name, (1,) * 4, False))
        assert alone[0].tobytes() == whole[:, k].tobytes()


def test_a_projection_is_decomposed() -> None:
    given = operands("lstm", (2, 2), 3)
    assert kernels.lstm(*given[:4], np.ones((3, 3)), sizes=(2, 2), reverse=False) is NotImplemented
