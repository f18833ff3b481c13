"""How a check of the kit ends, other than well."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class ConformanceFailure(AssertionError):
    """A device gave something else than the op table demands: the text says what, and what came.

    `ulp` is the worst error in units in the last place, where numbers were compared.
    """

    def __init__(
        self, what: str, *, expected: object = "", got: object = "", ulp: float | None = None
    ) -> None:
        lines = [what, *_line("expected", expected), *_line("got", got)]
        super().__init__(
            "\n".join(lines if ulp is None else [*lines, f"  worst     {ulp:.4g} ULP"])
        )
        self.what = what
        self.ulp = ulp


class NotApplicable(Exception):  # noqa: N818 - no error: the report counts it with its reason
    """This device cannot be asked this question; the text says why."""


def _line(label: str, value: object) -> list[str]:
    return [] if value == "" else [f"  {label:<9} {value}"]


def excerpt(array: npt.NDArray[Any]) -> str:
    """Return the values of an array on one line, the middle of long ones left out."""
    flat = np.array2string(array.reshape(-1), precision=9, threshold=12, max_line_width=10_000)
    return f"{array.dtype.name} {array.shape} {flat}"
