"""The tensor: an array on a device, and its place in the graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ferrum import autograd, ops
from ferrum.autograd import edge_required
from ferrum.base import bind_tensor
from ferrum.dtypes import as_dtype, is_floating
from ferrum.errors import DTypeError, GradientError, OperandError, OutOfRangeError, ShapeError
from ferrum.graph import Handle, Leaf, Node, check_hook, edge_to, hooks_of, storage_of
from ferrum.methods.axes import flag
from ferrum.methods.reductions import Reductions
from ferrum.operands import the_tensor
from ferrum.plugins import device as find_device
from ferrum.printing import tensor_text


class Tensor(Reductions):
    """An array of numbers on a device. `fe.tensor(data)` makes one.

    Methods have PyTorch's names, arguments and numbers. A tensor that requires grad is recorded in
    what is computed from it, so that `backward()` can work out its gradient.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return tensor_text(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if not self.ndim else object.__format__(self, spec)

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise OutOfRangeError("iter: a 0-d tensor has no entries")
        return iter(self.unbind(0))

    def __contains__(self, value: Any) -> bool:
        return bool(self.eq(value).any())

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if self.edge is not None and not self.is_leaf:
            raise GradientError("pickle: only leaves can be pickled; use detach()")
        host = self.detach()._host("pickle")
        data = host.tobytes()
        made_of = (type(self), data, self.dtype.name, self.shape, str(self.device))
        extras = getattr(self, "__dict__", None)  # of a subclass
        return _unpickled, (*made_of, self.requires_grad), extras

    # ---- the graph

    @property
    def requires_grad(self) -> bool:
        """Whether what is computed from this tensor is recorded."""
        return self.edge is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Record what is computed from this leaf, or no longer. Returns self."""
        requires_grad = flag("requires_grad_", "requires_grad", requires_grad)
        if requires_grad and self.edge is None:
            if not is_floating(self.dtype):
                raise DTypeError(
                    f"requires_grad: expected a floating-point tensor, got {self.dtype.name}"
                )
            leaf = Leaf()
            leaf.grad = getattr(self, "_unused_grad", None)
            self.edge = edge_to(leaf, 0, self.array)
            self.view_of = None  # as a leaf it stands for itself, whatever is written beside it
        elif not requires_grad and self.edge is not None:
            if not self.is_leaf:
                raise GradientError(
                    "requires_grad: only that of leaves can be taken away; use detach()"
                )
            self._unused_grad = self.grad
            self.edge = None
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self.edge is None or isinstance(self.edge.node, Leaf)

    @property
    def grad_fn(self) -> Node | None:
        """The node that made this tensor; None for leaves."""
        node = None if self.edge is None else self.edge.node
        return None if isinstance(node, Leaf) else node

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` has added up here; None before."""
        if self.edge is None:
            return getattr(self, "_unused_grad", None)
        node = self.edge.node
        if isinstance(node, Leaf):
            return node.grad
        return None if node.hooks is None else node.hooks.retained.get(self.edge.index)

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise OperandError(f"grad: expected a tensor or None, got {type(value).__name__}")
            if (
                value.shape != self.shape
                or value.dtype is not self.dtype
                or value.device is not self.device
            ):
                raise ShapeError(
                    f"grad: expected {self.shape} {self.dtype.name} on '{self.device}', got "
                    f"{value.shape} {value.dtype.name} on '{value.device}'"
                )
        if self.edge is None:
            self._unused_grad = value
        elif isinstance(self.edge.node, Leaf):
            self.edge.node.grad = value
        else:
            hooks_of(self.edge.node).retained[self.edge.index] = value

    @property
    def _version(self) -> int:
        """How often the memory of this tensor has been written."""
        return 0 if self.storage is None else self.storage.version

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add the gradients of this tensor to the `.grad` of the leaves it depends on."""
        autograd.backward(self, gradient, retain_graph, create_graph, inputs)

    def detach(self) -> Tensor:
        """Return a tensor that shares memory with self and does not require grad."""
        out = Tensor(self.array, self.device)
        out.storage = storage_of(self)
        return out

    def detach_(self) -> Tensor:
        """Cut self off from what made it. Returns self."""
        if self.view_of is not None:
            raise GradientError("detach_: a view cannot be cut off in place; use detach()")
        self.edge = None
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of this tensor in `.grad`, although it is no leaf."""
        edge = edge_required("retain_grad", self)
        if not isinstance(edge.node, Leaf):
            hooks_of(edge.node).retained.setdefault(edge.index, None)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Handle:
        """Call `hook(gradient)` when the gradient of this tensor is known.

        What it returns replaces it.
        """
        edge = edge_required("register_hook", self)
        return Handle.add(hooks_of(edge.node).tensor.setdefault(edge.index, {}), hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> Handle:
        """Call `hook(self)` each time a gradient has been added to `.grad` of this leaf."""
        name = "register_post_accumulate_grad_hook"
        check_hook(name, hook)
        leaf = edge_required(name, self).node
        if not isinstance(leaf, Leaf):
            raise GradientError(f"{name}: expected a leaf")
        if leaf.accumulated is None:
            leaf.accumulated = {}
        tensor = weakref.ref(self)

        def call(_: Leaf) -> None:
            alive = tensor()
            if alive is not None:
                hook(alive)

        return Handle.add(leaf.accumulated, call)

    # ---- writing

    def copy_(self, source: Tensor) -> Tensor:
        """Write `source`, broadcast and cast, and from any device, into self."""
        return ops.copy_(self, the_tensor("copy_", source).to(self.device))

    def fill_(self, value: float | Tensor) -> Tensor:
        """Write `value` into every element."""
        filling = self._like(value)
        if filling.ndim:
            raise ShapeError(f"fill_: expected a number or a 0-d tensor, got {filling.shape}")
        return ops.copy_(self, filling)

    def zero_(self) -> Tensor:
        """Write 0 into every element."""
        return self.fill_(0)

    def adopt(self, source: Tensor) -> Tensor:
        """Take the memory, dtype and device of `source`, and stay the same object.

        The gradient goes along, cast and moved, and hooks stay. Raises GradientError unless self is
        a leaf.
        """
        the_tensor("adopt", source)
        if not self.is_leaf or self.view_of is not None:
            raise GradientError("adopt: expected a leaf that is no view")
        grad, edge = self.grad, self.edge
        self.edge = None
        self._unused_grad = None
        self.array, self.device = source.array, source.device
        self.storage = storage_of(source)
        if edge is not None:
            old, new = edge.node, edge_required("adopt", self.requires_grad_()).node
            assert isinstance(old, Leaf)
            assert isinstance(new, Leaf)
            new.hooks, new.accumulated = old.hooks, old.accumulated
        self.grad = None if grad is None else grad.detach().to(self.device, self.dtype)
        return self


def _unpickled(
    kind: type[Tensor],
    data: bytes,
    dtype: str,
    shape: tuple[int, ...],
    device: str,
    requires_grad: bool,
) -> Tensor:
    where = find_device(device)
    array = np.frombuffer(bytearray(data), as_dtype(dtype)).reshape(shape)
    out = kind.__new__(kind)  # whose own constructor may take something else
    Tensor.__init__(out, where.from_numpy(array), where)
    return out.requires_grad_(requires_grad)


bind_tensor(Tensor)
