"""How a check of the kit ends, other than well."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class ConformanceFailure(AssertionError):  # noqa: N818 - pytest reports it as a failed test
    """A device gave something else than the op table demands: the text says what, and what came.

    `ulp` is the worst error in units in the last place, where numbers were compared.
    """

    def __init__(
        self,
        what: str,
        *,
        expected: object = "",
        got: object = "",
        ulp: float | None = None,
        where: str = "",
    ) -> None:
        self.what, self.expected, self.got, self.ulp = what, expected, got, ulp
        worst = "" if ulp is None else f"{ulp:.4g} ULP"
        parts = {"call": where, "expected": expected, "got": got, "worst": worst}
        lines = [f"  {label:<9} {value}" for label, value in parts.items() if str(value)]
        super().__init__("\n".join([what, *lines]))

    def located(self, name: str, where: str) -> ConformanceFailure:
        """Return the failure with the name of its case, and the call it is about."""
        return ConformanceFailure(
            f"{name}: {self.what}", expected=self.expected, got=self.got, ulp=self.ulp, where=where
        )


class NotApplicable(Exception):  # noqa: N818 - no error: the report counts it with its reason
    """A question that a device cannot be asked; the text says why."""


def excerpt(array: npt.NDArray[Any]) -> str:
    """Return the values of an array on one line, the middle of long ones left out."""
    flat = np.array2string(array.reshape(-1), precision=9, threshold=12, max_line_width=10_000)
    return f"{array.dtype.name} {array.shape} {flat}"
