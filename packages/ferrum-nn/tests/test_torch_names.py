"""Every public name of PyTorch's: here and compared with it, or on the list with the reason."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
LISTED: dict[str, Any] = tomllib.loads((HERE / "pytorch_names.toml").read_text(encoding="utf-8"))
REASONS = LISTED.pop("reasons")
# Arguments that FERRUM does without, each with the reason in the docstring or in the error.
MISSING: dict[str, tuple[str, ...]] = {
    "normalize": ("out",),
}
# An axis has to be given where PyTorch guesses one, with a warning; a parameter needs its tensor.
OTHER_DEFAULTS = {
    *("Softmax", "LogSoftmax", "Softmin", "softmax", "log_softmax", "softmin"),
    "Parameter",
    # whose activation is the library's own relu:
    *("Transformer", "TransformerDecoderLayer", "TransformerEncoderLayer"),
    "random_split",  # whose generator is the default one, made when it is asked for
}
NAMES = [(module, name) for module, each in LISTED.items() for name in each["names"]]
OTHERS = [
    (module, name)
    for module, each in LISTED.items()
    for key in REASONS
    for name in each.get(key, [])
]


def public(module: ModuleType) -> set[str]:
    """Return what a module says is public, or else everything that looks so."""
    said = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if not isinstance(value, ModuleType)
    ]
    return {name for name in said if not name.startswith("_")}


@pytest.mark.parametrize("module", LISTED)
def test_reasons_are_given(module: str) -> None:
    assert set(LISTED[module]) <= {"ours", "names", *REASONS}


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_names_that_are_here(module: str, name: str) -> None:
    ours = importlib.import_module(LISTED[module]["ours"])
    assert name in ours.__all__
    assert hasattr(ours, name)


@pytest.mark.parametrize("module", LISTED)
def test_names_that_are_not(module: str) -> None:
    try:
        ours = importlib.import_module(LISTED[module]["ours"])
    except ModuleNotFoundError:
        assert not LISTED[module]["names"]
        return
    assert not [name for where, name in OTHERS if where == module and name in ours.__all__]


@pytest.mark.torch
@pytest.mark.parametrize("module", LISTED)
def test_the_list_is_whole(module: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    listed = [name for where, name in [*NAMES, *OTHERS] if where == module]
    assert len(listed) == len(set(listed))
    assert set(listed) == public(importlib.import_module(module))


def test_names_that_are_here_are_compared() -> None:
    """By a test that names them; an in-place twin goes with the function that it is the twin of."""
    others = [path for path in HERE.glob("test_torch_*.py") if path.name != Path(__file__).name]
    written = set(re.findall(r"\w+", " ".join(path.read_text(encoding="utf-8") for path in others)))
    names = {name for _, name in NAMES if name.removesuffix("_") not in written}
    assert sorted(names - written) == []


# What PyTorch's signatures have and FERRUM's have not: arguments that it has deprecated itself, and
# those that choose between its own kernels.
LEFT_OUT = {"size_average", "reduce", "_stacklevel", "foreach", "capturable", "differentiable",
            "fused", "verbose", "pin_memory_device", "in_order",
            "min_value", "max_value"}  # fmt: skip


def arguments(function: Any) -> list[tuple[str, Any]] | None:
    """Return the names and defaults of a function's, or a class's, arguments; None if unknown."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a module, or written in C
        return None
    if any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters):
        return None
    return [(each.name, each.default) for each in parameters if each.name not in LEFT_OUT]


@pytest.mark.torch
@pytest.mark.parametrize(("module", "name"), NAMES)
def test_arguments(module: str, name: str) -> None:
    """PyTorch's arguments are taken, in its order and with its defaults; others come after them."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = arguments(getattr(importlib.import_module(module), name))
    ours = arguments(getattr(importlib.import_module(LISTED[module]["ours"]), name))
    if theirs is None or ours is None:
        return
    known = dict(ours)
    missing = [each for each, _ in theirs if each not in known]
    assert missing == list(MISSING.get(name, ()))
    shared = [(each, default) for each, default in theirs if each in known]
    order = [each for each, _ in ours if each in dict(theirs)]
    assert [each for each, _ in shared] == order
    for each, default in shared:
        if name not in OTHER_DEFAULTS:
            assert known[each] == default or repr(known[each]) == repr(default), each
