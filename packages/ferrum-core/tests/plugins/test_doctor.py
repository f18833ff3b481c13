"""What `ferrum doctor` finds in an installation that is not as it should be."""

import base64
import hashlib
import re
import sys
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path

import pytest

import ferrum as fe
from ferrum import doctor, installation
from ferrum.installation import Problem, requirements, satisfies

PACKAGE = Path(fe.__file__).parent


def problems(report):
    return [each["what"] for each in report["problems"]]


@pytest.fixture
def found(site, monkeypatch):
    """Return what is wrong with the installation that a site is part of, without a process."""
    monkeypatch.syspath_prepend(site.folder)
    return lambda: installation.problems(installation.everything())


def test_a_sound_installation(site):
    done = site.run("-m", "ferrum", "doctor")
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("\n\nNothing is wrong.\n")
    for part in ("system", "packages", "devices", "op libraries", "environment"):
        assert f"\n{part}\n" in f"\n{done.stdout}"
    assert re.search(r"\n  ferrum-core +\d", done.stdout)
    assert re.search(r"\n  numpy +\d", done.stdout)
    assert re.search(
        r"reference +ok: ferrum-core \S+, ABI 1\.0, (\d+) of the \1 required", done.stdout
    )
    assert "reference.py" in done.stdout
    assert f"numpy {__import__('numpy').__version__}" in done.stdout
    assert "FERRUM_DEVICE=reference" in done.stdout


def test_json_says_the_same(site):
    report = site.doctor()
    assert report["ok"] is True
    assert report["system"]["executable"] == sys.executable
    (reference,) = [each for each in report["plugins"] if each["name"] == "reference"]
    assert reference["state"] == "ok"
    assert reference["found"]["abi"] == [1, 0]
    assert reference["found"]["missing"] == []
    assert Path(reference["path"]) == PACKAGE / "reference.py"


def test_text_numbers_the_problems():
    report = doctor.Report({}, [], {}, problems=[Problem("it hangs", "wait"), Problem("x", "y")])
    text = doctor.as_text(report)
    assert text.endswith("2 problems\n  1. it hangs\n     try: wait\n  2. x\n     try: y")
    report.problems.pop()
    assert "\n\n1 problem\n" in f"\n\n{doctor.as_text(report)}"


def test_devices_shows_the_devices_alone(site):
    site.add_backend("trap", "1 / 0")
    done = site.run("-m", "ferrum", "devices")
    assert done.returncode == 0
    assert done.stdout.startswith("reference   ok: ferrum-core")
    assert "trap        broken: ferrum-trap 1.0\n" in done.stdout
    assert "\npackages\n" not in done.stdout


def test_a_plugin_that_prints_does_not_disturb(site):
    noise = "import sys\nprint('hello')\nprint('{', file=sys.stderr)\n"
    site.add_backend("loud", noise + site.BACKEND)
    assert site.doctor()["ok"]


def test_a_plugin_whose_process_does_not_end_has_said_enough(site):
    stays = "import atexit, time\natexit.register(time.sleep, 60)\n"
    site.add_backend("stays", stays + site.BACKEND)
    assert site.doctor("--timeout", "3")["ok"]


def test_a_plugin_that_is_slow_gets_the_time_that_is_given(site):
    site.add_backend("slow", f"import time\ntime.sleep(3)\n{site.BACKEND}")
    report = site.doctor("--timeout", "1.5")
    (problem,) = report["problems"]
    assert "has not finished after 1.5 s" in problem["what"]
    assert problem["mend"].endswith("ferrum doctor --timeout 18")
    assert site.doctor("--timeout", "18")["ok"]


def test_a_backend_whose_info_fails(site):
    source = site.BACKEND.replace(
        "kernels = {}", "kernels = {}\n    def info(self):\n        1 / 0"
    )
    site.add_backend("shy", source)
    assert "info() failed: ZeroDivisionError" in problems(site.doctor())[0]


def test_metadata_is_shown(site):
    info = (
        "from ferrum.backend import BackendInfo\ninfo = BackendInfo('a chip', install='a driver')\n"
    )
    points = {
        "ferrum.backends": {"chip": "ferrum_chip:plugin"},
        "ferrum.backend_info": {"chip": "ferrum_chip_info:info"},
    }
    site.add("ferrum-chip", points, {"ferrum_chip.py": site.BACKEND, "ferrum_chip_info.py": info})
    report = site.doctor()
    infos = [each for each in report["plugins"] if each["group"].endswith("_info")]
    (found,) = [each["found"] for each in infos if each["name"] == "chip"]
    assert found == {"summary": "a chip", "install": "a driver"}


