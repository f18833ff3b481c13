"""Modules made of modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from itertools import chain, count, groupby
from operator import index as as_index
from typing import Any, Self, TypeVar, overload

from ferrum.errors import ArgumentError, OperandError, OutOfRangeError, UnsupportedError
from ferrum_nn.errors import UnknownKeyError
from ferrum_nn.module import Module

T = TypeVar("T")


class _Numbered(Module):
    """Modules in an order, which are attributes called "0", "1", ... unless they have names."""

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[Module]:
        return iter([each for each in self.__dict__.values() if isinstance(each, Module)])

    def _names(self) -> list[str]:
        return [name for name, each in vars(self).items() if isinstance(each, Module)]

    def _name_at(self, index: int) -> str:
        names = self._names()
        return names[place(type(self).__name__, index, len(names))]

    def _hold(self, modules: Iterable[Module]) -> None:
        """Hold these instead, called "0", "1", ..."""
        held = list(modules)
        for name in self._names():
            delattr(self, name)
        for i, each in enumerate(held):
            self.add_module(str(i), each)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Module | Self:
        if isinstance(index, slice):
            return self._part({name: getattr(self, name) for name in self._names()[index]})
        module: Module = getattr(self, self._name_at(index))
        return module

    def _part(self, modules: dict[str, Module]) -> Self:
        """Return a container of this class with some of its modules."""
        raise UnsupportedError(f"{type(self).__name__}: the class defines no _part(self, modules)")

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name_at(index), module_of(type(self).__name__, module))

    def __delitem__(self, index: int | slice) -> None:
        names = self._names()
        gone = names[index] if isinstance(index, slice) else [self._name_at(index)]
        self._hold([getattr(self, name) for name in names if name not in gone])

    def append(self, module: Module) -> Self:
        """Add a module at the end. Returns self."""
        names = map(str, count(len(self)))  # a slice keeps its names, so some may be taken
        free = next(name for name in names if not hasattr(self, name))
        self.add_module(free, module_of(type(self).__name__, module))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end. Returns self."""
        for module in list(iterable_of(type(self).__name__, modules)):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before the one at `index`; those behind it are called anew. Returns self."""
        name, modules = type(self).__name__, list(self)
        at = len(self) if index == len(self) else place(name, index, len(self))
        modules.insert(at, module_of(name, module))
        self._hold(modules)
        return self

    @overload
    def pop(self, key: int) -> Module: ...
    @overload
    def pop(self, key: slice) -> Self: ...
    def pop(self, key: int | slice) -> Module | Self:
        """Take one module out, or those of a slice, and return what was taken."""
        taken = self[key]
        del self[key]
        return taken

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(other)


class Sequential(_Numbered):
    """Modules one after the other, each given what the one before it returned.

    `Sequential(nn.Linear(2, 8), nn.Tanh())` names them "0", "1", ...; an OrderedDict of modules
    gives them names. It is a sequence: it has a length, can be iterated, indexed by ints and
    slices, changed, added to another and multiplied by a number, which repeats the same modules.
    """

    def __init__(self, *modules: Module | OrderedDict[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], OrderedDict):
            for name, module in modules[0].items():
                self.add_module(name, module_of(type(self).__name__, module))
        else:
            self.extend(modules)  # type: ignore[arg-type]  # append refuses what is no module

    def forward(self, x: Any) -> Any:
        """Return what the last module makes of what the others made of x."""
        for each in list(self.__dict__.values()):  # a copy: a module may change its parent
            if isinstance(each, Module):
                x = each(x)
        return x

    def _part(self, modules: dict[str, Module]) -> Self:
        return type(self)(OrderedDict(modules))

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*self, *_sequential(other))

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(_sequential(other))

    def __mul__(self, other: int) -> Sequential:
        return Sequential(*list(self) * _times(other))

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Self:
        return self.extend(list(self) * (_times(other) - 1))


class ModuleList(_Numbered):
    """A list of modules, which is a module itself, but not one that can be called.

    A plain list in an attribute is found too, under the same names; this one has the methods of
    modules and PyTorch's printed form. Its modules are called "0", "1", ...
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        if modules is not None:
            self.extend(modules)

    def _part(self, modules: dict[str, Module]) -> Self:
        return type(self)(modules.values())

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList(chain(self, iterable_of("ModuleList", other)))

    def _children_repr(self) -> list[str]:
        lines, start = [], 0
        for text, same in groupby(map(repr, self)):  # ten equal layers take one line
            n = len(list(same))
            lines.append(
                f"({start}): {text}" if n == 1 else f"({start}-{start + n - 1}): {n} x {text}"
            )
            start += n
        return lines


