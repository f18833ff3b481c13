"""CTC beside PyTorch's: values and gradients, every form of targets and lengths, errors."""

import itertools

import numpy as np
import pytest
from beside_torch import both_refuse, close, pair, torch

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import DTypeError, OutOfRangeError

pytestmark = pytest.mark.torch
F, T = nn.functional, torch.nn.functional
REDUCTIONS = ("none", "mean", "sum")

# steps, classes, the lengths of inputs and of targets
SHAPES = [
    (6, 4, (6, 6), (2, 3)),
    (9, 3, (9, 5, 7), (4, 1, 3)),
    (12, 6, (12,), (5,)),
    (5, 5, (5, 3, 4), (0, 1, 2)),
    (1, 3, (1, 1), (1, 0)),
    (20, 2, (20, 15), (6, 7)),
    (30, 11, (30, 21, 17, 30), (9, 10, 3, 0)),
]


def operands(steps, classes, into, out, blank=0, seed=0):
    """Return scores and padded targets, none of them blank and some twice in a row."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(steps, len(into), classes)) * 2
    kinds = np.delete(np.arange(classes), blank)
    return scores, rng.choice(kinds, size=(len(into), max([*out, 1])))


def both(scores, call):
    """Return what a call makes of log_softmax of scores, in both libraries, with gradients."""
    ours, theirs = pair(scores)
    one = call(fe.tensor, F.ctc_loss, ours.log_softmax(-1))
    two = call(torch.tensor, T.ctc_loss, theirs.log_softmax(-1))
    close(one, two)
    weights = np.cos(np.arange(one.numel())).reshape(one.shape)
    close(
        fe.grad((one * fe.tensor(weights)).sum(), ours)[0],
        torch.autograd.grad((two * torch.tensor(weights)).sum(), theirs)[0],
        1e-10,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("form", ["padded", "joined", "tuples"])
@pytest.mark.parametrize(("shape", "seed"), [*itertools.product(SHAPES, range(2))])
def test_values_and_gradients(shape, seed, form, reduction):
    steps, classes, into, out = shape
    blank = seed * (classes - 1)
    scores, targets = operands(steps, classes, into, out, blank, seed)
    if form == "joined":
        targets = np.concatenate([row[:n] for row, n in zip(targets, out, strict=True)])

    def call(make, loss, log_probs):
        lengths = (into, out) if form == "tuples" else (make(into), make(out))
        return loss(log_probs, make(targets), *lengths, blank, reduction)

    both(scores, call)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("seed", range(4))
def test_one_sequence(seed, reduction):
    scores, targets = operands(7, 4, (7,), (3,), seed=seed)

    def call(make, loss, log_probs):
        return loss(log_probs, make(targets[0]), make(6), make(3), reduction=reduction)

    both(scores[:, 0], call)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_targets_that_do_not_fit(reduction, zero_infinity):
    scores, _ = operands(4, 3, (4, 4, 2), (3, 3, 3))
    targets = np.array([[1, 1, 1], [1, 2, 1], [1, 2, 2]])  # 5, 3 and 4 steps at least

    def call(make, loss, log_probs):
        lengths = (4, 4, 2), (3, 3, 3)
        return loss(log_probs, make(targets), *lengths, 0, reduction, zero_infinity)

    if zero_infinity:
        both(scores, call)
    else:
        ours, theirs = (
            call(m, f, m(scores).log_softmax(-1))
            for m, f in ((fe.tensor, F.ctc_loss), (torch.tensor, T.ctc_loss))
        )
        close(ours, theirs)
        assert not np.isfinite(ours.numpy()).all()


def test_sums_of_logarithms_do_not_overflow():
    for scale in (30.0, 1e3):
        scores, targets = operands(40, 5, (40, 33), (8, 12), seed=3)

        def call(make, loss, log_probs, targets=targets):
            return loss(log_probs, make(targets), (40, 33), (8, 12), reduction="none")

        both(scores * scale, call)


def test_float32():
    scores, targets = operands(50, 9, (50, 44), (12, 9))
    ours = F.ctc_loss(
        fe.tensor(scores.astype("f4")).log_softmax(-1), fe.tensor(targets), (50, 44), (12, 9)
    )
    theirs = T.ctc_loss(
        torch.tensor(scores).log_softmax(-1), torch.tensor(targets), (50, 44), (12, 9)
    )
    assert ours.dtype is fe.float32
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_float32_gradients_of_many_steps():
    """Shares add up to 1 at each step, so that float32 is nearer to float64 than PyTorch's is."""
    scores, targets = operands(300, 20, (300, 270), (30, 41))
    single = scores.astype("f4")

    def gradient(make, loss, dtype):
        x = make(single.astype(dtype))
        x.requires_grad_()
        found = loss(x.log_softmax(-1), make(targets), (300, 270), (30, 41), reduction="sum")
        found.backward()
        return np.asarray(x.grad)

    true = gradient(torch.tensor, T.ctc_loss, "f8")
    ours = abs(gradient(fe.tensor, F.ctc_loss, "f4") - true).max()
    theirs = abs(gradient(torch.tensor, T.ctc_loss, "f4") - true).max()
    assert ours < 1e-3
    assert ours < theirs


