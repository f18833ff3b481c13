"""A run that ends at any moment loses nothing, and goes on to the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ferrum as fe
import ferrum_nn as nn

HERE = Path(__file__).parent


@pytest.mark.parametrize("how", ["kill", "stop", "fail", "room"])
def test_nothing_is_lost_by_an_end_at_any_moment(tmp_path, how):
    script = HERE / "interrupted_saving.py"
    done = subprocess.run(
        [sys.executable, str(script), how, str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count = int(done.stdout)
    assert count >= {"kill": 50, "stop": 20, "fail": 20, "room": 5}[how]


def test_the_same_bits_after_going_on_in_another_process(tmp_path):
    script = HERE / "resumed_training.py"

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path), *map(str, arguments)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    whole = run(0, 14)
    assert len(whole.split()) == 1
    for stop in (3, 8):
        assert run(stop, 14) == whole


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux for a file's path")
def test_all_is_on_the_disk_before_the_folder_has_its_name(tmp_path, monkeypatch):
    calls = []
    sync, rename = os.fsync, os.rename

    def noted_sync(descriptor):
        calls.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    def noted_rename(old, new, **kwargs):
        calls.append("rename")
        rename(old, new, **kwargs)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    nn.save_checkpoint(tmp_path, step=1, model={"w": fe.ones(2)})
    tensors, hidden_once, manifest, hidden, renamed, root = calls
    assert tensors.endswith(".tmp")  # the file's name until it is whole
    assert hidden_once == hidden
    assert (manifest, renamed, root) == ("manifest.json", "rename", tmp_path.name)