class ModuleDict(Module):
    """A dict of modules, which is a module itself, but not one that can be called.

    A plain dict in an attribute is found too, under the same names. Keys are strings without a dot
    that are no attribute already.
    """

    def __init__(
        self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None
    ) -> None:
        if modules is not None:
            self.update(modules)

    def _held(self) -> dict[str, Module]:
        return {name: each for name, each in vars(self).items() if isinstance(each, Module)}

    def __getitem__(self, key: str) -> Module:
        return entry("ModuleDict", self._held(), key)

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module_of("ModuleDict", module))

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def __len__(self) -> int:
        return len(self._held())

    def __iter__(self) -> Iterator[str]:
        return iter(self._held())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self._held()

    def clear(self) -> None:
        """Take all modules out."""
        for key in self:
            delattr(self, key)

    def pop(self, key: str) -> Module:
        """Take the module under `key` out and return it."""
        module = self[key]
        delattr(self, key)
        return module

    def keys(self) -> KeysView[str]:
        """Return the keys in the order in which they came."""
        return self._held().keys()

    def items(self) -> ItemsView[str, Module]:
        """Return the keys with their modules."""
        return self._held().items()

    def values(self) -> ValuesView[Module]:
        """Return the modules."""
        return self._held().values()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Hold the modules of a mapping, or of pairs (key, module), too, in their order."""
        for key, module in pairs_of("ModuleDict", modules):
            self[key] = module


def place(name: str, index: int, size: int) -> int:
    """Return an index of a container of `size` entries, counted from its start."""
    try:
        i = as_index(index)
    except TypeError:
        raise OperandError(f"{name}: expected an integer or a slice, got {index!r}") from None
    if not -size <= i < size:
        raise OutOfRangeError(f"{name}: index {i} is out of range for {size}")
    return i % size


def module_of(name: str, value: Any) -> Module:
    """Return `value`, or raise OperandError if it is no module."""
    if not isinstance(value, Module):
        raise OperandError(f"{name}: expected a Module, got {type(value).__name__}")
    return value


def iterable_of(name: str, values: Any) -> Iterable[Any]:
    """Return `values`, or raise OperandError if nothing can be taken from it."""
    if not isinstance(values, Iterable):
        raise OperandError(f"{name}: expected modules, got {type(values).__name__}")
    return values


def pairs_of(name: str, values: Any) -> list[tuple[str, Any]]:
    """Return the pairs (key, entry) of a mapping, a container with keys, or pairs."""
    if isinstance(values, Mapping) or hasattr(values, "keys"):
        return list(values.items())
    pairs = []
    for each in iterable_of(name, values):
        if not isinstance(each, (tuple, list)) or len(each) != 2:
            raise ArgumentError(f"{name}: expected pairs of a key and an entry, got {each!r}")
        pairs.append((each[0], each[1]))
    return pairs


def entry(name: str, entries: Mapping[str, T], key: Any) -> T:
    """Return what is under a key, or raise UnknownKeyError."""
    if not isinstance(key, str) or key not in entries:
        raise UnknownKeyError(f"{name}: there is no entry {key!r}")
    return entries[key]


def _sequential(other: Any) -> Sequential:
    if not isinstance(other, Sequential):
        raise ArgumentError(f"Sequential: expected another to add, got {type(other).__name__}")
    return other


def _times(other: Any) -> int:
    if not isinstance(other, int):
        raise OperandError(f"Sequential: expected an integer to multiply by, got {other!r}")
    if other < 1:
        raise ArgumentError(f"Sequential: expected a positive number of times, got {other}")
    return other
