"""State as JSON and tensors: what a state dict holds, written as text and read back the same.

None, bools, integers, floats, strings and lists are what they are in JSON, and so is a dict whose
keys are strings without "$" in front. Everything else is an object of one key:

    {"$tuple": [...]}     {"$dict": [[key, value], ...]}     {"$bytes": "00ff"}
    {"$float": "7ff0000000000000"}    the bits of an infinity or a NaN
    {"$tensor": "0.weight"}           the name of a tensor, which is kept elsewhere
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from ferrum import Tensor
from ferrum.errors import ArgumentError, CheckpointError, OperandError

MAX_BITS = 8192  # of an integer; Python's JSON reads 4300 digits
MAX_LEVELS = 64


def encode(where: str, value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return `value` as JSON has it, and put its tensors into `tensors` by their path.

    Instances of subclasses (np.float64, a Counter, a named tuple) become what they derive from.
    Raises OperandError for anything else, ArgumentError for an integer of more than 8192 bits and
    for more than 64 levels of containers; all name the part, `where`, and the path inside it.
    """
    return _Encoder(where, tensors).encode(value, "", MAX_LEVELS)


class _Encoder:
    def __init__(self, where: str, tensors: dict[str, Tensor]) -> None:
        self.where = where
        self.tensors = tensors

    def encode(self, value: Any, path: str, levels: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str.__str__(value)  # of an enumeration, str() would be its name
        if isinstance(value, int):
            if value.bit_length() > MAX_BITS:
                raise ArgumentError(self.expected(path, f"an integer of at most {MAX_BITS} bits"))
            return int(value)
        if isinstance(value, float):
            number = float(value)
            return number if math.isfinite(number) else {"$float": struct.pack(">d", number).hex()}
        if isinstance(value, (bytes, bytearray)):
            return {"$bytes": value.hex()}
        if isinstance(value, Tensor):
            name = _free(path or "value", self.tensors)
            self.tensors[name] = value
            return {"$tensor": name}
        if not levels:
            raise ArgumentError(self.expected(path[:80], f"at most {MAX_LEVELS} levels"))
        if isinstance(value, (list, tuple)):
            listed = [self.encode(x, _join(path, i), levels - 1) for i, x in enumerate(value)]
            return {"$tuple": listed} if isinstance(value, tuple) else listed
        if isinstance(value, Mapping):
            return self.mapping(value, path, levels - 1)
        forms = "tensors, numbers, strings, bytes, None, or lists, tuples or dicts of them"
        raise OperandError(self.expected(path, f"{forms}, got {type(value).__name__}"))

    def mapping(self, value: Mapping[Any, Any], path: str, levels: int) -> Any:
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {
                str.__str__(key): self.encode(each, _join(path, key), levels)
                for key, each in value.items()
            }
        plain_keys = _Encoder(self.where, {})
        pairs = [
            [plain_keys.encode(key, path, levels), self.encode(each, _join(path, key), levels)]
            for key, each in value.items()
        ]
        if plain_keys.tensors:
            raise OperandError(self.expected(path, "numbers or strings as keys, got a tensor"))
        return {"$dict": pairs}

    def expected(self, path: str, what: str) -> str:
        return f"{self.where}: {path or 'the value'}: expected {what}"


def _join(path: str, key: Any) -> str:
    # NUL cannot stand in the name of a tensor, nor half a character
    text = str(key).replace("\0", "?").encode("utf-8", "replace").decode("utf-8")
    return f"{path}.{text}" if path else text


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """Return `name`, with a number behind it where "a.b" and {"a": {"b": ...}} meet."""
    name = "value" if name == "__metadata__" else name
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}#{count}"
    return found


def decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what `encode` was given. Raises CheckpointError for JSON that it does not write."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(3 * MAX_LEVELS + 2):  # a "$dict" takes three, and a "$float" one more
        opened = [each.values() if isinstance(each, dict) else each for each in level]
        level = [each for held in opened for each in held if isinstance(each, (dict, list))]
        if not level:
            return _decoded(value, tensors)
    raise CheckpointError("expected a few levels, got it too deep")


def _decoded(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decoded(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if not any(key.startswith("$") for key in value):
        return {key: _decoded(each, tensors) for key, each in value.items()}
    tag, held = next(iter(value.items()))
    if len(value) > 1 or tag not in _FORMS:
        raise CheckpointError(f"expected one of {', '.join(_FORMS)}, got {_short(value)}")
    read, form = _FORMS[tag]
    try:
        return read(held, tensors)
    except CheckpointError:
        raise
    except (TypeError, ValueError, KeyError, struct.error):
        raise CheckpointError(f"expected {form} as {tag}, got {_short(held)}") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def _listed(value: Any, tensors: Mapping[str, Tensor]) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return [_decoded(each, tensors) for each in value]


def _dict(value: Any, tensors: Mapping[str, Tensor]) -> dict[Any, Any]:
    pairs = [(key, each) for key, each in _listed(value, tensors)]
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


_FORMS: dict[str, tuple[Callable[[Any, Mapping[str, Tensor]], Any], str]] = {
    "$tensor": (lambda name, tensors: tensors[name], "the name of a tensor in the part's file"),
    "$tuple": (lambda value, tensors: tuple(_listed(value, tensors)), "a list"),
    "$dict": (_dict, "a list of pairs, with each key once"),
    "$float": (
        lambda text, _: struct.unpack(">d", bytes.fromhex(text))[0],
        "16 hexadecimal digits",
    ),
    "$bytes": (lambda text, _: bytes.fromhex(text), "hexadecimal digits"),
}
