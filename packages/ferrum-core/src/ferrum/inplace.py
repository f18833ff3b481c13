"""Ops that write into their operands, and what that does to the history of views.

After `y = x[0]; y.mul_(w)`, x has a new history: its old one with the view scattered into it. Every
other live view of x then gets its history anew from x, by replaying how it was made.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, ParamSpec, cast

import numpy as np

from ferrum.base import TensorBase
from ferrum.device import Device
from ferrum.dtypes import CATEGORY, int64
from ferrum.errors import ArgumentError, DTypeError, GradientError, OperandError, ShapeError
from ferrum.graph import Edge, Leaf, Path, edge_to, hooks_of, replay, storage_of
from ferrum.mode import Mode, current, using
from ferrum.operands import edge_of, edges_of, flat, operand
from ferrum.operation import OPS, Op
from ferrum.promotion import SCALARS, get_default_dtype, result_type
from ferrum.spec import Spec

if TYPE_CHECKING:
    from ferrum.tensor import Tensor

P = ParamSpec("P")


class WritingOp(Op[P, "Tensor"]):
    """An op that writes some of its operands and returns the first."""

    one_dtype = False  # whether kernels want floating-point operands of one dtype

    if not TYPE_CHECKING:

        def __call__(self, *args, **attrs):
            """Take the short road: one device, no history to write, and no view to write into."""
            mode = current()
            if mode.special:
                return self.dispatch(mode, args, attrs)
            grad, alike = mode.grad, self.one_dtype
            device = dtype = None
            arrays, written = [], []
            try:
                for i, arg in enumerate(args):
                    writes = i in self.writes
                    if not writes and (arg is None or arg.__class__ in SCALARS):
                        arrays.append(arg)
                        continue
                    several = arg.__class__ is list
                    here = []
                    for x in arg if several else (arg,):
                        array = x.array
                        if x.device is not device:
                            if device is not None:
                                return self.dispatch(mode, args, attrs)
                            device, dtype = x.device, array.dtype
                        if (grad and x.edge is not None) or (alike and array.dtype is not dtype):
                            return self.dispatch(mode, args, attrs)
                        here.append(array)
                        if writes:
                            if x.view_of is not None:
                                return self.dispatch(mode, args, attrs)
                            written.append(x)
                    arrays.append(here if several else array)
            except (AttributeError, TypeError):  # an operand is no tensor
                return self.dispatch(mode, args, attrs)
            kernel = None if device is None else device.kernels[self]
            if (
                kernel is None
                or (alike and CATEGORY[dtype] != 2)
                or len(args) != len(self.inputs)
                or kernel(*arrays, **attrs) is NotImplemented
            ):
                return self.dispatch(mode, args, attrs)
            for x in written:
                storage_of(x).version += 1
            return tuple(args[0]) if args[0].__class__ is list else args[0]

    def dispatch(self, mode: Mode, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Refuse what must not be written, then go the way of every op."""
        written = flat([args[i] for i in self.writes if i < len(args)])
        for each in written:
            tensor = destination(self.__name__, operand(self.__name__, each))
            check_writable(self.__name__, tensor, mode)
        return super().dispatch(mode, args, attrs)

    def run(self, mode: Mode, args: tuple[Any, ...], attrs: dict[str, Any], recording: bool) -> Any:
        """Write, count the versions up, and make the step the history of what was written."""
        device = self.device_of(args)
        written = flat([args[i] for i in self.writes])
        edges = [tensor.edge for tensor in written]
        self.compute(mode, device, args, attrs)
        for tensor in written:
            storage_of(tensor).version += 1
        if recording:
            self.record(mode, args, edges_of(args), attrs, (args[0],), device)
            new, args[0].edge = args[0].edge, edges[0]
            if new is not edges[0]:  # integers have no history
                rebase(args[0], new)
        return tuple(args[0]) if isinstance(args[0], list) else args[0]


def destination(name: str, value: Any) -> Any:
    """Return an operand that is written, if it is no number."""
    if value is None or value.__class__ in SCALARS:
        raise OperandError(f"{name}: expected a tensor to write into, got {value!r}")
    return value


def check_writable(name: str, tensor: Tensor, mode: Mode) -> None:
    """Raise where writing would lose a leaf's gradient, or hit one element of memory twice.

    And where the memory is read-only: an op that writes several tensors then leaves all as they
    were.
    """
    flags = getattr(tensor.array, "flags", None)  # of arrays like NumPy's
    if not getattr(flags, "writeable", True):
        raise ArgumentError(f"{name}: the memory of this tensor is read-only; write to a clone()")
    base = tensor if tensor.view_of is None else tensor.view_of[0]
    if mode.grad and base.edge is not None and isinstance(base.edge.node, Leaf):
        what = "a leaf" if base is tensor else "a view of a leaf"
        raise GradientError(f"{name}: {what} that requires grad is written in place; use no_grad()")
    if tensor.view_of is not None:
        if mode.grad and base.edge is not None and tensor.edge is None:
            raise GradientError(
                f"{name}: a view made under no_grad is written in place; make it anew"
            )
        if _overlaps(tensor, *tensor.view_of):
            raise ArgumentError(
                f"{name}: several elements of an expanded tensor lie in one place; clone() it"
            )


