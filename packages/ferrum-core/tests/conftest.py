"""What test modules share: calls made in FERRUM and in PyTorch and compared, and checkpoints."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum.errors import FerrumError

os.environ.setdefault("FERRUM_DEVICE", "reference")

Array = np.ndarray[Any, Any]
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


class Returns:
    """An object whose `__dlpack__` returns `capsule`."""

    def __init__(self, capsule: object) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: object) -> object:
        return self.capsule


@pytest.fixture(scope="session")
def returns() -> type[Returns]:
    """A class of objects whose `__dlpack__` returns what they are given."""
    return Returns


def _listing(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@contextmanager
def _nothing_left_open() -> Iterator[None]:
    before = _listing(Path("/dev/fd"))
    yield
    gc.collect()
    assert _listing(Path("/dev/fd")) == before


def _assert_same(got: dict[str, Array], expected: dict[str, Array]) -> None:
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == array.dtype and got[name].shape == array.shape, name
        assert got[name].tobytes() == array.tobytes(), name


def _run_python(code: str, *arguments: object, flags: tuple[str, ...] = ()) -> str:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", *flags, "-c", code]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path for a checkpoint, in a folder of its own."""
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="session")
def listing() -> Callable[[Path], list[str]]:
    """The names in a folder."""
    return _listing


@pytest.fixture(scope="session")
def nothing_left_open() -> Callable[[], AbstractContextManager[None]]:
    """A context that leaves as many open files as it found."""
    return _nothing_left_open


@pytest.fixture(scope="session")
def assert_same() -> Callable[[dict[str, Array], dict[str, Array]], None]:
    """Checks for the same names, dtypes, shapes and bits."""
    return _assert_same


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Runs code with arguments in a new interpreter, and returns what it prints."""
    return _run_python


def _functions(base: Any) -> dict[str, Any]:
    """Return custom functions, subclasses of the Function class of either library."""

    class Cube(base):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x)
            return x * x * x * 0.3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * x * x * 0.9, None

    class Exp(base):
        @staticmethod
        def forward(ctx, x, y):
            out = x.tanh()
            ctx.save_for_backward(out, None)
            return out

        @staticmethod
        def backward(ctx, g):
            out, none = ctx.saved_tensors
            assert none is None
            return g * (1 - out * out), None

    class Product(base):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            a, b = ctx.needs_input_grad
            return g * y if a else None, g * x if b else None

    class Two(base):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return x * y, x.sin() + y

        @staticmethod
        def backward(ctx, g, h):
            x, y = ctx.saved_tensors
            return g * y + h * x.cos(), g * x + h

    class Lazy(base):
        @staticmethod
        def forward(ctx, x, y):
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(x)
            return x * 2, x.sin() - y

        @staticmethod
        def backward(ctx, g, h):
            (x,) = ctx.saved_tensors
            parts = ([] if g is None else [g * 2]) + ([] if h is None else [h * x.cos()])
            return sum(parts) if parts else None, None if h is None else -h

    class Pass(base):
        @staticmethod
        def forward(ctx, x, y):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 0.5, None

    class View(base):
        @staticmethod
        def forward(ctx, x, y):
            return x[:, :] * 1, (y * 3).t().t()

        @staticmethod
        def backward(ctx, g, h):
            return g, h * 3

    class Hard(base):
        @staticmethod
        def forward(ctx, x, y):
            out = x * y.detach()
            hard = (x > 0).to(x.dtype)
            ctx.mark_non_differentiable(hard)
            ctx.factor = 2.0
            ctx.save_for_backward(y)
            return out, hard

        @staticmethod
        def backward(ctx, g, h):
            (y,) = ctx.saved_tensors
            return g * y, None

    return {c.__name__: c for c in (Cube, Exp, Product, Two, Lazy, Pass, View, Hard)}


@pytest.fixture(scope="session")
def functions() -> Callable[[Any], dict[str, Any]]:
    """Makes custom functions, by name, of the Function class of either library."""
    return _functions
