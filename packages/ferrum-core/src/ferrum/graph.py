"""The recorded graph: nodes, the edges between them, and what tensors that share memory share.

A tensor that requires grad holds an `Edge`: to the node that made it, or to the `Leaf` that gathers
its gradient. A node holds the edges of its inputs, and nothing points from a node back to a tensor,
so a graph is freed the moment the last tensor that needs it goes.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ferrum.dtypes import DType
from ferrum.errors import OperandError, UnsupportedError
from ferrum.spec import Shape

if TYPE_CHECKING:
    from ferrum.base import TensorBase
    from ferrum.operation import Op
    from ferrum.tensor import Tensor

next_sequence = itertools.count().__next__
_tidying = threading.Lock()


class Edge:
    """Output `index` of `node`, with its shape and dtype. Gradient rules meet it in `needs`."""

    __slots__ = ("dtype", "index", "node", "shape")

    node: Node
    index: int
    shape: Shape
    dtype: DType


def edge_to(node: Node, index: int, array: Any) -> Edge:
    """Return the edge of output `index` of `node`, whose value is `array`."""
    edge = Edge()
    edge.node = node
    edge.index = index
    edge.shape = array.shape
    edge.dtype = array.dtype
    return edge


Edges: TypeAlias = tuple["Edge | tuple[Edge | None, ...] | None", ...]
Pieces: TypeAlias = Sequence["Tensor | Sequence[Tensor | None] | None"]


class Node:
    """One step of the graph. Subclasses say in `pull` how gradients pass through it."""

    __slots__ = ("__weakref__", "edges", "hooks", "outputs", "sequence", "trace")

    edges: Edges
    hooks: Hooks | None
    outputs: int
    sequence: int
    trace: str

    @property
    def name(self) -> str:
        """What the step is called in messages."""
        return type(self).__name__

    def pull(self, grads: list[Tensor | None], create_graph: bool, needs: Edges) -> Pieces:
        """Return one gradient per edge, given one per output (None = zero).

        `needs` are the edges, None where no gradient is wanted.
        """
        raise UnsupportedError(
            f"{self.name}: the class defines no pull(self, grads, create_graph, needs)"
        )

    def free(self) -> None:
        """Drop what `pull` needs: the graph will not be walked again."""

    def all_edges(self) -> Iterator[Edge]:
        """Yield the edges that lead somewhere."""
        for edge in self.edges:
            if edge.__class__ is tuple:
                yield from (each for each in edge if each is not None)
            elif edge is not None:
                yield edge  # type: ignore[misc]  # the tuple case is above

    @property
    def next_nodes(self) -> tuple[Node, ...]:
        """The nodes whose outputs this one took."""
        return tuple(edge.node for edge in self.all_edges())

    def register_hook(self, hook: Callable[[Pieces, list[Tensor | None]], Pieces | None]) -> Handle:
        """Call `hook(grad_inputs, grad_outputs)` after this node.

        What it returns replaces grad_inputs.
        """
        return Handle.add(hooks_of(self).after, hook)

    def register_prehook(
        self, hook: Callable[[list[Tensor | None]], list[Tensor | None] | None]
    ) -> Handle:
        """Call `hook(grad_outputs)` before this node; what it returns replaces grad_outputs."""
        return Handle.add(hooks_of(self).before, hook)

    def __repr__(self) -> str:
        return f"<{self.name} #{self.sequence}>"


class Leaf(Node):
    """Where the gradient of a tensor that the user made arrives and is added up."""

    __slots__ = ("accumulated", "grad")

    grad: Tensor | None
    accumulated: dict[int, Callable[[Leaf], object]] | None

    def __init__(self) -> None:
        self.edges = ()
        self.hooks = None
        self.outputs = 1
        self.sequence = next_sequence()
        self.grad = None
        self.accumulated = None


class Hooks:
    """The hooks of a node: `tensor[i]` for its output i, `before` and `after` for itself."""

    __slots__ = ("after", "before", "retained", "tensor")

    def __init__(self) -> None:
        self.tensor: dict[int, dict[int, Any]] = {}
        self.before: dict[int, Any] = {}
        self.after: dict[int, Any] = {}
        self.retained: dict[int, Tensor | None] = {}


def hooks_of(node: Node) -> Hooks:
    """Return the hooks of `node`, made at the first call."""
    if node.hooks is None:
        node.hooks = Hooks()
    return node.hooks


class Handle:
    """What registering a hook returns; `remove()` takes the hook away again."""

    __slots__ = ("_key", "_table")
    _next_key = itertools.count().__next__

    def __init__(self, table: dict[int, Any], key: int) -> None:
        self._table = table
        self._key = key

    @classmethod
    def add(cls, table: dict[int, Any], hook: Any) -> Handle:
        """Put `hook` into `table` and return its handle."""
        check_hook("register_hook", hook)
        key = cls._next_key()
        table[key] = hook
        return cls(table, key)

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        self._table.pop(self._key, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def check_hook(name: str, hook: Any) -> None:
    """Raise OperandError where a hook is nothing to call."""
    if not callable(hook):
        raise OperandError(f"{name}: expected a function, got {type(hook).__name__}")


class Storage:
    """What tensors that share memory have in common: a version, and the views of the base."""

    __slots__ = ("_limit", "_views", "version")

    def __init__(self) -> None:
        self.version = 0
        self._views: list[weakref.ref[TensorBase]] | None = None

    def add_view(self, view: TensorBase) -> None:
        """Remember a view, without keeping it alive."""
        views = self._views
        if views is None:
            self._limit = 8
            views = self._views = []
        elif len(views) >= self._limit:
            with _tidying:  # while other threads may append
                count = len(views)
                views[:count] = [ref for ref in views[:count] if ref() is not None]
                self._limit = max(8, 2 * len(views))
        views.append(weakref.ref(view))

    def views(self) -> list[TensorBase]:
        """Return the views that are still alive."""
        return [view for ref in self._views or () if (view := ref()) is not None]


def storage_of(tensor: TensorBase) -> Storage:
    """Return the storage of `tensor`, made at the first call: most tensors never need one."""
    storage = tensor.storage
    if storage is None:
        new = Storage()
        storage = tensor.storage  # threads change places in a call, not from here to the write
        if storage is None:
            storage = tensor.storage = new
    return storage


# How a view came about: the ops, with their attributes, that lead to it from its base.
Path: TypeAlias = tuple[tuple["Op[..., Tensor]", dict[str, Any]], ...]
View: TypeAlias = tuple["TensorBase", Path]


def replay(path: Path, tensor: Any) -> Tensor:
    """Return the view of `tensor` that the ops of `path` make."""
    for op, attrs in path:
        tensor = op(tensor, **attrs)
    return tensor  # type: ignore[no-any-return]
