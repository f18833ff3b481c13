"""What strangers write: a backend, an op library, a project begun with `ferrum new-backend`.

They are installed by pip, as their users would, and used by a Python that finds them there.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parent / "plugins"
GRID, SPECIAL = PLUGINS / "ferrum-grid", PLUGINS / "ferrum-special"

pytestmark = pytest.mark.slow


class Stranger:
    """A folder into which pip installs, and a Python that looks there."""

    def __init__(self, folder):
        self.folder = folder

    def install(self, project):
        options = ["-q", "--no-deps", "--no-build-isolation", "--no-index"]
        words = ["-m", "pip", "install", *options, "--target", self.folder, project]
        subprocess.run([sys.executable, *words], check=True, timeout=120)

    def run(self, *words, cwd=None, status=0):
        """Return what Python with these arguments prints."""
        path = os.pathsep.join(filter(None, [str(self.folder), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-W", "error", *words],
            env={**os.environ, "PYTHONPATH": path, "FERRUM_DEVICE": "reference"},
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == status, f"{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A folder with the backend `grid` and the op library `special`."""
    made = Stranger(tmp_path_factory.mktemp("site-packages"))
    made.install(GRID)
    made.install(SPECIAL)
    return made


def sources(project):
    return [project / "pyproject.toml", *sorted(project.rglob("src/**/*.py"))]


def conformance(stranger, folder, *words, status=0):
    report = folder / "report.json"
    stranger.run("-m", "ferrum", "conformance", *words, "--json", str(report), status=status)
    return json.loads(report.read_text(encoding="utf-8"))


# ---- a backend


def test_a_backend_is_at_most_300_lines():
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in sources(GRID))
    assert lines <= 300


def test_the_backend_is_not_the_reference_in_disguise():
    imported = set()
    for path in sources(GRID)[1:]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                imported |= {f"{node.module}.{name.name}" for name in node.names}
            if isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
    assert "ferrum.backend.Backend" in imported
    assert not [name for name in imported if name.startswith(("ferrum.reference", "ferrum.ops"))]


def test_the_backend_is_found_and_sound(stranger):
    report = json.loads(stranger.run("-m", "ferrum", "doctor", "--json"))
    assert report["ok"], report["problems"]
    (grid,) = [each for each in report["plugins"] if each["name"] == "grid"]
    assert (grid["state"], grid["distribution"], grid["version"]) == ("ok", "ferrum-grid", "0.1.0")
    assert grid["found"]["missing"] == grid["notes"] == []


def test_its_arrays_are_its_own(stranger):
    said = stranger.run(
        "-c",
        "import ferrum as fe, sys\n"
        "print('ferrum_grid' in sys.modules)\n"
        "x = fe.tensor([[1.0, 2.0], [3.0, 4.0]], device='grid', requires_grad=True)\n"
        "y = (x @ x.mT).exp()[0]\n"
        "print(type(y.array).__mro__[1:])\n"
        "try:\n"
        "    x + fe.tensor(1.0)\n"
        "except fe.errors.DeviceError as error:\n"
        "    print(error)\n"
        "print(y.to('reference').to('grid').device, fe.device('grid').supports('conv9') or 'no')\n"
        "print(*[fe.device('grid').supports(*name) for name in (['add'], ['softmax', ])])\n"
        "print(fe.device('grid').supports('matmul', dtype=fe.float16))\n",
    )
    loaded, bases, refused, moved, *answers = said.splitlines()
    assert (loaded, bases) == ("False", "(<class 'object'>,)")
    assert "expected all tensors on one device, got 'grid' and 'reference'" in refused
    assert moved == "grid no"
    assert answers == ["native decomposed", "no: device 'grid' has no float16"]


def test_the_backend_conforms(stranger, tmp_path):
    report = conformance(stranger, tmp_path, "grid")
    assert report["passed"]
    assert report["missing"] == []
    assert report["dtypes"] == ["bool", "float32", "float64", "int64"]
    assert report["cases"]["failed"] == 0
    assert report["cases"]["passed"] > 20_000
    assert {name.partition(".")[0] for name in report["ops"]} == {"core", "nn", "special"}


def test_the_backend_trains_on_digits(stranger):
    pytest.importorskip("sklearn")
    report = json.loads(stranger.run(str(PLUGINS / "train_digits.py"), "grid"))
    assert report["right"] >= 0.95
    assert report["devices"] == ["grid"]  # no other device has taken over
    assert report["arrays"] == ["Grid"]


