"""`ferrum new-backend`: what it writes, and what it refuses. `tests/` installs it, too."""

import ast
import re

import pytest

import ferrum as fe
from ferrum.cli import main
from ferrum.errors import ArgumentError
from ferrum.new_backend import TEMPLATE, write_project


def test_the_project_is_whole(tmp_path, capsys):
    assert main(["new-backend", "my_chip2", "--path", str(tmp_path)]) == 0
    project = tmp_path / "ferrum-my-chip2"
    assert f"pip install -e '{project}[test]'" in capsys.readouterr().out
    files = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    assert files == {
        "README.md",
        "pyproject.toml",
        "src/ferrum_my_chip2/__init__.py",
        "src/ferrum_my_chip2/arrays.py",
        "src/ferrum_my_chip2/backend.py",
        "src/ferrum_my_chip2/kernels.py",
        "tests/test_conformance.py",
    }
    for name in files:
        text = (project / name).read_text(encoding="utf-8")
        assert "mydevice" not in text.lower().replace("ferrum.backend", "")
        if name.endswith(".py"):
            ast.parse(text)
            assert max(map(len, text.splitlines())) <= 100
    assert "class MyChip2(Backend)" in (project / "src/ferrum_my_chip2/backend.py").read_text()


def test_the_bounds_on_the_core_are_this_minor_and_the_next_major_release(tmp_path):
    text = (write_project("chip", tmp_path) / "pyproject.toml").read_text(encoding="utf-8")
    low, high = re.search(r'"ferrum-core>=([\d.]+),<([\d.]+)"', text).groups()
    major, minor, *_ = fe.__version__.split(".")
    assert (low, high) == (f"{major}.{minor}", str(int(major) + 1))


def test_every_file_of_the_template_has_its_suffix():
    files = [path for path in TEMPLATE.rglob("*") if path.is_file()]
    assert files
    assert all(path.suffix == ".txt" for path in files)


@pytest.mark.parametrize("name", ["", "Chip", "my-chip", "2chip", "chip_", "../chip", "a b", "é"])
def test_names_that_are_none(name, tmp_path):
    with pytest.raises(ArgumentError, match="expected a name of small letters"):
        write_project(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_that_are_taken(tmp_path):
    with pytest.raises(ArgumentError, match="ferrum-core offers the device 'reference' already"):
        write_project("reference", tmp_path)


def test_nothing_is_overwritten(tmp_path, capsys):
    project = write_project("chip", tmp_path)
    (project / "README.md").write_text("mine", encoding="utf-8")
    assert main(["new-backend", "chip", "--path", str(tmp_path)]) == 2
    assert "exists already; choose another --path" in capsys.readouterr().err
    assert (project / "README.md").read_text(encoding="utf-8") == "mine"


def test_a_path_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["new-backend", "chip", "--path", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err


def test_what_is_written_has_tier_0(site, tmp_path_factory):
    project = write_project("chip", tmp_path_factory.mktemp("projects"))
    points = {"ferrum.backends": {"chip": "ferrum_chip:plugin"}}
    files = {
        path.relative_to(project / "src").as_posix(): path.read_text(encoding="utf-8")
        for path in project.glob("src/*/*.py")
    }
    site.add("ferrum-chip", points, files)
    said = site.code("""
        from ferrum.op import OPS
        from ferrum.testing import run
        report = run("chip", [name for name, op in OPS.items() if op.tier == 0])
        print(report.passed, report.total["passed"] > 500, report.failures)
        print(sorted(report.missing) == sorted(name for name, op in OPS.items() if op.tier == 1))
    """)
    assert said.splitlines() == ["True True []", "True"]
