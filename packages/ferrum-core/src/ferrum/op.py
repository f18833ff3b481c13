"""One operation: its shape rule, its gradient, its fallback, and the call that joins them.

    @op
    def matmul(a: TensorLike, b: TensorLike) -> Spec:     # the function is the shape-and-dtype rule
        ...

    @matmul.gradient                                      # written in tensor ops: any order follows
    def _(g, a, b, *, needs):
        return (g @ b.mT if needs[0] else None, a.mT @ g if needs[1] else None)

Tensors are positional; attributes are keyword-only and already normalised. The value comes from
the kernel that the tensors' device has for the op's name, or else from the op's fallback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from ferrum import base
from ferrum.base import TensorBase
from ferrum.device import Device
from ferrum.dtypes import CATEGORY
from ferrum.errors import DeviceError, GradientError, OperandError, UnsupportedError
from ferrum.graph import Edge, Edges, Storage, edge_to, next_sequence, storage_of
from ferrum.mode import Mode, current, reset_mode, set_mode, using
from ferrum.node import OpNode, save
from ferrum.operands import array_of, edge_of, flat, operand, requires_grad, wrapped
from ferrum.promotion import SCALARS, promoted
from ferrum.spec import Spec

if TYPE_CHECKING:
    from ferrum.samples import Samples
    from ferrum.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R", bound="Tensor | tuple[Tensor, ...] | None")

OPS: dict[str, Op[..., Any]] = {}


def full_name(rule: Callable[..., Any]) -> str:
    """Return `distribution.op`: "core.add" for FERRUM's own, "nn.linear" for ferrum_nn's."""
    package = rule.__module__.partition(".")[0]
    distribution = "core" if package == "ferrum" else package.removeprefix("ferrum_")
    return f"{distribution}.{rule.__name__}"


class Op(Generic[P, R]):
    """A named operation on tensors. `ferrum.op.op` declares one."""

    __name__: str

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
        code = rule.__code__
        count, keywords = code.co_argcount, code.co_kwonlyargcount
        self.name = full_name(rule)
        self.rule = rule
        self.inputs: tuple[str, ...] = code.co_varnames[:count]
        self.attributes: tuple[str, ...] = code.co_varnames[count : count + keywords]
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
        self.keeps: tuple[tuple[int, int | None], ...] = ()
        self.vjp_attributes: tuple[str, ...] = ()
        self.wants_needs = self.reads_extra = False
        self.compose: Callable[..., R] | None = None
        self.sampler: Samples | None = None
        if OPS.setdefault(self.name, self) is not self:
            raise ValueError(f"{self.name}: the op is declared twice, again in {rule.__module__}")

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return op_named, (self.name,)

    # ---- declaration

    def gradient(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Give the gradient: `rule(g, *saved, needs=, **attributes)`, one gradient per input.

        Positional names after `g` say what is kept for backward: inputs and outputs of the op. `g`
        is the gradient of the output, a tuple where the op has several outputs (None = zero).
        `needs` has an entry per input: None where no gradient is wanted, else the input's shape
        and dtype. An op of one input returns its gradient, any other a tuple. A rule that reads
        extra outputs may return NotImplemented: the fallback's gradient then serves.
        """
        code = rule.__code__
        count = code.co_argcount
        keywords = code.co_varnames[count : count + code.co_kwonlyargcount]
        known = (*self.inputs, *self.outputs)
        self.vjp = rule
        self.keeps = tuple((known.index(name), None) for name in code.co_varnames[1:count])
        self.wants_needs = "needs" in keywords
        self.vjp_attributes = tuple(name for name in keywords if name != "needs")
        self.reads_extra = any(i > len(self.inputs) for i, _ in self.keeps)
        return rule

    def keep_for(self, **readers: str) -> None:
        """Say of what the gradient rule keeps that only one input's gradient reads it.

        After `matmul.keep_for(a="b", b="a")`, a is kept only where b wants a gradient. Elsewhere
        the rule gets None for it, its memory is free to go, and it may be written.
        """
        known = (*self.inputs, *self.outputs)
        only = {known.index(kept): self.inputs.index(reader) for kept, reader in readers.items()}
        self.keeps = tuple((i, only.get(i)) for i, _ in self.keeps)

    def kept(self, edges: Edges) -> list[int | None]:
        """Return the indices of what a call whose inputs have `edges` keeps, None for what not."""
        return [i if only is None or edges[only] is not None else None for i, only in self.keeps]

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
        """0 = memory and views, 1 = primitive, 2 = has a fallback: a backend may leave it out."""
        if self.compose is not None:
            return 2
        return 0 if self.rule.__module__ in ("ferrum.ops.memory", "ferrum.ops.views") else 1

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
        recording = mode.grad and any(map(requires_grad, args))
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
        outs = (self.viewed(args[0], result, attrs),) if self.view else wrapped(result, device)
        if recording:
            self.record(mode, args, attrs, outs, device)
        return outs[0] if len(self.outputs) == 1 else outs

    def compute(
        self, mode: Mode, device: Device, args: tuple[Any, ...], attrs: dict[str, Any]
    ) -> Any:
        """Return what the kernel returns; where there is none, the tensors of the fallback."""
        kernel = device.kernels[self]
        if kernel is not None:
            if "device" in attrs:
                attrs = {name: value for name, value in attrs.items() if name != "device"}
            result = kernel(*[array_of(arg) for arg in args], **attrs)
            if result is not NotImplemented:
                for observer in mode.observers:
                    observer.ran(self, device, True)
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
        self.specs(args, attrs)
        with using(mode.plain(grad=False)):
            return self._apart(self.compose(*args, **attrs), args)

    def _transparent(self, mode: Mode, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Run the fallback in full view, so that its steps carry the gradient."""
        if self.compose is None:
            raise GradientError(
                f"{self.__name__}: the op has neither a gradient nor a fallback; use no_grad()"
            )
        self.specs(args, attrs)
        for observer in mode.observers:
            observer.ran(self, self.device_of(args, attrs), False)
        return self._apart(self.compose(*args, **attrs), args)

    def _apart(self, result: Any, args: tuple[Any, ...]) -> Any:
        """Return what the fallback made, or a copy where that is, or is a view of, an operand."""
        if self.writes:
            return result
        if isinstance(result, tuple):
            return tuple([self._apart(each, args) for each in result])
        for arg in flat(args):
            if isinstance(arg, TensorBase) and (
                result is arg or (result.storage is not None and result.storage is arg.storage)
            ):
                return OPS["core.copy"](result)
        return result

    def specs(self, args: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """Return what the rule says of a call; a list or number for a tensor is an OperandError."""
        try:
            return self.rule(*args, **attrs)
        except AttributeError as error:
            odd = [type(arg).__name__ for arg in args if not hasattr(arg, "dtype")]
            if not odd:
                raise
            raise OperandError(
                f"{self.__name__}: expected tensors, got {', '.join(odd)}; make a tensor with "
                f"fe.tensor(...)"
            ) from error

    def _operands(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(args) != len(self.inputs):
            raise OperandError(
                f"{self.__name__}: expected {len(self.inputs)} operands, "
                f"({', '.join(self.inputs)}), got {len(args)}"
            )
        return tuple([operand(self.__name__, arg) for arg in args])

    def device_of(self, args: Sequence[Any], attrs: dict[str, Any]) -> Device:
        """Return the one device that the tensors in `args` are on, or that `attrs` names."""
        device: Device | None = attrs.get("device")
        if device is not None:
            return device
        for tensor in flat(args):
            if isinstance(tensor, TensorBase):
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

    def viewed(self, x: TensorBase, result: Any, attrs: dict[str, Any]) -> Tensor:
        """Return the kernel's array as a tensor that knows whose memory it shows.

        A kernel that may have to copy returns a pair: the array, and whether it is a view after
        all.
        """
        array, shares = result if result.__class__ is tuple else (result, True)
        out = base.Tensor(array, x.device)
        if shares:
            step = (cast("Op[..., Tensor]", self), attrs)
            origin = x.view_of
            out.view_of = (x, (step,)) if origin is None else (origin[0], (*origin[1], step))
            storage = out.storage = storage_of(x)
            storage.add_view(out)
        return out

    def record(
        self,
        mode: Mode,
        args: tuple[Any, ...],
        attrs: dict[str, Any],
        outs: tuple[Tensor, ...],
        device: Device,
    ) -> None:
        """Make the node of this call, and lead the edges of `outs` to it."""
        node = self.node(tuple([edge_of(arg) for arg in args]), attrs, device)
        values = (*args, *outs)
        node.saved = [None if i is None else save(values[i]) for i in self.kept(node.edges)]
        if self.reads_extra:
            node.saved += [save(arg) for arg in args]
        for index, out in enumerate(outs):
            if CATEGORY[out.array.dtype] == 2:
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
        node.saved = []
        return node


class CreationOp(Op[P, R]):
    """An op of no tensors, which names its device: a short road for its common call."""

    if not TYPE_CHECKING:

        def __call__(self, **attrs):
            mode = current()
            if mode.special:
                return self.dispatch(mode, (), attrs)
            kernel = attrs["device"].kernels[self]
            if kernel is None:
                return self.dispatch(mode, (), attrs)
            device = attrs.pop("device")
            return base.Tensor(kernel(**attrs), device)


class UnaryOp(Op[P, R]):
    """An op of one tensor: a short road for its common call, written out without helpers."""

    if not TYPE_CHECKING:

        def __call__(self, x, **attrs):
            mode = current()
            if mode.special:
                return self.dispatch(mode, (x,), attrs)
            try:
                array = x.array
                device = x.device
                recording = mode.grad and x.edge is not None
            except AttributeError:
                return self.dispatch(mode, (x,), attrs)
            kernel = device.kernels[self]
            if (
                kernel is None
                or (recording and self.vjp is None)
                or (self.floats_only and array.dtype.kind != "f")
                or (result := kernel(array, **attrs) if attrs else kernel(array)) is NotImplemented
            ):
                return self.dispatch(mode, (x,), attrs)
            out = self.viewed(x, result, attrs) if self.view else base.Tensor(result, device)
            if recording and CATEGORY[dtype := out.array.dtype] == 2:
                node = OpNode()
                node.op = self
                node.attrs = attrs
                node.edges = (x.edge,)
                node.device = device
                node.hooks = None
                node.outputs = 1
                node.sequence = next_sequence()
                node.saved = saved = []
                for i, _ in self.keeps:
                    value = out if i else x
                    storage = value.storage
                    if storage is None:
                        new = Storage()
                        storage = value.storage  # another thread may have been here: see storage_of
                        if storage is None:
                            storage = value.storage = new
                    saved.append((value.array, storage, storage.version))
                edge = out.edge = Edge()
                edge.node = node
                edge.index = 0
                edge.shape = out.array.shape
                edge.dtype = dtype
            return out


class BinaryOp(Op[P, R]):
    """An op of two tensors, or of one and a number: a short road for its common call."""

    if not TYPE_CHECKING:

        def __call__(self, x1, x2, **attrs):
            mode = current()
            if mode.special or x1.__class__ in SCALARS:
                return self.dispatch(mode, (x1, x2), attrs)
            try:
                device = x1.device
                array1 = x1.array
                edge1 = x1.edge
                if x2.__class__ in SCALARS:
                    array2 = x2
                    edge2 = None
                    alike = self.promote and array1.dtype.kind == "f"
                else:
                    array2 = x2.array
                    edge2 = x2.edge
                    alike = x2.device is device and array1.dtype is array2.dtype
            except AttributeError:
                return self.dispatch(mode, (x1, x2), attrs)
            kernel = device.kernels[self]
            recording = mode.grad and (edge1 is not None or edge2 is not None)
            if (
                not alike
                or kernel is None
                or (recording and self.vjp is None)
                or (self.floats_only and array1.dtype.kind != "f")
                or (result := kernel(array1, array2, **attrs) if attrs else kernel(array1, array2))
                is NotImplemented
            ):
                return self.dispatch(mode, (x1, x2), attrs)
            out = base.Tensor(result, device)
            if recording:
                node = OpNode()
                node.op = self
                node.attrs = attrs
                node.edges = (edge1, edge2)
                node.device = device
                node.hooks = None
                node.outputs = 1
                node.sequence = next_sequence()
                node.saved = saved = []
                for i, only in self.keeps:
                    if only is not None and (edge2 if only else edge1) is None:
                        saved.append(None)
                        continue
                    value = x1 if i == 0 else x2 if i == 1 else out
                    if value.__class__ in SCALARS:
                        saved.append(value)
                        continue
                    storage = value.storage
                    if storage is None:
                        new = Storage()
                        storage = value.storage  # another thread may have been here: see storage_of
                        if storage is None:
                            storage = value.storage = new
                    saved.append((value.array, storage, storage.version))
                edge = out.edge = Edge()
                edge.node = node
                edge.index = 0
                edge.shape = result.shape
                edge.dtype = result.dtype
            return out


def op_named(name: str) -> Op[..., Any]:
    """Return the op called `name`, for pickles and recordings."""
    return OPS[name]


class Declare:
    """What `op(...)` with options returns: a decorator."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    @overload
    def __call__(self, rule: Callable[P, Spec], /) -> Op[P, Tensor]: ...
    @overload
    def __call__(self, rule: Callable[P, tuple[Spec, ...]], /) -> Op[P, tuple[Tensor, ...]]: ...
    def __call__(self, rule: Any, /) -> Any:
        """Return the op that `rule` declares."""
        road = {0: CreationOp, 1: UnaryOp, 2: BinaryOp}.get(rule.__code__.co_argcount, Op)
        return (road if "outputs" not in self.options else Op)(rule, **self.options)


@overload
def op(rule: Callable[P, Spec], /) -> Op[P, Tensor]: ...
@overload
def op(rule: Callable[P, tuple[Spec, ...]], /) -> Op[P, tuple[Tensor, ...]]: ...
@overload
def op(**options: Any) -> Declare: ...
def op(rule: Any = None, /, **options: Any) -> Any:
    """Declare an operation by its shape rule: `(*tensors, *, attributes) -> Spec`.

    `outputs` names them where there are several: the first is the value, the rest are what backward
    needs. `promote` brings operands to one dtype first, as PyTorch's elementwise operations do
    ("same"), and integers to a float ("float"). `view` says that the output shares its input's
    memory. `differentiable=False` is for functions of which mathematics has no gradient. `revision`
    goes up when the meaning changes. `ulp` is the tolerance against float64, in units in the last
    place of the value itself, or of `scale` where that is larger.
    """
    declare = Declare(options)
    return declare if rule is None else declare(rule)
