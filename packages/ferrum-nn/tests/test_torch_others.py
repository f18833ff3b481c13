"""Beside PyTorch's: dropout where nothing is drawn, softmax, averaged models, data in batches."""

import numpy as np
import pytest
from beside_torch import close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = pytest.mark.torch
F, T = nn.functional, torch.nn.functional

SHAPES = {"Dropout": (4, 5), "Dropout1d": (2, 3, 4), "Dropout2d": (2, 3, 4, 5),
          "Dropout3d": (2, 3, 4, 5, 2), "AlphaDropout": (4, 5),
          "FeatureAlphaDropout": (2, 3, 4)}  # fmt: skip
FUNCTIONS = {"dropout": "Dropout", "dropout1d": "Dropout1d", "dropout2d": "Dropout2d",
             "dropout3d": "Dropout3d", "alpha_dropout": "AlphaDropout",
             "feature_alpha_dropout": "FeatureAlphaDropout"}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("options", [{}, {"p": 0.0}, {"p": 0.25, "inplace": True}])
def test_dropout_in_evaluation(name, options):
    ours, theirs = getattr(nn, name)(**options).eval(), getattr(torch.nn, name)(**options).eval()
    assert repr(ours) == repr(theirs)
    x, y = pair(np.random.default_rng(0).normal(size=SHAPES[name]), requires_grad=False)
    close(ours(x), theirs(y))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_of_nothing_and_of_all(name, p):
    x, y = pair(np.random.default_rng(1).normal(size=SHAPES[FUNCTIONS[name]]))
    if p == 1 and "alpha" in name:
        assert np.allclose(getattr(F, name)(x, p, True).detach().numpy().std(), 0)
        return
    ours, theirs = getattr(F, name)(x, p, training=True), getattr(T, name)(y, p, training=True)
    close(ours, theirs)
    same_gradients(ours, theirs, [x], [y])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_dropout_draws_as_theirs_does(name):
    """Not the same mask, but the same values, in the same share, over the same axes."""
    shape = (64, 32, *SHAPES[FUNCTIONS[name]][2:]) if "1d" not in name else (64, 32, 9)
    x, y = fe.ones(shape), torch.ones(shape)
    ours = getattr(F, name)(x, 0.3, training=True).numpy()
    theirs = getattr(T, name)(y, 0.3, training=True).numpy()
    mine, counts = np.unique(ours.round(4), return_counts=True)
    yours, expected = np.unique(theirs.round(4), return_counts=True)
    np.testing.assert_allclose(mine, yours, atol=2e-4)
    np.testing.assert_allclose(counts / ours.size, expected / ours.size, atol=0.05)
    whole = name not in ("dropout", "alpha_dropout")
    assert (np.ptp(ours.reshape(64 * 32, -1), axis=1) == 0).all() == (whole or ours.ndim == 2)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, dim):
    x, y = pair(np.random.default_rng(2).normal(size=(3, 4)) * 10)
    ours, theirs = getattr(F, name)(x, dim), getattr(T, name)(y, dim)
    close(ours, theirs)
    same_gradients(ours, theirs, [x], [y])
    close(getattr(F, name)(x, dim, dtype=fe.float32), getattr(T, name)(y, dim).float(), 1e-6)


def test_gumbel_softmax_has_the_mean_that_theirs_has():
    logits = np.array([0.5, -1.0, 2.0])
    ours = F.gumbel_softmax(fe.tensor(logits).expand(20000, 3), tau=0.7)
    torch.manual_seed(0)
    theirs = T.gumbel_softmax(torch.tensor(logits).expand(20000, 3), tau=0.7)
    np.testing.assert_allclose(ours.mean(0).numpy(), theirs.mean(0).numpy(), atol=0.012)
    np.testing.assert_allclose(ours.std(0).numpy(), theirs.std(0).numpy(), atol=0.012)


AVERAGES = {
    "mean": (None, None),
    "avg_fn": ("get_swa_avg_fn", None),
    "ema": ("get_ema_avg_fn", None),
    "multi": (None, "get_swa_multi_avg_fn"),
    "multi ema": (None, "get_ema_multi_avg_fn"),
}


@pytest.mark.parametrize("kind", AVERAGES)
def test_averaged_model(kind):
    one, many = AVERAGES[kind]
    models, averaged = [], []
    for library, utils in ((nn, nn.optim.swa_utils), (torch.nn, torch.optim.swa_utils)):
        model = library.Linear(3, 2).double()
        options = {"avg_fn": one and getattr(utils, one)()} if one else {}
        options |= {"multi_avg_fn": getattr(utils, many)()} if many else {}
        models.append(model)
        averaged.append(utils.AveragedModel(model, **options))
    for step in range(4):
        weight = np.random.default_rng(step).normal(size=(2, 3))
        with fe.no_grad(), torch.no_grad():
            models[0].weight.copy_(fe.tensor(weight))
            models[1].weight.copy_(torch.tensor(weight))
        for model, average in zip(models, averaged, strict=True):
            average.update_parameters(model)
    close(averaged[0].module.weight, averaged[1].module.weight, 1e-7)  # theirs divides in float32
    assert averaged[0].n_averaged.item() == averaged[1].n_averaged.item() == 4
    assert list(averaged[0].state_dict()) == list(averaged[1].state_dict())


def test_update_bn_leaves_a_model_without_norms_alone():
    for library, utils, x in (
        (nn, nn.optim.swa_utils, fe.ones(2, 3)),
        (torch.nn, torch.optim.swa_utils, torch.ones(2, 3)),
    ):
        model = library.Linear(3, 2)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        utils.update_bn([x], model)
        assert all((before[name] == value).all() for name, value in model.state_dict().items())