def _overlaps(tensor: Tensor, base: TensorBase, path: Path) -> bool:
    """Return whether two elements of a view of `base` lie in one place."""
    if all(step.name != "core.expand" for step, _ in path):
        return False
    size, most = prod(tensor.shape), prod(base.shape)
    if size < 2 or size > most:
        return size > 1
    device = tensor.device
    with using(current().plain(grad=False)):  # the view of a table of places tells
        places = OPS["core.arange"](start=0, stop=most, step=1, dtype=int64, device=device)
        seen = replay(path, OPS["core.reshape"](places, shape=base.shape))
    return len(np.unique(device.backend.to_numpy(seen.array))) < size


def rebase(tensor: Tensor, edge: Edge | None) -> None:
    """Make `edge` the history of what was written, and renew that of the views beside it."""
    base: TensorBase = tensor
    if tensor.view_of is not None:
        base, path = tensor.view_of
        scatter = OPS["core.view_scatter"]
        node = scatter.node((base.edge, edge), {"path": path}, tensor.device)
        edge = edge_to(node, 0, base.array)
    _renew(base, edge)
    if base.storage is None:
        return
    with using(current().plain(grad=True)):
        for view in base.storage.views():
            if view.view_of is not None and view.view_of[0] is base:
                _renew(view, replay(view.view_of[1], base).edge)


def _renew(tensor: TensorBase, edge: Edge | None) -> None:
    """Give `tensor` its new history, and retain that one's gradient if the old one's was."""
    old, tensor.edge = tensor.edge, edge
    if old is None or edge is None or old.node.hooks is None:
        return
    if old.index in old.node.hooks.retained:
        hooks_of(edge.node).retained[edge.index] = old.node.hooks.retained.pop(old.index)


def writes(
    *names: str, **options: Any
) -> Callable[[Callable[P, Spec | tuple[Spec, ...]]], WritingOp[P]]:
    """Declare an op that writes the operands called `names` and returns its first operand.

    If that is a list of tensors, the rule returns a tuple of specs and the op a tuple of tensors.
    The options are those of `ferrum.op.op`.
    """

    def declare(rule: Callable[P, Spec | tuple[Spec, ...]]) -> WritingOp[P]:
        made: WritingOp[P] = WritingOp(rule, **options)
        made.writes = tuple(made.inputs.index(name) for name in names)
        return made

    return declare


class InPlaceTwin(WritingOp[P]):
    """`x.add_(y)` for `add`: a kernel may do it in one pass, else the result is copied into x."""

    one_dtype = True

    def __init__(self, out_of_place: Op[P, Tensor]) -> None:
        self.twin = out_of_place
        rule = in_place_rule(out_of_place)
        super().__init__(rule)
        self.inputs = out_of_place.inputs
        self.attributes = out_of_place.attributes
        self.writes = (0,)
        self.differentiable = out_of_place.differentiable
        self.sampler = out_of_place.sampler
        self.compose = self._compose

    def _compose(self, x: Any, *others: Any, **attrs: Any) -> Tensor:
        operands = (x, *others)
        edges = tuple(edge_of(each) for each in operands)
        if current().grad and 0 in self.twin.kept(edges):  # backward needs x as it was
            before = OPS["core.copy"](x)
            operands = tuple(before if each is x else each for each in operands)
        value = cast("Callable[..., Tensor]", self.twin)(*operands, **attrs)
        return cast("Tensor", OPS["core.copy_"](x, value))

    def compute(
        self, mode: Mode, device: Device, args: tuple[Any, ...], attrs: dict[str, Any]
    ) -> Any:
        """Use the kernel where all operands have the dtype of x, else the fallback."""
        dtype = args[0].dtype
        try:
            mixed = any(each.__class__ not in SCALARS and each.dtype is not dtype for each in args)
        except AttributeError:
            self.specs(args, attrs)  # which says what is no tensor
            raise
        if mixed or (CATEGORY[dtype] < 2 and result_type(*args) is not dtype):
            return self.decompose(mode, device, args, attrs)
        return super().compute(mode, device, args, attrs)


def in_place_rule(out_of_place: Op[P, Tensor]) -> Callable[P, Spec]:
    """Return the rule of the in-place form: the result must fit into the first operand."""
    name = f"{out_of_place.__name__}_"

    def rule(x: Any, *others: Any, **attrs: Any) -> Spec:
        spec = out_of_place.rule(destination(name, x), *others, **attrs)
        if spec.shape != x.shape:
            raise ShapeError(f"{name}: a result of shape {spec.shape} does not fit into {x.shape}")
        dtype = result_type(x, *others)
        if out_of_place.floats_only and CATEGORY[dtype] < 2:
            dtype = get_default_dtype()
        if CATEGORY[dtype] > CATEGORY[x.dtype]:
            raise DTypeError(
                f"{name}: a result of {dtype.name} does not fit into {x.dtype.name}; write it into "
                f"a new tensor with {name[:-1]}, or cast the first operand with .to(dtype)"
            )
        return Spec(x.shape, x.dtype)

    rule.__name__ = name
    rule.__doc__ = (
        f"Do `{out_of_place.__name__}` in place: the result is written into the first operand."
    )
    rule.__module__ = out_of_place.rule.__module__
    return cast("Callable[P, Spec]", rule)
