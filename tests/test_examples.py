"""The examples do what they say, run as a newcomer runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *args: str) -> str:
    """Run an example, and return what it prints."""
    environment = {key: value for key, value in os.environ.items() if key != "FERRUM_DEVICE"}
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *args],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_xor_is_learned_whole() -> None:
    """All four answers are printed, and right."""
    answers = re.findall(r"(\d) xor (\d) = (\d)", run("xor.py"))
    assert [(a, b, c) for a, b, c in answers] == [
        ("0", "0", "0"),
        ("0", "1", "1"),
        ("1", "0", "1"),
        ("1", "1", "0"),
    ]


@pytest.mark.slow
def test_digits_are_read(tmp_path: Path) -> None:
    """At least 97 % of the held-out quarter; the model reloads; the picture is one."""
    printed = run("digits.py", "--out", str(tmp_path))
    found = re.search(r"([\d.]+)% of 450 held-out digits", printed)
    assert found and float(found[1]) >= 97
    assert "reads the same" in printed
    assert (tmp_path / "digits.safetensors").stat().st_size > 4 * (64 * 256 + 256 * 10)
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
