"""The node of an op's call: what it saves for its gradient, and how it gets it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ferrum import base
from ferrum.errors import GradientError, UnsupportedError
from ferrum.graph import Edges, Node, Pieces, edge_to, storage_of

if TYPE_CHECKING:
    from ferrum.device import Device
    from ferrum.operation import Op
    from ferrum.tensor import Tensor


class SavingNode(Node):
    """A node that saves values for its gradient, on one device."""

    __slots__ = ("device", "saved")

    device: Device
    saved: list[Any] | Recall | None  # None once the graph has been freed

    def free(self) -> None:
        """Drop the saved tensors; a node that saved none may be walked through again."""
        if self.saved:
            self.saved = None


class OpNode(SavingNode):
    """A recorded call of an op: what its gradient rule needs, and nothing else.

    `saved` is what the rule reads; then, where that includes extra outputs, the inputs for the
    fallback.
    """

    __slots__ = ("attrs", "op")

    op: Op[..., Any]
    attrs: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the op."""
        return self.op.name

    def pull(self, grads: list[Tensor | None], create_graph: bool, needs: Edges) -> Pieces:
        """Return what the gradient rule makes of `grads`."""
        op = self.op
        if create_graph and op.reads_extra:
            return NotImplemented  # type: ignore[no-any-return]  # the engine differentiates the fallback instead
        edges = self.edges
        count = len(edges)
        saved = self.saved if self.saved.__class__ is list else recall(self)
        restored = []
        for (i, _), entry in zip(op.keeps, saved):  # noqa: B905 - inputs for the fallback follow
            if not create_graph and entry.__class__ is tuple and entry[1].version == entry[2]:
                tensor = base.Tensor(entry[0], self.device)  # as `restore` does, which is a call
                tensor.storage = entry[1]
                restored.append(tensor)
                continue
            where = edges[i] if i < count else i - count
            restored.append(restore(self, entry, where, create_graph))
        attrs = {name: self.attrs[name] for name in op.vjp_attributes} if op.vjp_attributes else {}
        if op.wants_needs:
            attrs["needs"] = needs
        assert op.vjp is not None  # a node is only recorded for an op that has one
        pieces: Pieces = op.vjp(grads[0] if self.outputs == 1 else tuple(grads), *restored, **attrs)
        return (pieces,) if count == 1 else pieces  # type: ignore[return-value]

    def inputs(self) -> tuple[Any, ...]:
        """Return the inputs of an op whose gradient reads extra outputs, with their history."""
        entries = recall(self)[len(self.op.keeps) :]
        return tuple(
            restore(self, entry, edge, create_graph=True)
            for entry, edge in zip(entries, self.edges, strict=True)
        )


def save(value: Any) -> Any:
    """Return what a node keeps of `value`: the array, and the version that it must still have."""
    if not isinstance(value, (base.TensorBase, list, tuple)):
        return value
    if isinstance(value, (list, tuple)):
        return [save(each) for each in value]
    storage = storage_of(value)
    return (value.array, storage, storage.version)


class Recall:
    """Stands for what a node would have saved; `checkpoint` computes it again."""

    def recall(self) -> list[Any] | Recall | None:
        """Return what the node saved."""
        raise UnsupportedError(f"{type(self).__name__}: the class defines no recall(self)")


def recall(node: SavingNode) -> list[Any]:
    """Return what `node` saved, computed again where a checkpoint dropped it."""
    while isinstance(node.saved, Recall):
        node.saved = node.saved.recall()
    if node.saved is None:
        raise GradientError(
            f"{node.name}: its graph has been freed; pass retain_graph=True to the first backward"
        )
    return node.saved


def restore(node: SavingNode, entry: Any, edge: Any, create_graph: bool) -> Any:
    """Return a saved value as a tensor; with its history, `edge`, where that is wanted.

    An int for `edge` is the index of an output of `node` itself.
    """
    if entry.__class__ is not tuple:
        if entry.__class__ is list:
            return [restore(node, each, edge[i], create_graph) for i, each in enumerate(entry)]
        return entry
    array, storage, version = entry
    if storage.version != version:
        raise GradientError(
            f"{node.name}: a tensor saved for its gradient, of shape {array.shape}, was changed in "
            f"place after it was used (version {storage.version}, expected {version}); use the "
            f"out-of-place op, or clone() it first{getattr(node, 'trace', '')}"
        )
    tensor = base.Tensor(array, node.device)
    tensor.storage = storage
    if create_graph:
        tensor.edge = edge_to(node, edge, array) if edge.__class__ is int else edge
    return tensor


def unfolded(edges: Edges, pieces: Pieces) -> tuple[Edges, Pieces]:
    """Return edges and gradients with those of lists of tensors one by one."""
    each: list[Any] = []
    parts: list[Any] = []
    for edge, piece in zip(edges, pieces, strict=True):
        if not isinstance(edge, tuple):
            each.append(edge)
            parts.append(piece)
            continue
        several: Any = [None] * len(edge) if piece is None else piece
        if len(several) != len(edge):
            raise ValueError("another number of gradients than of tensors in a list")
        each += edge
        parts += several
    return tuple(each), parts


def check_pieces(node: Node, pieces: Any, edges: Edges) -> None:
    """Raise GradientError where `pieces`, a gradient per edge, has something else in it."""
    expected = f"{node.name}: expected its gradient rule to return"
    if not isinstance(pieces, (tuple, list)):
        raise GradientError(f"{expected} {len(edges)} gradients, got {type(pieces).__name__}")
    for number, (piece, edge) in enumerate(zip(pieces, edges, strict=False)):
        if not _is_piece(piece, edge):
            what = f"{len(edge)} tensors" if isinstance(edge, tuple) else "a tensor"
            raise GradientError(
                f"{expected} {what} or None for input {number}, got {type(piece).__name__}"
            )


def _is_piece(piece: Any, edge: Any) -> bool:
    """Return whether `piece` is a gradient for `edge`, or a sequence of them for several."""
    if piece is None or edge is None:
        return True
    if not isinstance(edge, tuple):
        return isinstance(piece, base.TensorBase)
    whole = isinstance(piece, (tuple, list)) and len(piece) == len(edge)
    return whole and all(map(_is_piece, piece, edge))
