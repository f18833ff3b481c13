"""What the comparisons of transformers share: masks, sequences, and the comparing itself."""

import numpy as np
from beside_torch import close, pair, same_gradients, torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import ferrum as fe
import ferrum_nn as nn

DRAW = np.random.default_rng(0)
N, SRC, TGT, E = 2, 3, 4, 4
BOTH = [False, True]
ACTIVATIONS = {
    "relu": ("relu", "relu"),
    "gelu": ("gelu", "gelu"),
    "function": (fe.tanh, torch.tanh),
    "module": (nn.SiLU(), torch.nn.SiLU()),
}


def masks(kind, length, keys):
    """Return a mask, a padding and the hint."""
    kind = kind or ""
    mask = padding = None
    if "causal" in kind:
        mask = np.triu(np.ones((length, keys), bool), 1)
        mask = mask if "bool" in kind or "padding" in kind else np.where(mask, -np.inf, 0.0)
    elif kind in ("bool", "mask and padding"):
        mask = np.arange(length)[:, None] == np.arange(keys) + 1
    elif kind in ("float", "heads"):
        mask = DRAW.normal(size=(length, keys) if kind == "float" else (2 * N, length, keys))
    if "padding" in kind:
        padding = np.zeros((N, keys), bool)
        padding[1, -1:] = True
        padding = np.where(padding, -2.5, 0.0) if "float" in kind else padding
    return mask, padding, "causal" in kind


def sequence(length, batch_first):
    return pair(DRAW.normal(size=(N, length, E) if batch_first else (length, N, E)))


def compare(ours, theirs, inputs, more):
    """Compare the results of layers, and the gradients of both orders of all that they take."""
    mine, other = ({name: each[i] for name, each in more.items()} for i in (0, 1))
    one = ours(*(a for a, _ in inputs), **mine)
    with sdpa_kernel(SDPBackend.MATH):  # the others have no second order
        two = theirs(*(b for _, b in inputs), **other)
    close(one, two)
    weights = [dict(each.named_parameters()) for each in (ours, theirs)]
    assert list(weights[0]) == list(weights[1])
    leaves = [[each[i] for each in inputs] + list(weights[i].values()) for i in (0, 1)]
    same_gradients(one, two, *leaves)
