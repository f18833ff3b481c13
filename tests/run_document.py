"""Run the Python blocks of a Markdown page in order, in one namespace: `run_document.py PAGE`.

A top-level `print(...)  # expected` must print what its comment says. A block under the line
`<!-- not run: why -->` is left out.
"""

import ast
import io
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

BLOCK = re.compile(r"^(<!-- not run: .+ -->\n)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str]]:
    """Return the line number and the code of each block that shall run."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start(2)), found[2])
        for found in BLOCK.finditer(text)
        if found[1] is None
    ]


def run_statement(node: ast.stmt, line: str, page: Path, namespace: dict[str, object]) -> None:
    """Run one statement, and compare what it prints with the comment at the end of its line."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(ast.Module([node], []), str(page), "exec"), namespace)
    is_print = isinstance(node, ast.Expr) and ast.unparse(node).startswith("print(")
    _, comment, expected = line.partition("  # ")
    if is_print and comment and printed.getvalue().strip() != expected.strip():
        got = printed.getvalue().strip()
        sys.exit(f"{page}:{node.end_lineno}: expected {expected.strip()!r}, got {got!r}")
    print(printed.getvalue(), end="")


def main(page: Path) -> None:
    """Run a page."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    lines = page.read_text(encoding="utf-8").splitlines()
    for start, code in blocks(page):
        module = ast.parse(code, str(page))
        ast.increment_lineno(module, start)
        for node in module.body:
            run_statement(node, lines[(node.end_lineno or 1) - 1], page, namespace)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
