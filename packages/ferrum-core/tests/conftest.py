"""What test modules share: one call, made in FERRUM and in PyTorch, and compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum.errors import FerrumError

os.environ.setdefault("FERRUM_DEVICE", "reference")

RTOL = {"float64": 1e-11, "float32": 4e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


class Library:
    """FERRUM or PyTorch, for calls that both understand."""

    def __init__(self, module: Any, grad: Callable[..., Any]) -> None:
        self.module = module
        self.grad = grad

    def dtype(self, dtype: np.dtype[Any]) -> Any:
        """Return its dtype of the name of `dtype`."""
        return getattr(self.module, dtype.name)

    def tensor(self, array: Any, requires_grad: bool = False) -> Any:
        """Return a tensor of an array's values and dtype."""
        wide = array.astype(np.float64) if array.dtype.kind == "V" else array
        dtype = self.dtype(array.dtype)
        return self.module.tensor(wide, dtype=dtype, requires_grad=requires_grad)

    def made(self, value: Any, leaves: list[Any]) -> Any:
        """Return `value` with arrays as tensors, dtypes as its own; float64 ones become leaves."""
        if isinstance(value, np.ndarray):
            tensor = self.tensor(value, value.dtype == np.float64)
            leaves += [tensor] if tensor.requires_grad else []
            return tensor
        if isinstance(value, np.dtype):
            return self.dtype(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self.made(each, leaves) for each in value)
        return value

    def function(self, call: str | Callable[..., Any]) -> Callable[..., Any]:
        """Return what `call` names: a function of the module, or else a method of Tensor."""
        if callable(call):
            return call
        return getattr(self.module, call, None) or getattr(self.module.Tensor, call)

    def run(self, call: Any, args: Any, kwargs: Any, order: int) -> list[Any]:
        """Return the outputs of a call, then its gradients up to `order`, as arrays and values."""
        leaves: list[Any] = []
        args = [self.made(each, leaves) for each in args]
        kwargs = {name: self.made(each, leaves) for name, each in kwargs.items()}
        outs = flat(self.function(call)(*args, **kwargs))
        found = [(f"output {i}", self.host(out)) for i, out in enumerate(outs)]
        for depth in range(1, order + 1):
            roots = [out for out in outs if getattr(out, "requires_grad", False)]
            seeds = [self.seed(out) for out in roots]
            outs = self.gradients(roots, leaves, seeds) if roots else [None] * len(leaves)
            found += [
                (f"gradient {i} of order {depth}", self.host(self.zeros(x) if g is None else g))
                for i, (g, x) in enumerate(zip(outs, leaves, strict=True))
            ]
            leaves = leaves + seeds
        return found

    def gradients(self, roots: list[Any], leaves: list[Any], seeds: list[Any]) -> list[Any]:
        return list(self.grad(roots, leaves, seeds, create_graph=True, allow_unused=True))

    def zeros(self, x: Any) -> Any:
        return self.module.zeros_like(x)

    def seed(self, out: Any) -> Any:
        """Return a gradient for `out`: numbers that differ, the same in both libraries."""
        values = np.cos(np.arange(out.numel()) + 0.5).reshape(tuple(out.shape))
        return self.tensor(values.astype(np.float64)).to(out.dtype).requires_grad_()

    def host(self, value: Any) -> Any:
        """Return a tensor as an array and its dtype's name, anything else as it is."""
        if not hasattr(value, "detach"):
            return value
        name = str(value.dtype).removeprefix("torch.")
        narrow = name in ("float16", "bfloat16")
        return (value.double() if narrow else value).numpy(force=True), name


def flat(result: Any) -> list[Any]:
    """Return the tensors and numbers of a result, one after the other."""
    if isinstance(result, (list, tuple)):
        return [leaf for each in result for leaf in flat(each)]
    return [result]


def assert_alike(what: str, ours: Any, theirs: Any) -> None:
    """Check one output or gradient: dtype, shape and numbers."""
    if not isinstance(theirs, tuple):
        assert type(ours) is type(theirs), f"{what}: {ours!r}, PyTorch has {theirs!r}"
        assert ours == pytest.approx(theirs, rel=1e-11, nan_ok=True), what
        return
    (mine, dtype), (yours, wanted) = ours, theirs
    assert dtype == wanted, f"{what}: dtype {dtype}, PyTorch has {wanted}"
    assert mine.shape == yours.shape, f"{what}: shape {mine.shape}, PyTorch has {yours.shape}"
    rtol = RTOL.get(dtype, 0.0)
    np.testing.assert_allclose(mine, yours, rtol=rtol, atol=rtol / 8, err_msg=what)


class Twins:
    """Makes calls in both libraries and compares what comes back."""

    def __init__(self, torch: Any) -> None:
        torch.set_num_threads(1)
        self.ours = Library(fe, fe.grad)
        self.theirs = Library(torch, torch.autograd.grad)

    def same(self, call: Any, *args: Any, order: int = 2, **kwargs: Any) -> None:
        """Check that outputs and gradients up to `order` agree."""
        theirs = self.theirs.run(call, args, kwargs, order)
        ours = self.ours.run(call, args, kwargs, order)
        assert len(ours) == len(theirs)
        for (what, mine), (_, yours) in zip(ours, theirs, strict=True):
            assert_alike(what, mine, yours)

    def refused(self, call: Any, *args: Any, **kwargs: Any) -> FerrumError:
        """Check that both libraries raise, ours an error of its own, which is returned."""
        with pytest.raises((RuntimeError, ValueError, TypeError, IndexError, AttributeError)):
            self.theirs.run(call, args, kwargs, 0)
        with pytest.raises(FerrumError) as caught:
            self.ours.run(call, args, kwargs, 0)
        return caught.value

    def agree(self, call: Any, *args: Any, order: int = 2, **kwargs: Any) -> None:
        """Check that both return the same, or that both raise."""
        try:
            self.theirs.run(call, args, kwargs, 0)
        except (RuntimeError, ValueError, TypeError, IndexError):
            self.refused(call, *args, **kwargs)
        else:
            self.same(call, *args, order=order, **kwargs)


@pytest.fixture(scope="session")
def twins() -> Iterator[Twins]:
    """The two libraries; skipped where PyTorch is missing."""
    yield Twins(pytest.importorskip("torch", reason="PyTorch is not installed"))


@pytest.fixture(scope="session")
def ours() -> Library:
    """FERRUM alone, for tables that say themselves what is right."""
    return Library(fe, fe.grad)
