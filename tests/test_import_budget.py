"""What `import ferrum` costs with everything installed, and beside plugins that are broken."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = [path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")]
BUDGET = 0.060  # seconds beside NumPy's own import

BROKEN = {
    "raises": "1 / 0",
    "ends": "import os; os._exit(7)",
    "hangs": "import time; time.sleep(60)",
    "syntax": "def",
    "empty": "",
}


def python(code, *folders):
    """Return what a new interpreter prints. It may write bytecode, as a user's does."""
    env = {name: each for name, each in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    paths = [*map(str, folders), env.get("PYTHONPATH", "")]
    env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def cost(*folders):
    """Return the seconds that the import takes beside NumPy's.

    The minimum of seven alternated starts, after one that writes the bytecode.
    """
    code = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
    times = {"numpy": [], "ferrum": []}
    python(code.format("ferrum"), *folders)
    for _ in range(7):
        for module, found in times.items():
            found.append(float(python(code.format(module), *folders)))
    return min(times["ferrum"]) - min(times["numpy"])


def modules_of(name):
    """Return the modules that a package's entry points name."""
    project = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text("utf-8"))
    groups = project["project"].get("entry-points", {}).values()
    return {value.partition(":")[0] for points in groups for value in points.values()}


@pytest.mark.serial
def test_everything_is_installed_and_nothing_of_it_is_loaded():
    plugins = set().union(*map(modules_of, PACKAGES)) - {"ferrum.ops"}
    assert {distribution(name).name for name in PACKAGES} == set(PACKAGES)
    assert {"ferrum_cpu.plugin", "ferrum_nn.ops", "ferrum.reference"} <= plugins
    loaded = set(python("import sys, ferrum; print(*sys.modules)").split())
    assert "ferrum.tensor" in loaded
    assert not loaded & {*plugins, *(module.partition(".")[0] for module in plugins)} - {"ferrum"}
    assert cost() < BUDGET


@pytest.mark.serial
def test_plugins_that_are_broken_cost_nothing(tmp_path):
    for number in range(30):
        kind = [*BROKEN][number % len(BROKEN)]
        name = f"{kind}{number}"
        (tmp_path / f"ferrum_{name}.py").write_text(BROKEN[kind], encoding="utf-8")
        info = tmp_path / f"ferrum_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: ferrum-{name}\nVersion: 1.0\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(
            f"[ferrum.backends]\n{name} = ferrum_{name}:plugin\n"
            f"[ferrum.ops]\n{name} = ferrum_{name}\n",
            encoding="utf-8",
        )
    code = "import ferrum as fe; print('raises0' in fe.plugins.device_kinds(), fe.ones(1).tolist())"
    assert python(code, tmp_path) == "True [1.0]\n"
    assert cost(tmp_path) < BUDGET
