"""Modules made of modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, Self, overload

from ferrum.errors import OperandError, OutOfRangeError
from ferrum_nn.module import Module


class Sequential(Module):
    """Modules one after the other, each given what the one before it returned.

    `Sequential(nn.Linear(2, 8), nn.Tanh())` names them "0", "1", ...; an OrderedDict of modules
    gives them names. It has a length, and can be iterated and indexed by ints and slices.
    """

    def __init__(self, *modules: Module | OrderedDict[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], OrderedDict):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules)  # type: ignore[arg-type]  # append refuses what is no module

    def forward(self, x: Any) -> Any:
        """Return what the last module makes of what the others made of x."""
        for each in list(self.__dict__.values()):  # a copy: a module may change its parent
            if isinstance(each, Module):
                x = each(x)
        return x

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[Module]:
        return iter([each for each in self.__dict__.values() if isinstance(each, Module)])

    def _names(self) -> list[str]:
        return [name for name, each in vars(self).items() if isinstance(each, Module)]

    def _name_at(self, index: int) -> str:
        names = self._names()
        if not isinstance(index, int):
            raise OperandError(f"Sequential: expected an integer or a slice, got {index!r}")
        if not -len(names) <= index < len(names):
            raise OutOfRangeError(f"Sequential: index {index} is out of range for {len(names)}")
        return names[index]

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Module | Self:
        if isinstance(index, slice):
            chosen = [(name, getattr(self, name)) for name in self._names()[index]]
            return type(self)(OrderedDict(chosen))
        module: Module = getattr(self, self._name_at(index))
        return module

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name_at(index), module)

    def append(self, module: Module) -> Self:
        """Add a module at the end. Returns self."""
        names = map(str, count(len(self)))  # a slice keeps its names, so some may be taken
        self.add_module(next(name for name in names if not hasattr(self, name)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end. Returns self."""
        if not isinstance(modules, Iterable):
            raise OperandError(f"Sequential: expected modules, got {type(modules).__name__}")
        for module in modules:
            self.append(module)
        return self