def test_base_classes():
    """Those that are made to be subclassed have the methods that theirs have."""
    for ours, theirs in [
        (nn.optim.Optimizer, torch.optim.Optimizer),
        (nn.optim.lr_scheduler.LRScheduler, torch.optim.lr_scheduler.LRScheduler),
        (nn.data.Dataset, torch.utils.data.Dataset),
    ]:
        public = {name for name in vars(theirs) if not name.startswith("_")}
        left_out = {"profile_hook_step", "functions", "OptimizerPreHook", "OptimizerPostHook"}
        hooks = {name for name in public if "hook" in name}
        assert public - left_out - hooks <= set(dir(ours))


@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_of_tensors(size, drop_last):
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    ours = nn.data.TensorDataset(fe.tensor(x), fe.tensor(y))
    theirs = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    one = list(nn.data.DataLoader(ours, size, drop_last=drop_last))
    two = list(torch.utils.data.DataLoader(theirs, size, drop_last=drop_last))
    assert len(one) == len(two)
    for mine, yours in zip(one, two, strict=True):
        for a, b in zip(mine, yours, strict=True):
            close(a, b)


@pytest.mark.parametrize(
    "samples",
    [
        [1, 2], [0.5, 1.5], ["a", "b"], [(1, 2.0), (3, 4.0)], [[1, 2], [3, 4]],
        [{"x": 1, "y": [0.5]}, {"x": 2, "y": [1.5]}], [np.ones(2), np.zeros(2)], [b"a", b"b"],
        [np.float32(1), np.float32(2)], [(("a", 1), {"k": 2.0}), (("b", 2), {"k": 3.0})],
    ],
)  # fmt: skip
def test_collate(samples):
    def plain(value):
        if isinstance(value, (fe.Tensor, torch.Tensor)):
            return str(value.dtype).removeprefix("torch."), value.tolist()
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value

    ours, theirs = nn.data.default_collate(samples), torch.utils.data.default_collate(samples)
    assert plain(ours) == plain(theirs)


@pytest.mark.parametrize("name", ["L1Loss", "SoftMarginLoss"])
def test_losses_without_options(name):
    rng = np.random.default_rng(8)
    x, y = pair(rng.normal(size=(3, 4)))
    t, u = pair(np.sign(rng.normal(size=(3, 4))), requires_grad=False)
    ours, theirs = getattr(nn, name)()(x, t), getattr(torch.nn, name)()(y, u)
    close(ours, theirs)
    same_gradients(ours, theirs, [x], [y])


def test_clip_grads_with_norm_and_skip_init():
    x, y = fe.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    x.grad, y.grad = fe.tensor([3.0, 4.0, 0.0]), torch.tensor([3.0, 4.0, 0.0])
    nn.utils.clip_grads_with_norm_([x], 1.0, fe.tensor(5.0))
    torch.nn.utils.clip_grads_with_norm_([y], 1.0, torch.tensor(5.0))
    close(x.grad, y.grad, 1e-6)
    ours, theirs = (
        library.utils.skip_init(library.Linear, 3, 2, bias=False) for library in (nn, torch.nn)
    )
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def parametrized(library):
    """Return a layer with a symmetric, doubled weight, and what its module has to say of that."""
    tools = library.utils.parametrize

    class Symmetric(library.Module):
        def forward(self, x):
            return x + x.T

    class Doubled(library.Module):
        def forward(self, x):
            return x * 2

    layer = library.Linear(3, 3).double()
    tools.register_parametrization(layer, "weight", Symmetric())
    tools.register_parametrization(layer, "weight", Doubled())
    other = library.Linear(3, 3).double()
    tools.transfer_parametrizations_and_params(layer, other)
    with tools.cached():
        assert layer.weight is layer.weight
    assert isinstance(layer.parametrizations.weight, tools.ParametrizationList)
    said = (
        tools.is_parametrized(layer),
        tools.is_parametrized(layer, "weight"),
        tools.is_parametrized(layer, "bias"),
        tools.type_before_parametrizations(layer).__name__,
        list(layer.state_dict()),
        list(other.state_dict()),
    )
    return layer, other, said


def test_parametrizations():
    ours, our_other, our_words = parametrized(nn)
    theirs, their_other, their_words = parametrized(torch.nn)
    assert our_words == their_words
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    assert our_other.load_state_dict(their_other.state_dict()) == ([], [])
    x, y = pair(np.random.default_rng(9).normal(size=(2, 3)))
    for mine, yours in ((ours, theirs), (our_other, their_other)):
        close(mine(x), yours(y))
        close(mine.weight, yours.weight)
        same_gradients(mine(x), yours(y), [x, *mine.parameters()], [y, *yours.parameters()])
    for library, layer in ((nn, ours), (torch.nn, theirs)):
        library.utils.parametrize.remove_parametrizations(layer, "weight")
        assert sorted(layer.state_dict()) == ["bias", "weight"]
    close(ours.weight, theirs.weight)


def test_a_sampler_of_ones_own():
    for data in (nn.data, torch.utils.data):

        class Every(data.Sampler):
            def __iter__(self):
                return iter([4, 2, 0])

            def __len__(self):
                return 3

        loader = data.DataLoader(list(range(6)), batch_size=2, sampler=Every())
        assert [batch.tolist() for batch in loader] == [[4, 2], [0]]
        assert len(loader) == 2
        assert data.get_worker_info() is None
