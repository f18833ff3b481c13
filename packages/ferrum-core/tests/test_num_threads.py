"""`set_num_threads` and `get_num_threads`: the processor's backend is asked, or the default's."""

from __future__ import annotations

from typing import Any

import pytest

import ferrum as fe
from ferrum import threads
from ferrum.errors import ArgumentError, OperandError
from ferrum.reference import Reference


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the reference backend, which stands for the processor's, is told."""
    told: list[int] = []
    monkeypatch.setattr(threads, "device_kinds", lambda: ["reference"])
    monkeypatch.setattr(threads, "default_device", lambda: fe.device("reference"))
    monkeypatch.setattr(Reference, "set_num_threads", lambda self, count: told.append(count))
    return told


def test_the_backend_is_told(counts: list[int]) -> None:
    fe.set_num_threads(3)
    assert counts == [3]


@pytest.mark.parametrize(
    ("bad", "error"),
    [(0, ArgumentError), (-1, ArgumentError), (1.5, OperandError), ("2", OperandError)],
)
def test_what_is_no_number_of_threads_is_refused(
    counts: list[int], bad: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="set_num_threads: expected"):
        fe.set_num_threads(bad)
    assert counts == []


def test_a_backend_without_threads_has_one(counts: list[int]) -> None:
    backend = fe.device("reference").backend
    assert fe.get_num_threads() == backend.num_threads() == 1


def test_cpu_is_asked_where_it_is_installed(
    counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "device_kinds", lambda: ["cpu", "cuda", "reference"])
    monkeypatch.setattr(threads, "device", {"cpu": fe.device("reference")}.__getitem__)
    monkeypatch.setattr(threads, "default_device", None)
    fe.set_num_threads(2)
    assert counts == [2]
