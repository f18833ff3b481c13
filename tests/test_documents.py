"""The code in the documents runs, and prints what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")]
    if "```python" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, tmp_path):
    runner = ROOT / "tests" / "run_document.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(runner), str(ROOT / page)],
        cwd=tmp_path,
        env={**os.environ, "FERRUM_DEVICE": "reference"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_the_readme_begins_with_its_two_commands():
    blocks = (ROOT / "README.md").read_text(encoding="utf-8").split("```")[1:4:2]
    for block, word in zip(blocks, ["examples/digits.py", "nox"], strict=True):
        language, command = block.strip("\n").split("\n")
        assert language == "sh"
        assert command.endswith(word)


def test_the_readme_says_how_many_functions_a_backend_needs():
    from ferrum.op import OPS
    from ferrum.plugins import load_ops

    assert not load_ops()
    required = sum(op.tier < 2 for op in OPS.values())
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"A backend needs **{required}** functions.<!-- required -->" in text
