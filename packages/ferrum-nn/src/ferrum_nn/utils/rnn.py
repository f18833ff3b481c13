"""Sequences of several lengths in one tensor, as `torch.nn.utils.rnn` has them: padded or packed.

Padded sequences are (t, b, ...), or (b, t, ...) with `batch_first`. Packed, the rows of all steps
lie one after the other, step by step and the longest sequence first, without any padding; that is
what recurrent layers work on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any, NamedTuple

from ferrum import Device, Tensor, argsort, cat, full, tensor
from ferrum.dtypes import int64
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum_nn.functional.losses_checks import check_tensors

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """Sequences without padding: what this module makes, and recurrent layers take.

    `data` (rows, ...) has the rows of step 0, of step 1 and so on, `batch_sizes` (t,) says how many
    sequences reach each step. `sorted_indices` (b,) are the places that the sequences had before
    they were sorted by length, `unsorted_indices` the way back; both are None for sequences that
    came sorted.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        """Return packed sequences; what `unsorted_indices` leaves out is worked out."""
        check_tensors("PackedSequence", data, batch_sizes)
        assert batch_sizes is not None
        if batch_sizes.dtype is not int64 or batch_sizes.ndim != 1:
            raise ArgumentError(
                f"PackedSequence: expected batch_sizes (t,) of int64, got {batch_sizes.shape} of "
                f"{batch_sizes.dtype.name}"
            )
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **options: Any) -> PackedSequence:
        """Return it with `data` in another dtype or on another device, or itself."""
        data = self.data.to(*args, **options)
        if data is self.data:
            return self
        sizes, *ways = (None if each is None else each.to(data.device) for each in self[1:])
        return PackedSequence(data, sizes, *ways)

    def cpu(self) -> PackedSequence:
        """Return it on the device `cpu`."""
        return self.to("cpu")

    def double(self) -> PackedSequence:
        """Return it as float64."""
        return self.to("float64")

    def float(self) -> PackedSequence:
        """Return it as float32."""
        return self.to("float32")

    def half(self) -> PackedSequence:
        """Return it as float16."""
        return self.to("float16")


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """Return the permutation (n,) that undoes this one; None for None."""
    return None if permutation is None else argsort(permutation)


def _lengths(name: str, lengths: Tensor | Sequence[int], batch: int, longest: int) -> list[int]:
    """Return the lengths as integers, or raise where they do not fit a batch."""
    try:
        found = [index(each) for each in (getattr(lengths, "tolist", None) or lengths.__iter__)()]
    except (TypeError, AttributeError):
        raise OperandError(f"{name}: expected integers as lengths, got {lengths!r}") from None
    if len(found) != batch:
        raise ArgumentError(
            f"{name}: expected a length for each of {batch} sequences, got {len(found)}"
        )
    if found and not 0 <= min(found) <= max(found) <= longest:
        raise ArgumentError(f"{name}: expected lengths from 0 to {longest}, got {found}")
    return found


def _whole(values: Iterable[int], device: Device) -> Tensor:
    return tensor(list(values), dtype=int64, device=device)


def _sizes(lengths: Sequence[int]) -> list[int]:
    """Return how many sequences reach each step."""
    return [sum(each > t for each in lengths) for t in range(max(lengths))]


