"""One call made on the device under test."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from ferrum.device import Device
from ferrum.dtypes import is_floating
from ferrum.mode import current, no_grad
from ferrum.promotion import promoted
from ferrum.tensor import Tensor
from ferrum.testing.calls import Array, Call, nested, outputs_of, with_copies
from ferrum.testing.layouts import Placed, constant_along, place


class Trial:
    """A call whose operands lie on `device` in `layout`; those in `leaves` require grad."""

    def __init__(
        self,
        call: Call,
        device: Device,
        layout: str = "contiguous",
        leaves: Collection[int] = (),
    ) -> None:
        self.call = call.changed(constant_along) if layout == "broadcast" else call
        self.op = call.op
        self.device = device
        self.attrs = call.attributes(device)
        self.placed: list[Placed] = []
        self.leaves: list[Tensor] = []
        self._wanted = leaves
        self.args: list[Any] = []
        for i, operand in enumerate(self.call.operands_on(device)):
            # An operand that is written may not have several elements in one place.
            plain = layout == "broadcast" and i in self.op.writes
            lay = partial(self._lay, layout="contiguous" if plain else layout)
            self.args += nested(lay, [operand])

    def _lay(self, array: Array, layout: str) -> Tensor:
        placed = place(self.device, array, layout)
        self.placed.append(placed)
        if len(self.placed) - 1 not in self._wanted:
            return placed.tensor
        leaf = placed.tensor.detach().requires_grad_()
        self.leaves.append(leaf)
        return leaf

    def run(self) -> list[Tensor]:
        """Return what the op gives."""
        with no_grad():
            return outputs_of(self.op, self.args, self.op(*self.args, **self.attrs))

    def decompose(self) -> list[Tensor]:
        """Return what the fallback gives, although there is a kernel."""
        args = promoted(self.op, self.args) if self.op.promote else tuple(self.args)
        with no_grad():
            result = self.op.decompose(current(), self.device, args, self.attrs)
        return outputs_of(self.op, args, result)

    def recorded(self) -> list[Tensor]:
        """Return the floating-point outputs with the graph behind them; leaves are not written."""
        args = with_copies(self.op, self.args)
        outs = outputs_of(self.op, args, self.op(*args, **self.attrs))
        return [out for out in outs if is_floating(out.dtype)]

    @property
    def written(self) -> list[Placed]:
        """The operands that the op declares to write."""
        tensors = [id(x) for x in outputs_of(self.op, self.args, None)] if self.op.writes else []
        return [placed for placed in self.placed if id(placed.tensor) in tensors]

    @property
    def read(self) -> list[Placed]:
        """The operands that the op may only read."""
        written = {id(placed.tensor) for placed in self.written}
        return [placed for placed in self.placed if id(placed.tensor) not in written]
