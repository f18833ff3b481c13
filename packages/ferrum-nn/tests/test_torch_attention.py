"""Attention beside PyTorch's: values, gradients of both orders, and what is refused."""

import inspect

import numpy as np
import pytest
from beside_torch import both_refuse, close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn.functional as F

pytestmark = pytest.mark.torch

theirs_of = torch.nn.functional.scaled_dot_product_attention

SHAPES = {  # query, key, and the size of a value
    "two axes": ((3, 4), (5, 4), 4),
    "three": ((2, 3, 4), (2, 5, 4), 2),
    "four": ((2, 3, 4, 2), (2, 3, 4, 2), 3),
    "five": ((2, 1, 3, 4, 2), (2, 1, 3, 3, 2), 2),
    "one query": ((2, 2, 1, 3), (2, 2, 7, 3), 3),
    "one key": ((2, 4, 3), (2, 1, 3), 3),
    "more queries": ((2, 6, 2), (2, 3, 2), 2),
    "broadcast batch": ((1, 3, 2), (4, 3, 2), 2),
    "broadcast axes": ((2, 1, 3, 2), (3, 4, 2), 2),
}
MASKS = {
    "none": (None, False),
    "causal": (None, True),
    "bool": ("bool", False),
    "bool row": ("row", False),
    "added": ("added", False),
    "added row": ("added row", False),
    "infinite": ("infinite", False),
}


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def mask_of(kind, rows, columns):
    """Return a mask of that kind; the first query of a "bool" or "infinite" one sees nothing."""
    seen = numbers(rows, columns, seed=3) > -0.5
    seen[0] = False
    return {
        None: None,
        "bool": seen,
        "row": numbers(1, columns, seed=4) > 0,
        "added": numbers(rows, columns, seed=5),
        "added row": numbers(1, columns, seed=6),
        "infinite": np.where(seen, numbers(rows, columns, seed=7), -np.inf),
    }[kind]


def compare(q, k, v, mask=None, **options):
    """Compare a call with PyTorch's, which differentiates twice on its plain road alone."""
    pairs = [pair(each) for each in (q, k, v, mask)]
    ours = F.scaled_dot_product_attention(*(each for each, _ in pairs), **options)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        theirs = theirs_of(*(each for _, each in pairs), **options)
    close(ours, theirs)
    leaves = [each for each in pairs if each[0] is not None and each[0].requires_grad]
    same_gradients(ours, theirs, *zip(*leaves, strict=True))


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("scale", [None, 0.3, -1, 0.0])
def test_value_gradient_and_second_order(shapes, mask, scale):
    q, k, size = SHAPES[shapes]
    kind, causal = MASKS[mask]
    operands = numbers(*q), numbers(*k, seed=1), numbers(*k[:-1], size, seed=2)
    compare(*operands, mask_of(kind, q[-2], k[-2]), is_causal=causal, scale=scale)


@pytest.mark.parametrize("heads", [(4, 2, 2), (4, 1, 1), (6, 3, 2), (4, 2, 4), (2, 2, 2)])
@pytest.mark.parametrize("lead", [(), (2,), (2, 1)])
@pytest.mark.parametrize("mask", MASKS)
def test_groups_of_heads(heads, lead, mask):
    q, k, v = (
        numbers(*lead, each, rows, 3, seed=each)
        for each, rows in zip(heads, (2, 4, 4), strict=True)
    )
    kind, causal = MASKS[mask]
    compare(q, k, v, mask_of(kind, 2, 4), is_causal=causal, enable_gqa=True)


@pytest.mark.parametrize("shape", [(2, 1, 1, 5), (3, 4, 1), (1, 1, 4, 1), (2, 3, 4, 5), (5,), ()])
@pytest.mark.parametrize("kind", ["bool", "added"])
def test_masks_that_broadcast(shape, kind):
    mask = numbers(*shape) if kind == "added" else np.asarray(numbers(*shape) > 0)
    compare(numbers(2, 3, 4, 2), numbers(2, 3, 5, 2, seed=1), numbers(2, 3, 5, 2, seed=2), mask)


@pytest.mark.parametrize(
    ("q", "k", "size"),
    [
        ((2, 0, 3), (2, 4, 3), 3),
        ((2, 4, 3), (2, 0, 3), 3),
        ((0, 4, 3), (0, 2, 3), 3),
        ((2, 4, 0), (2, 3, 0), 2),
        ((2, 4, 3), (2, 3, 3), 0),
    ],
)
def test_zero_sizes(q, k, size):
    compare(numbers(*q), numbers(*k), numbers(*k[:-1], size))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("causal", [False, True])
def test_narrow_dtypes(dtype, causal):
    arrays = [numbers(2, 2, 6, 8, seed=each) for each in range(3)]
    ours = F.scaled_dot_product_attention(
        *(fe.tensor(each, dtype=dtype) for each in arrays), is_causal=causal
    )
    given = [torch.tensor(each, dtype=getattr(torch, dtype)) for each in arrays]
    theirs = theirs_of(*given, is_causal=causal)
    assert ours.dtype.name == dtype
    np.testing.assert_allclose(
        ours.to(fe.float64).numpy(),
        theirs.double().numpy(),
        atol={"float32": 1e-6, "bfloat16": 0.04, "float16": 0.004}[dtype],
    )


