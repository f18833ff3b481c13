"""Losses and distances beside PyTorch's where they bend, overflow or are not numbers."""

import inspect
import math

import numpy as np
import pytest
from beside_torch import both_refuse, close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:reduction. 'mean':UserWarning")]
F, T = nn.functional, torch.nn.functional
INF, NAN = math.inf, math.nan
FAR = [-INF, -1e4, -200.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 200.0, 1e4, INF, NAN]
LABELS = [0, 1, 1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1]
SIGNS = [1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1]
ZEROS = np.zeros(len(FAR))
ENDS = [0.0, 1.0, 0.0, 1.0, 1e-30, 1 - 1e-16, 1e-7, 0.5, 1e-13]
HALVES = [0.0, 0.0, 1.0, 1.0, 0.3, 0.3, 0.6, 0.5, 0.0]


EDGES = [
    ("mse_loss", (FAR, ZEROS), {}),
    ("l1_loss", (FAR, ZEROS), {}),
    ("smooth_l1_loss", (FAR, ZEROS), {}),
    ("smooth_l1_loss", (FAR, ZEROS), {"beta": 0.5}),
    ("smooth_l1_loss", (FAR, ZEROS), {"beta": 0.0}),
    ("huber_loss", (FAR, ZEROS), {}),
    ("huber_loss", (FAR, ZEROS), {"delta": 0.5}),
    ("binary_cross_entropy_with_logits", (FAR, [float(x) for x in LABELS]), {}),
    ("binary_cross_entropy", (ENDS, HALVES), {}),
    ("poisson_nll_loss", (FAR, [2.0] * 13), {"full": True}),
    ("gaussian_nll_loss", (FAR, ZEROS, [1.0] * 13), {}),
    ("gaussian_nll_loss", ([1.0, 2.0, 3.0], [1.0, 0.0, 3.0], [0.0, 1e-9, 1e-6]), {}),
    ("kl_div", (FAR, [0.5] * 13), {}),
    ("kl_div", (FAR, FAR), {"log_target": True}),
    ("soft_margin_loss", (FAR, [float(x) for x in SIGNS]), {}),
    ("hinge_embedding_loss", (FAR, SIGNS), {}),
    ("hinge_embedding_loss", (FAR, [2] * 13), {}),
    ("margin_ranking_loss", (FAR, ZEROS, SIGNS), {"margin": 0.5}),
    ("cosine_embedding_loss", ([[0.0, 0.0], [1.0, 0.0]], [[1.0, 2.0], [2.0, 0.0]], [1, -1]), {}),
    ("cosine_embedding_loss", ([[1.0, 0.0]], [[0.0, 1.0]], [-1]), {}),
    ("cosine_embedding_loss", ([[1.0, 0.0]], [[1.0, 1.0]], [0]), {}),
    ("triplet_margin_loss", ([[1.0, 2.0]], [[1.0, 2.0]], [[1.0, 2.0]]), {"eps": 0.0}),
    ("triplet_margin_loss", ([[0.0]], [[1.0]], [[2.0]]), {"eps": 0.0, "swap": True}),
    ("triplet_margin_loss", ([[0.0]], [[1.0]], [[3.0]]), {"eps": 0.0, "margin": 2.0}),
    ("triplet_margin_loss", ([[0.0]], [[1.0]], [[2.0]]), {"eps": 0.0, "p": 1}),
    ("multilabel_soft_margin_loss", (FAR, LABELS), {}),
    ("cosine_similarity", ([[0.0, 0.0], [1e-9, 0.0]], [[1.0, 2.0], [3.0, 4.0]]), {}),
    ("cosine_similarity", ([[0.1, 0.2], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]]), {"eps": 2.0}),
    ("cosine_similarity", ([[1e200, 1e200], [NAN, 1.0]], [[1.0, 2.0], [3.0, 4.0]]), {}),
    ("pairwise_distance", ([[1.0, 2.0]], [[1.0, 2.0]]), {"eps": 0.0}),
    ("pairwise_distance", ([[1.0, 2.0]], [[1.0, 2.0]]), {"eps": 0.0, "p": INF}),
    ("pairwise_distance", ([[1.0, INF]], [[1.0, 2.0]]), {"eps": 0.0, "p": 1}),
]


