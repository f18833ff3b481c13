"""How a tensor looks when printed: PyTorch's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ferrum.dtypes import bfloat16, bool_, float16, int64
from ferrum.graph import Leaf
from ferrum.plugins import is_default
from ferrum.promotion import get_default_dtype

if TYPE_CHECKING:
    from ferrum.tensor import Tensor

_options: dict[str, Any] = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80}


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
    kind = "tensor" if type(x).__name__ == "Tensor" else type(x).__name__
    prefix = f"{kind}("
    values = _values(x, len(prefix))
    return f"{prefix}{', '.join([values, *_notes(x)])})"


def _values(x: Tensor, indent: int) -> str:
    array = x.device.backend.to_numpy(x.array)
    if not array.size:
        return "[]"
    if array.dtype in (float16, bfloat16):
        array = array.astype(np.float32)
    options = dict(_options)
    if array.dtype.kind == "f":
        options |= _float_style(array)
    with np.printoptions(**options):
        return np.array2string(array, separator=", ", prefix=" " * indent)


def _float_style(array: Any) -> dict[str, Any]:
    """Return the style for floats: whole numbers as `1.`, wide ranges with exponents."""
    finite = np.abs(array[np.isfinite(array) & (array != 0)]).astype(np.float64)
    wide = finite.size and (
        finite.max() >= 1e8 or finite.min() < 1e-4 or finite.max() / finite.min() > 1000
    )
    whole = bool(np.all(finite == np.floor(finite)))
    if finite.size and not whole and wide:
        digits = _options["precision"]
        return {"formatter": {"float_kind": lambda value: f"{value:.{digits}e}"}}
    return {"floatmode": "maxprec" if whole else "fixed", "suppress": True}


def _notes(x: Tensor) -> list[str]:
    notes = []
    if 0 in x.shape and x.ndim != 1:
        notes.append(f"size={x.shape}")
    usual = get_default_dtype() if x.dtype.kind in "fV" else int64
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
