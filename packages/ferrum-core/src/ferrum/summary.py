"""What a model is made of: its layers, their outputs and parameters, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from ferrum.creation import zeros
from ferrum.device import Device
from ferrum.dtypes import DTypeLike
from ferrum.errors import OperandError
from ferrum.mode import no_grad
from ferrum.random import default_generator
from ferrum.tensor import Tensor

_HEADINGS = ("Layer", "Output shape", "Parameters", "Trainable")


class Row(NamedTuple):
    """One module: its name, and `label`, its name in the module around it.

    `output` is the shape of its last output, or such a list or dict of shapes as that was, or None
    where the module was not called. `parameters` counts its own numbers, without its submodules'
    and without those that an earlier row has.
    """

    name: str
    label: str
    kind: str
    depth: int
    output: Any
    parameters: int
    trainable: int
    calls: int


class Summary:
    """The table of a model, which is its `str`, and the numbers in it.

    `rows` has one `Row` for each module. `parameters` and `trainable` count numbers in all of them;
    `parameter_bytes`, `buffer_bytes` and `input_bytes` say how much memory they take, and
    `output_bytes` what all calls of modules without submodules return: about what training keeps.
    """

    def __init__(self, rows: list[Row], **sizes: int) -> None:
        self.rows = rows
        self.parameters = sum(row.parameters for row in rows)
        self.trainable = sum(row.trainable for row in rows)
        self.parameter_bytes = sizes["parameter_bytes"]
        self.buffer_bytes = sizes["buffer_bytes"]
        self.input_bytes = sizes["input_bytes"]
        self.output_bytes = sizes["output_bytes"]

    def __str__(self) -> str:
        table = [_HEADINGS, *map(_cells, self.rows)]
        widths = [max(len(cells[i]) for cells in table) for i in range(len(_HEADINGS))]
        lines = [
            f"{a:{widths[0]}}  {b:{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}"
            for a, b, c, d in table
        ]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        fixed = self.parameters - self.trainable
        totals = [
            f"Parameters: {self.parameters:,} ({self.trainable:,} trainable, {fixed:,} not)",
            f"Size: parameters {_megabytes(self.parameter_bytes)}, buffers "
            f"{_megabytes(self.buffer_bytes)}, input {_megabytes(self.input_bytes)}, outputs "
            f"{_megabytes(self.output_bytes)}",
        ]
        return "\n".join([lines[0], rule, *(line.rstrip() for line in lines[1:]), rule, *totals])

    __repr__ = __str__  # so that a notebook or a prompt shows the table


def summary(
    model: Any,
    input: Any = None,
    *,
    dtype: DTypeLike | None = None,
    device: str | Device | None = None,
) -> Summary:
    """Return a table of the modules of `model`, with the shapes of their outputs for `input`.

    `input` is a tensor, or a shape, such as (32, 784), of which a tensor of zeros is made; a list
    or tuple of those for a model that takes several, a dict for keyword arguments. Without an
    input there are no shapes. `dtype` and `device` are those of the tensors of zeros: the default
    dtype, and the device of the model's first parameter.

        print(fe.summary(model, (32, 784)))

    The model is called once, without gradients and as if `eval()` had been called. Afterwards each
    of its modules has the mode and the hooks that it had, also where it raised, and the default
    generator its state. A module that is used twice is counted once.

    The model can be anything with `named_modules()`, whose modules have `named_parameters`,
    `named_buffers` and `register_forward_hook` as `ferrum_nn.Module` has them.
    """
    if not (hasattr(model, "named_modules") and hasattr(model, "register_forward_hook")):
        raise OperandError(f"summary: expected a module, got {type(model).__name__}")
    if device is None:
        device = next((each.device for _, each in model.named_parameters()), None)
    args, kwargs = _arguments(input, lambda shape: zeros(*shape, dtype=dtype, device=device))
    modules = list(model.named_modules())
    seen = _Seen(modules)
    if input is not None:
        with seen.watching(), no_grad():
            model(*args, **kwargs)
    return Summary(
        _rows(modules, seen),
        parameter_bytes=_nbytes(dict(model.named_parameters())),
        buffer_bytes=_nbytes(dict(model.named_buffers())),
        input_bytes=_nbytes([args, kwargs]),
        output_bytes=seen.output_bytes,
    )


class _Seen:
    """What the modules returned, by their id."""

    def __init__(self, modules: list[tuple[str, Any]]) -> None:
        self.modules = modules
        self.around = _around([name for name, _ in modules])
        parents = {name for names in self.around.values() for name in names}
        self.leaves = {id(module) for name, module in modules if name not in parents}
        self.outputs: dict[int, Any] = {}
        self.calls: dict[int, int] = {}
        self.output_bytes = 0

    def returned(self, module: Any, args: Any, output: Any) -> None:
        """Note one output; this is a forward hook."""
        self.outputs[id(module)] = _shapes(output)
        self.calls[id(module)] = self.calls.get(id(module), 0) + 1
        if id(module) in self.leaves:
            self.output_bytes += _nbytes(output)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note outputs, with all modules in the mode of `eval()`, and put everything back."""
        modes = [(m, m.training) for _, m in self.modules if hasattr(m, "training")]
        state = default_generator.get_state()
        handles = []
        try:
            for _, module in self.modules:
                handles.append(module.register_forward_hook(self.returned))
            for module, _ in modes:
                module.training = False
            yield
        finally:
            for handle in handles:
                handle.remove()
            for module, mode in modes:
                module.training = mode
            default_generator.set_state(state)


