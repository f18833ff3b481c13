"""Comparing with PyTorch: values, gradients of two orders, and errors.

Tests take `torch` from here too: where it is not installed, that import skips the whole file.
"""

import numpy as np
import pytest

import ferrum as fe

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def pair(array, requires_grad=True):
    """Return an array as a leaf of either library."""
    if array is None:
        return None, None
    grad = requires_grad and array.dtype.kind == "f"
    return fe.tensor(array, requires_grad=grad), torch.tensor(array, requires_grad=grad)


def close(ours, theirs, tolerance=1e-11):
    theirs = theirs.detach()
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    np.testing.assert_allclose(
        ours.detach().numpy(), theirs.numpy(force=True), rtol=tolerance, atol=tolerance
    )
    assert ours.shape == tuple(theirs.shape)


def same_gradients(ours, theirs, our_leaves, their_leaves):
    """Compare the gradients of weighted sums, and the gradients of those."""
    seed = np.cos(np.arange(ours.numel())).reshape(ours.shape)
    one = fe.grad((ours * fe.tensor(seed)).sum(), our_leaves, create_graph=True)
    two = torch.autograd.grad((theirs * torch.tensor(seed)).sum(), their_leaves, create_graph=True)
    for a, b in zip(one, two, strict=True):
        close(a, b)
    total, other = sum((a * a).sum() for a in one), sum((b * b).sum() for b in two)
    expected = [torch.zeros_like(b) for b in their_leaves]
    if other.requires_grad:
        expected = torch.autograd.grad(
            other, their_leaves, allow_unused=True, materialize_grads=True
        )
    second = [fe.zeros_like(a) for a in our_leaves]
    if total.requires_grad:
        second = fe.grad(total, our_leaves, allow_unused=True, materialize_grads=True)
    for a, b in zip(second, expected, strict=True):
        close(a, b, 1e-9)


def both_refuse(ours, theirs):
    with pytest.raises((RuntimeError, ValueError, TypeError, IndexError)):
        theirs()
    with pytest.raises(fe.FerrumError) as caught:
        ours()
    return caught.value