# ---- kernels


def test_kernels_that_are_ignored_are_reported(site):
    kernels = """{
        "core.add": Kernel(len, revision=2),
        "core.sofmax": len,
        "core.exp": len,
        "absent.op": len,
    }"""
    source = site.BACKEND.replace("{}", kernels).replace("Backend\n", "Backend, Kernel\n", 1)
    site.add_backend("odd", source)
    report = site.doctor()
    (odd,) = [each for each in report["plugins"] if each["name"] == "odd"]
    assert odd["notes"] == [
        "kernel 'core.add' is ignored: it is of revision 2, the op of revision 1",
        "kernel 'core.sofmax' is ignored: there is no such op; is it 'core.softmax'?",
    ]
    assert report["ok"]
    assert "core.matmul" in odd["found"]["missing"]
    text = site.run("-m", "ferrum", "doctor").stdout
    assert odd["notes"][1] in text
    assert "what is missing: ferrum conformance odd" in text


# ---- who else is called ferrum


def test_a_distribution_that_also_installs_a_package_ferrum(site):
    site.add("ferrum-viz", {}, {"ferrum/viz.py": ""}, version="0.23.0")
    site.add("quiet", {}, {"quiet/ferrum/__init__.py": "", "ferrums/__init__.py": ""})
    report = site.doctor()
    (problem,) = report["problems"]
    assert problem["what"] == (
        "ferrum-viz 0.23.0 also installs a package called 'ferrum': the two overwrite each other's "
        "files"
    )
    assert problem["mend"] == "pip uninstall ferrum-viz ferrum-core, then pip install ferrum-core"


def test_the_same_folder_where_case_is_ignored(site, found):
    site.add("ferrum", {}, {"Ferrum/__init__.py": ""}, version="0.1")
    (problem,) = found()
    assert problem.what.startswith("ferrum 0.1 also installs a package called")


def test_the_command_taken_by_another(site, found):
    site.add("ferrum-cli", {"console_scripts": {"ferrum": "cli:main"}}, {})
    (problem,) = found()
    assert problem.what == "the command 'ferrum' may be that of ferrum-cli"
    assert problem.mend.startswith("python -m ferrum, which is always this one")


@pytest.fixture
def copied(site):
    """A site with a copy of the core, installed as pip would: with the hash of each file."""
    record = []
    for source in sorted(PACKAGE.rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts:
            name = source.relative_to(PACKAGE.parent).as_posix()
            target = site.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            digest = base64.urlsafe_b64encode(hashlib.sha256(source.read_bytes()).digest())
            record.append(f"{name},sha256={digest.rstrip(b'=').decode()},{source.stat().st_size}")
    points = {
        "ferrum.backends": {"reference": "ferrum.reference:plugin"},
        "ferrum.ops": {"core": "ferrum.ops"},
    }
    version = installation.everything()["ferrum-core"].version
    site.add("ferrum-core", points, {}, version=version)
    (info,) = site.folder.glob("ferrum_core-*.dist-info")
    (info / "RECORD").write_text("\n".join(record), encoding="utf-8")
    return site.unmeasured()


def test_files_are_compared_with_what_was_installed(copied):
    assert copied.doctor()["ok"]
    with (copied.folder / "ferrum" / "printing.py").open("a") as file:
        file.write("# somebody else's\n")
    (copied.folder / "ferrum" / "py.typed").unlink()
    done = copied.run("-m", "ferrum", "doctor")
    assert done.returncode == 1
    assert (
        "ferrum/printing.py and 1 more: missing, or not what ferrum-core installed" in done.stdout
    )
    assert "pip install --force-reinstall --no-deps ferrum-core" in done.stdout


def test_doctor_works_where_the_rest_does_not(copied):
    """Another distribution was installed over this one: its __init__ stands in place of ours."""
    (copied.folder / "ferrum" / "__init__.py").write_text("", encoding="utf-8")
    (copied.folder / "ferrum" / "device.py").write_text("1 / 0\n", encoding="utf-8")
    copied.add("ferrum-viz", {}, {"ferrum/viz.py": ""})
    said = problems(copied.doctor())
    assert said[0].startswith("ferrum-viz 1.0 also installs a package called 'ferrum'")
    assert said[1].startswith("ferrum/__init__.py and 1 more: missing, or not")
    assert said[2].startswith("ferrum itself does not import: ZeroDivisionError")


def test_a_folder_that_stands_before_the_installed_package(copied, tmp_path_factory):
    before = tmp_path_factory.mktemp("before")
    (copied.folder / "ferrum").rename(before / "ferrum")
    other = copied.folder / "ferrum"
    other.mkdir()
    for source in (before / "ferrum").rglob("*.py"):
        target = other / source.relative_to(before / "ferrum")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())
    done = copied.run(
        "-c",
        f"import sys; sys.path.insert(0, {str(before)!r}); import ferrum.cli; "
        f"sys.exit(ferrum.cli.main(['doctor']))",
    )
    assert f"'import ferrum' finds {before / 'ferrum' / '__init__.py'}, not" in done.stdout
    assert "rename what is in the way" in done.stdout