# ---- an op library


def test_an_op_library_is_found_and_its_gradient_is_right(stranger):
    said = stranger.run(
        "-c",
        "import sys\n"
        "import ferrum as fe\n"
        "from ferrum.gradcheck import gradcheck, gradgradcheck\n"
        "assert 'ferrum_special' not in sys.modules\n"
        "assert fe.device('grid').supports('pseudo_huber', dtype='float64', order=2).decomposed\n"
        "from ferrum_special import pseudo_huber\n"
        "for device in ('reference', 'grid'):\n"
        "    x = fe.tensor([-3.0, -0.5, 0.0, 2.0], dtype='float64', device=device)\n"
        "    f = lambda x: pseudo_huber(x, delta=0.5)\n"
        "    assert gradcheck(f, (x.requires_grad_(),))\n"
        "    assert gradgradcheck(f, (x,))\n"
        "    print([round(value, 4) for value in f(x).tolist()])\n",
    )
    assert said.splitlines() == ["[1.2707, 0.1036, 0.0, 0.7808]"] * 2


@pytest.mark.parametrize("device", ["reference", "grid"])
def test_an_op_library_conforms(stranger, tmp_path, device):
    report = conformance(stranger, tmp_path, device, "--ops", "special.*")
    assert report["passed"]
    assert report["ops"]["special.pseudo_huber"]["aspects"]["second"]["passed"] > 3


# ---- a project begun with `ferrum new-backend`


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The project as it is written, installed."""
    made = Stranger(tmp_path_factory.mktemp("site-packages"))
    folder = tmp_path_factory.mktemp("projects")
    said = made.run("-m", "ferrum", "new-backend", "my_chip", "--path", str(folder))
    assert "ferrum conformance my_chip" in said
    made.project = folder / "ferrum-my-chip"
    made.install(made.project)
    return made


def test_a_new_backend_has_tier_0_and_says_what_is_missing_of_tier_1(begun, tmp_path):
    table = [line.split() for line in begun.run("-m", "ferrum", "ops").splitlines()[1:-2]]
    tiers = {name: tier for name, tier, *_ in table}
    report = conformance(begun, tmp_path, "my_chip", status=1)
    assert set(report["missing"]) == {name for name, tier in tiers.items() if tier == "1"}
    assert {each["aspect"] for each in report["failures"]} == {"kernel"}
    assert {each["op"] for each in report["failures"]} == set(report["missing"])
    passed = {op for op, row in report["ops"].items() if row["aspects"].get("value")}
    assert {name for name, tier in tiers.items() if tier == "0"} - passed <= {
        name for name in tiers if name.startswith(("core.uniform", "core.normal", "core.rand"))
    }


def test_the_tests_of_a_new_backend_fail_for_what_is_missing_alone(begun):
    test = begun.project / "tests" / "test_conformance.py"
    assert len([line for line in test.read_text(encoding="utf-8").splitlines() if line]) == 3
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", "-rf"]
    said = begun.run(*words, "-k", "matmul or add or getitem", cwd=begun.project, status=1)
    failed = {line.split()[1] for line in said.splitlines() if line.startswith("FAILED")}
    assert {name.partition("[")[2] for name in failed} == {
        "core.matmul-kernel]",
        "core.add-kernel]",
        "core.scatter_add-kernel]",
    }


def test_a_new_backend_grows_by_a_kernel(begun):
    """What its README says: write the kernel, and the op is there."""
    readme = (begun.project / "README.md").read_text(encoding="utf-8")
    add = readme.partition("```python\n")[2].partition("```")[0]
    code = f"from ferrum_my_chip.kernels import *\n{add}\nimport ferrum as fe\n"
    ask = "print(fe.tensor([1.0, 2.0], device='my_chip') + 1)"
    assert "tensor([2., 3.], device='my_chip')" in begun.run("-c", code + ask)
    said = json.loads(begun.run("-m", "ferrum", "doctor", "--json"))
    assert said["ok"], said["problems"]
    infos = [each for each in said["plugins"] if each["group"] == "ferrum.backend_info"]
    (found,) = [each["found"] for each in infos if each["name"] == "my_chip"]
    assert found["summary"] == "the device my_chip"
