"""The command `ferrum`."""

import os
import subprocess
import sys

import pytest

import ferrum as fe
from ferrum import cli, optable
from ferrum.op import OPS


def test_no_command_shows_how_to_use_it(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([])
    assert stopped.value.code == 2
    assert "usage: ferrum" in capsys.readouterr().err


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("doctor", "devices", "ops", "conformance", "new-backend"))


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"ferrum {fe.__version__}\n"


def test_help_loads_nothing_heavy(site):
    said = site.unmeasured().code("""
        import sys
        from ferrum import cli
        try:
            cli.main(["doctor", "--help"])
        except SystemExit:
            pass
        heavy = ("pluggy", "importlib.metadata", "ferrum.testing", "concurrent.futures")
        print([name for name in heavy if name in sys.modules])
    """)
    assert said.endswith("[]\n")


def test_conformance_hands_its_words_on(monkeypatch):
    heard = []
    kit = type(sys)("ferrum.testing")
    kit.main = lambda words: heard.append(words) or 3
    monkeypatch.setitem(sys.modules, "ferrum.testing", kit)
    monkeypatch.setattr(fe, "testing", kit, raising=False)
    assert cli.main(["conformance", "reference", "--json", "x"]) == 3
    assert heard == [["reference", "--json", "x"]]


def test_ops_prints_the_table(capsys):
    assert cli.main(["ops"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    op, tier, gradient, *devices = head.split()
    assert (op, tier, gradient) == ("op", "tier", "gradient")
    column = 3 + devices.index("reference")
    cells = [[*row.split()[:3], row.split()[column]] for row in rows[:-2]]
    assert [row[0] for row in cells if row[0].startswith("core.")] == sorted(
        name for name in OPS if name.startswith("core.")
    )
    assert ["core.matmul", "1", "rule", "native"] in cells
    assert ["core.softmax", "2", "rule", "decomposed"] in cells
    assert ["core.equal", "1", "none", "native"] in cells
    assert rows[-1] == (
        f"A backend needs {len(optable.required_ops())} functions; the table has {len(OPS)} ops."
    )


def test_ops_as_markdown(capsys):
    assert cli.main(["ops", "--markdown", "--device", "reference"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["| op | tier | gradient | reference |", "| --- | --- | --- | --- |"]
    assert "| `core.full` | 0 | none | native |" in lines


def test_ops_of_a_device_that_is_not_there(capsys):
    assert cli.main(["ops", "--device", "abacus"]) == 2
    assert "no backend for device 'abacus'" in capsys.readouterr().err


def test_ops_leaves_out_what_is_broken(site):
    site.add_backend("trap", "1 / 0")
    site.add("trap-ops", {"ferrum.ops": {"trap": "trap_ops"}}, {"trap_ops.py": "1 / 0"})
    listed = "ferrum-core,ferrum-trap,trap-ops"
    done = site.run("-m", "ferrum", "ops", FERRUM_PLUGINS=listed)
    assert done.returncode == 0
    assert done.stdout.split()[:4] == ["op", "tier", "gradient", "reference"]
    assert done.stderr.count("ZeroDivisionError") == 2


def test_the_required_ops_are_those_of_tiers_0_and_1():
    required = optable.required_ops()
    assert [op.tier for op in required] == sorted(op.tier for op in required)
    assert {op.tier for op in required} == {0, 1}
    assert {op.name for op in required} == {op.name for op in OPS.values() if op.compose is None}


def test_a_reader_that_has_seen_enough_is_no_error():
    words = [sys.executable, "-m", "ferrum", "ops"]
    environment = {**os.environ, "FERRUM_DEVICE": "reference"}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as child:
        child.stdout.close()
        assert child.wait(60) == 0
        assert not child.stderr.read()


def test_python_m_ferrum_is_the_command(site):
    done = site.run("-m", "ferrum", "new-backend", "Not A Name")
    assert done.returncode == 2
    assert "expected a name of small letters" in done.stderr
