"""Every public name of PyTorch's: here and compared with it, or on the list with the reason."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
LISTED: dict[str, Any] = tomllib.loads((HERE / "pytorch_names.toml").read_text(encoding="utf-8"))
REASONS = LISTED.pop("reasons")
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
    ours = importlib.import_module(LISTED[module]["ours"])
    assert not [name for where, name in OTHERS if where == module and name in vars(ours)]


@pytest.mark.torch
@pytest.mark.parametrize("module", LISTED)
def test_the_list_is_whole(module: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    listed = [name for where, name in [*NAMES, *OTHERS] if where == module]
    assert len(listed) == len(set(listed))
    assert set(listed) == public(importlib.import_module(module))


def test_names_that_are_here_are_compared() -> None:
    others = [path for path in HERE.glob("test_torch_*.py") if path.name != Path(__file__).name]
    written = set(re.findall(r"\w+", " ".join(path.read_text(encoding="utf-8") for path in others)))
    assert sorted({name for _, name in NAMES} - written) == []
