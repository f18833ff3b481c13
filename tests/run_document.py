"""Run the code of a Markdown page, in order and in the current folder: `run_document.py PAGE`.

Python blocks share one namespace, and a top-level `print(...)  # expected` must print what its
comment says. A block of any language with a `title="path"` is written to that file, or added to it
where an earlier block has begun it. A block of shell commands runs if `<!-- run -->` stands above
it. A block of text right below one that runs is what that must print; `...` stands for anything.
A block of `diff` with a title changes that file instead; `@@` stands between two of its places.
`<!-- not run: why -->` leaves a block out.
"""

import ast
import doctest
import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(
    r"^(?:<!-- (?P<mark>run|not run: [^\n]+) -->\n)?"
    r'```(?P<language>\w+)(?: title="(?P<title>[^"\n]+)")?\n(?P<code>.*?)^```\n'
    r"(?:\n```text\n(?P<printed>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
# The commands of the interpreter that runs this, wherever its scripts may be.
COMMANDS = (
    "".join(f'{name}() {{ "$PYTHON" -m {name} "$@"; }}\n' for name in ("pip", "ferrum", "pytest"))
    + 'python() { "$PYTHON" "$@"; }\n'
)


class Block(NamedTuple):
    """A fenced block of a page: `line` is that of its fence, `printed` what it must print."""

    line: int
    mark: str | None
    language: str
    title: str | None
    code: str
    printed: str | None


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, but for those that are marked as not run."""
    text = page.read_text(encoding="utf-8") + "\n"
    found = [
        Block(text.count("\n", 0, each.start("code")), *each.group(*Block._fields[1:]))
        for each in FENCE.finditer(text)
    ]
    return [block for block in found if block.mark in (None, "run")]


def run_statement(node: ast.stmt, line: str, page: Path, namespace: dict[str, object]) -> str:
    """Run one statement; return what it prints, unless a comment on its line has said it."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(ast.Module([node], []), str(page), "exec"), namespace)
    got = printed.getvalue()
    _, comment, expected = line.partition("  # ")
    if not (comment and isinstance(node, ast.Expr) and ast.unparse(node).startswith("print(")):
        return got
    if got.strip() != expected.strip():
        sys.exit(f"{page}:{node.end_lineno}: expected {expected.strip()!r}, got {got.strip()!r}")
    return ""


def run_python(block: Block, page: Path, namespace: dict[str, object]) -> str:
    """Run a block of Python; return what it prints."""
    module = ast.parse(block.code, str(page))
    lines = block.code.splitlines()
    ends = [lines[(node.end_lineno or 1) - 1] for node in module.body]
    ast.increment_lineno(module, block.line)
    return "".join(
        run_statement(node, line, page, namespace)
        for node, line in zip(module.body, ends, strict=True)
    )


def run_shell(block: Block, page: Path) -> str:
    """Run shell commands; return what they print. They must succeed, or print what is expected."""
    done = subprocess.run(
        ["bash", "-ec", COMMANDS + block.code],
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode and block.printed is None:
        sys.exit(f"{page}:{block.line}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def write(block: Block, path: Path) -> None:
    """Write a block to its file, or add it to what is there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") + "\n\n" if path.exists() else ""
    path.write_text(before + block.code, encoding="utf-8")


def change(block: Block, page: Path, path: Path) -> None:
    """Change a file as a diff says, each part of which must fit in one place."""
    for part in re.split(r"^@@\n", block.code, flags=re.MULTILINE):
        lines = part.splitlines(keepends=True)
        old, new = ("".join(each[1:] for each in lines if each[0] != sign) for sign in "+-")
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            sys.exit(f"{page}:{block.line}: {text.count(old)} places in {path} have\n{old}")
        path.write_text(text.replace(old, new), encoding="utf-8")


def run_block(block: Block, page: Path, namespace: dict[str, object]) -> None:
    """Do with a block what its fence says."""
    if block.title is not None:
        path = Path(block.title)
        if block.language == "diff":
            change(block, page, path)
        else:
            write(block, path)
        return
    if block.language == "python":
        printed = run_python(block, page, namespace)
    elif block.mark == "run":
        printed = run_shell(block, page)
    else:
        return
    print(printed, end="")
    as_expected = doctest.OutputChecker().check_output
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if block.printed is not None and not as_expected(block.printed, printed, flags):
        sys.exit(f"{page}:{block.line}: expected\n{block.printed}\ngot\n{printed}")


def main(page: Path) -> None:
    """Run a page."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        run_block(block, page, namespace)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