def test_what_is_not_whole(tmp_path):
    info = tmp_path / "ferrum_core-1.0.dist-info"
    info.mkdir()
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"good").digest()).rstrip(b"=").decode()
    rows = [f"ferrum/{name},sha256={digest},4\n" for name in ("a.py", "b.py", "c.py")]
    (info / "RECORD").write_text("".join(rows) + "other/x.py,,\n", encoding="utf-8")
    (info / "METADATA").write_text("Name: ferrum-core\nVersion: 1.0\n", encoding="utf-8")
    (tmp_path / "ferrum").mkdir()
    (tmp_path / "ferrum" / "a.py").write_bytes(b"good")
    (tmp_path / "ferrum" / "b.py").write_bytes(b"changed")
    files, shadow = installation.problems({"ferrum-core": PathDistribution(info)})
    assert files.what == "ferrum/b.py and 1 more: missing, or not what ferrum-core installed"
    assert shadow.what.startswith(f"'import ferrum' finds {PACKAGE / '__init__.py'}, not")


def test_doctor_ends_where_ferrum_does_not_import(monkeypatch):
    monkeypatch.delattr(fe, "plugins")
    monkeypatch.setitem(sys.modules, "ferrum.plugins", None)
    report = doctor.examine()
    assert report.problems[-1].what.startswith("ferrum itself does not import: ModuleNot")
    assert not report.plugins


def test_a_module_without_a_spec_has_no_path(monkeypatch):
    odd = type(sys)("odd")
    odd.__spec__ = None
    monkeypatch.setitem(sys.modules, "odd", odd)
    assert doctor._path(EntryPoint("odd", "odd:plugin", "ferrum.backends")) == ""


def test_plugins_whose_module_is_not_there(site):
    site.add("absent", {"ferrum.backends": {"gone": "gone:plugin"}, "ferrum.ops": {"no": "no"}}, {})
    done = site.run("-m", "ferrum", "doctor")
    assert "gone        broken: absent 1.0\n\n" in done.stdout
    assert "no          broken: absent 1.0\n\n" in done.stdout
    assert "ModuleNotFoundError: No module named 'gone'" in done.stdout


def test_a_core_without_metadata():
    (problem,) = installation.problems({})
    assert "ferrum-core has no metadata" in problem.what
    assert "./packages/ferrum-core" in problem.mend


# ---- versions


@pytest.mark.parametrize(
    ("version", "bounds", "fits"),
    [
        ("0.1.0", ">=0.1,<0.2", True),
        ("0.2.0", ">=0.1,<0.2", False),
        ("0.0.9", ">=0.1,<0.2", False),
        ("2.10.1", ">=2.9", True),
        ("1.5", "==1.5.0", True),
        ("1.5", "!=1.5", False),
        ("1.5.1", ">1.5", True),
        ("1.5", "<=1.4.9", False),
        ("0.1.0.dev3", ">=0.1", True),
        ("1.0", "~=0.9", True),  # what is not understood is not refused
        ("unknown", "", True),
    ],
)
def test_bounds_of_versions(version, bounds, fits):
    assert satisfies(version, bounds) is fits


