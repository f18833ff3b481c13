"""Custom functions with a gradient of their own, in PyTorch's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ferrum import ops
from ferrum.dtypes import is_floating
from ferrum.errors import GradientError, OperandError, UnsupportedError
from ferrum.graph import Edges, Pieces, edge_to, next_sequence
from ferrum.mode import current, using
from ferrum.node import SavingNode, recall, restore, save
from ferrum.tensor import Tensor


class Context:
    """What `forward` leaves for `backward`, both of which get it as `ctx`.

    `forward` calls `save_for_backward` for the tensors that `backward` reads, and sets attributes,
    `ctx.axis = axis`, for anything else. `needs_input_grad` has a bool per argument of `forward`:
    whether it is a tensor that requires grad. A gradient that nobody needs may be None.
    """

    needs_input_grad: tuple[bool, ...]
    saved_tensors: tuple[Any, ...]
    """In `backward`: what was given to `save_for_backward`, in that order."""

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.saved_tensors: tuple[Any, ...] = ()
        self._to_save: tuple[Any, ...] = ()
        self._not_differentiable: set[int] = set()
        self._materialize = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep these tensors: `backward` finds them in `ctx.saved_tensors`.

        Arguments and outputs of `forward` that are saved carry second derivatives, and a write to
        one before `backward` raises GradientError there, which attributes of `ctx` do not.
        """
        _check_tensors("save_for_backward", [each for each in tensors if each is not None])
        self._to_save = tensors

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """Say that these outputs have no gradient."""
        _check_tensors("mark_non_differentiable", outputs)
        self._not_differentiable |= {id(each) for each in outputs}

    def set_materialize_grads(self, value: bool) -> None:
        """Say whether missing gradients reach `backward` as zeros (the default) or as None."""
        if value.__class__ is not bool:
            raise OperandError(f"set_materialize_grads: expected True or False, got {value!r}")
        self._materialize = value


def _check_tensors(name: str, values: Sequence[Any]) -> None:
    for each in values:
        if not isinstance(each, Tensor):
            raise OperandError(
                f"{name}: expected tensors, got {type(each).__name__}; keep other things as "
                f"attributes, as in ctx.axis = axis"
            )


