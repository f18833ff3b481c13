"""Lists and dicts of parameters that are modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Self, TypeAlias, overload

from ferrum import Tensor
from ferrum.errors import OperandError
from ferrum_nn.containers import entry, iterable_of, pairs_of, place
from ferrum_nn.errors import UnknownKeyError
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter

Entries: TypeAlias = "Mapping[str, Any] | Iterable[tuple[str, Any]] | ParameterDict"


class ParameterList(Module):
    """A list of parameters, which is a module itself, but not one that can be called.

    A plain list in an attribute is found too, under the same names. Tensors become parameters;
    anything else is kept as it is.
    """

    _size: int = 0

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        if values is not None:
            self.extend(values)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return getattr(self, str(place("ParameterList", index, len(self))))

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, str(place("ParameterList", index, len(self))), _kept(value))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter([getattr(self, str(i)) for i in range(len(self))])

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def append(self, value: Any) -> Self:
        """Add a value at the end. Returns self."""
        setattr(self, str(self._size), _kept(value))
        self._size += 1
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add several values at the end. Returns self."""
        if isinstance(values, Tensor):
            raise OperandError("ParameterList: expected values, got a tensor; put it into a list")
        for value in list(iterable_of("ParameterList", values)):
            self.append(value)
        return self

    def extra_repr(self) -> str:
        """Return a line for each entry."""
        return _lines(enumerate(self))


class ParameterDict(Module):
    """A dict of parameters, which is a module itself, but not one that can be called.

    A plain dict in an attribute is found too, under the same names. Tensors become parameters;
    anything else is kept as it is. Keys are strings without a dot that are no attribute already.
    As in PyTorch the entries of a plain dict come in the order of their keys.
    """

    _keys: dict[str, None]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Return one without entries: subclasses need not call `super().__init__()`."""
        self = super().__new__(cls)
        self._keys = {}
        return self

    def __init__(self, parameters: Entries | None = None) -> None:
        if parameters is not None:
            self.update(parameters)

    def _held(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self._keys}

    def __getitem__(self, key: str) -> Any:
        return entry("ParameterDict", self._held(), key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self:
            self._check_free(key, ())
        setattr(self, key, _kept(value))
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._keys))

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._keys))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self._keys

    def __or__(self, other: Entries) -> ParameterDict:
        both = self.copy()
        both.update(other)
        return both

    def __ror__(self, other: Entries) -> ParameterDict:
        return ParameterDict(other) | self

    def __ior__(self, other: Entries) -> Self:
        self.update(other)
        return self

    def copy(self) -> ParameterDict:
        """Return another one with the same parameters."""
        return ParameterDict(OrderedDict(self._held()))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return what is under `key`; where nothing is, put `default` there first."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Take all entries out."""
        for key in self:
            self.pop(key)

    def pop(self, key: str) -> Any:
        """Take the entry under `key` out and return it."""
        value = self[key]
        del self._keys[key]
        delattr(self, key)
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take the last entry out and return it with its key."""
        if not self._keys:
            raise UnknownKeyError("ParameterDict: there is no entry to take out")
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return what is under `key`, or `default`."""
        return self._held().get(key, default)

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """Return a new one with these keys, and `default` under each."""
        return ParameterDict([(key, default) for key in iterable_of("ParameterDict", keys)])

    def keys(self) -> KeysView[str]:
        """Return the keys."""
        return self._held().keys()

    def items(self) -> ItemsView[str, Any]:
        """Return the keys with their entries."""
        return self._held().items()

    def values(self) -> ValuesView[Any]:
        """Return the entries."""
        return self._held().values()

    def update(self, parameters: Entries) -> None:
        """Hold the entries of a mapping, or of pairs of a key and an entry, too."""
        pairs = pairs_of("ParameterDict", parameters)
        if isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict):
            pairs.sort(key=lambda pair: str(pair[0]))
        for key, value in pairs:
            self[key] = value

    def extra_repr(self) -> str:
        """Return a line for each entry."""
        return _lines(self.items())


def _kept(value: Any) -> Any:
    """Return a tensor as a parameter, anything else as it is."""
    is_plain = isinstance(value, Tensor) and not isinstance(value, Parameter)
    return Parameter(value) if is_plain else value


def _lines(entries: Iterable[tuple[Any, Any]]) -> str:
    return "\n".join(f"  ({key}): {_described(value)}" for key, value in entries)


def _described(value: Any) -> str:
    if not isinstance(value, Parameter):
        return f"Object of type: {type(value).__name__}"
    size = "x".join(map(str, value.shape))
    where = f" ({value.device})" if str(value.device).startswith("cuda") else ""
    return f"Parameter containing: [{value.dtype.name} of size {size}{where}]"