@pytest.mark.parametrize(("name", "arrays", "options"), EDGES)
def test_edges(name, arrays, options):
    """Values, and first gradients wherever PyTorch's are numbers."""
    arrays = [np.asarray(each) for each in arrays]
    pairs = [pair(each, requires_grad=i == 0) for i, each in enumerate(arrays)]
    ours, theirs = zip(*pairs, strict=True)
    if "similarity" not in name and "distance" not in name:
        options = {**options, "reduction": "none"}
    one, two = getattr(F, name)(*ours, **options), getattr(T, name)(*theirs, **options)
    if name == "soft_margin_loss":
        two = torch.where(torch.tensor(arrays[0] * arrays[1]) < -700, -theirs[0] * theirs[1], two)
    close(one, two)
    mine = fe.grad(one.sum(), ours[0])[0].numpy()
    yours = torch.autograd.grad(two.sum(), theirs[0])[0].numpy()
    where = ~np.isnan(yours) & ~np.isnan(arrays[0])  # theirs is 0 for |NaN|
    tolerance = (
        1e-8 if "cross_entropy" in name or "embedding" in name else 1e-11
    )  # 1e-12f is not 1e-12
    np.testing.assert_allclose(mine[where], yours[where], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_hinges_at_their_kinks(reduction):
    """Scores that tie at exactly the margin get no gradient."""
    scores = np.array([[1.0, 0.0, 2.0, 1.0], [0.5, 0.5, 1.5, -0.5]])
    for name, target in (
        ("multi_margin_loss", np.array([0, 2])),
        ("multilabel_margin_loss", np.array([[0, 2, -1, 1], [2, -1, 0, 0]])),
    ):
        x, y = pair(scores)
        one = getattr(F, name)(x, fe.tensor(target), reduction=reduction)
        two = getattr(T, name)(y, torch.tensor(target), reduction=reduction)
        close(one, two)
        close(fe.grad(one.sum(), x)[0], torch.autograd.grad(two.sum(), y)[0])


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_second_gradients_at_the_bends(beta):
    x = np.array([-2, -1, -0.5, 0.0, 0.25, 0.5, 1, 2])
    for name, option in (("smooth_l1_loss", "beta"), ("huber_loss", "delta")):
        a, b = pair(x)
        c, d = pair(np.zeros(8))
        options = {option: beta, "reduction": "none"}
        one, two = getattr(F, name)(a, c, **options), getattr(T, name)(b, d, **options)
        same_gradients(one, two, [a, c], [b, d])


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((3, 4), (1, 4)), ((2, 3, 4), (4,))])
def test_cosine_similarity(shapes, dim):
    rng = np.random.default_rng(0)
    (a, b), (c, d) = (pair(rng.normal(size=shape)) for shape in shapes)
    one, two = nn.CosineSimilarity(dim)(a, c), torch.nn.CosineSimilarity(dim)(b, d)
    close(one, two)
    same_gradients(one, two, [a, c], [b, d])


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("p", [0, 0.5, 1, 2.0, 3, INF, -INF])
@pytest.mark.parametrize(
    "shapes", [((3, 4), (3, 4)), ((3, 4), (1, 4)), ((2, 3, 4), (4,)), ((4,),) * 2]
)
def test_pairwise_distance(shapes, p, keepdim):
    rng = np.random.default_rng(0)
    (a, b), (c, d) = (pair(rng.normal(size=shape)) for shape in shapes)
    one = nn.PairwiseDistance(p, keepdim=keepdim)(a, c)
    two = torch.nn.PairwiseDistance(p, keepdim=keepdim)(b, d)
    close(one, two)
    if p:
        same_gradients(one, two, [a, c], [b, d])


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2.0, 3, INF])
@pytest.mark.parametrize("shape", [(5, 3), (2, 1), (1, 3), (0, 3), (4, 0)])
def test_pdist(shape, p):
    array = np.random.default_rng(0).normal(size=shape)
    array[-1:] = array[:1]  # equal rows
    x, y = pair(array)
    one, two = F.pdist(x, p), T.pdist(y, p)
    close(one, two)
    if p and one.numel():
        seed = np.arange(1.0, one.numel() + 1)
        (mine,) = fe.grad((one * fe.tensor(seed)).sum(), x)
        close(mine, torch.autograd.grad((two * torch.tensor(seed)).sum(), y)[0])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits(dtype):
    rng = np.random.default_rng(0)
    x, t, p = rng.normal(size=(6, 5)), rng.normal(size=(6, 5)), rng.uniform(0.1, 0.9, (6, 5))
    whole = rng.integers(0, 5, 6)
    for name, arrays in (
        ("mse_loss", (x, t)),
        ("l1_loss", (x, t)),
        ("smooth_l1_loss", (x, t)),
        ("huber_loss", (x, t)),
        ("binary_cross_entropy", (p, p)),
        ("binary_cross_entropy_with_logits", (x, p)),
        ("poisson_nll_loss", (x, p)),
        ("kl_div", (x, p)),
        ("hinge_embedding_loss", (x, np.sign(t))),
        ("soft_margin_loss", (x, np.sign(t))),
        ("multilabel_soft_margin_loss", (x, p)),
        ("cosine_similarity", (x, t)),
        ("pairwise_distance", (x, t)),
        ("triplet_margin_loss", (x, t, p)),
        ("multi_margin_loss", (x, whole)),
    ):
        ours = [
            fe.tensor(a, dtype=getattr(fe, dtype) if a.dtype.kind == "f" else None) for a in arrays
        ]
        exact = [fe.tensor(a.float().numpy()) if a.is_floating_point() else a for a in ours]
        got, expected = getattr(F, name)(*ours), getattr(F, name)(*exact)
        assert got.dtype.name == dtype
        np.testing.assert_allclose(
            got.float().numpy(), expected.float().numpy(), rtol=0.03, atol=0.03, err_msg=name
        )


