"""What a recording cannot hold is refused with a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum import Tensor
from ferrum.capture import record
from ferrum.errors import CaptureError, OperandError

# ---- what a recording cannot hold


VALUES: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: x if x.sum() > 0 else -x,
    "int": lambda x: x * int(x.sum()),
    "float": lambda x: x * float(x.sum()),
    "index": lambda x: [x][x.argmax()],
    "tolist": lambda x: fe.tensor(x.tolist()),
    "numpy": lambda x: fe.from_numpy(x.numpy()),
    "__dlpack__": lambda x: fe.from_dlpack(x),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_are_not_known(name: str) -> None:
    with pytest.raises(CaptureError) as caught:
        record(VALUES[name], fe.ones(2))
    assert str(caught.value) == (
        f"{name}: the values of a tensor are not known while a function is recorded; "
        f"compute with tensors, as fe.where does for a choice, or read them outside"
    )
    assert VALUES[name](fe.zeros(2)) is not None  # which eager does


def test_numpy_functions_are_refused() -> None:
    with pytest.raises(CaptureError, match=r"^numpy: "):
        record(lambda x: fe.from_numpy(np.asarray(x)), fe.ones(2))


@pytest.mark.parametrize(
    "function", [lambda x: x.nonzero(), lambda x: x[x > 0], lambda x: fe.masked_select(x, x > 0)]
)
def test_shapes_that_depend_on_values_are_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(CaptureError) as caught:
        record(function, fe.ones(3))
    assert "the shape of its result depends on values" in str(caught.value)
    assert "fe.where(mask, x, 0)" in str(caught.value)


@pytest.mark.parametrize(
    "given_", [(), (fe.ones(3),), (fe.ones(2, dtype=fe.float64),), (fe.ones(2), fe.ones(2))]
)
def test_other_tensors_than_recorded_are_refused(given_: tuple[Tensor, ...]) -> None:
    graph = record(lambda x: x * 2, fe.ones(2))
    with pytest.raises(CaptureError, match=r"^replay: expected tensors \[.*'float32', 'reference'"):
        graph.replay(*given_)


@pytest.mark.parametrize("name", ["from_numpy", "from_dlpack", "as_tensor"])
def test_memory_that_is_shared_is_refused(name: str) -> None:
    """A replay would write what eager makes anew."""
    share = getattr(fe, name)
    with pytest.raises(CaptureError, match=rf"^{name}: .*copy it with fe\.tensor"):
        record(lambda x: share(np.ones(2, np.float32)).add_(x), fe.ones(2))
    graph = record(lambda x: fe.tensor(np.ones(2, np.float32)).add_(x), fe.ones(2))
    assert [graph.replay(fe.ones(2)).tolist() for _ in range(2)] == [[2, 2]] * 2


@pytest.mark.parametrize("returned", [None, 3, {"a": fe.ones(1)}, (fe.ones(1), 2.0)])
def test_only_tensors_are_returned(returned: Any) -> None:
    with pytest.raises(CaptureError, match=r"^record: expected tensors to be returned, got"):
        record(lambda x: returned, fe.ones(1))


def test_only_tensors_are_given() -> None:
    with pytest.raises(OperandError, match=r"^record: expected tensors, got float"):
        record(lambda x: x, 1.0)  # type: ignore[arg-type]
    with pytest.raises(OperandError, match=r"^replay: expected tensors, got int"):
        record(lambda x: x, fe.ones(1)).replay(3)  # type: ignore[arg-type]


def test_one_tensor_twice_is_refused() -> None:
    """The recording could not tell which of the two a step means."""
    x = fe.ones(2)
    for other in (x, x.detach()):
        with pytest.raises(CaptureError, match=r"^record: one tensor is given twice; clone\(\) it"):
            record(lambda a, b: a - b, x, other)
    graph = record(lambda a, b: a - b, x, x.clone())
    assert graph.replay(fe.full((2,), 3.0), x).tolist() == [2, 2]


def test_bad_operands_raise_as_eager_does() -> None:
    with pytest.raises(OperandError, match=r"^exp: expected a tensor or a number, got list"):
        record(lambda x: fe.exp([1.0]), fe.ones(1))  # type: ignore[arg-type]


def test_only_functions_are_taken() -> None:
    with pytest.raises(OperandError, match="^record: expected a function, got int"):
        record(5)  # type: ignore[arg-type]