def test_dropout_keeps_the_scaled_weights():
    """With values of the unit matrix the result is the weights: dropped, or over 1 - p."""
    q, k = fe.tensor(numbers(40, 8)), fe.tensor(numbers(50, 8, seed=1))
    fe.manual_seed(3)
    dropped = F.scaled_dot_product_attention(q, k, fe.eye(50, dtype=fe.float64), dropout_p=0.25)
    whole = theirs_of(*(torch.tensor(x.numpy()) for x in (q, k)), torch.eye(50).double()).numpy()
    kept = dropped.numpy() != 0
    assert 0.7 < kept.mean() < 0.8
    np.testing.assert_allclose(dropped.numpy()[kept], whole[kept] / 0.75, 1e-12)
    fe.manual_seed(3)
    noise = F.dropout(fe.ones(40, 50), 0.25)
    assert np.array_equal(noise.numpy() != 0, kept)


REFUSED = {
    "one axis": ((4,), (4,), (4,), None, {}),
    "sizes of query and key": ((2, 4), (3, 5), (3, 4), None, {}),
    "heads not in groups": ((1, 4, 2, 4), (1, 2, 3, 4), (1, 2, 3, 4), None, {}),
    "batches": ((2, 2, 4), (3, 3, 4), (3, 3, 4), None, {}),
    "groups that do not divide": (
        (1, 4, 2, 4),
        (1, 3, 3, 4),
        (1, 3, 3, 4),
        None,
        {"enable_gqa": True},
    ),
    "groups of two sizes that do not divide": (
        (1, 4, 2, 4),
        (1, 2, 3, 4),
        (1, 3, 3, 4),
        None,
        {"enable_gqa": True},
    ),
    "groups without heads": ((2, 4), (3, 4), (3, 4), None, {"enable_gqa": True}),
    "mask of other rows": ((2, 4), (3, 4), (3, 4), "ones 5 3", {}),
    "mask of other columns": ((2, 4), (3, 4), (3, 4), "ones 2 4", {}),
    "mask wider than the scores": ((1, 2, 4), (1, 3, 4), (1, 3, 4), "ones 7 2 3", {}),
    "mask of more axes": ((1, 2, 4), (1, 3, 4), (1, 3, 4), "ones 2 1 2 3", {}),
    "mask and causal": ((2, 4), (3, 4), (3, 4), "ones 2 3", {"is_causal": True}),
    "more than all dropped": ((2, 4), (3, 4), (3, 4), None, {"dropout_p": 1.5}),
    "dropout of text": ((2, 4), (3, 4), (3, 4), None, {"dropout_p": "half"}),
    "scale of text": ((2, 4), (3, 4), (3, 4), None, {"scale": "large"}),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_refuse(case, dtype):
    *shapes, mask, options = REFUSED[case]
    sizes = None if mask is None else [int(each) for each in mask.split()[1:]]

    def call(library, function):
        given = [library.ones(*shape, dtype=getattr(library, dtype)) for shape in shapes]
        last = None if sizes is None else library.ones(*sizes, dtype=getattr(library, dtype))
        return lambda: function(*given, last, **options)

    def theirs():
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            call(torch, theirs_of)()

    error = both_refuse(call(fe, F.scaled_dot_product_attention), theirs)
    assert "scaled_dot_product_attention" in str(error)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("kind", ["int64", "other float", "no tensor"])
def test_both_refuse_operands(place, kind):
    def call(library, function):
        given = [library.ones(2, 3) for _ in range(3)] + [library.ones(2, 2)]
        dtype = library.int64 if kind == "int64" else library.float64
        given[place] = given[place].to(dtype) if kind != "no tensor" else [[1.0, 2.0]]
        return lambda: function(*given)

    both_refuse(call(fe, F.scaled_dot_product_attention), call(torch, theirs_of))


@pytest.mark.parametrize(
    "options",
    [{"dropout_p": -0.1}, {"dropout_p": float("nan")}, {"scale": float("nan")}],
)
def test_refused_where_pytorch_is_not_strict(options):
    x = fe.ones(2, 3)
    with pytest.raises(fe.FerrumError, match="scaled_dot_product_attention: expected a"):
        F.scaled_dot_product_attention(x, x, x, **options)


def test_signature():
    ours = inspect.signature(F.scaled_dot_product_attention).parameters
    assert list(ours) == [
        "query",
        "key",
        "value",
        "attn_mask",
        "dropout_p",
        "is_causal",
        "scale",
        "enable_gqa",
    ]
    assert theirs_of.__doc__.startswith(
        "scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0,\n"
        "        is_causal=False, scale=None, enable_gqa=False)"
    )
    defaults = [each.default for each in ours.values()][3:]
    assert defaults == [None, 0.0, False, None, False]
