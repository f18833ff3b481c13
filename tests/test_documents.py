"""The code in the documents runs, and prints what they say."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUNNER = ROOT / "tests" / "run_document.py"
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")]
    if "```python" in path.read_text(encoding="utf-8")
)
BACKEND = "docs/tutorials/write-a-backend.md"
KERNEL = "docs/guides/write-a-kernel.md"
TUTORIALS = [page for page in PAGES if "/tutorials/" in page]


def run(page, folder, python=sys.executable, **variables):
    done = subprocess.run(
        [python, "-W", "error", str(RUNNER), str(ROOT / page)],
        cwd=folder,
        env={**os.environ, "FERRUM_DEVICE": "reference", **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize("page", [page for page in PAGES if page not in (BACKEND, KERNEL)])
def test_the_code_of_a_page_runs(page, device, tmp_path):
    run(page, tmp_path, FERRUM_DEVICE=device)


@pytest.mark.slow
def test_the_backend_of_the_tutorial_installs_conforms_and_trains(tmp_path):
    """In an environment that sees what is installed here, and in which pip may install more."""
    home = tmp_path / "env"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    (packages,) = home.glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    (packages / "outer.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    offline = {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}  # 0 is pip's way to say "none"
    run(BACKEND, tmp_path, str(python), PATH=path, **offline)


@pytest.mark.slow
def test_the_kernels_of_the_guide_build_and_conform(tmp_path):
    """On copies of the packages, which stand before those that are installed."""
    names = ("ferrum-core", "ferrum-cpu")
    for name in names:
        leave = shutil.ignore_patterns("build", "*.so", "*.egg-info", "__pycache__")
        shutil.copytree(ROOT / "packages" / name, tmp_path / "packages" / name, ignore=leave)
    sources = [str(tmp_path / "packages" / name / "src") for name in names]
    run(KERNEL, tmp_path, PYTHONPATH=os.pathsep.join(sources))


def test_the_c_that_the_guides_quote_is_in_the_sources():
    """Blocks of C without a file's name quote ours; a diff quotes where it does not add."""
    folder = ROOT / "packages" / "ferrum-cpu"
    sources = [*folder.glob("csrc/*"), *folder.glob("*.py"), *folder.glob("src/**/*.py")]
    sources += (ROOT / "packages" / "ferrum-core" / "src").glob("**/*.py")
    lines = {line for path in sources for line in path.read_text(encoding="utf-8").splitlines()}
    quoted = []
    for page in ROOT.glob("docs/guides/*.md"):
        text = page.read_text(encoding="utf-8")
        for code in re.findall(r"^```c\n(.*?)^```", text, re.M | re.S):
            quoted += code.splitlines()
        for code in re.findall(r"^```diff.*?\n(.*?)^```", text, re.M | re.S):
            quoted += [line[1:] for line in code.splitlines() if line[0] in " -"]
    assert len(quoted) > 20
    assert [line for line in quoted if line.strip() and line not in lines] == []


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda page: page.name
)
def test_prose_is_at_most_100_columns_wide(page):
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    wide = [line for line in text.splitlines() if len(line) > 100 and line[0] != "|"]
    assert not [line for line in wide if " " in line.strip()]


def test_python_that_is_not_run_is_the_exception():
    """A page may leave out a block that cannot run, saying why; the tutorials may not."""
    left_out = [
        (page, reason)
        for page in PAGES
        for reason in re.findall(
            r"<!-- not run: (.+) -->\n```python", (ROOT / page).read_text(encoding="utf-8")
        )
    ]
    assert left_out == []
    for page in TUTORIALS:
        assert "not run" not in (ROOT / page).read_text(encoding="utf-8")


def test_the_readme_begins_with_its_two_commands():
    blocks = (ROOT / "README.md").read_text(encoding="utf-8").split("```")[1:4:2]
    for block, word in zip(blocks, ["examples/digits.py", "nox"], strict=True):
        language, command = block.strip("\n").split("\n")
        assert language == "sh"
        assert command.endswith(word)


@pytest.mark.parametrize("page", ["README.md", "docs/adr/0003-one-op-one-block.md", BACKEND])
def test_the_number_of_required_functions_is_that_of_the_table(page):
    from ferrum.optable import required_ops
    from ferrum.plugins import load_ops

    assert not load_ops()
    text = (ROOT / page).read_text(encoding="utf-8")
    said = re.findall(r"\*\*(\d+)\*\* functions|(\d+) required|^(\d+) of \d+ core ops", text, re.M)
    assert {number for each in said for number in each if number} == {str(len(required_ops()))}


def test_the_layers_in_the_architecture_are_those_that_import_linter_holds():
    linter = (ROOT / ".importlinter").read_text(encoding="utf-8")
    contract = linter.partition("[importlinter:contract:core]")[2]
    layers = re.search(r"^layers =\n((?:    .+\n)+)", contract, re.M)[1]
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert "```text\n" + re.sub("^    ", "", layers, flags=re.M) + "```" in page


def test_figures_are_what_a_benchmark_wrote(tmp_path):
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "none" in module.figures(tmp_path)
    about = {"processor": "Abacus", "threads": 2, "isa": "avx2", "blas": "openblas (Haswell)"}
    about |= {"python": "3.11", "torch": "2.9", "numpy": "2.4"}
    seconds = {"ferrum": [1e-6, 2e-6, 3e-6], "torch": [2e-6, 6e-6, 12e-6], "numpy": [4e-3] * 3}
    rows = {
        "add": {"seconds": seconds, "floor": 5e-7},
        "exp": {"seconds": {"ferrum": [2.0], "torch": [1.5]}, "floor": None},
    }
    data = {"environment": about, "rows": rows}
    (tmp_path / "cpu_ops.json").write_text(json.dumps(data), encoding="utf-8")
    text = module.figures(tmp_path)
    assert "Abacus, 2 threads; kernels for avx2, BLAS openblas (Haswell)" in text
    assert "Medians of 3 rounds" in text
    assert "| add | 2 µs | 6 µs | 4 ms | 500 ns | 3.00 (2.00 to 4.00) |\n" in text
    assert "| exp | 2 s | 1.5 s |  |  | 0.75 (0.75 to 0.75) |\n" in text
    assert "| geometric mean | | | | | 1.50 |" in text
    assert "figures/cpu_ops.png" not in text
    (tmp_path / "cpu_ops.png").write_bytes(b"")
    assert "(figures/cpu_ops.png)" in module.figures(tmp_path)


def test_every_decision_is_listed_and_on_the_site():
    folder = ROOT / "docs" / "adr"
    records = sorted(path.name for path in folder.glob("0*.md"))
    assert [name[:4] for name in records] == [f"{i:04}" for i in range(1, len(records) + 1)]
    index = (folder / "README.md").read_text(encoding="utf-8")
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for name in records:
        assert f"({name})" in index
        assert f"adr/{name}" in nav
