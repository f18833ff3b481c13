"""Walking the graph backwards: `backward`, `grad`, and what may be hooked into them.

Nodes run in the reverse order of their recording, each once, when every gradient of its outputs has
arrived; a leaf takes its gradient as soon as the last one that leads to it has come.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ferrum import base, ops
from ferrum.errors import ArgumentError, DeviceError, GradientError, OperandError, ShapeError
from ferrum.graph import Edge, Edges, Leaf, Node, Pieces
from ferrum.mode import current, reset_mode, set_mode, using
from ferrum.node import OpNode, check_pieces, unfolded
from ferrum.operands import flat

if TYPE_CHECKING:
    from ferrum.tensor import Tensor

_accumulating = threading.Lock()
_sequence = attrgetter("sequence")


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of `tensors` to the `.grad` of the leaves they depend on.

    `grad_tensors` are the gradients to start from; tensors of one element start from 1. With
    `inputs` only those leaves receive one. The graph is freed unless `retain_graph` or
    `create_graph`.
    """
    options = _options("backward", retain_graph, create_graph)
    roots, seeds = _started("backward", tensors, grad_tensors)
    wanted = None
    if inputs is not None:
        edges = _inputs("backward", inputs)
        if any(not isinstance(edge.node, Leaf) for edge in edges):
            raise GradientError("backward: expected leaves as inputs")
        wanted = {(edge.node, edge.index) for edge in edges}
    Walk(roots, wanted, *options, into_leaves=True).run(seeds)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """Return the gradients of `outputs` with respect to `inputs`, and leave every `.grad` alone.

    With `create_graph` they can be differentiated again. An input that the outputs do not depend on
    raises GradientError, or gives None with `allow_unused`, or zeros with `materialize_grads`.
    """
    options = _options("grad", retain_graph, create_graph)
    roots, seeds = _started("grad", outputs, grad_outputs)
    wanted = _listed("grad", inputs)
    edges = _inputs("grad", wanted)
    found = Walk(roots, {(edge.node, edge.index) for edge in edges}, *options).run(seeds)
    results: list[Any] = []
    for tensor, edge in zip(wanted, edges, strict=True):
        result = found.get((edge.node, edge.index))
        if result is None and materialize_grads:
            result = ops.full(shape=tensor.shape, value=0, dtype=tensor.dtype, device=tensor.device)
        elif result is None and not allow_unused:
            raise GradientError(
                "grad: one of the inputs was not used to compute the outputs; pass "
                "allow_unused=True to get None for it"
            )
        results.append(result)
    return tuple(results)


def _options(name: str, retain_graph: Any, create_graph: Any) -> tuple[bool, bool]:
    """Return whether to make a graph of the gradients, and whether to keep the one walked."""
    for option, value in (("create_graph", create_graph), ("retain_graph", retain_graph)):
        if value.__class__ is not bool and (value is not None or option == "create_graph"):
            raise OperandError(f"{name}: expected {option} to be True or False, got {value!r}")
    return create_graph, create_graph if retain_graph is None else retain_graph


def _listed(name: str, tensors: Any) -> list[Any]:
    """Return one tensor or several as a list; None stays, for where there is no gradient."""
    if isinstance(tensors, base.TensorBase):
        return [tensors]
    listed = list(tensors) if isinstance(tensors, (list, tuple, Iterator)) else [tensors]
    for each in listed:
        if each is not None and not isinstance(each, base.TensorBase):
            raise OperandError(
                f"{name}: expected tensors, got {type(each).__name__}; make one with fe.tensor(...)"
            )
    return listed


def _inputs(name: str, inputs: Any) -> list[Edge]:
    edges = [edge_required(name, each) for each in _listed(name, inputs)]
    if not edges:
        raise ArgumentError(f"{name}: expected at least one input, got none")
    return edges


def edge_required(name: str, tensor: Tensor | None) -> Edge:
    """Return the edge of a tensor that must require grad."""
    if tensor is None:
        raise OperandError(f"{name}: expected a tensor, got None")
    if tensor.edge is None:
        raise GradientError(f"{name}: a tensor of shape {tensor.shape} does not require grad")
    return tensor.edge