LATER = {"AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss"}
LOSSES = [name for name in dir(torch.nn) if name.endswith("Loss") and name not in LATER]
NAMES = [*LOSSES, "CosineSimilarity", "PairwiseDistance"]
OLD = {"size_average", "reduce"}


@pytest.mark.parametrize("name", NAMES)
def test_modules_have_the_same_arguments_and_attributes(name):
    ours, theirs = getattr(nn, name), getattr(torch.nn, name)
    one, two = (inspect.signature(each).parameters for each in (ours, theirs))
    assert [(k, v.default) for k, v in one.items()] == [
        (k, v.default) for k, v in two.items() if k not in OLD
    ]
    assert repr(ours()) == repr(theirs())
    for key, value in vars(theirs()).items():
        if not key.startswith("_") and key != "training":
            assert getattr(ours(), key) == value
    assert list(ours().state_dict()) == list(theirs().state_dict())


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("BCELoss", ["weight"]),
        ("BCEWithLogitsLoss", ["weight", "pos_weight"]),
        ("NLLLoss", ["weight"]),
        ("CrossEntropyLoss", ["weight"]),
        ("MultiMarginLoss", ["weight"]),
        ("MultiLabelSoftMarginLoss", ["weight"]),
    ],
)
def test_weights_are_buffers(name, keys):
    ours = getattr(nn, name)(**{key: fe.ones(3) for key in keys})
    theirs = getattr(torch.nn, name)(**{key: torch.ones(3) for key in keys})
    assert list(ours.state_dict()) == list(theirs.state_dict()) == keys


