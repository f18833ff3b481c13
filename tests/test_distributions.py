"""What is in the distributions: the licence, the types, versions in step, and nothing astray.

These run on whatever is installed, so on the wheels in `nox -s wheels`, and on the archives in the
folder FERRUM_DIST if it is set.
"""

import os
import re
import tarfile
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECTS = {
    path.parent.name: tomllib.loads(path.read_text(encoding="utf-8"))
    for path in sorted(ROOT.glob("packages/*/pyproject.toml"))
}
LICENCE = (ROOT / "LICENSE").read_bytes()

each_package = pytest.mark.parametrize("name", PROJECTS)


def import_name(name):
    (source,) = (ROOT / "packages" / name / "src").glob("*/__init__.py")
    return source.parent.name


def archive(name, pattern):
    folder = os.environ.get("FERRUM_DIST")
    if folder is None:
        pytest.skip("FERRUM_DIST names no folder of built distributions: see `nox -s wheels`")
    (path,) = Path(folder).glob(f"{name.replace('-', '_')}-{pattern}")
    return path


@each_package
def test_each_package_has_the_licence_of_the_repository(name):
    assert (ROOT / "packages" / name / "LICENSE").read_bytes() == LICENCE


@each_package
def test_what_is_installed_carries_the_licence(name):
    files = distribution(name).files
    (licence,) = [file for file in files if file.parts[-2:] == ("licenses", "LICENSE")]
    assert Path(licence.locate()).read_bytes() == LICENCE
    assert distribution(name).metadata["License-Expression"] == "Apache-2.0"


@each_package
def test_wheels_hold_the_package_with_its_types_and_licence(name):
    with zipfile.ZipFile(archive(name, "*.whl")) as wheel:
        names = wheel.namelist()
        (licence,) = [file for file in names if file.endswith(".dist-info/licenses/LICENSE")]
        assert wheel.read(licence) == LICENCE
    assert f"{import_name(name)}/py.typed" in names
    stray = [
        file for file in names if not re.match(rf"{import_name(name)}/|[^/]+\.dist-info/", file)
    ]
    assert not stray
    ours = [file for file in names if "/template/" not in file]  # what new-backend writes has tests
    assert not [file for file in ours if "__pycache__" in file or "/tests/" in file]


@each_package
def test_sdists_hold_the_sources_with_the_licence(name):
    with tarfile.open(archive(name, "*.tar.gz")) as sdist:
        names = sdist.getnames()
        root = names[0].partition("/")[0]
        assert sdist.extractfile(f"{root}/LICENSE").read() == LICENCE
    assert {f"{root}/pyproject.toml", f"{root}/README.md"} <= set(names)
    assert f"{root}/src/{import_name(name)}/py.typed" in names
    assert not [file for file in names if "__pycache__" in file]


def test_versions_are_in_step():
    versions = {name: project["project"]["version"] for name, project in PROJECTS.items()}
    assert len(set(versions.values())) == 1, versions
    assert {name: distribution(name).version for name in PROJECTS} == versions


@each_package
def test_siblings_are_bound_to_this_minor_release(name):
    major, minor, _ = PROJECTS[name]["project"]["version"].split(".")
    bound = f">={major}.{minor},<{major}.{int(minor) + 1}"
    for requirement in PROJECTS[name]["project"]["dependencies"]:
        if requirement.startswith("ferrum"):
            sibling = re.split(r"[<>=]", requirement)[0]
            assert requirement == sibling + bound
            assert sibling in PROJECTS
