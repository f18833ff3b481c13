"""One operation: its shape rule, its gradient, its fallback, and the call that joins them.

    @op
    def matmul(a: TensorLike, b: TensorLike) -> Spec:        # the function is the shape-and-dtype rule
        ...

    @matmul.gradient                                         # written in tensor ops: any order follows
    def _(g, a, b, *, needs):
        return (g @ b.mT if needs[0] else None, a.mT @ g if needs[1] else None)

Tensors are positional; attributes are keyword-only and already normalised. The value comes from
the kernel that the tensors' device has for the op's name, or else from the op's fallback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

import numpy as np

from ferrum.device import Device
from ferrum.dtypes import CATEGORY, is_floating
from ferrum.errors import DeviceError, GradientError, OperandError, UnsupportedError
from ferrum.graph import Edge, Edges, Node, Pieces, View, edge_to, next_sequence, storage_of
from ferrum.mode import Mode, current, reset_mode, set_mode, using
from ferrum.promotion import SCALARS, promoted
from ferrum.spec import Spec

if TYPE_CHECKING:
    from ferrum.samples import Samples
    from ferrum.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R", bound="Tensor | tuple[Tensor, ...] | None")

OPS: dict[str, Op[..., Any]] = {}
NO_ATTRIBUTES: dict[str, Any] = {}


def bind_tensor(tensor_class: type[Tensor]) -> None:
    """Say what ops return. Tensors call ops and ops make tensors: the one knot of the core."""
    globals()["Tensor"] = tensor_class


def full_name(rule: Callable[..., Any]) -> str:
    """Return `distribution.op`: "core.add" for FERRUM's own, "nn.linear" for ferrum_nn's."""
    package = rule.__module__.partition(".")[0]
    distribution = "core" if package == "ferrum" else package.removeprefix("ferrum_")
    return f"{distribution}.{rule.__name__}"


class Op(Generic[P, R]):
    """A named operation on tensors. `ferrum.op.op` declares one."""

    def __init__(
        self,
        rule: Callable[P, Any],
        *,
        outputs: tuple[str, ...] = ("out",),
        promote: str = "",
        view: bool = False,
        differentiable: bool = True,
        revision: int = 1,
        ulp: float = 0.0,
        scale: float = 0.0,
    ) -> None:
        update_wrapper(self, rule)
        code = rule.__code__  # type: ignore[attr-defined]
        self.name = full_name(rule)
        self.rule = rule
        self.inputs: tuple[str, ...] = code.co_varnames[: code.co_argcount]
        self.attributes: tuple[str, ...] = code.co_varnames[
            code.co_argcount : code.co_argcount + code.co_kwonlyargcount
        ]
        self.outputs = outputs
        self.promote = promote
        self.floats_only = promote == "float"
        self.view = view
        self.differentiable = differentiable
        self.revision = revision
        self.ulp = ulp
        self.scale = scale
        self.writes: tuple[int, ...] = ()
        self.vjp: Callable[..., Any] | None = None
        self.keeps: tuple[int, ...] = ()
        self.vjp_attributes: tuple[str, ...] = ()
        self.wants_needs = self.reads_extra = False
        self.compose: Callable[..., R] | None = None
        self.sampler: Samples | None = None
        if OPS.setdefault(self.name, self) is not self:
            raise ValueError(f"{self.name}: the op is declared twice, the second time in {rule.__module__}")

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return op_named, (self.name,)

    # ---- declaration

    def gradient(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Give the gradient: `rule(g, *saved, needs=, **attributes)`, one gradient per input.

        Positional names after `g` say what is kept for backward: inputs and outputs of the op. `g` is
        the gradient of the output, a tuple where the op has several outputs (None = zero). `needs` has
        an entry per input: None where no gradient is wanted, else the input's shape and dtype. An op of
        one input returns its gradient, any other a tuple.
        """
        code = rule.__code__
        count = code.co_argcount
        keywords = code.co_varnames[count : count + code.co_kwonlyargcount]
        known = (*self.inputs, *self.outputs)
        self.vjp = rule
        self.keeps = tuple(known.index(name) for name in code.co_varnames[1:count])
        self.wants_needs = "needs" in keywords
        self.vjp_attributes = tuple(name for name in keywords if name != "needs")
        self.reads_extra = any(i > len(self.inputs) for i in self.keeps)
        return rule

    def fallback(self, compose: Callable[..., R]) -> Callable[..., R]:
        """Give the value in terms of other ops, for backends without a kernel."""
        self.compose = compose
        return compose

    def samples(self, sampler: Samples) -> Samples:
        """Give the calls, good and bad, that tests and the conformance kit make."""
        self.sampler = sampler
        return sampler

    @property
    def tier(self) -> int:
        """0 = memory and creation, 1 = primitive, 2 = has a fallback, so a backend may leave it out."""
        if self.compose is not None:
            return 2
        return 0 if self.rule.__module__.rpartition(".")[2] == "memory" else 1

    # ---- the call

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **attrs: P.kwargs) -> R:
            """Return the result of the operation."""
    else:

        def __call__(self, *args, **attrs):
            return self.dispatch(current(), args, attrs)

    def dispatch(self, mode: Mode, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Serve every call that no shorter road serves."""
        args = self._operands(args)
        if self.promote:
            args = promoted(self, args)
        recording = mode.grad and any(_requires_grad(arg) for arg in args)
        if recording and self.vjp is None and self.differentiable:
            return self._transparent(mode, args, attrs)
        if mode.interposers:
            token = set_mode(mode.inner())
            try:
                return mode.interposers[0](self, args, attrs)
            finally:
                reset_mode(token)
        return self.run(mode, args, attrs, recording and self.differentiable)

    def run(self, mode: Mode, args: tuple[Any, ...], attrs: dict[str, Any], recording: bool) -> Any:
        """Compute the outputs on the device of `args`, and record the step."""
        device = self.device_of(args, attrs)
        result = self.compute(mode, device, args, attrs)
        outs = (
            (self._view(args[0], attrs, result),) if self.view else self._wrap(result, device)
        )
        if recording:
            self._record(mode, args, attrs, outs, device)
        return outs[0] if len(self.outputs) == 1 else outs

    def compute(self, mode: Mode, device: Device, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Return what the kernel returns; where there is none, the tensors that the fallback returns."""
        kernel = device.kernels[self]
        if kernel is not None:
            if "device" in attrs:
                attrs = {name: value for name, value in attrs.items() if name != "device"}
            for observer in mode.observers:
                observer.ran(self, device, True)
            result = kernel(*[_arrays(arg) for arg in args], **attrs)
            if result is not NotImplemented:
                return result
        return self.decompose(mode, device, args, attrs)

    def decompose(
        self, mode: Mode, device: Device, args: tuple[Any, ...], attrs: dict[str, Any]
    ) -> Any:
        """Return what the fallback makes of `args`, without recording its steps."""
        for observer in mode.observers:
            observer.ran(self, device, False)
        if self.compose is None:
            raise UnsupportedError(
                f"{self.__name__}: device '{device}' has no kernel for it, and it has no fallback; "
                f"see: ferrum conformance {device.kind}"
            )
        self.rule(*args, **attrs)  # type: ignore[call-arg]
        with using(mode.plain(grad=False)):
            return self.compose(*args, **attrs)

    def _transparent(self, mode: Mode, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Run the fallback in full view, so that its steps carry the gradient."""
        if self.compose is None:
            raise GradientError(f"{self.__name__}: the op has neither a gradient nor a fallback; use no_grad")
        self.rule(*args, **attrs)  # type: ignore[call-arg]
        for observer in mode.observers:
            observer.ran(self, self.device_of(args, attrs), False)
        return self.compose(*args, **attrs)

    def _operands(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(args) != len(self.inputs):
            raise OperandError(
                f"{self.__name__}: expected {len(self.inputs)} operands ({', '.join(self.inputs)}), "
                f"got {len(args)}"
            )
        return tuple([operand(self.__name__, arg) for arg in args])

    def device_of(self, args: Sequence[Any], attrs: dict[str, Any]) -> Device:
        """Return the one device that the tensors in `args` are on, or that `attrs` names."""
        device: Device | None = attrs.get("device")
        if device is not None:
            return device
        for tensor in flat(args):
            if isinstance(tensor, Tensor):
                if device is None:
                    device = tensor.device
                elif tensor.device is not device:
                    raise DeviceError(
                        f"{self.__name__}: expected all tensors on one device, got '{device}' and "
                        f"'{tensor.device}'; move one with .to({str(device)!r})"
                    )
        if device is None:
            raise OperandError(f"{self.__name__}: expected at least one tensor, got {args!r}")
        return device

    def _wrap(self, result: Any, device: Device) -> tuple[Tensor, ...]:
        results = result if result.__class__ is tuple else (result,)
        return tuple([each if isinstance(each, Tensor) else Tensor(each, device) for each in results])

    def _view(self, x: Tensor, attrs: dict[str, Any], result: Any) -> Tensor:
        """Return the kernel's array as a tensor that knows whose memory it shows.

        A kernel that may have to copy returns a pair: the array, and whether it is a view after all.
        """
        array, shares = result if result.__class__ is tuple else (result, True)
        out = Tensor(array, x.device)
        if shares:
            base, path = (x, ()) if x.view_of is None else x.view_of
            out.view_of = View(base, (*path, (cast("Op[..., Tensor]", self), attrs)))
            out.storage = storage_of(x)
            out.storage.add_view(out)
        return out

    def _record(
        self,
        mode: Mode,
        args: tuple[Any, ...],
        attrs: dict[str, Any],
        outs: tuple[Tensor, ...],
        device: Device,
    ) -> None:
        node = self.node(tuple([_edges(arg) for arg in args]), attrs, device)
        values = (*args, *outs)
        node.saved = tuple([save(values[i]) for i in self.keeps])
        if self.reads_extra:
            node.saved_inputs = tuple([save(arg) for arg in args])
        for index, out in enumerate(outs):
            if is_floating(out.array.dtype):
                out.edge = edge_to(node, index, out.array)
        for observer in mode.observers:
            observer.recorded(node)

    def node(self, edges: Edges, attrs: dict[str, Any], device: Device) -> OpNode:
        """Return a node of this op that has saved nothing yet."""
        node = OpNode()
        node.op = self
        node.attrs = attrs
        node.edges = edges
        node.device = device
        node.hooks = None
        node.outputs = len(self.outputs)
        node.sequence = next_sequence()
        node.saved = ()
        return node


class UnaryOp(Op[P, R]):
    """An op of one tensor and no attributes: a short road for the common call."""

    if not TYPE_CHECKING:

        def __call__(self, x):
            mode = current()
            if mode.special or x.__class__ is not Tensor:
                return self.dispatch(mode, (x,), NO_ATTRIBUTES)
            array = x.array
            device = x.device
            kernel = device.kernels[self]
            recording = x.edge is not None and mode.grad
            if (
                kernel is None
                or (recording and self.vjp is None)
                or (self.floats_only and array.dtype.kind != "f")
                or (result := kernel(array)) is NotImplemented
            ):
                return self.dispatch(mode, (x,), NO_ATTRIBUTES)
            out = Tensor(result, device)
            if recording:
                node = OpNode()
                node.op = self
                node.attrs = NO_ATTRIBUTES
                node.edges = (x.edge,)
                node.device = device
                node.hooks = None
                node.outputs = 1
                node.sequence = next_sequence()
                node.saved = tuple([save(out if i else x) for i in self.keeps])
                edge = out.edge = Edge()
                edge.node = node
                edge.index = 0
                edge.shape = result.shape
                edge.dtype = result.dtype
            return out


class BinaryOp(Op[P, R]):
    """An op of two tensors and no attributes: a short road for the common call."""

    if not TYPE_CHECKING:

        def __call__(self, x1, x2):
            mode = current()
            if mode.special or x1.__class__ in SCALARS or x2.__class__ in SCALARS:
                return self.dispatch(mode, (x1, x2), NO_ATTRIBUTES)
            try:
                device = x1.device
                array1 = x1.array
                array2 = x2.array
                alike = x2.device is device and array1.dtype is array2.dtype
            except AttributeError:
                return self.dispatch(mode, (x1, x2), NO_ATTRIBUTES)
            edge1 = x1.edge
            edge2 = x2.edge
            recording = mode.grad and (edge1 is not None or edge2 is not None)
            kernel = device.kernels[self]
            if (
                not alike
                or kernel is None
                or (recording and self.vjp is None)
                or (self.floats_only and array1.dtype.kind != "f")
                or (result := kernel(array1, array2)) is NotImplemented
            ):
                return self.dispatch(mode, (x1, x2), NO_ATTRIBUTES)
            out = Tensor(result, device)
            if recording:
                node = OpNode()
                node.op = self
                node.attrs = NO_ATTRIBUTES
                node.edges = (edge1, edge2)
                node.device = device
                node.hooks = None
                node.outputs = 1
                node.sequence = next_sequence()
                node.saved = tuple([save((x1, x2, out)[i]) for i in self.keeps]) if self.keeps else ()
                edge = out.edge = Edge()
                edge.node = node
                edge.index = 0
                edge.shape = result.shape
                edge.dtype = result.dtype
            return out


class OpNode(Node):
    """A recorded call of an op: what its gradient rule needs, and nothing else."""

    __slots__ = ("attrs", "device", "op", "saved", "saved_inputs")

    op: Op[..., Any]
    attrs: dict[str, Any]
    device: Device
    saved: tuple[Any, ...] | None
    saved_inputs: tuple[Any, ...] | None

    @property
    def name(self) -> str:
        """The name of the op."""
        return self.op.name

    def pull(self, grads: list[Tensor | None], create_graph: bool) -> Pieces:
        """Return what the gradient rule makes of `grads`."""
        op = self.op
        if create_graph and op.reads_extra:
            return NotImplemented  # the engine differentiates the fallback instead
        saved_now = recall(self)
        keeps, edges = op.keeps, self.edges
        count = len(edges)
        saved = [
            restore(self, entry, edges[i] if i < count else i - count, create_graph)
            for i, entry in zip(keeps, saved_now, strict=True)
        ]
        attrs = {name: self.attrs[name] for name in op.vjp_attributes}
        if op.wants_needs:
            attrs["needs"] = edges
        assert op.vjp is not None  # a node is only recorded for an op that has one
        pieces = op.vjp(grads[0] if self.outputs == 1 else tuple(grads), *saved, **attrs)
        return (pieces,) if count == 1 else cast(Pieces, pieces)

    def inputs(self) -> tuple[Any, ...]:
        """Return the inputs of an op whose gradient reads extra outputs, with their history."""
        if self.saved_inputs is None:
            raise GradientError(
                f"{self.op.name}: its graph has been freed; pass retain_graph=True to the first backward"
            )
        return tuple(
            restore(self, entry, edge, create_graph=True)
            for entry, edge in zip(self.saved_inputs, self.edges, strict=True)
        )

    def free(self) -> None:
        """Drop the saved tensors."""
        self.saved = None
        self.saved_inputs = None


def save(value: Any) -> Any:
    """Return what a node keeps of `value`: the array, and the version that it must still have."""
    if value is None or value.__class__ in SCALARS:
        return value
    if isinstance(value, (list, tuple)):
        return [save(each) for each in value]
    storage = storage_of(value)
    return (value.array, storage, storage.version)


class Recall:
    """Stands for what a node would have saved; `checkpoint` computes it again."""

    def recall(self) -> Any:
        """Return what the node saved."""
        raise NotImplementedError


def recall(node: Any) -> tuple[Any, ...]:
    """Return what `node` saved, computed again where a checkpoint dropped it."""
    while isinstance(node.saved, Recall):
        node.saved = node.saved.recall()
    if node.saved is None:
        raise GradientError(
            f"{node.name}: its graph has been freed; pass retain_graph=True to the first backward"
        )
    return cast("tuple[Any, ...]", node.saved)


def restore(node: Any, entry: Any, edge: Any, create_graph: bool) -> Any:
    """Return a saved value as a tensor; with its history, `edge`, where that is wanted.

    An int for `edge` is the index of an output of `node` itself.
    """
    if entry.__class__ is list:
        return [restore(node, each, edge[i], create_graph) for i, each in enumerate(entry)]
    if entry.__class__ is not tuple:
        return entry
    array, storage, version = entry
    if storage.version != version:
        raise GradientError(
            f"{node.name}: a tensor saved for its gradient, of shape {array.shape}, was changed in "
            f"place after it was used (version {storage.version}, expected {version}); use the "
            f"out-of-place op, or clone() it first{getattr(node, 'trace', '')}"
        )
    tensor = Tensor(array, node.device)
    tensor.storage = storage
    if create_graph:
        tensor.edge = edge_to(node, edge, array) if edge.__class__ is int else edge
    return tensor


def flat(args: Sequence[Any]) -> list[Any]:
    """Return the operands with lists of tensors unfolded."""
    found: list[Any] = []
    for arg in args:
        if isinstance(arg, (list, tuple)):
            found += arg
        else:
            found.append(arg)
    return found


def operand(name: str, value: Any) -> Any:
    """Return `value` if an op can take it: a tensor, a number, None, or a list of tensors."""
    if isinstance(value, Tensor) or value is None or value.__class__ in SCALARS:
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [operand(name, each) for each in value]
    raise OperandError(
        f"{name}: expected a tensor or a number, got {type(value).__module__}."
        f"{type(value).__name__}; make a tensor with fe.tensor(...)"
    )


def _requires_grad(arg: Any) -> bool:
    if arg.__class__ is list:
        return any(_requires_grad(each) for each in arg)
    return getattr(arg, "edge", None) is not None


def _edges(arg: Any) -> Any:
    if arg.__class__ is list:
        return tuple([_edges(each) for each in arg])
    return getattr(arg, "edge", None)


def _arrays(arg: Any) -> Any:
    if arg.__class__ is list:
        return [_arrays(each) for each in arg]
    return getattr(arg, "array", arg)


def op_named(name: str) -> Op[..., Any]:
    """Return the op called `name`, for pickles and recordings."""
    return OPS[name]


@overload
def op(rule: Callable[P, Spec], /) -> Op[P, Tensor]: ...
@overload
def op(rule: Callable[P, tuple[Spec, ...]], /) -> Op[P, tuple[Tensor, ...]]: ...
@overload
def op(**options: Any) -> _Declare: ...
def op(rule: Any = None, /, **options: Any) -> Any:
    """Declare an operation by its shape rule: `(*tensors, *, attributes) -> Spec`.

    `outputs` names them where there are several: the first is the value, the rest are what backward
    needs. `promote` brings operands to one dtype first, as PyTorch's elementwise operations do
    ("same"), and integers to a float ("float"). `view` says that the output shares its input's
    memory. `differentiable=False` is for functions of which mathematics has no gradient. `revision`
    goes up when the meaning changes. `ulp` is the tolerance against float64, in units in the last
    place, of the value itself or of `scale` where that is larger.
    """
    if rule is not None:
        return _make(rule, {})
    return lambda rule: _make(rule, options)


class _Declare:
    """The type of `op(...)` with options: a decorator."""

    @overload
    def __call__(self, rule: Callable[P, Spec], /) -> Op[P, Tensor]: ...
    @overload
    def __call__(self, rule: Callable[P, tuple[Spec, ...]], /) -> Op[P, tuple[Tensor, ...]]: ...
    def __call__(self, rule: Any, /) -> Any: ...


def _make(rule: Any, options: dict[str, Any]) -> Op[..., Any]:
    code = rule.__code__
    plain = code.co_kwonlyargcount == 0 and not options.keys() & {"view", "outputs"}
    road = {1: UnaryOp, 2: BinaryOp}.get(code.co_argcount, Op) if plain else Op
    return road(rule, **options)