OPERANDS = {
    "BCELoss": "pp",
    "CosineEmbeddingLoss": "xxs",
    "CosineSimilarity": "xx",
    "CrossEntropyLoss": "xi",
    "GaussianNLLLoss": "xxp",
    "MarginRankingLoss": "sss",
    "MultiLabelMarginLoss": "xm",
    "MultiMarginLoss": "xi",
    "NLLLoss": "xi",
    "PairwiseDistance": "xx",
    "TripletMarginLoss": "xxp",
    "TripletMarginWithDistanceLoss": "xxp",
}
SETTINGS = {
    "SmoothL1Loss": {"beta": 0.3},
    "HuberLoss": {"delta": 0.3},
    "PoissonNLLLoss": {"log_input": False, "full": True, "eps": 0.1},
    "GaussianNLLLoss": {"full": True, "eps": 0.5},
    "KLDivLoss": {"log_target": True, "reduction": "batchmean"},
    "CosineEmbeddingLoss": {"margin": 0.3},
    "MarginRankingLoss": {"margin": 0.3},
    "HingeEmbeddingLoss": {"margin": 0.3},
    "MultiMarginLoss": {"p": 2, "margin": 0.3},
    "TripletMarginLoss": {"margin": 0.3, "p": 3, "eps": 0.1, "swap": True},
    "TripletMarginWithDistanceLoss": {"margin": 0.3, "swap": True},
    "NLLLoss": {"ignore_index": 1},
    "CrossEntropyLoss": {"ignore_index": 1, "label_smoothing": 0.2},
}


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", [each for each in NAMES if each != "CTCLoss"])  # takes lengths
def test_modules_call_their_function(name, reduction):
    rng = np.random.default_rng(0)
    arrays = {
        "p": lambda: rng.uniform(0.1, 0.9, (4, 3)),
        "x": lambda: np.abs(rng.normal(size=(4, 3))),
        "s": lambda: rng.choice([-1.0, 1.0], 4),
        "i": lambda: np.array([0, 1, 2, 1]),
        "m": lambda: np.array([[0, 2, -1], [-1, 1, 2], [1, 0, 2], [2, -1, 0]]),
    }
    operands = [arrays[kind]() for kind in OPERANDS.get(name, "xp")]
    options = {**({"reduction": reduction} if name in LOSSES else {}), **SETTINGS.get(name, {})}
    one = getattr(nn, name)(**options)(*map(fe.tensor, operands))
    close(one, getattr(torch.nn, name)(**options)(*map(torch.tensor, operands)))


