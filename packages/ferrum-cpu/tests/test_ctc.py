"""CTC in C: against all alignments, one by one, and against its fallback."""

from __future__ import annotations

from itertools import groupby, product
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ferrum as fe
from ferrum.errors import OutOfMemoryError, OutOfRangeError
from ferrum_cpu.kernels import ctc as kernels
from ferrum_cpu.library import NO_MEMORY
from ferrum_nn import ops

Array = np.ndarray[Any, Any]
NEVER = -(2.0**126)
TOLERANCE = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 2e-5, "float64": 1e-12}

# steps, classes, the lengths of inputs and of targets
SHAPES = {
    "even": (6, 4, (6, 6), (2, 3)),
    "short": (9, 3, (9, 5, 7), (4, 1, 3)),
    "empty targets": (5, 5, (5, 3, 4), (0, 1, 0)),
    "no targets": (4, 2, (4, 0), (0, 0)),
    "empty inputs": (3, 3, (0, 0, 2), (0, 2, 1)),
    "too short": (4, 3, (2, 4), (3, 4)),
    "vectors": (70, 30, (70, 64, 40), (8, 16, 24)),
    "one class": (3, 1, (3, 2), (0, 0)),
    "no steps": (0, 3, (0, 0), (0, 1)),
    "no sequences": (3, 3, (), ()),
}


def operands(shape: tuple[Any, ...], blank: int = 0) -> tuple[Array, Array, dict[str, Any]]:
    """Return log-probabilities, targets that are never blank, and attributes."""
    steps, classes, into, out = shape
    rng = np.random.default_rng(classes)
    scores = 2 * rng.normal(size=(steps, len(into), classes))
    log_probs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    kinds = np.delete(np.arange(classes), blank) if classes > 1 else np.zeros(1, int)
    targets = rng.choice(kinds, (len(into), max(out, default=0)))
    return log_probs, targets, {"input_lengths": into, "target_lengths": out, "blank": blank}


def results(log_probs: Array, targets: Array, attrs: dict[str, Any]) -> tuple[Array, Array, Array]:
    """Return what the kernels make of it: losses, alpha, and the gradient of a weighted sum."""
    losses, alpha = kernels.ctc_loss(log_probs, targets, **attrs)
    g = np.cos(np.arange(len(losses))).astype(log_probs.dtype)
    classes = log_probs.shape[2]
    return losses, alpha, kernels.ctc_loss_backward(g, alpha, targets, classes=classes, **attrs)


def expected(log_probs: Array, targets: Array, attrs: dict[str, Any]) -> tuple[Array, ...]:
    """Return the same of the fallback, differentiated step by step."""
    leaf = fe.tensor(log_probs, device="reference", requires_grad=True)
    losses, alpha = ops.ctc_loss(leaf, fe.tensor(targets, device="reference"), **attrs)
    g = fe.tensor(np.cos(np.arange(len(losses))), device="reference")
    # by way of the fallback, which without steps reads nothing
    (dx,) = fe.grad(losses, leaf, g, create_graph=True, materialize_grads=True)
    return losses.detach().numpy(), alpha.detach().numpy(), dx.detach().numpy()


def loss_of_all_alignments(log_probs: Array, target: list[int], blank: int) -> float:
    """Return -log of the summed probability of every path that says the target."""
    total, (steps, classes) = 0.0, log_probs.shape
    for path in product(range(classes), repeat=steps):
        if [each for each, _ in groupby(path) if each != blank] == target:
            total += np.exp(log_probs[range(steps), path].sum())
    return -np.log(total) if total else np.inf


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("steps", [0, 1, 3, 6])
@pytest.mark.parametrize("places", [(), (0,), (0, 1), (0, 0), (1, 0, 1)], ids=str)
def test_the_loss_is_that_of_all_alignments(
    blank: int, steps: int, places: tuple[int, ...], each_isa: str
) -> None:
    log_probs, _, _ = operands((steps, 3, (steps,), (0,)))
    kinds = [k for k in range(3) if k != blank]
    target = [kinds[k] for k in places]
    attrs = {"input_lengths": (steps,), "target_lengths": (len(target),), "blank": blank}
    found, _ = kernels.ctc_loss(log_probs, np.array([target], int).reshape(1, -1), **attrs)
    wanted = loss_of_all_alignments(log_probs[:, 0], target, blank)
    np.testing.assert_allclose(found, [wanted], rtol=1e-13)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_values_and_gradients(shape: Any, last: bool, dtype: str, each_isa: str) -> None:
    log_probs, targets, attrs = operands(shape, shape[1] - 1 if last else 0)
    narrow = log_probs.astype(getattr(ml_dtypes, dtype, dtype))
    wanted = expected(narrow.astype("f8"), targets, attrs)
    found = results(narrow, targets, attrs)
    dtypes = narrow.dtype, "f8" if dtype == "float64" else "f4", narrow.dtype
    assert [each.dtype for each in found] == [np.dtype(each) for each in dtypes]
    bound = TOLERANCE[dtype]
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.astype("f8"), two, rtol=bound, atol=bound)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_shares_of_a_step_add_up(shape: Any, each_isa: str) -> None:
    """The gradient of a step is -1 in all where a sequence has alignments, else 0: in float32 too,
    after as many steps as one likes."""
    log_probs, targets, attrs = operands(shape)
    losses, alpha = kernels.ctc_loss(log_probs.astype("f4"), targets, **attrs)
    g = np.ones(len(losses), "f4")
    dx = kernels.ctc_loss_backward(g, alpha, targets, classes=shape[1], **attrs)
    steps = np.arange(shape[0])[:, None] < np.array(attrs["input_lengths"], int)
    wanted = np.where(steps & np.isfinite(losses), -1.0, 0.0)
    np.testing.assert_allclose(dx.sum(2, dtype="f8"), wanted, rtol=0, atol=1e-5)
    assert (dx <= 0).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_layouts_give_the_same_bits(dtype: str, each_isa: str) -> None:
    log_probs, targets, attrs = operands(SHAPES["vectors"])
    log_probs = log_probs.astype(dtype)
    wanted = [each.tobytes() for each in results(log_probs, targets, attrs)]
    odd = np.frombuffer(bytearray(log_probs.nbytes + 1), np.uint8)[1:].view(dtype)
    odd = odd.reshape(log_probs.shape)
    odd[...] = log_probs
    batch_first = log_probs.swapaxes(0, 1).copy().swapaxes(0, 1)
    for other in (
        np.asfortranarray(log_probs),
        np.flip(np.flip(log_probs).copy()),
        batch_first,
        odd,
    ):
        found = results(other, np.asfortranarray(targets), attrs)
        assert [each.tobytes() for each in found] == wanted


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_bits_do_not_depend_on_threads_or_the_batch(dtype: str, threads: Any) -> None:
    shape = 60, 11, (60, 51, 60, 7, 33, 60, 58), (9, 20, 30, 2, 0, 1, 29)
    log_probs, targets, attrs = operands(shape)
    log_probs, found = log_probs.astype(dtype), []
    for count in (1, 2, 5, 8):
        threads(count)
        found.append([each.tobytes() for each in results(log_probs, targets, attrs)])
    assert all(each == found[0] for each in found)
    losses, alpha = kernels.ctc_loss(log_probs, targets, **attrs)
    for i, (into, out) in enumerate(zip(*shape[2:], strict=True)):
        alone = {"input_lengths": (into,), "target_lengths": (out,), "blank": 0}
        one = kernels.ctc_loss(log_probs[:, i : i + 1], targets[i : i + 1], **alone)
        assert [each.tobytes() for each in one] == [losses[i].tobytes(), alpha[i].tobytes()]


