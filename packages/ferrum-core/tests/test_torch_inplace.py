"""Writing in place against PyTorch: values, gradients through views and setitem, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ferrum.dtypes import DTYPES, DType

pytestmark = pytest.mark.torch

RNG = np.random.default_rng(0)


def grid(*shape: int, low: float = 0.2, high: float = 2.0) -> Any:
    return np.asarray(RNG.uniform(low, high, shape))


METHODS: dict[str, tuple[Any, ...]] = {
    "exp_": (), "log_": (), "sqrt_": (), "tanh_": (), "sigmoid_": (), "relu_": (), "abs_": (),
    "neg_": (), "floor_": (), "ceil_": (), "round_": (), "trunc_": (), "sin_": (), "cos_": (),
    "square_": (), "reciprocal_": (), "zero_": (), "fill_": (2.5,), "add_": (1.5,), "sub_": (0.5,),
    "mul_": (3.0,), "div_": (2.0,), "pow_": (3,), "clamp_": (0.5, 1.5), "remainder_": (0.7,),
    "copy_": (grid(4),), "masked_fill_": (np.array([True, False, True, False]), 7.0),
}  # fmt: skip
WITH_TENSORS = ["add_", "sub_", "mul_", "div_", "pow_", "copy_"]
PLACES: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x,
    "row": lambda x: x[1],
    "column": lambda x: x[:, 1],
    "transposed": lambda x: x.t(),
    "strided": lambda x: x[::2, 1:],
    "view of a view": lambda x: x.t()[1:3].t(),
    "reshaped": lambda x: x.view(-1)[2:9],
    "nothing": lambda x: x[3:],
}


def written(method: str, place: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return a function that writes a part of a copy by `method`, and gives part and whole."""

    def function(x: Any, *args: Any) -> Any:
        whole = x * 1
        other = whole[0] * 2  # made before, so it must not change
        part = place(whole)
        getattr(part, method)(*args)
        return part * 2, whole * 3, other

    return function


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("place", PLACES)
class TestMethods:
    def test_gradients(self, twins: Any, method: str, place: str) -> None:
        twins.agree(written(method, PLACES[place]), grid(3, 4), *METHODS[method])

    def test_tensors(self, twins: Any, method: str, place: str) -> None:
        if method in WITH_TENSORS:
            for shape in ((), (1,), (3, 1), (4,), (3, 4), (2, 3, 4)):
                twins.agree(written(method, PLACES[place]), grid(3, 4), grid(*shape))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(twins: Any, method: str, dtype: DType) -> None:
    wraps = dtype.kind == "u" and method in ("neg_", "sub_")
    if wraps or (method == "square_" and dtype.kind == "b"):
        return  # for numbers, as the product of bools is
    args = tuple(each.astype(dtype) if np.ndim(each) and each.dtype.kind == "f" else each
                 for each in METHODS[method])  # fmt: skip
    x = np.array([1, 0, 1, 1], dtype)
    if method in ("masked_fill_", "fill_") and dtype.kind == "b":
        return  # 7 and 2.5 are no bools
    twins.agree(lambda t, *rest: getattr(t.clone().detach(), method)(*rest), x, *args, order=0)


# ---- programs: x is (3, 4), w is (4,)


def two_views_of_one(x: Any, w: Any) -> Any:
    y = x * 1
    first, second = y[0], y[:2]
    second.mul_(w)
    return first, y


def a_view_of_what_was_written(x: Any, w: Any) -> Any:
    y = x * 1
    y.mul_(w)
    z = y[1]
    z.add_(w)
    return y * y, z


def the_same_place_twice(x: Any, w: Any) -> Any:
    y = x * 1
    y[0] = w
    y[0] = w * w
    y[0][1:] += y[1, 1:]
    return y * w


def a_part_from_another_part(x: Any, w: Any) -> Any:
    y = x * w
    y[0] = y[1] + y[2]
    y[1:] = y[:2].clone()
    return y


def accumulated_in_a_loop(x: Any, w: Any) -> Any:
    total = x[0] * 0
    for row in x.unbind(0):
        total += row * w
        total *= total + 1
    return total


def unbound_and_written(x: Any, w: Any) -> Any:
    y = x * 1
    parts = y.split(2, 1)
    return y, (parts[0] * w[:2]).exp_(), parts[1].clone().mul_(w[2:])


def detached_memory(x: Any, w: Any) -> Any:
    y = x * 1
    frozen = (y * 2).detach()
    frozen.zero_()
    return y * w, frozen