class Function:
    """A step with a gradient of its own: subclass it, and call `apply`.

        class Cube(fe.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x * x

            @staticmethod
            def backward(ctx, g):
                (x,) = ctx.saved_tensors
                return g * 3 * x * x

        y = Cube.apply(x)

    `forward` gets what `apply` got, computes with tensors or in NumPy, and records nothing. It
    returns a tensor or a tuple of them. `backward` gets one gradient per output and returns one per
    argument, None where there is none; written in tensor operations, it can be differentiated
    again. Both are static methods, and `ctx` passes from the one to the other:

    - `ctx.save_for_backward(*tensors)` and `ctx.saved_tensors`: the tensors that `backward` reads.
    - `ctx.name = value`: anything else that it reads.
    - `ctx.needs_input_grad`: a bool per argument, whether it is a tensor that requires grad.
    - `ctx.mark_non_differentiable(*outputs)`: outputs without a gradient, besides integers.
    - `ctx.set_materialize_grads(False)`: let an output that got no gradient give None, not zeros.
    """

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        """Return the outputs."""
        raise UnsupportedError("Function: define forward(ctx, *args), a static method, to apply it")

    @staticmethod
    def backward(ctx: Context, *grads: Any) -> Any:
        """Return one gradient per argument of `forward`, None where there is none."""
        raise UnsupportedError(
            "Function: define backward(ctx, *grads), a static method, to differentiate it"
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run `forward` without recording it, and record the whole as one step."""
        mode = current()
        edges = tuple(arg.edge if isinstance(arg, Tensor) else None for arg in args)
        ctx = Context(tuple(edge is not None for edge in edges))
        with using(mode.with_grad(False)):
            result = cls.forward(ctx, *args)
        given = result if isinstance(result, tuple) else (result,)
        outs = tuple([_own(cls, out, args) for out in given])
        if outs and mode.grad and any(edge is not None for edge in edges):
            node = FunctionNode(cls, ctx, args, edges, given, outs)
            for observer in mode.observers:
                observer.recorded(node)
        ctx._to_save = ()
        return outs if isinstance(result, tuple) else outs[0]


def _own(cls: type, out: Any, args: Sequence[Any]) -> Tensor:
    """Return `out`, or a copy where it is an argument, a view, or has a history of its own."""
    if not isinstance(out, Tensor):
        raise OperandError(
            f"{cls.__name__}: expected forward to return tensors, got {type(out).__name__}"
        )
    shared = out.edge is not None or out.view_of is not None or any(out is arg for arg in args)
    return ops.copy(out.detach()) if shared else out


class FunctionNode(SavingNode):
    """A recorded call of a custom function."""

    __slots__ = ("context", "function", "places", "specs")

    def __init__(
        self,
        function: type[Function],
        context: Context,
        args: Sequence[Any],
        edges: tuple[Any, ...],
        given: tuple[Tensor, ...],
        outs: tuple[Tensor, ...],
    ) -> None:
        self.function = function
        self.context = context
        self.edges = edges
        self.hooks = None
        self.outputs = len(outs)
        self.sequence = next_sequence()
        self.device = outs[0].device
        self.specs = [(out.shape, out.dtype, out.device) for out in outs]
        self.saved = [save(each) for each in context._to_save]
        # what a saved tensor was: an output (its index), or something with a history (its edge)
        smooth = [
            is_floating(out.dtype) and id(out) not in context._not_differentiable for out in given
        ]
        results = [
            out if flag and not any(out is arg for arg in args) else None
            for out, flag in zip(given, smooth, strict=True)
        ]
        self.places = [_place(each, results) for each in context._to_save]
        for index, out in enumerate(outs):
            if smooth[index]:
                out.edge = edge_to(self, index, out.array)

    @property
    def name(self) -> str:
        """The name of the function's class."""
        return self.function.__name__

    def pull(self, grads: list[Tensor | None], create_graph: bool, needs: Edges) -> Pieces:
        """Return what `backward` makes of `grads`."""
        saved = recall(self)
        pairs = zip(saved, self.places, strict=True)
        self.context.saved_tensors = tuple(
            restore(self, entry, place, create_graph) for entry, place in pairs
        )
        if self.context._materialize:
            grads = [
                ops.full(shape=shape, value=0, dtype=dtype, device=device) if g is None else g
                for g, (shape, dtype, device) in zip(grads, self.specs, strict=True)
            ]
        versions = _versions(grads)
        try:
            pieces = self.function.backward(self.context, *grads)
        finally:
            self.context.saved_tensors = ()
        if _versions(grads) != versions:
            raise GradientError(
                f"{self.name}: backward wrote into a gradient that it was given, which others may "
                f"hold too; return a new tensor"
            )
        return self._trimmed(list(pieces) if isinstance(pieces, (tuple, list)) else [pieces])

    def _trimmed(self, pieces: list[Any]) -> Pieces:
        """Return one piece per argument; more are allowed where they are None."""
        if len(pieces) < len(self.edges) or any(
            each is not None for each in pieces[len(self.edges) :]
        ):
            raise GradientError(
                f"{self.name}: backward returned {len(pieces)} gradients for "
                f"{len(self.edges)} arguments"
            )
        for each in pieces:
            if each is not None and not isinstance(each, Tensor):
                raise GradientError(
                    f"{self.name}: expected backward to return tensors or None, got "
                    f"{type(each).__name__}"
                )
        return pieces[: len(self.edges)]


def _place(tensor: Tensor | None, results: Sequence[Tensor | None]) -> Any:
    if tensor is None:
        return None
    for index, out in enumerate(results):
        if tensor is out:
            return index
    return tensor.edge


def _versions(grads: Sequence[Tensor | None]) -> list[int]:
    return [0 if g is None else g._version for g in grads]