def test_the_gradient_is_that_of_the_loss_for_any_input():
    scores, targets = operands(5, 3, (5, 4), (2, 1), seed=5)
    x = fe.tensor(scores, requires_grad=True)
    assert fe.gradcheck(lambda x: F.ctc_loss(x, fe.tensor(targets), (5, 4), (2, 1)), (x,))
    assert fe.gradgradcheck(lambda x: F.ctc_loss(x, fe.tensor(targets), (5, 4), (2, 1)), (x,))


def test_the_module_is_the_function():
    scores, targets = operands(6, 4, (6, 6), (2, 3), blank=2)
    x = fe.tensor(scores).log_softmax(-1)
    loss = nn.CTCLoss(2, "sum", True)
    expected = F.ctc_loss(x, fe.tensor(targets), (6, 6), (2, 3), 2, "sum", True)
    np.testing.assert_array_equal(
        loss(x, fe.tensor(targets), (6, 6), (2, 3)).numpy(), expected.numpy()
    )


GOOD = {
    "log_probs": np.zeros((4, 2, 3)) - 1.0,
    "targets": np.ones((2, 2), int),
    "input_lengths": (4, 4),
    "target_lengths": (2, 1),
}


@pytest.mark.parametrize(
    "bad",
    [
        {"input_lengths": (5, 4)},
        {"input_lengths": (4,)},
        {"input_lengths": (4, 4, 4)},
        {"input_lengths": (4, -1)},
        {"target_lengths": (3, 1)},
        {"target_lengths": (1,)},
        {"target_lengths": (-1, 1)},
        {"target_lengths": (1.5, 1)},
        {"input_lengths": ("4", 4)},
        {"input_lengths": None},
        {"input_lengths": (2**70, 4)},
        {"input_lengths": np.full((2,), 4.0)},
        {"target_lengths": (2**70, 1)},
        {"target_lengths": np.ones((2, 1), int)},
        {"blank": 3},
        {"blank": -1},
        {"blank": 2**70},
        {"blank": 0.5},
        {"blank": "a"},
        {"blank": None},
        {"reduction": "average"},
        {"reduction": None},
        {"log_probs": np.zeros((4, 2, 3), int)},
        {"log_probs": np.zeros(4)},
        {"log_probs": np.zeros((4, 2, 3, 1))},
        {"log_probs": np.zeros((4, 3, 3))},
        {"targets": np.ones((3, 2), int)},
        {"targets": np.ones((2, 2, 1), int)},
        {"targets": np.ones((2, 1), int)},
        {"targets": np.ones(2, int)},
        {"targets": np.ones((0,), int)},
        {"targets": np.array(1)},
        {"targets": None},
        {"log_probs": None},
    ],
    ids=str,
)
def test_refuses_what_pytorch_refuses(bad):
    call = {**GOOD, **bad}

    def made(make):
        return {k: make(v) if isinstance(v, np.ndarray) else v for k, v in call.items()}

    both_refuse(lambda: F.ctc_loss(**made(fe.tensor)), lambda: T.ctc_loss(**made(torch.tensor)))


@pytest.mark.parametrize("target", [3, -1, 99])
def test_refuses_targets_that_are_no_class(target):
    targets = fe.tensor([[1, target], [1, 1]])
    with pytest.raises(OutOfRangeError, match="expected targets from 0 to 2"):
        F.ctc_loss(fe.tensor(GOOD["log_probs"]), targets, (4, 4), (2, 1))


def test_refuses_targets_that_are_not_whole():
    targets = fe.ones(2, 2)
    with pytest.raises(DTypeError, match="expected integer targets, got float32"):
        F.ctc_loss(fe.tensor(GOOD["log_probs"]), targets, (4, 4), (2, 1))
