"""Writing in place: what may be written, what the graph makes of it, and versions that tell.

The rule that all of these circle: what was changed after it was saved raises, and no gradient is
ever quietly wrong.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum import Tensor
from ferrum.errors import ArgumentError, DTypeError, FerrumError, GradientError, ShapeError


def leaf(values: Any, dtype: Any = fe.float64) -> Tensor:
    return fe.tensor(values, dtype=dtype, requires_grad=True)


def const(values: Any) -> Tensor:
    return fe.tensor(values, dtype=fe.float64)


CHANGED = r"changed in place after it was used \(version \d+, expected \d+\)"

# ---- versions


def test_what_counts_as_a_write() -> None:
    x = fe.zeros(2, 3)
    row, turned, cut = x[0], x.t(), x.detach()
    writes: list[Callable[[], object]] = [
        lambda: x.add_(1),
        lambda: row.fill_(2),
        lambda: turned.mul_(3),
        lambda: cut.zero_(),
        lambda: x.__setitem__((0, 0), 5.0),
        lambda: x.__setitem__(x > 4, 6.0),
        lambda: cut[1].copy_(fe.ones(3)),
    ]
    with fe.no_grad():
        writes.append(lambda: x.exp_())
    for write in writes:
        before = x._version
        write()
        assert x._version > before
        assert {each._version for each in (x, row, turned, cut, x[1:, ::2])} == {x._version}
    assert (x + 0)._version == x.clone()._version == 0


def test_reading_and_failing_do_not_count() -> None:
    x = fe.ones(2, 3)
    x.exp(), x.t(), x.sum(), x.tolist(), x.detach(), x[0]
    for write in (
        lambda: x.add_(fe.ones(4, 2, 3)),
        lambda: x.copy_(fe.ones(2)),
        lambda: x.mul_("two"),
        lambda: x.long().div_(2),
        lambda: x.__setitem__(5, 1.0),
        lambda: x.__setitem__(0, fe.ones(7)),
    ):
        with pytest.raises(FerrumError):
            write()
    assert x._version == 0
    assert x.tolist() == [[1.0] * 3] * 2


SAVERS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "exp": (lambda x: x.exp(), "output"),
    "sqrt": (lambda x: x.sqrt(), "output"),
    "tanh": (lambda x: x.tanh(), "output"),
    "sigmoid": (lambda x: x.sigmoid(), "output"),
    "relu": (lambda x: x.relu(), "output"),
    "softmax": (lambda x: x.softmax(0), "output"),
    "sin": (lambda x: x.sin(), "input"),
    "log": (lambda x: x.log(), "input"),
    "square": (lambda x: x.square(), "input"),
    "matmul": (lambda x: (x.reshape(1, 3) @ x.reshape(3, 1)).reshape(1), "input"),
    "prod": (lambda x: x.prod(0, keepdim=True), "input"),
    "amax": (lambda x: x.amax(0, keepdim=True), "either"),
    "power": (lambda x: x**3, "input"),
    "times itself": (lambda x: x * x, "input"),
    "clamp": (lambda x: x.clamp(0.4, 0.8), "input"),
    "add": (lambda x: x + x, "neither"),
    "negative": (lambda x: -x, "neither"),
    "cumsum": (lambda x: x.cumsum(0), "neither"),
    "joined": (lambda x: fe.cat([x, x]), "neither"),
}


@pytest.mark.parametrize("write", ["input", "output", "view of input", "detached output"])
@pytest.mark.parametrize("name", SAVERS)
def test_a_changed_saved_tensor_raises_and_no_gradient_is_wrong(name: str, write: str) -> None:
    function, saved = SAVERS[name]
    x = leaf([0.3, 0.5, 0.9])
    (expected,) = fe.grad(function(x).sum(), x)
    h = x * 1
    y = function(h)
    if write == "input":
        h.add_(1)
    elif write == "view of input":
        h[1:].add_(1)
    elif write == "output":
        y.add_(1)
    else:
        y.detach().add_(1)
    if saved == write.rsplit(maxsplit=1)[-1] or (saved == "either" and "input" in write):
        with pytest.raises(GradientError, match=CHANGED):
            y.sum().backward()
        assert x.grad is None
        return
    try:
        y.sum().backward()
    except GradientError:
        assert saved == "either"
    else:
        np.testing.assert_allclose(x.grad.numpy(), expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "written"),
    [
        (lambda x, c: x * 2, "x"),
        (lambda x, c: x * c, "x"),
        (lambda x, c: c * x, "x"),
        (lambda x, c: x @ c, "x"),
        (lambda x, c: c @ x, "x"),
        (lambda x, c: x / c, "out"),
        (lambda x, c: x**2, "out"),
        (lambda x, c: x % c, "x c"),
        (lambda x, c: x + c, "x c out"),
        (lambda x, c: fe.where(c > 0, x, c), "x c out"),
    ],
)
def test_what_no_gradient_reads_is_not_kept(call: Callable[..., Tensor], written: str) -> None:
    """Neither its values, which may be written, nor its memory."""
    leaves = leaf(np.arange(1.0, 5.0).reshape(2, 2))
    x, c = leaves * 1, const([[1.0, -2.0], [3.0, 4.0]])
    out = call(x, c)
    (expected,) = fe.grad(call(leaves, c).sum(), leaves)
    held = {"x": x, "c": c, "out": out}
    alive = {name: weakref.ref(held[name].array) for name in written.split()}
    for name in alive:
        held[name].detach().fill_(77)
    total = out.sum()
    del x, c, out, held
    assert [name for name, array in alive.items() if array() is not None] == []
    assert fe.grad(total, leaves)[0].tolist() == expected.tolist()


def test_the_error_names_the_op_and_the_mend() -> None:
    x = leaf([1.0, 2.0])
    y = x.exp()
    y.add_(1)
    with pytest.raises(GradientError) as caught:
        y.sum().backward()
    text = str(caught.value)
    assert text.startswith("core.exp: a tensor saved for its gradient, of shape (2,)")
    assert "clone() it first" in text


def test_parameters_updated_between_forward_and_backward_raise() -> None:
    w = leaf([2.0])
    y = w * w
    with fe.no_grad():
        w.sub_(0.1)
    with pytest.raises(GradientError, match=CHANGED):
        y.backward()


def test_indices_and_masks_are_checked_too() -> None:
    x, index = leaf([1.0, 2.0, 3.0]), fe.tensor([0, 2])
    y = x[index]
    index.fill_(1)
    with pytest.raises(GradientError, match=r"core\.index"):
        y.sum().backward()
    mask = fe.tensor([True, False, True])
    z = fe.where(mask, x, 0)
    mask.fill_(True)
    with pytest.raises(GradientError, match=r"core\.where"):
        z.sum().backward()


# ---- what may be written


def test_leaves_that_require_grad_are_refused() -> None:
    x = leaf([[1.0, 2.0]])
    for write in (
        lambda: x.add_(1),
        lambda: x.__setitem__(0, 1.0),
        lambda: x[0].mul_(2),
        lambda: x.t()[0].zero_(),
    ):
        with pytest.raises(
            GradientError, match="leaf that requires grad is written in place; use no_grad"
        ):
            write()
    assert x.tolist() == [[1.0, 2.0]]
    with fe.no_grad():
        x.add_(1)
        x[0, 0] = 9.0
    assert (x.tolist(), x.is_leaf, x.requires_grad) == ([[9.0, 3.0]], True, True)


def test_a_leaf_made_of_a_view_is_a_leaf() -> None:
    memory = fe.zeros(4)
    part = memory[1:3].requires_grad_()
    with pytest.raises(GradientError, match="leaf"):
        part.add_(1)
    memory.add_(leaf([1.0, 1.0, 1.0, 1.0], fe.float32))  # its neighbour's history is not its own
    assert part.is_leaf
    (part * 3).sum().backward()
    assert part.grad.tolist() == [3.0, 3.0]


def test_a_view_made_without_recording_is_refused() -> None:
    y = leaf([1.0, 2.0]) * 1
    with fe.no_grad():
        v = y[0]
    with pytest.raises(GradientError, match="made under no_grad"):
        v.mul_(2)
    with fe.no_grad():
        v.mul_(2)
    assert y.tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.expand(3, 2),
        lambda x: x.expand(3, 2)[1:],
        lambda x: x.expand(3, 2).t(),
        lambda x: x.unsqueeze(1).expand(2, 4),
        lambda x: x[:1].expand(2),
        lambda x: x.expand(3, 2)[:2, 0],
    ],
)
def test_expanded_tensors_are_refused(view: Callable[[Tensor], Tensor]) -> None:
    x = fe.zeros(2)
    with pytest.raises(ArgumentError, match=r"clone\(\) it"):
        view(x).add_(1)
    assert x.tolist() == [0.0, 0.0]
    with pytest.raises(ArgumentError, match=r"clone\(\) it"):
        view(x).expand(2**45, *view(x).shape).add_(1)  # says so at once
    view(x).clone().add_(1)
    x.expand(2).add_(1)  # expanded to what it was
    x.unsqueeze(0).expand(1, 2).add_(1)
    assert x.tolist() == [2.0, 2.0]


def test_distinct_elements_of_an_expanded_tensor_may_be_written() -> None:
    x = fe.zeros(3)
    x.expand(4, 3)[2, 1].add_(1)
    fe.zeros(1).expand(4)[:0].add_(1)
    assert x.tolist() == [0, 1, 0]
    x.expand(4, 3)[3].add_(fe.tensor([1, 2, 3]))
    x.expand(4, 3).t()[1:, 1].mul_(2)
    assert x.tolist() == [1, 6, 6]
    w = leaf([2.0])
    y = w * 1
    wide = y.expand(4)
    wide[1].mul_(3)
    assert (wide.tolist(), y.tolist()) == ([6, 6, 6, 6], [6])
    wide.sum().backward()
    assert w.grad is not None and w.grad.tolist() == [12]  # as in PyTorch


def test_results_must_fit() -> None:
    x = fe.ones(2, dtype=fe.int64)
    for write in (
        lambda: x.div_(2),
        lambda: x.add_(0.5),
        lambda: x.mul_(fe.ones(2)),
        lambda: x.exp_(),
    ):
        with pytest.raises(DTypeError, match="int64"):
            write()
    truth = x > 0
    for write, name in ((lambda: truth.add_(1), "int64"), (lambda: truth.div_(2), "float32")):
        with pytest.raises(DTypeError, match=f"a result of {name} does not fit into bool; write"):
            write()
    with pytest.raises(ShapeError, match=r"\(3, 2\) does not fit into \(2,\)"):
        x.add_(fe.ones(3, 2, dtype=fe.int64))
    assert x.tolist() == [1, 1]
    assert fe.ones(2, dtype=fe.float16).add_(fe.ones(2, dtype=fe.float64)).dtype is fe.float16


def test_a_copy_reads_all_before_it_writes():
    def copied(to, source):
        x = fe.arange(9)
        x[to].copy_(x[source])
        return x[to].tolist()

    # vectors with strides of one sign are where NumPy does not look after overlap
    assert copied(slice(0, None, 2), slice(0, 5)) == [0, 1, 2, 3, 4]
    assert copied(slice(0, 5), slice(0, None, 2)) == [0, 2, 4, 6, 8]
    assert copied(slice(1, None), slice(0, -1)) == [*range(8)]
    assert copied(slice(1, None, 3), slice(2, 5)) == [2, 3, 4]
