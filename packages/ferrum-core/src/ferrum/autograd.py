"""Walking the graph backwards: `backward`, `grad`, and what may be hooked into them.

Nodes run in the reverse order of their recording, each once, when every gradient of its outputs has
arrived; a leaf takes its gradient as soon as the last one that leads to it has come.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

from ferrum import ops
from ferrum.errors import ArgumentError, DeviceError, GradientError, ShapeError
from ferrum.graph import Edge, Leaf, Node, Pieces
from ferrum.mode import current, using
from ferrum.node import OpNode
from ferrum.operands import flat

if TYPE_CHECKING:
    from ferrum.tensor import Tensor

_accumulating = threading.Lock()


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
    roots, seeds = _started(tensors, grad_tensors)
    only = None
    if inputs is not None:
        only = {_edge_of(each, "backward") for each in _listed(inputs)}
        if any(not isinstance(edge.node, Leaf) for edge in only):
            raise GradientError("backward: expected leaves as inputs")
    walk = Walk(roots, create_graph, create_graph if retain_graph is None else retain_graph)
    walk.run(
        seeds,
        keep=None if only is None else {(edge.node, edge.index) for edge in only},
        into_leaves=True,
    )


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
    roots, seeds = _started(outputs, grad_outputs)
    wanted = _listed(inputs)
    edges = [_edge_of(each, "grad") for each in wanted]
    walk = Walk(roots, create_graph, create_graph if retain_graph is None else retain_graph)
    found = walk.run(seeds, keep={(edge.node, edge.index) for edge in edges}, into_leaves=False)
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


def _listed(tensors: Any) -> list[Tensor]:
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]


def _edge_of(tensor: Tensor, name: str) -> Edge:
    if tensor.edge is None:
        raise GradientError(f"{name}: a tensor of shape {tensor.shape} does not require grad")
    return tensor.edge


def _started(tensors: Any, grads: Any) -> tuple[list[Edge], list[Tensor]]:
    """Return the edges to start from, and a gradient for each."""
    roots = _listed(tensors)
    given = [None] * len(roots) if grads is None else _listed(grads)
    if len(given) != len(roots):
        raise ArgumentError(f"backward: {len(roots)} tensors, but {len(given)} gradients")
    edges = [_edge_of(root, "backward") for root in roots]
    seeds = []
    for root, seed in zip(roots, given, strict=True):
        if seed is None:
            if any(size != 1 for size in root.shape):
                raise GradientError(
                    f"backward: a tensor of shape {root.shape} needs a gradient to start from; "
                    f"only tensors of one element start from 1"
                )
            seed = ops.full(shape=root.shape, value=1, dtype=root.dtype, device=root.device)
        elif seed.shape != root.shape:
            raise ShapeError(
                f"backward: a gradient of shape {seed.shape} for a tensor of {root.shape}"
            )
        elif seed.device is not root.device:
            raise DeviceError(
                f"backward: a gradient on '{seed.device}' for a tensor on '{root.device}'; move it "
                f"with .to({str(root.device)!r})"
            )
        seeds.append(seed.to(root.dtype))
    return edges, seeds


class Walk:
    """One walk through the graph behind `roots`."""

    def __init__(
        self, roots: list[Edge], create_graph: bool, retain_graph: bool, *, beyond_kept: bool = True
    ) -> None:
        self.roots = roots
        self.beyond_kept = beyond_kept  # False: what is kept does not depend on each other
        self.create_graph = create_graph
        self.retain_graph = retain_graph
        self.arriving: dict[Node, int] = {}  # per node, the gradients that are still to come
        self.buffers: dict[Node, list[Tensor | None]] = {}
        self.owned: dict[Node, bool] = {}  # per leaf, whether nobody else holds its gradient
        self.found: dict[tuple[Node, int], Tensor] = {}
        self.ends: set[Node] = set()  # nodes whose gradients are found, and not passed on

    def run(
        self, seeds: list[Tensor], keep: set[tuple[Node, int]] | None, into_leaves: bool
    ) -> dict[tuple[Node, int], Tensor]:
        """Run every node that matters; return the gradients of the outputs in `keep`."""
        self.keep, self.into_leaves = keep, into_leaves
        if keep is not None and not self.beyond_kept:
            self.ends = {node for node, _ in keep}
        order = self._order()
        with using(current().backward(grad=self.create_graph)):
            for root, seed in zip(self.roots, seeds, strict=True):
                self._deliver(root, seed, (seed, seed))
            for node in order:
                try:
                    self._visit(node)
                except Exception as error:
                    if trace := getattr(node, "trace", ""):
                        error.add_note(f"in the backward of {node.name}, recorded at:{trace}")
                    raise
        return self.found

    def _order(self) -> list[Node]:
        """Return the nodes behind the roots, latest first, and count what will arrive at each."""
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
            for edge in node.edges:
                if edge is None:
                    continue
                for each in edge if isinstance(edge, tuple) else (edge,):
                    if each is not None:
                        into = each.node
                        if into in arriving:
                            arriving[into] += 1
                        else:
                            arriving[into] = 1
                            stack.append(into)
        nodes.sort(key=_sequence, reverse=True)
        if self.keep is not None:
            self._mark(nodes, {node for node, _ in self.keep})
        return [node for node in nodes if node.__class__ is not Leaf]

    def _mark(self, nodes: list[Node], kept: set[Node]) -> None:
        """Find the nodes that lead to one that is kept: only those are run."""
        self.needed = set(kept)
        for node in reversed(nodes):
            if any(edge.node in self.needed for edge in self._behind(node)):
                self.needed.add(node)

    def _behind(self, node: Node) -> list[Edge]:
        """Return the edges of `node` that this walk follows."""
        return [edge for edge in node.all_edges() if edge.node in self.arriving]

    def _visit(self, node: Node) -> None:
        """Run one node, and hand on what comes of it."""
        grads = self.buffers.pop(node, None)
        if node in self.ends:
            self._find(node, grads or [])
            return
        if grads is None or (self.keep is not None and node not in self.needed):
            self._skip(node)
            return
        hooks = node.hooks
        if hooks is not None:
            _run_hooks(node, grads)
        if self.keep is not None and not self._goes_on(node, grads):
            self._skip(node)
            return
        pieces = node.pull(grads, self.create_graph)
        if pieces is NotImplemented:
            pieces = _through_fallback(node, grads, self.create_graph)
        if len(pieces) != len(node.edges):
            raise GradientError(
                f"{node.name}: its gradient has {len(pieces)} values for {len(node.edges)} inputs"
            )
        if hooks is not None:
            for hook in list(hooks.after.values()):
                changed = hook(pieces, grads)
                pieces = pieces if changed is None else _as_many(changed, pieces)
        if getattr(node, "trace", ""):
            _refuse_nan(node, pieces)
        # a hook, or a function of the user's, may have kept what it returned
        others = () if hooks is None and isinstance(node, OpNode) else pieces
        for edge, piece in zip(node.edges, pieces, strict=True):
            if isinstance(edge, tuple):
                parts: Any = [None] * len(edge) if piece is None else piece
                for inner, part in zip(edge, parts, strict=True):
                    if inner is not None:
                        self._deliver(inner, part, (*grads, *parts, *flat(others)))
            elif edge is not None:
                self._deliver(edge, cast("Tensor | None", piece), (*grads, *pieces, *others))
        if not self.retain_graph:
            node.free()

    def _goes_on(self, node: Node, grads: list[Tensor | None]) -> bool:
        """Keep what is wanted of the gradients at `node`.

        Return whether more is wanted behind it.
        """
        self._find(node, grads)
        return any(edge.node in self.needed for edge in self._behind(node))

    def _find(self, node: Node, grads: list[Tensor | None]) -> None:
        assert self.keep is not None
        for index, g in enumerate(grads):
            if g is not None and (node, index) in self.keep:
                self.found[node, index] = g

    def _skip(self, node: Node) -> None:
        """Say to the nodes behind `node` that nothing comes from it."""
        for edge in self._behind(node):
            self._deliver(edge, None, ())

    def _deliver(self, edge: Edge, piece: Tensor | None, held: Sequence[Any]) -> None:
        """Add a gradient to what has come for an output; a leaf that has all of it takes it.

        `held` are the tensors that the giver has in hand, this piece among them.
        """
        node = edge.node
        self.arriving[node] -= 1
        buffer = self.buffers.get(node)
        if piece is not None:
            array = piece.array
            if array.shape != edge.shape:
                piece = ops.sum_to(piece, shape=edge.shape)
            if array.dtype is not edge.dtype:
                raise GradientError(
                    f"{node.name}: a gradient of {array.dtype.name} came for an output that is "
                    f"{edge.dtype.name}"
                )
            if buffer is None:
                buffer = self.buffers[node] = [None] * node.outputs
            seen = buffer[edge.index]
            buffer[edge.index] = piece if seen is None else ops.add(seen, piece)
            if node.__class__ is Leaf:
                # nobody else has it: not the incoming gradient, no view or saved tensor, given once
                once = sum([piece is each for each in held]) <= 1
                self.owned[node] = seen is not None or (once and piece.storage is None)
        if buffer is not None and isinstance(node, Leaf) and not self.arriving[node]:
            self._finish(node, self.buffers.pop(node))

    def _finish(self, leaf: Leaf, grads: list[Tensor | None]) -> None:
        """Give a leaf its gradient."""
        if self.keep is not None and (leaf, 0) not in self.keep:
            return
        if leaf.hooks is not None and leaf not in self.ends:
            _run_hooks(leaf, grads)
        g = grads[0]
        assert g is not None  # something was delivered
        if self.into_leaves:
            owned = self.owned[leaf] and leaf.hooks is None
            accumulate(leaf, g, owned, self.create_graph)
        else:
            self.found[leaf, 0] = g


_sequence = attrgetter("sequence")


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
        if (getattr(changed, "shape", None), getattr(changed, "dtype", None)) != (g.shape, g.dtype):
            raise GradientError(
                f"hook: expected a gradient {g.shape} {g.dtype.name}, got {changed!r}"
            )
        g = changed
    return g


def _as_many(changed: Any, given: Sequence[Any]) -> Any:
    """Return what a hook of a node returned, if it is a sequence of the right length."""
    if not isinstance(changed, (tuple, list)) or len(changed) != len(given):
        raise GradientError(f"hook: expected a sequence of {len(given)} gradients, got {changed!r}")
    return changed


def _refuse_nan(node: Node, pieces: Pieces) -> None:
    for piece in flat(pieces):
        if piece is not None and piece.detach().isnan().any():
            raise GradientError(f"{node.name}: its backward returned NaN")


def _through_fallback(node: Node, grads: list[Tensor | None], create_graph: bool) -> Pieces:
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
    walk = Walk(roots, create_graph, create_graph, beyond_kept=False)
    keep = {(edge.node, edge.index) for edge in node.all_edges()}
    found = walk.run([g for _, g in pairs], keep=keep, into_leaves=False)

    def take(edge: Any) -> Any:
        """Return what was found for an input: all of it for the first of several that are alike."""
        if isinstance(edge, tuple):
            return [take(each) for each in edge]
        return None if edge is None else found.pop((edge.node, edge.index), None)

    return [take(edge) for edge in node.edges]
