"""One operation: its shape rule, its gradient, its fallback, and the call that joins them.

    @op                                                   # see ferrum.op
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
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from ferrum import base
from ferrum.base import TensorBase
from ferrum.device import Device
from ferrum.dtypes import CATEGORY
from ferrum.errors import DeviceError, GradientError, OperandError, UnsupportedError
from ferrum.graph import Edges, edge_to, next_sequence, storage_of
from ferrum.mode import Mode, current, reset_mode, set_mode, using
from ferrum.node import OpNode, save
from ferrum.operands import array_of, edges_of, flat, operand, requires_grad, wrapped
from ferrum.promotion import promoted
from ferrum.spec import check_addressable

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
        args = self.operands_of(args)
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
        device = self.device_of(args)
        result = self.compute(mode, device, args, attrs)
        outs = (self.viewed(args[0], result, attrs),) if self.view else wrapped(result, device)
        if recording:
            self.record(mode, args, edges_of(args), attrs, outs, device)
        return outs[0] if len(self.outputs) == 1 else outs

    def compute(
        self, mode: Mode, device: Device, args: tuple[Any, ...], attrs: dict[str, Any]
    ) -> Any:
        """Return what the kernel returns; where there is none, the tensors of the fallback."""
        kernel = device.kernels[self]
        if kernel is not None:
            result = kernel(*self.arrays(args), **attrs)
            if result is not NotImplemented:
                for observer in mode.observers:
                    observer.ran(self, device, True)
                return result
        return self.decompose(mode, device, args, attrs)

    def decompose(
        self, mode: Mode, device: Device, args: tuple[Any, ...], attrs: dict[str, Any]
    ) -> Any:
        """Return what the fallback makes of `args`, without recording its steps."""
        self.specs(args, attrs)  # first: a checked kernel may have declined what it must refuse
        for observer in mode.observers:
            observer.ran(self, device, False)
        if self.compose is None:
            lacking = "no kernel for it" if device.kernels[self] is None else "none for this call"
            raise UnsupportedError(
                f"{self.__name__}: device '{device}' has {lacking}, and it has no fallback; "
                f"see: ferrum conformance {device.kind}"
            )
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
            observer.ran(self, self.device_of(args), False)
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
        """Return what the rule says of a call, if its results can be addressed.

        A list or number for a tensor is an OperandError.
        """
        try:
            specs: Any = self.rule(*args, **attrs)
        except AttributeError as error:
            odd = [type(arg).__name__ for arg in args if not hasattr(arg, "dtype")]
            if not odd:
                raise
            raise OperandError(
                f"{self.__name__}: expected tensors, got {', '.join(odd)}; make a tensor with "
                f"fe.tensor(...)"
            ) from error
        if specs.__class__ is tuple:
            for spec in specs:
                check_addressable(self.__name__, spec.shape)
        else:
            check_addressable(self.__name__, specs.shape)
        return specs

    def operands_of(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the operands of a call, if they are of the number and the kinds that it takes."""
        if len(args) != len(self.inputs):
            raise OperandError(
                f"{self.__name__}: expected {len(self.inputs)} operands, "
                f"({', '.join(self.inputs)}), got {len(args)}"
            )
        return tuple([operand(self.__name__, arg) for arg in args])

    def arrays(self, args: Sequence[Any]) -> list[Any]:
        """Return what the kernel gets for `args`."""
        return [array_of(arg) for arg in args]

    def device_of(self, args: Sequence[Any]) -> Device:
        """Return the one device that the tensors in `args` are on."""
        device: Device | None = None
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
            storage = out.storage = x.storage or storage_of(x)
            storage.add_view(out)
        return out

    def record(
        self,
        mode: Mode,
        args: tuple[Any, ...],
        edges: Edges,
        attrs: dict[str, Any],
        outs: tuple[Tensor, ...],
        device: Device,
    ) -> None:
        """Make the node of this call, and lead the edges of `outs` to it."""
        node = self.node(edges, attrs, device)
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


def op_named(name: str) -> Op[..., Any]:
    """Return the op called `name`, for pickles and recordings."""
    return OPS[name]
