"""What the site shows of the sources: a reference page per public module, and the table of ops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for path in ROOT.glob("packages/*/src/*") if path.is_dir())

TIERS = """\
An op of tier 0 or 1 has no composition of other ops to stand in for it: a backend must have it.
Tier 0 is memory (creation, copies, views), tier 1 the primitives. Tier 2 has a fallback, so a
backend may leave it out. What stands before the star is tensors, what follows it attributes. ULP is
the tolerance against float64. **A backend needs {required} functions; the table has {total} ops.**
"""


def modules(source: Path) -> list[str]:
    """Return the public modules of a package, the package itself first: ["ferrum", ...]."""
    names = []
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            names.append(".".join(parts))
    return sorted(names)


def page_of(module: str) -> str:
    """Return the path of a module's reference page."""
    return f"reference/{module}.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the reference pages where the nav says `Reference: reference`."""
    reference: list[dict[str, Any]] = [
        {source.name: [{module: page_of(module)} for module in modules(source)]}
        for source in SOURCES
    ]
    assert config.nav is not None
    config.nav = [
        {"Reference": reference} if entry == {"Reference": "reference"} else entry
        for entry in config.nav
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are written from the sources."""
    for source in SOURCES:
        for module in modules(source):
            page = f"::: {module}\n"
            files.append(File.generated(config, page_of(module), content=page))
    files.append(File.generated(config, "ops.md", content=op_table()))
    return files


def op_table() -> str:
    """Return the page of all ops, as the op table itself tells it."""
    from ferrum.op import OPS
    from ferrum.plugins import load_ops

    broken = load_ops()
    assert not broken, broken
    ops = sorted(OPS.values(), key=lambda op: (op.name.partition(".")[0] != "core", op.name))
    required = sum(op.tier < 2 for op in ops)
    columns = ["op", "tier", "arguments", "gradient", "ULP", "what it does"]
    rows = [columns, ["---"] * len(columns), *map(row, ops)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return f"# Op table\n\n{TIERS.format(required=required, total=len(ops))}\n{table}\n"


def row(op: Any) -> list[str]:
    """Return the cells of an op's row."""
    arguments = ", ".join([*op.inputs, *(["*"] if op.attributes else []), *op.attributes])
    return [
        f"`{op.name}`",
        str(op.tier),
        f"`{arguments}`",
        gradient(op),
        f"{op.ulp:g}",
        summary(op),
    ]


def gradient(op: Any) -> str:
    """Return where an op's gradient comes from."""
    if not op.differentiable or not op.inputs:
        return "none"
    return "rule" if op.vjp is not None else "fallback"


def summary(op: Any) -> str:
    """Return the first sentence of an op's docstring, safe inside a table."""
    text = " ".join((op.__doc__ or "").split("\n\n")[0].split())
    return text.replace("|", "\\|")
