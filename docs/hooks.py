"""What the site shows of the sources: the reference, the table of ops, and benchmarks' figures."""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for path in ROOT.glob("packages/*/src/*") if path.is_dir())

# What people use, and what they write plugins with. Other modules are listed as what is inside.
PUBLIC = [
    "ferrum",
    "ferrum.tensor",
    "ferrum.autograd",
    "ferrum.backend",
    "ferrum.capture",
    "ferrum.creation",
    "ferrum.device",
    "ferrum.dtypes",
    "ferrum.errors",
    "ferrum.function",
    "ferrum.functions",
    "ferrum.gradcheck",
    "ferrum.graph",
    "ferrum.hookspecs",
    "ferrum.mode",
    "ferrum.observing",
    "ferrum.op",
    "ferrum.operation",
    "ferrum.ops",
    "ferrum.philox",
    "ferrum.plugins",
    "ferrum.random",
    "ferrum.reference",
    "ferrum.samples",
    "ferrum.serialization",
    "ferrum.spec",
    "ferrum.supports",
    "ferrum.testing",
    "ferrum_cpu",
    "ferrum_nn",
    "ferrum_nn.data",
    "ferrum_nn.decoding",
    "ferrum_nn.errors",
    "ferrum_nn.functional",
    "ferrum_nn.init",
    "ferrum_nn.ops",
    "ferrum_nn.optim",
    "ferrum_nn.utils",
    "ferrum_nn.utils.parametrizations",
    "ferrum_nn.utils.parametrize",
]
# Pages that also show what a class has from its bases.
WHOLE = ("ferrum.tensor",)

OPENING = """\
# Op table

**A backend needs {required} functions; the table has {total} ops.** Those required are tiers 0
and 1, which have no composition of other ops to stand in for them. Tier 2 has a fallback, so a
backend may leave it out. This page is written from the table itself; `ferrum ops` prints it for the
devices that you have.

- **gradient**: by a *rule* of the op's own, *through its fallback*, or the op is *not
  differentiable* by mathematics.
- **reference**: whether the device `reference` has a kernel of its own (*native*) or the op is
  *decomposed*.
- **cpu**: whether the device `cpu`, of the distribution `ferrum-cpu`, has a kernel in *C*, in
  *NumPy*, or none, so that the op is *decomposed*. There are {languages}.
- **tolerance**: how far a kernel may be from float64, in units in the last place of the value, or
  of a fixed magnitude where that is larger. *Exact* is the right value, rounded once.

What stands before the star are tensors; what follows it are attributes, which are keyword-only.
An op that takes no tensors takes the `device` to run on instead.
"""
SECTIONS = {
    "core.0": ("Tier 0: memory", "Creation, copies, and views of the same memory."),
    "core.1": ("Tier 1: primitives", "What everything else is composed of."),
    "core.2": ("Tier 2: ops with a fallback", "A kernel for one of these is a matter of speed."),
    "in-place": (
        "In-place forms",
        "Each writes the result of its op into the first operand. Without a kernel it is computed "
        "and copied; its gradient is that of the op.",
    ),
}
COLUMNS = ["op", "what it does", "gradient", "reference", "cpu", "tolerance"]
WRITTEN = {"C": "in C", "NumPy": "in NumPy", "decomposed": "decomposed"}
GRADIENTS = {"rule": "rule", "fallback": "through its fallback", "none": "not differentiable"}
# Where a page wants the figures, and where their charts are on the site.
FIGURES, CHARTS = "<!-- figures -->", "guides/figures"
# Where a page wants PyTorch's names, and the file that says which of them FERRUM has.
NAMES = "<!-- names -->"
NAMES_FILE = ROOT / "packages/ferrum-nn/tests/pytorch_names.toml"


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


