"""How a tensor looks when printed: PyTorch's form, with NaN and infinity in line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ferrum.dtypes import bool_, float32, int64, is_floating
from ferrum.graph import Leaf
from ferrum.plugins import is_default
from ferrum.promotion import get_default_dtype

if TYPE_CHECKING:
    from ferrum.tensor import Tensor

Write: TypeAlias = Callable[[Any], str]

_options: dict[str, int] = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80}


def set_printoptions(
    precision: int | None = None,
    threshold: int | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
) -> None:
    """Set how tensors print: digits, elements before they are summarised, and characters a line."""
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    _options.update({name: value for name, value in given.items() if value is not None})


def tensor_text(x: Tensor) -> str:
    """Return `tensor([[1., 2.], ...], dtype=..., device=..., requires_grad=True)`."""
    text = "tensor(" if type(x).__name__ == "Tensor" else f"{type(x).__name__}("
    indent = len(text)
    text += _values(x.device.backend.to_numpy(x.array), indent)
    for note in _notes(x):
        used = len(text) - text.rfind("\n") + len(note) + 2
        text += f",\n{' ' * indent}{note}" if used > _options["linewidth"] else f", {note}"
    return text + ")"


def _values(array: npt.NDArray[Any], indent: int) -> str:
    if not array.size:
        return "[]"
    if is_floating(array.dtype) and array.dtype.itemsize == 2:
        array = array.astype(float32)
    shown = array
    if array.size > _options["threshold"]:
        for axis, size in enumerate(array.shape):
            kept = [i for i in _entries(size, True) if i is not None]
            shown = shown[(slice(None),) * axis + (kept,)]  # `take` would copy all of it first
    write = _float_style(shown) if is_floating(array.dtype) else str
    width = max(len(write(value)) for value in shown.flat)
    if not array.ndim:
        return write(array[()])
    summarised = shown is not array
    return _bracketed(array, lambda value: write(value).rjust(width), width, indent, summarised)


def _entries(size: int, summarised: bool) -> list[int | None]:
    """Return the indices to show along an axis, None for those left out."""
    edge = _options["edgeitems"]
    if not summarised or size <= 2 * edge:
        return list(range(size))
    return [*range(edge), None, *range(size - edge, size)]


def _bracketed(
    array: npt.NDArray[Any], write: Write, width: int, indent: int, summarised: bool
) -> str:
    """Return an array of one axis or more, whose first bracket stands in column `indent`."""
    margin = "\n" + " " * (indent + 1)
    entries = _entries(len(array), summarised)
    if array.ndim > 1:
        blocks = [
            "..." if i is None else _bracketed(array[i], write, width, indent + 1, summarised)
            for i in entries
        ]
        gap = "," + "\n" * (array.ndim - 2) + margin
        return f"[{gap.join(blocks)}]"
    words = [" ..." if i is None else write(array[i]) for i in entries]
    count = max(1, (_options["linewidth"] - indent) // (width + 2))
    lines = [", ".join(words[i : i + count]) for i in range(0, len(words), count)]
    gap = "," + margin
    return f"[{gap.join(lines)}]"


def _float_style(array: npt.NDArray[Any]) -> Write:
    """Return what writes a float: whole numbers as `1.`, wide ranges with exponents."""
    finite = np.abs(array[np.isfinite(array) & (array != 0)]).astype(np.float64)
    whole = bool(np.all(finite == np.floor(finite)))
    least, most = (finite.min(), finite.max()) if finite.size else (1.0, 1.0)
    if most > 1e8 or (not whole and (least < 1e-4 or most / least > 1000)):
        return f"{{:.{_options['precision']}e}}".format
    if whole:
        return lambda value: f"{value:.0f}." if np.isfinite(value) else str(value)
    return f"{{:.{_options['precision']}f}}".format


def _notes(x: Tensor) -> list[str]:
    notes = []
    if 0 in x.shape and x.ndim != 1:
        notes.append(f"size={x.shape}")
    usual = get_default_dtype() if is_floating(x.dtype) else int64
    if (x.dtype is not usual and x.dtype is not bool_) or (
        0 in x.shape and x.dtype is not get_default_dtype()
    ):
        notes.append(f"dtype={x.dtype.name}")
    if not is_default(x.device):
        notes.append(f"device='{x.device}'")
    if x.edge is not None:
        node = x.edge.node
        notes.append("requires_grad=True" if isinstance(node, Leaf) else f"grad_fn=<{node.name}>")
    return notes
