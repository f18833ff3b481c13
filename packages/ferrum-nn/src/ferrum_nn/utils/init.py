"""Making modules without their first values."""

from __future__ import annotations

from inspect import signature
from typing import Any, TypeVar

from ferrum.errors import OperandError, UnsupportedError
from ferrum_nn.init import skipping
from ferrum_nn.module import Module

M = TypeVar("M", bound=Module)


def skip_init(module_cls: type[M], *args: Any, **kwargs: Any) -> M:
    """Return `module_cls(*args, **kwargs)`, for which `nn.init` writes and draws nothing.

    For a module whose parameters will be loaded. What they hold is not defined. As in PyTorch the
    class must take `device`; UnsupportedError says if it does not.
    """
    given: Any = module_cls
    if not (isinstance(given, type) and issubclass(given, Module)):
        raise OperandError(f"skip_init: expected a class of modules, got {module_cls!r}")
    if "device" not in signature(module_cls).parameters:
        raise UnsupportedError(f"skip_init: {module_cls.__name__} takes no `device`")
    with skipping():
        return module_cls(*args, **kwargs)