def _rows(modules: list[tuple[str, Any]], seen: _Seen) -> list[Row]:
    rows: list[Row] = []
    counted: set[int] = set()
    for name, module in modules:
        own = [p for _, p in module.named_parameters(recurse=False) if id(p) not in counted]
        counted.update(map(id, own))
        around = seen.around[name]
        rows.append(
            Row(
                name,
                name[len(around[-1]) + 1 :] if around and around[-1] else name,
                type(module).__name__,
                len(around),
                seen.outputs.get(id(module)),
                sum(p.numel() for p in own),
                sum(p.numel() for p in own if p.requires_grad),
                seen.calls.get(id(module), 0),
            )
        )
    return rows


def _around(names: list[str]) -> dict[str, list[str]]:
    """Return for each name those of the modules around it, the outermost first."""
    known = set(names)
    found = {}
    for name in names:
        parts = name.split(".")
        outer = (".".join(parts[:i]) for i in range(len(parts)))
        found[name] = [each for each in outer if each in known and each != name]
    return found


def _is_shape(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(
        isinstance(size, int) and not isinstance(size, bool) for size in value
    )


def _arguments(value: Any, make: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of the model's call, with tensors in the place of shapes."""

    def made(each: Any) -> Any:
        return make(each) if _is_shape(each) else each

    if isinstance(value, Mapping):
        return [], {name: made(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)) and not _is_shape(value):
        return [made(each) for each in value], {}
    return ([] if value is None else [made(value)]), {}


def _shapes(value: Any) -> Any:
    """Return the shape of a tensor, or what holds tensors with shapes in their places."""
    if isinstance(value, Tensor):
        return value.shape
    if isinstance(value, Mapping):
        return {name: _shapes(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_shapes(each) for each in value]
    return type(value).__name__


def _nbytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.dtype.itemsize
    if isinstance(value, Mapping):
        return sum(map(_nbytes, value.values()))
    return sum(map(_nbytes, value)) if isinstance(value, (tuple, list)) else 0


def _cells(row: Row) -> tuple[str, str, str, str]:
    label = f"{'  ' * row.depth}{f'{row.label}: ' if row.label else ''}{row.kind}"
    output = "" if row.output is None else str(row.output)
    counts = (f"{row.parameters:,}", f"{row.trainable:,}") if row.parameters else ("", "")
    return label, output, *counts


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