def masked(x: Any, w: Any) -> Any:
    y = x * w
    y[y > 1] = 0
    y[:, [0, 2]] *= w[1:3]
    return y.sum(0)


def its_own_operand(x: Any, w: Any) -> Any:
    y = x * w
    y += y
    y.add_(y, alpha=3)
    return y


def written_before_it_was_recorded(x: Any, w: Any) -> Any:
    y = (x * 0).detach()
    y[1] = w
    y[:, 2] = x[:, 0]
    return y * y


def squeezed_and_expanded(x: Any, w: Any) -> Any:
    y = (x * 1).unsqueeze(0)
    y.squeeze(0)[1].mul_(w)
    return y.expand(2, 3, 4) * w


def the_order_of_reads_and_writes(x: Any, w: Any) -> Any:
    y = x * 1
    before = y.clone() * 2
    y.copy_(w)
    after = y * w
    return before, after, y


def scaled_then_masked(x: Any, w: Any) -> Any:
    """Attention's way: what a division by a number leaves behind may be written."""
    scores = x / 2.0
    scores.masked_fill_(x > 1, -5.0)
    scores += w
    return scores.softmax(1)


def factors_that_are_numbers(x: Any, w: Any) -> Any:
    y = x * w
    z = y * 2.0
    y.add_(1)
    return y, z


PROGRAMS = [
    two_views_of_one, a_view_of_what_was_written, the_same_place_twice, a_part_from_another_part,
    accumulated_in_a_loop, unbound_and_written, detached_memory, masked, its_own_operand,
    written_before_it_was_recorded, squeezed_and_expanded, the_order_of_reads_and_writes,
    scaled_then_masked, factors_that_are_numbers,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: each.__name__)
def test_programs(twins: Any, program: Callable[..., Any]) -> None:
    twins.same(program, grid(3, 4), grid(4))


# ---- refusals


def saved_for_a_product(x: Any, w: Any) -> Any:
    y = x * 1
    z = y * w
    y.add_(1)
    return z.sum().backward()


def saved_by_its_output(x: Any, w: Any) -> Any:
    y = x.exp()
    y.add_(1)
    return y.sum().backward()


def saved_as_a_view_of_what_is_written(x: Any, w: Any) -> Any:
    y = x * 1
    y[0] = y[1] * y[2]
    y[1:] = w
    return y.sum().backward()


def saved_and_written_through_a_view(x: Any, w: Any) -> Any:
    y = x * 1
    z = y * w
    y[0].zero_()
    return z.sum().backward()


REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "a leaf": lambda x, w: x.add_(1),
    "a view of a leaf": lambda x, w: x[0].add_(w),
    "an item of a leaf": lambda x, w: x.__setitem__(0, w),
    "an expanded tensor": lambda x, w: (w * 1).expand(3, 4).add_(1),
    "an expanded result": lambda x, w: (w * 1).expand(3, 4).copy_(x),
    "a larger result": lambda x, w: (w * 1).add_(x),
    "a larger value": lambda x, w: (w * 1).copy_(x),
    "a value that does not fit": lambda x, w: (x * 1).__setitem__(slice(None), w[:3]),
    "saved for a product": saved_for_a_product,
    "saved by its output": saved_by_its_output,
    "saved as a view": saved_as_a_view_of_what_is_written,
    "saved, written through a view": saved_and_written_through_a_view,
    "an integer divided": lambda x, w: (w > 0).long().div_(2),
    "an integer with a fraction": lambda x, w: (w > 0).long().add_(w),
    "a bool counted": lambda x, w: (w > 0).add_(1),
    "a detached view": lambda x, w: (x * 1)[0].detach_(),
    "a graph walked twice": lambda x, w: [y.backward() for y in [(x * w).sum()] * 2],
    "an integer leaf": lambda x, w: (w > 0).long().requires_grad_(),
    "a result without grad": lambda x, w: (x * w).requires_grad_(False),
    "numpy of a leaf": lambda x, w: x.numpy(),
    "backward of many": lambda x, w: (x * w).backward(),
    "backward without grad": lambda x, w: x.detach().sum().backward(),
    "a gradient of another shape": lambda x, w: (x * w).backward(w),
}


@pytest.mark.parametrize("label", REFUSED)
def test_refusals(twins: Any, label: str) -> None:
    twins.refused(REFUSED[label], grid(3, 4), grid(4))