def _started(name: str, tensors: Any, grads: Any) -> tuple[list[Edge], list[Tensor]]:
    """Return the edges to start from, and a gradient for each."""
    roots = _listed(name, tensors)
    given = [None] * len(roots) if grads is None else _listed(name, grads)
    if len(given) != len(roots):
        raise ArgumentError(f"{name}: {len(roots)} tensors, but {len(given)} gradients")
    edges = [edge_required(name, root) for root in roots]
    return edges, [_seed(name, root, seed) for root, seed in zip(roots, given, strict=True)]


def _seed(name: str, root: Tensor, given: Tensor | None) -> Tensor:
    """Return the gradient to start from at `root`."""
    if given is None:
        if prod(root.shape) != 1:
            raise GradientError(
                f"{name}: a tensor of shape {root.shape} needs a gradient to start from; "
                f"only tensors of one element start from 1"
            )
        return ops.full(shape=root.shape, value=1, dtype=root.dtype, device=root.device)
    if given.shape != root.shape:
        raise ShapeError(f"{name}: a gradient of shape {given.shape} for a tensor of {root.shape}")
    if given.device is not root.device:
        raise DeviceError(
            f"{name}: a gradient on '{given.device}' for a tensor on '{root.device}'; move it "
            f"with .to({str(root.device)!r})"
        )
    return given.to(root.dtype)


