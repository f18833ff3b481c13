"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ferrum import Tensor, cat, no_grad
from ferrum.errors import ArgumentError, OperandError, ShapeError


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return the elements of all parameters, one after the other, in one vector.

    The vector is computed from them, so gradients go back. Raises ArgumentError if there are none.
    """
    listed = listed_tensors("parameters_to_vector", parameters)
    if not listed:
        raise ArgumentError("parameters_to_vector: expected at least one parameter")
    return cat([each.reshape(-1) for each in listed])


@no_grad()
def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write a vector into the parameters, in their order; it must have as many elements as they.

    They keep their memory, dtype and device. Raises ShapeError for another number of elements;
    nothing is written then.
    """
    if not isinstance(vec, Tensor):
        raise OperandError(f"vector_to_parameters: expected a tensor, got {type(vec).__name__}")
    listed = listed_tensors("vector_to_parameters", parameters)
    sizes = [each.numel() for each in listed]
    if vec.shape != (sum(sizes),):
        raise ShapeError(
            f"vector_to_parameters: expected a vector of {sum(sizes)} elements, got {vec.shape}"
        )
    start = 0
    for each, size in zip(listed, sizes, strict=True):
        each.copy_(vec[start : start + size].reshape(each.shape))
        start += size


def listed_tensors(name: str, tensors: Any) -> list[Tensor]:
    """Return one tensor, or several, as a list."""
    if isinstance(tensors, Tensor):
        return [tensors]
    if not isinstance(tensors, Iterable):
        raise OperandError(f"{name}: expected tensors, got {type(tensors).__name__}")
    listed = list(tensors)
    for each in listed:
        if not isinstance(each, Tensor):
            raise OperandError(f"{name}: expected tensors, got {type(each).__name__}")
    return listed