def entries(source: Path) -> list[dict[str, Any]]:
    """Return a package's part of the nav: public modules, and below them what is inside."""
    names = modules(source)
    unknown = [n for n in PUBLIC if n.partition(".")[0] == source.name and n not in names]
    assert not unknown, f"docs/hooks.py lists modules that do not exist: {unknown}"
    public = [name for name in PUBLIC if name in names]
    inside = [{name: page_of(name)} for name in names if name not in public]
    return [*({name: page_of(name)} for name in public), {"inside": inside}]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the reference pages where the nav says `Reference: reference`."""
    reference: list[dict[str, Any]] = [{source.name: entries(source)} for source in SOURCES]
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
            options = "    options:\n      inherited_members: true\n" if module in WHOLE else ""
            page = f"::: {module}\n{options}"
            files.append(File.generated(config, page_of(module), content=page))
    files.append(File.generated(config, "ops.md", content=op_table()))
    for chart in ROOT.glob("benchmarks/results/*.png"):
        files.append(
            File.generated(config, f"{CHARTS}/{chart.name}", abs_src_path=str(chart.resolve()))
        )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the figures, and PyTorch's names, where a page wants them."""
    if NAMES in markdown:
        markdown = markdown.replace(NAMES, names_of_pytorch())
    if FIGURES not in markdown:
        return markdown
    sys.path.insert(0, str(Path(__file__).parent))
    from figures import figures

    return markdown.replace(FIGURES, figures())


def names_of_pytorch() -> str:
    """Return which of PyTorch's public names FERRUM has, module by module, and why not others."""
    modules = tomllib.loads(NAMES_FILE.read_text(encoding="utf-8"))
    reasons = modules.pop("reasons")
    had = sum(len(each["names"]) for each in modules.values())
    rows = [["PyTorch", "FERRUM", "the same names"], ["---"] * 3]
    others = [["PyTorch", "names that FERRUM has not", "why"], ["---"] * 3]
    for module, listed in modules.items():
        rows.append([f"`{module}`", f"`{listed['ours']}`", code(listed["names"])])
        others += [
            [f"`{module}`", code(listed[key]), reasons[key]] for key in reasons if key in listed
        ]
    tables = ["\n".join(f"| {' | '.join(cells)} |" for cells in each) for each in (rows, others)]
    return f"{had} names are here, and are compared with PyTorch's:\n\n" + "\n\n".join(tables)


def code(names: list[str]) -> str:
    """Return names as code, in a row."""
    return ", ".join(f"`{name}`" for name in names)


def op_table() -> str:
    """Return the page of all ops, as the op table itself tells it."""
    from ferrum.op import OPS
    from ferrum.optable import required_ops
    from ferrum.plugins import load_ops
    from ferrum_cpu.kernels import language

    broken = load_ops()
    assert not broken, broken
    counts = Counter(language(name) for name in OPS)
    languages = ", ".join(f"{count} ops {WRITTEN[each]}" for each, count in counts.most_common())
    parts = [OPENING.format(required=len(required_ops()), total=len(OPS), languages=languages)]
    sections: dict[str, list[Any]] = {key: [] for key in SECTIONS}
    for op in sorted(OPS.values(), key=lambda op: op.name):
        sections.setdefault(section(op), []).append(op)
    for key, ops in sections.items():
        usual = (f"Ops of ferrum-{key}", f"Declared by the distribution `ferrum-{key}`, tier 2.")
        title, about = SECTIONS.get(key, usual)
        rows = [COLUMNS, ["---"] * len(COLUMNS), *map(row, ops)]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
        parts.append(f"## {title}\n\n{len(ops)} ops. {about}\n\n{table}\n")
    return "\n".join(parts)


def section(op: Any) -> str:
    """Return the section of the page that an op belongs in."""
    distribution = op.name.partition(".")[0]
    if distribution != "core":
        return str(distribution)
    return "in-place" if hasattr(op, "twin") else f"core.{op.tier}"


def row(op: Any) -> list[str]:
    """Return the cells of an op's row."""
    from ferrum.optable import gradient_kind
    from ferrum.plugins import device
    from ferrum_cpu.kernels import language

    arguments = ", ".join([*op.inputs, *(["*"] if op.attributes else []), *op.attributes])
    native = device("reference").kernels[op] is not None
    return [
        f"**`{op.name}`**<br>`({arguments})`",
        described(op),
        GRADIENTS[gradient_kind(op)],
        "native" if native else "decomposed",
        language(op.name),
        tolerance(op),
    ]


def tolerance(op: Any) -> str:
    """Return how exact an op must be; its in-place form must be as exact."""
    like = getattr(op, "twin", op)
    if not like.ulp:
        return "exact"
    return f"{like.ulp:g} ULP" + (f" of {like.scale:g} or more" if like.scale else "")


def described(op: Any) -> str:
    """Return an op's docstring on one line, safe inside a table."""
    import inspect

    paragraphs = inspect.cleandoc(op.__doc__ or "").split("\n\n")
    text = "<br>".join(" ".join(each.split()) for each in paragraphs)
    return text.replace("|", "\\|").replace("*", "\\*")