class Walk:
    """One walk through the graph behind `roots`.

    It goes everywhere, or, where `wanted` names outputs of nodes, only on the ways that lead there:
    `run` returns their gradients. With `into_leaves` the leaves that it comes to take theirs. With
    `stop` nothing goes on from what is wanted, as where no wanted output depends on another.
    """

    def __init__(
        self,
        roots: list[Edge],
        wanted: set[tuple[Node, int]] | None,
        create_graph: bool,
        retain_graph: bool,
        *,
        into_leaves: bool = False,
        stop: bool = False,
    ) -> None:
        self.roots = roots
        self.wanted = wanted
        self.create_graph = create_graph
        self.retain_graph = retain_graph
        self.into_leaves = into_leaves
        self.ends = {node for node, _ in wanted} if wanted and stop else set()
        self.ways: dict[Node, Edges] = {}  # of a node that leads to what is wanted, None beside it
        self.arriving: dict[Node, int] = {}  # per node, the gradients that are still to come
        self.buffers: dict[Node, list[Tensor | None]] = {}  # and those that have come, added up
        self.owned: dict[Node, bool] = {}  # per leaf, whether nobody else holds its gradient
        self.found: dict[tuple[Node, int], Tensor] = {}

    def run(self, seeds: list[Tensor]) -> dict[tuple[Node, int], Tensor]:
        """Run every node that matters; return the gradients of the outputs that are wanted."""
        order = self._order()
        mode, grad = current(), self.create_graph
        token = set_mode(mode.backward(grad) if mode.special else mode.with_grad(grad))
        try:
            roots = [root if root.node in self.arriving else None for root in self.roots]
            self._deliver(roots, seeds, [*map(id, seeds)] * 2)  # who called may have them, too
            for node in order:
                try:
                    self._visit(node)
                except Exception as error:
                    if trace := getattr(node, "trace", ""):
                        error.add_note(f"in the backward of {node.name}, recorded at:{trace}")
                    raise
        finally:
            reset_mode(token)
        return self.found

    # ---- before: who runs, and what will arrive there

    def _order(self) -> list[Node]:
        """Return the nodes to visit, latest first, and count what will arrive at each."""
        arriving = self.arriving
        for root in self.roots:
            arriving[root.node] = arriving.get(root.node, 0) + 1
        stack = list(arriving)
        nodes: list[Node] = []
        while stack:
            node = stack.pop()
            nodes.append(node)
            if node in self.ends:
                continue
            edges: Any = node.edges
            for edge in edges if tuple not in map(type, edges) else flat(edges):
                if edge is not None:
                    into = edge.node
                    if into in arriving:
                        arriving[into] += 1
                    else:
                        arriving[into] = 1
                        stack.append(into)
        nodes.sort(key=_sequence, reverse=True)
        if self.wanted is not None:
            nodes = self._leading(nodes, {node for node, _ in self.wanted})
        return [node for node in nodes if node.__class__ is not Leaf]

    def _leading(self, nodes: list[Node], leads: set[Node]) -> list[Node]:
        """Return those of `nodes` that lead to one in `leads`, and count anew what arrives."""
        for node in reversed(nodes):
            if node not in self.ends:
                ways = tuple([_way(edge, leads) for edge in node.edges])
                if any(flat(ways)):
                    leads.add(node)
                    self.ways[node] = ways
        nodes = [node for node in nodes if node in leads]
        self.arriving = Counter(root.node for root in self.roots if root.node in leads)
        for node in nodes:
            self.arriving.update(edge.node for edge in self._edges_of(node))
        return nodes

    def _edges_of(self, node: Node) -> list[Edge]:
        """Return the edges of `node` that this walk follows."""
        edges = node.edges if self.wanted is None else self.ways.get(node, ())
        return [edge for edge in flat(edges) if edge is not None]

    # ---- node by node

    def _visit(self, node: Node) -> None:
        """Run one node, and hand on what comes of it."""
        grads = self.buffers.pop(node, None)
        hooks = node.hooks
        if grads is not None and hooks is not None and node not in self.ends:
            _run_hooks(node, grads)
        if self.wanted is not None:
            self._find(node, grads or ())
        edges = node.edges if self.wanted is None else self.ways.get(node)
        if grads is None or edges is None:
            self._deliver(behind := self._edges_of(node), [None] * len(behind), [])
            return
        pieces = node.pull(grads, self.create_graph, edges)
        if pieces is NotImplemented:
            pieces = _through_fallback(node, grads, self.create_graph, edges)
        try:
            if len(pieces) != len(edges):
                raise GradientError(
                    f"{node.name}: its gradient has {len(pieces)} values for {len(edges)} inputs"
                )
            if hooks is not None:
                for hook in list(hooks.after.values()):
                    changed = hook(pieces, grads)
                    pieces = pieces if changed is None else _as_many(changed, pieces)
            if getattr(node, "trace", ""):
                _refuse_nan(node, pieces)
            if tuple in map(type, edges):
                edges, pieces = unfolded(edges, pieces)
            held = [*map(id, grads), *map(id, pieces)]
            if hooks is not None or not isinstance(node, OpNode):
                held *= 2  # a hook, or a function of the user's, may have kept what it returned
            self._deliver(edges, pieces, held)
        except (AttributeError, TypeError, ValueError):
            check_pieces(node, pieces, edges)
            raise
        if not self.retain_graph:
            node.free()

    def _find(self, node: Node, grads: Sequence[Tensor | None]) -> None:
        """Keep what is wanted of the gradients at `node`."""
        assert self.wanted is not None
        for index, g in enumerate(grads):
            if g is not None and (node, index) in self.wanted:
                self.found[node, index] = g

    def _deliver(self, edges: Any, pieces: Any, held: list[int]) -> None:
        """Add gradients to what has come for outputs; a leaf that has all of its own takes it.

        `held` has the id of every tensor that the giver has in hand, the pieces among them.
        """
        arriving, buffers = self.arriving, self.buffers
        for edge, piece in zip(edges, pieces, strict=True):
            if edge is None:
                continue
            node = edge.node
            arriving[node] -= 1
            buffer = buffers.get(node)
            is_leaf = node.__class__ is Leaf
            if piece is not None:
                array = piece.array
                mine = piece if array.shape == edge.shape else ops.sum_to(piece, shape=edge.shape)
                if array.dtype is not edge.dtype:
                    raise GradientError(
                        f"{node.name}: a gradient of {array.dtype.name} came for an output that is "
                        f"{edge.dtype.name}"
                    )
                if buffer is None:
                    buffer = buffers[node] = [None] * node.outputs
                seen = buffer[edge.index]
                buffer[edge.index] = mine if seen is None else ops.add(seen, mine)
                if is_leaf:
                    # nobody else has it: no view or saved tensor, not what came in, given once
                    once = mine is not piece or held.count(id(piece)) == 1
                    self.owned[node] = seen is not None or (once and mine.storage is None)
            if is_leaf and buffer is not None and not arriving[node]:
                self._finish(node, buffers.pop(node))

    def _finish(self, leaf: Leaf, grads: list[Tensor | None]) -> None:
        """Give a leaf its gradient."""
        if leaf.hooks is not None and leaf not in self.ends:
            _run_hooks(leaf, grads)
        g = grads[0]
        assert g is not None  # something was delivered
        if self.into_leaves:
            accumulate(leaf, g, self.owned[leaf] and leaf.hooks is None, self.create_graph)
        else:
            self.found[leaf, 0] = g