def test_what_is_past_the_lengths_is_not_read(each_isa: str) -> None:
    log_probs, targets, attrs = operands(SHAPES["short"])
    wanted = results(log_probs, targets, attrs)
    for i, (into, out) in enumerate(
        zip(attrs["input_lengths"], attrs["target_lengths"], strict=True)
    ):
        log_probs[into:, i] = np.nan
        targets[i, out:] = 99
        assert (wanted[1][i, into:] == NEVER).all()
        assert (wanted[1][i, :, 2 * out + 1 :] == NEVER).all()
        assert (wanted[2][into:, i] == 0).all()
    for one, two in zip(results(log_probs, targets, attrs), wanted, strict=True):
        np.testing.assert_array_equal(one, two)


def test_classes_that_never_are_and_numbers_that_are_none(each_isa: str) -> None:
    log_probs, targets, attrs = operands((5, 3, (5, 5, 5), (2, 2, 1)))
    targets[:] = [[1, 2], [1, 2], [1, 1]]
    log_probs[:, 0, 2] = -np.inf  # no alignment
    log_probs[2, 1, 1] = -np.inf  # fewer of them
    log_probs[3, 2, 0] = np.nan
    losses, _, dx = results(log_probs, targets, attrs)
    assert losses[0] == np.inf
    assert np.isfinite(losses[1])
    assert np.isnan(losses[2])
    assert (dx[:, 0] == 0).all()
    assert dx[2, 1, 1] == 0
    assert np.isfinite(dx[:, 1]).all()
    assert np.isnan(dx[:, 2]).any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_logarithms_far_apart(dtype: str, each_isa: str) -> None:
    log_probs, targets, attrs = operands((40, 5, (40, 33), (8, 12)))
    large = (log_probs * 1e3).astype(dtype)
    bound = 1e-12 if dtype == "float64" else 1e-4
    for one, two in zip(
        results(large, targets, attrs), expected(large, targets, attrs), strict=True
    ):
        np.testing.assert_allclose(one, two, rtol=bound, atol=bound)


@pytest.mark.parametrize("target", [3, -1, 2**62, -(2**63)])
def test_a_target_that_is_no_class(target: int, each_isa: str) -> None:
    log_probs, targets, attrs = operands(SHAPES["short"])
    alpha = kernels.ctc_loss(log_probs, targets, **attrs)[1]
    targets[1, 0] = target
    with pytest.raises(OutOfRangeError, match="ctc_loss: expected targets from 0 to 2"):
        kernels.ctc_loss(log_probs, targets, **attrs)
    with pytest.raises(OutOfRangeError, match="ctc_loss_backward: expected targets from 0 to 2"):
        kernels.ctc_loss_backward(np.ones(3), alpha, targets, classes=3, **attrs)


def test_memory_that_ran_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __getattr__(self, name: str) -> Any:
            return lambda *arguments: NO_MEMORY

    monkeypatch.setattr(kernels, "lib", Full())
    log_probs, targets, attrs = operands(SHAPES["even"])
    with pytest.raises(OutOfMemoryError, match="ctc_loss: no room"):
        kernels.ctc_loss(log_probs, targets, **attrs)
