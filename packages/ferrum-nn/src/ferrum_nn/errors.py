"""The errors of modules and of loaders; everything else raises the classes of `ferrum.errors`."""

from __future__ import annotations

from ferrum.errors import FerrumError


class StateDictError(FerrumError, RuntimeError):
    """A state dict does not fit the module or the optimizer that it is loaded into.

    `missing_keys`, `unexpected_keys` and `mismatched` (a sentence for each key) say where.
    """

    def __init__(
        self,
        message: str,
        missing_keys: tuple[str, ...] = (),
        unexpected_keys: tuple[str, ...] = (),
        mismatched: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.missing_keys = missing_keys
        self.unexpected_keys = unexpected_keys
        self.mismatched = mismatched


class UnknownNameError(FerrumError, AttributeError):
    """A module has no parameter, buffer or submodule of this name."""


class NameTakenError(FerrumError, KeyError):
    """A name cannot be given to a parameter, buffer or submodule."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print its message in quotes


class UnknownKeyError(FerrumError, KeyError):
    """A container of modules or parameters has no entry under this key."""

    def __str__(self) -> str:
        return str(self.args[0])


class WorkerError(FerrumError, RuntimeError):
    """A worker process of a DataLoader died, took too long, or could not be started.

    `worker_id`, `pid` and `signal` (None unless one killed it) say which one and how.
    """

    def __init__(
        self,
        message: str,
        worker_id: int | None = None,
        pid: int | None = None,
        signal: int | None = None,
    ) -> None:
        super().__init__(message)
        self.worker_id = worker_id
        self.pid = pid
        self.signal = signal

    def __reduce__(self) -> tuple[object, ...]:
        return WorkerError, (str(self), self.worker_id, self.pid, self.signal)