FUNCTIONS = sorted(
    name
    for name in set(F.__all__)
    if any(name.endswith(end) for end in ("_loss", "entropy", "logits", "kl_div", "_distance"))
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_same_arguments(name):
    try:
        two = inspect.signature(getattr(T, name)).parameters
    except ValueError:
        return  # written in C
    one = inspect.signature(getattr(F, name)).parameters
    positional = [k for k, v in one.items() if v.kind is not v.KEYWORD_ONLY]
    before = [k for k, v in two.items() if v.kind is not v.KEYWORD_ONLY]
    assert positional == before[: len(positional)]  # what follows size_average is by keyword
    assert {k: v.default for k, v in one.items()} == {
        k: v.default for k, v in two.items() if k not in OLD
    }


ONES, IDS = np.ones((4, 3)), np.array([0, 1, 2, 1])
WHOLE = np.ones((4, 3), np.int64)


@pytest.mark.parametrize(
    ("name", "arrays", "options"),
    [
        ("l1_loss", (ONES, np.ones(4)), {}),
        ("mse_loss", (ONES, np.ones((2, 3))), {}),
        ("smooth_l1_loss", (ONES, ONES), {"beta": -1.0}),
        ("huber_loss", (ONES, ONES), {"delta": 0}),
        ("huber_loss", (ONES, ONES), {"reduction": "x"}),
        ("binary_cross_entropy", (ONES, np.ones(3)), {}),
        ("binary_cross_entropy", (ONES * 2, ONES), {}),
        ("binary_cross_entropy", (ONES, WHOLE), {}),
        ("binary_cross_entropy_with_logits", (ONES, np.ones(3)), {}),
        ("poisson_nll_loss", (ONES, np.ones(4)), {}),
        ("gaussian_nll_loss", (ONES, ONES, -ONES), {}),
        ("gaussian_nll_loss", (ONES, ONES, np.ones(3)), {}),
        ("kl_div", (ONES, np.ones(4)), {}),
        ("kl_div", (ONES, ONES), {"reduction": "x"}),
        ("margin_ranking_loss", (ONES, ONES, np.ones(3)), {}),
        ("hinge_embedding_loss", (ONES, np.ones(4)), {}),
        ("soft_margin_loss", (ONES, np.ones(4)), {}),
        ("cosine_embedding_loss", (ONES, ONES, ONES), {}),
        ("cosine_embedding_loss", (ONES, ONES, np.array(1)), {}),
        ("multi_margin_loss", (ONES, IDS), {"p": 3}),
        ("multi_margin_loss", (ONES, IDS + 1), {}),
        ("multi_margin_loss", (ONES, IDS[:2]), {}),
        ("multilabel_margin_loss", (ONES, WHOLE * 3), {}),
        ("multilabel_margin_loss", (ONES, WHOLE * -2), {}),
        ("multilabel_margin_loss", (ONES, IDS), {}),
        ("multilabel_soft_margin_loss", (ONES, np.ones(4)), {}),
        ("triplet_margin_loss", (ONES, ONES, np.ones(3)), {}),
        ("triplet_margin_loss", (ONES, ONES, ONES), {"margin": 0}),
        ("triplet_margin_with_distance_loss", (ONES, ONES, ONES), {"margin": -1}),
        ("cosine_similarity", (ONES, np.ones(4)), {}),
        ("cosine_similarity", (ONES, ONES), {"dim": 2}),
        ("cosine_similarity", (WHOLE, WHOLE), {}),
        ("pairwise_distance", (ONES, np.ones(4)), {}),
        ("pdist", (np.ones(3),), {}),
        ("pdist", (ONES, -1), {}),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_both_refuse(name, arrays, options):
    ours, theirs = (
        [make(each) if isinstance(each, np.ndarray) else each for each in arrays]
        for make in (fe.tensor, torch.tensor)
    )
    both_refuse(
        lambda: getattr(F, name)(*ours, **options), lambda: getattr(T, name)(*theirs, **options)
    )


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss"])
@pytest.mark.parametrize("kinds", [("f4", "f8"), ("f8", "f4"), ("f4", "i8"), ("i4", "f8")])
@pytest.mark.parametrize("shape", [(3,), ()])
def test_two_dtypes_are_promoted(name, kinds, shape):
    arrays = [np.full(shape, i + 1).astype(kind) for i, kind in enumerate(kinds)]
    (a, x), (b, y) = map(pair, arrays)
    ours, theirs = getattr(F, name)(a, b), getattr(T, name)(x, y)
    close(ours, theirs)
    ours.backward()
    theirs.backward()
    for each, other in ((a, x), (b, y)):
        if other.requires_grad:
            close(each.grad, other.grad)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("log_input", [True, False])
def test_poisson_of_counts_has_the_dtype_of_the_input(dtype, log_input):
    x, t = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0, 2, 5])
    a = fe.tensor(x.numpy()).to(dtype)
    b = fe.tensor(t.numpy())
    options = {"full": True, "log_input": log_input, "reduction": "none"}
    theirs = T.poisson_nll_loss(x.to(getattr(torch, dtype)), t, **options)
    ours = F.poisson_nll_loss(a, b, **options)
    assert ours.dtype.name == dtype
    np.testing.assert_allclose(
        ours.to(fe.float64).numpy(), theirs.double().numpy(), rtol=2e-2 if "16" in dtype else 1e-6
    )
