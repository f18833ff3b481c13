"""Every error FERRUM raises on purpose.

A message starts with the operation, says what was expected and what came, and for a fault of the
environment what to do. Each class also derives from the built-in that PyTorch or NumPy would raise,
so that existing `except` clauses go on working.
"""


class FerrumError(Exception):
    """Base of all errors raised by FERRUM."""


class ShapeError(FerrumError, ValueError):
    """Shapes, axes or sizes do not fit together."""


class DTypeError(FerrumError, TypeError):
    """A dtype is unknown, or an operation is not defined for it."""


class ArgumentError(FerrumError, ValueError):
    """An argument has the right type and a wrong value."""


class OperandError(FerrumError, TypeError):
    """An operand is neither a tensor nor a number."""


class OutOfRangeError(FerrumError, IndexError):
    """An index lies outside its axis."""


class DeviceError(FerrumError, RuntimeError):
    """A device is missing, or the operands of one operation are on several."""


class UnsupportedError(FerrumError, NotImplementedError):
    """A backend has no kernel for an operation, and the operation has no fallback."""


class StrictError(UnsupportedError):
    """Under `strict()`, an operation was about to be decomposed."""


class GradientError(FerrumError, RuntimeError):
    """A gradient was asked for that is not defined, or of a graph that is freed or changed."""


class GradcheckError(GradientError):
    """A gradient is wrong: it disagrees with finite differences, or with itself."""


class CaptureError(FerrumError, RuntimeError):
    """A function did something while it was recorded that a recording cannot hold."""


class OutOfMemoryError(FerrumError, MemoryError):
    """A device has no room for an allocation."""


class PluginError(FerrumError, ImportError):
    """A plugin is broken, of another ABI, or clashes with a second one; `mend` says what to do."""

    def __init__(self, what: str, *, mend: str = "") -> None:
        super().__init__(f"{what}; try: {mend}" if mend else what)
        self.what = what
        self.mend = mend


class CheckpointError(FerrumError, ValueError):
    """A file of weights, or a checkpoint, is truncated, corrupt, unsafe, unsupported or too large.

    `kind` is one of "truncated", "corrupt", "unsafe", "unsupported" and "too large", or "missing"
    where a folder has no checkpoint.
    """

    def __init__(self, message: str, *, kind: str = "corrupt") -> None:
        super().__init__(message)
        self.kind = kind