def _way(edge: Any, leads: set[Node]) -> Any:
    """Return `edge`, or those in a tuple, with None in place of what leads to nothing wanted."""
    if isinstance(edge, tuple):
        return tuple([_way(each, leads) for each in edge])
    return edge if edge is not None and edge.node in leads else None


def accumulate(leaf: Leaf, g: Tensor, owned: bool, create_graph: bool) -> None:
    """Add `g` to the gradient of `leaf`: in place where no graph leads through the old one."""
    with _accumulating:
        old = leaf.grad
        if old is None:
            leaf.grad = g if owned else ops.copy(g)
        elif create_graph or old.edge is not None:
            leaf.grad = ops.add(old, g)
        else:
            old += g
    if leaf.accumulated is not None:
        for hook in list(leaf.accumulated.values()):
            hook(leaf)


def _run_hooks(node: Node, grads: list[Tensor | None]) -> None:
    """Run the hooks on the outputs of `node`, and keep what is retained of them."""
    hooks = node.hooks
    assert hooks is not None
    for index, table in list(hooks.tensor.items()):
        g = grads[index]
        if g is not None and table:
            grads[index] = _hooked(list(table.values()), g)
    for index, old in list(hooks.retained.items()):
        g = grads[index]
        if g is not None:
            hooks.retained[index] = ops.copy(g) if old is None else ops.add(old, g)
    for hook in list(hooks.before.values()):
        changed = hook(grads)
        if changed is not None:
            grads[:] = _as_many(changed, grads)


def _hooked(hooks: list[Any], g: Tensor) -> Tensor:
    """Return what `hooks` make of `g`.

    Of a copy, for a hook may write, and others may have `g` too.
    """
    g = ops.copy(g)
    for hook in hooks:
        changed = hook(g)
        if changed is None:
            continue
        alike = isinstance(changed, base.TensorBase) and changed.device is g.device
        if not alike or (changed.shape, changed.dtype) != (g.shape, g.dtype):
            kind = "" if alike else f"{type(changed).__name__} "
            raise GradientError(
                f"hook: expected a gradient {g.shape} {g.dtype.name} on '{g.device}' or None, got "
                f"{kind}{changed!r}"
            )
        g = changed
    return g


def _as_many(changed: Any, given: Sequence[Any]) -> Any:
    """Return what a hook of a node returned, if it is a sequence of the right length."""
    if not isinstance(changed, (tuple, list)) or len(changed) != len(given):
        raise GradientError(f"hook: expected a sequence of {len(given)} gradients, got {changed!r}")
    for each in flat(changed):
        if each is not None and not isinstance(each, base.TensorBase):
            raise GradientError(
                f"hook: expected gradients that are tensors or None, got {type(each).__name__}"
            )
    return changed


def _refuse_nan(node: Node, pieces: Pieces) -> None:
    for piece in flat(pieces):
        if piece is not None and piece.detach().isnan().any():
            raise GradientError(f"{node.name}: its backward returned NaN")


def _through_fallback(
    node: Node, grads: list[Tensor | None], create_graph: bool, edges: Edges
) -> Pieces:
    """Return the gradients of an op by way of its fallback, which can be differentiated again."""
    assert isinstance(node, OpNode)
    inputs = node.inputs()
    if node.op.compose is None:
        raise GradientError(
            f"{node.name}: its gradient reads extra outputs, so that it takes a fallback to "
            f"differentiate it again"
        )
    with using(current().with_grad(True)):  # it is off where the rule gave way to a first gradient
        outs = node.op.compose(*inputs, **node.attrs)
    listed = outs if isinstance(outs, tuple) else (outs,)
    pairs = [
        (out, g)
        for out, g in zip(listed, grads, strict=True)
        if g is not None and out.edge is not None
    ]
    roots = [out.edge for out, _ in pairs]
    wanted = {(edge.node, edge.index) for edge in flat(edges) if edge is not None}
    walk = Walk(roots, wanted, create_graph, create_graph, stop=True)
    found = walk.run([g for _, g in pairs])

    def take(edge: Any) -> Any:
        """Return what was found for an input: all of it for the first of several that are alike."""
        if isinstance(edge, tuple):
            return [take(each) for each in edge]
        return None if edge is None else found.pop((edge.node, edge.index), None)

    return [take(edge) for edge in edges]