def pack_padded_sequence(
    input: Tensor,
    lengths: Tensor | Sequence[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Return padded sequences (t, b, ...) of these lengths packed.

    With `enforce_sorted` the lengths must not grow from one sequence to the next; without, the
    sequences are sorted here and the way back is kept. Raises ArgumentError for lengths that do
    not fit, are below 1 or not sorted, ShapeError for an input without the two axes.
    """
    name = "pack_padded_sequence"
    check_tensors(name, input)
    if input.ndim < 2 or 0 in input.shape[:2]:
        raise ShapeError(f"{name}: expected an input (t, b, ...) with elements, got {input.shape}")
    steps = input.transpose(0, 1) if batch_first else input
    longest, batch = steps.shape[:2]
    found = _lengths(name, lengths, batch, longest)
    if min(found) < 1:
        raise ArgumentError(f"{name}: expected lengths of at least 1, got {found}")
    order: list[int] | None = None
    if not enforce_sorted:
        order = sorted(range(batch), key=lambda i: -found[i])
        found = [found[i] for i in order]
    elif found != sorted(found, reverse=True):
        raise ArgumentError(
            f"{name}: expected lengths that never grow, got {found}; sort the sequences, or pass "
            f"enforce_sorted=False"
        )
    sizes, places = _sizes(found), order or range(batch)
    rows = [t * batch + places[i] for t, size in enumerate(sizes) for i in range(size)]
    flat = steps.reshape(longest * batch, *steps.shape[2:])
    if rows != list(range(longest * batch)):
        flat = flat.index_select(0, _whole(rows, input.device))
    indices = None if order is None else _whole(order, input.device)
    return PackedSequence(flat, _whole(sizes, input.device), indices)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return packed sequences as padded ones (t, b, ...), in their first order, and their lengths.

    t is the longest length, or `total_length`. Raises OperandError for what is not packed,
    ArgumentError for a total_length that is too small.
    """
    name = "pad_packed_sequence"
    _check_packed(name, sequence)
    data, sizes = sequence.data, sequence.batch_sizes.tolist()
    steps = len(sizes) if total_length is None else total_length
    if steps < len(sizes):
        raise ArgumentError(f"{name}: expected total_length of {len(sizes)} or more, got {steps}")
    batch = sizes[0] if sizes else 0
    order = range(batch)
    if sequence.unsorted_indices is not None:
        order = sequence.unsorted_indices.tolist()
    starts = [sum(sizes[:t]) for t in range(len(sizes))]
    ends = [*sizes, *[0] * (steps - len(sizes))]
    nothing = len(data)  # where the row of padding lies
    places = [starts[t] + i if i < ends[t] else nothing for t in range(steps) for i in order]
    padding = full((1, *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device)
    padded = cat([data, padding]).index_select(0, _whole(places, data.device))
    padded = padded.reshape(steps, batch, *data.shape[1:])
    lengths = _whole((sum(size > i for size in sizes) for i in order), data.device)
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def _check_packed(name: str, sequence: object) -> None:
    if not isinstance(sequence, PackedSequence):
        raise OperandError(
            f"{name}: expected a PackedSequence, got {type(sequence).__name__}; "
            f"pack_padded_sequence makes one"
        )


def _listed(name: str, sequences: Iterable[Tensor]) -> list[Tensor]:
    """Return the sequences as a list, or raise unless they are tensors that go together."""
    if not isinstance(sequences, Iterable):
        raise OperandError(f"{name}: expected tensors, got {type(sequences).__name__}")
    found = list(sequences)
    check_tensors(name, *found)
    if not found:
        raise ArgumentError(f"{name}: expected at least one sequence, got none")
    for each in found:
        if not each.ndim or each.shape[1:] != found[0].shape[1:]:
            raise ShapeError(
                f"{name}: expected sequences (length, ...) that differ in length only, got "
                f"{found[0].shape} and {each.shape}"
            )
    return found


def pad_sequence(
    sequences: Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Return sequences (length, ...) as one tensor (t, b, ...), filled up with `padding_value`.

    The filling comes behind each sequence, or before it with `padding_side` "left". Raises
    ShapeError for sequences that differ in more than length, ArgumentError for none at all.
    """
    name = "pad_sequence"
    if padding_side not in ("left", "right"):
        raise ArgumentError(
            f"{name}: expected padding_side to be 'left' or 'right', got {padding_side!r}"
        )
    found = _listed(name, sequences)
    longest, padded = max(len(each) for each in found), []
    for each in found:
        shape = longest - len(each), *each.shape[1:]
        filling = full(shape, padding_value, dtype=each.dtype, device=each.device)
        padded.append(cat([each, filling] if padding_side == "right" else [filling, each]))
    batch = cat([each.unsqueeze(0) for each in padded])
    return batch if batch_first else batch.transpose(0, 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False
) -> list[Tensor]:
    """Return the sequences (length, ...) that padded ones (t, b, ...) hold.

    Raises ArgumentError for lengths that do not fit.
    """
    name = "unpad_sequence"
    check_tensors(name, padded_sequences)
    if padded_sequences.ndim < 2:
        raise ShapeError(f"{name}: expected (t, b, ...), got {padded_sequences.shape}")
    batch = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    found = _lengths(name, lengths, batch.shape[0], batch.shape[1])
    return [batch[i, :length] for i, length in enumerate(found)]


def pack_sequence(sequences: Iterable[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Return sequences (length, ...) packed; `enforce_sorted` is as in `pack_padded_sequence`."""
    found = _listed("pack_sequence", sequences)
    lengths = [len(each) for each in found]
    return pack_padded_sequence(pad_sequence(found), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Return the sequences (length, ...) that are packed, in their first order."""
    _check_packed("unpack_sequence", packed_sequences)
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
