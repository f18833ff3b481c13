"""The op table as text: `ferrum ops`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ferrum.device import Device
from ferrum.errors import FerrumError
from ferrum.operation import OPS, Op
from ferrum.plugins import device, device_kinds, load_ops
from ferrum.supports import supports


def required_ops() -> list[Op[..., Any]]:
    """Return the ops that every backend needs a kernel for, those of tiers 0 and 1."""
    return sorted((op for op in OPS.values() if op.tier < 2), key=lambda op: (op.tier, op.name))


def gradient_kind(op: Op[..., Any]) -> str:
    """Return where the gradient of an op comes from: "rule", "fallback", or "none"."""
    if not op.differentiable or not op.inputs:
        return "none"
    return "rule" if op.vjp is not None else "fallback"


def table(devices: Sequence[Device]) -> list[list[str]]:
    """Return the rows of the table, the first one its heads, with a column per device."""
    rows = [["op", "tier", "gradient", *map(str, devices)]]
    for op in sorted(OPS.values(), key=lambda op: (not op.name.startswith("core."), op.name)):
        runs = [supports(each, op).how or "no" for each in devices]
        rows.append([op.name, str(op.tier), gradient_kind(op), *runs])
    return rows


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table."""
    head, *rest = rows
    names = [[f"`{row[0]}`", *row[1:]] for row in rest]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *names])


def main(names: Sequence[str] | None, markdown: bool) -> int:
    """Print the table for these devices, or for all that work; return the exit status."""
    for error in load_ops().values():
        print(error, file=sys.stderr)
    devices = []
    for name in names or device_kinds():
        try:
            devices.append(device(name))
        except FerrumError as error:
            print(error, file=sys.stderr)
            if names:
                return 2
    print((as_markdown if markdown else as_text)(table(devices)))
    if not markdown:
        print(f"\nA backend needs {len(required_ops())} functions; the table has {len(OPS)} ops.")
    return 0