def test_requirements_are_those_without_conditions():
    class Dist:
        requires = (
            "numpy>=2.1",
            "Ferrum_Core (>=0.1,<0.2)",
            "pytest; extra == 'test'",
            "x[y] >= 1",
            "@",
        )

    assert list(requirements(Dist())) == [
        ("numpy", ">=2.1"),
        ("ferrum-core", ">=0.1,<0.2"),
        ("x", ">=1"),
    ]


def test_versions_that_do_not_fit(site, found):
    site.add("ferrum-zoo", {}, {}, version="0.9.0", more="Requires-Dist: ferrum-core>=0.9,<0.10\n")
    site.add("mine", {}, {}, more="Requires-Dist: ferrum-cuda\n")
    everything = installation.everything()
    version = everything["ferrum-core"].version
    zoo, mine = sorted(found(), key=lambda each: each.what)
    assert zoo.what == (
        f"ferrum-zoo 0.9.0 needs ferrum-core>=0.9,<0.10, and {version} is installed"
    )
    core = installation.sources(everything["ferrum-core"])
    assert zoo.mend == (
        f"renew the sources in {core}, and pip install --upgrade ferrum-zoo"
        if core
        else "pip install --upgrade ferrum-zoo ferrum-core"
    )
    assert mine.what == "mine 1.0 needs ferrum-cuda, and nothing is installed"
    assert mine.mend == "pip install --upgrade mine ferrum-cuda"
    names = [each["name"] for each in installation.packages(everything)]
    assert names[0] == "ferrum-core"
    assert {"numpy", "ferrum-zoo"} <= set(names)


def test_what_is_editable_is_not_upgraded(site, found, monkeypatch):
    direct = '{"url": "file:///src/zoo", "dir_info": {"editable": true}}'
    site.add("grid", {}, {})
    site.add("ferrum-zoo", {}, {}, version="0.9.0", more="Requires-Dist: grid>=2\n")
    (site.folder / "ferrum_zoo-0.9.0.dist-info" / "direct_url.json").write_text(direct)
    (zoo,) = found()
    assert zoo.mend == "renew the sources in /src/zoo, and pip install --upgrade grid"
    site.add_backend("trap", "1 / 0")
    (site.folder / "ferrum_trap-1.0.dist-info" / "direct_url.json").write_text(
        direct.replace("zoo", "trap")
    )
    mends = [each["mend"] for each in site.doctor()["problems"]]
    assert "mend the sources in /src/trap, or do without: pip uninstall ferrum-trap" in mends


def test_one_fault_is_told_once_and_in_the_order_of_plugins(site):
    points = {
        "ferrum.backends": {"twin": "ferrum_twin:plugin"},
        "ferrum.ops": {"twin": "ferrum_twin:ops"},
    }
    site.add("ferrum-twin", points, {"ferrum_twin.py": "1 / 0"})
    site.add_backend("after", "import time\ntime.sleep(0.5)\n1 / 0")
    site.add_backend("zebra", "1 / 0")
    said = problems(site.doctor())
    assert [each.split("'")[1] for each in said] == ["after", "twin", "zebra"]


# ---- variables


def test_variables_that_name_nothing(monkeypatch):
    monkeypatch.setenv("FERRUM_DEVICE", "abacus:1")
    monkeypatch.setenv("FERRUM_PLUGINS", "core, nuthing")
    monkeypatch.setenv("FERRUM_PLUGIN", "x")
    report = doctor.examine()
    assert [each.what for each in report.problems] == [
        "FERRUM_DEVICE='abacus:1' names no device that is installed",
        "FERRUM_PLUGINS names 'nuthing', which is no plugin that is installed",
        "FERRUM_PLUGIN is not a variable that FERRUM reads",
    ]
    mends = [each.mend for each in report.problems]
    assert mends[0] == "unset FERRUM_DEVICE, or set it to one of: reference"
    assert mends[1].startswith("one or more of: ")
    assert mends[2] == "set FERRUM_PLUGINS"
    assert report.environment["FERRUM_PLUGIN"] == "x"


def test_variables_that_are_right(site):
    site.add_backend("one")
    variables = {"FERRUM_PLUGINS": "ferrum-one,none", "FERRUM_MINE": "1"}
    assert site.doctor(FERRUM_DEVICE="one:0", **variables)["ok"]
