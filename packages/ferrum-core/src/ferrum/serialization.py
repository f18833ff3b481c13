"""Saving tensors to .safetensors files and loading them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ferrum.creation import from_numpy
from ferrum.device import Device
from ferrum.errors import OperandError
from ferrum.tensor import Tensor


def save_file(
    tensors: Mapping[str, Tensor],
    filename: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `tensors` by name into a .safetensors file: whole, or not at all.

    The bytes go to a temporary file, to the disk, and then into place.
    """
    if not isinstance(tensors, Mapping):
        raise OperandError(
            f"save_file: expected a mapping of names to tensors, got {type(tensors).__name__}"
        )
    for name, each in tensors.items():
        if not isinstance(each, Tensor):
            raise OperandError(
                f"save_file: expected tensors, got {type(each).__name__} for {name!r}"
            )
    from ferrum import safetensors_io  # with json and pathlib, a fifth of `import ferrum`

    arrays = {name: each.detach().numpy() for name, each in tensors.items()}
    safetensors_io.write_arrays(filename, arrays, metadata)


def load_file(
    filename: str | os.PathLike[str], device: str | Device | None = None
) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file by name.

    On the host's devices they are mapped from the file, read when first touched; writing to them
    does not change it. Raises CheckpointError where the file is not what it says.

    While they are mapped, the file must not be shortened: reading what is gone ends the process, as
    with every memory map. `save_file` over it is safe, for it puts a new file in its place.
    """
    from ferrum import safetensors_io

    arrays, _ = safetensors_io.read_arrays(filename)
    return {name: from_numpy(array, device=device) for name, array in arrays.items()}


def load_metadata(filename: str | os.PathLike[str]) -> dict[str, str]:
    """Return the metadata of a .safetensors file."""
    from ferrum import safetensors_io

    return safetensors_io.read_arrays(filename)[1]
