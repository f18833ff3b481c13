"""The training loop."""

import sys
import types

import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, OperandError
from ferrum_nn.metrics import Accuracy


def make(seed=0):
    fe.manual_seed(seed)
    x = fe.randn(30, 4)
    y = (x[:, 0] > 0).long()
    loader = nn.data.DataLoader(nn.data.TensorDataset(x, y), batch_size=8, shuffle=True)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    return model, loader, nn.CrossEntropyLoss(), nn.optim.Adam(model.parameters(), lr=0.05)


def weights(model):
    return [p.tolist() for p in model.parameters()]


def test_it_is_the_loop_that_one_would_write():
    model, loader, loss, optimizer = make()
    history = nn.fit(model, loader, loss, optimizer, epochs=3, progress=False)
    found = weights(model)
    model, loader, loss, optimizer = make()
    means = []
    for _ in range(3):
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            value = loss(model(x), y)
            value.backward()
            optimizer.step()
            total += float(value) * len(y)
        means.append(total / 30)
    assert found == weights(model)
    assert history == {"lr": [0.05] * 3, "loss": pytest.approx(means)}


def test_it_learns_and_measures():
    model, loader, loss, optimizer = make()
    metrics = {"accuracy": Accuracy()}
    history = nn.fit(
        model, loader, loss, optimizer, epochs=20, validation=loader, metrics=metrics,
        progress=False,
    )  # fmt: skip
    assert list(history) == ["lr", "loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(len(values) == 20 for values in history.values())
    assert history["val_accuracy"][-1] == 1.0
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert nn.evaluate(model, loader, loss, metrics) == pytest.approx(
        {"loss": history["val_loss"][-1], "accuracy": 1.0}
    )


def test_measuring_changes_nothing():
    model, loader, loss, _ = make()
    model[1].eval()
    modes, before, seen = [m.training for m in model.modules()], weights(model), []
    model.register_forward_hook(lambda m, *_: seen.append((m.training, fe.is_grad_enabled())))
    nn.evaluate(model, loader, loss)
    assert set(seen) == {(False, False)}
    with pytest.raises(fe.errors.ShapeError):
        nn.evaluate(model, [(fe.ones(2, 9), fe.zeros(2).long())], loss)
    assert [m.training for m in model.modules()] == modes
    assert weights(model) == before
    assert all(p.grad is None for p in model.parameters())


def test_the_norm_of_gradients_is_clipped():
    model, loader, loss, optimizer = make()
    norms = []
    step = optimizer.step

    def noted():
        norms.append(sum(float((p.grad**2).sum()) for p in model.parameters()) ** 0.5)
        step()

    optimizer.step = noted
    nn.fit(model, loader, loss, optimizer, epochs=1, clip_grad_norm=0.01, progress=False)
    assert norms == pytest.approx([0.01] * 4, rel=1e-3)
    model, loader, loss, optimizer = make()
    nn.fit(model, loader, loss, optimizer, epochs=2, clip_grad_norm=1e6, progress=False)
    clipped = weights(model)
    model, loader, loss, optimizer = make()
    nn.fit(model, loader, loss, optimizer, epochs=2, progress=False)
    assert clipped == weights(model)


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_an_optimizer_that_asks_for_the_loss_again_gets_it(search):
    """The batch's own loss, worked out anew; the first of them is not worked out twice."""

    def begin():
        model, loader, loss, _ = make()
        optimizer = nn.optim.LBFGS(model.parameters(), max_iter=3, line_search_fn=search)
        calls = []
        model.register_forward_hook(lambda *_: calls.append(1))
        return model, loader, loss, optimizer, calls

    *given, calls = begin()
    metrics = {"accuracy": Accuracy()}
    history = nn.fit(*given, epochs=3, metrics=metrics, progress=False)
    found = weights(given[0]), len(calls)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    model, loader, loss, optimizer, calls = begin()
    for epoch in range(3):
        total = 0.0
        for x, y in loader:

            def closure(x=x, y=y):
                optimizer.zero_grad()
                value = loss(model(x), y)
                value.backward()
                return value

            total += optimizer.step(closure).item() * len(y)
        assert history["loss"][epoch] == pytest.approx(total / 30)
    assert found == (weights(model), len(calls))


def test_clipped_gradients_are_nothing_for_lbfgs():
    model, loader, loss, _ = make()
    before = weights(model)
    optimizer = nn.optim.LBFGS(model.parameters())
    with pytest.raises(ArgumentError, match="fit: expected no clip_grad_norm with LBFGS, .* 1.0"):
        nn.fit(model, loader, loss, optimizer, epochs=1, clip_grad_norm=1.0, progress=False)
    assert weights(model) == before


class Halving:
    """A scheduler of the common form."""

    def __init__(self, optimizer):
        self.group = optimizer.param_groups[0]

    def step(self, epoch=None):
        self.group["lr"] /= 2


class Plateau(Halving):
    """One that wants to know the loss."""

    def __init__(self, optimizer):
        super().__init__(optimizer)
        self.seen = []

    def step(self, metrics, epoch=None):
        self.seen.append(metrics)


def test_schedulers_step_after_each_epoch():
    model, loader, loss, optimizer = make()
    history = nn.fit(
        model, loader, loss, optimizer, epochs=3, scheduler=Halving(optimizer), progress=False
    )
    assert history["lr"] == [0.05, 0.025, 0.0125]
    for validation, name in [(None, "loss"), (loader, "val_loss")]:
        plateau = Plateau(optimizer)
        history = nn.fit(
            model, loader, loss, optimizer, epochs=2, scheduler=plateau, validation=validation,
            progress=False,
        )  # fmt: skip
        assert plateau.seen == history[name]


def test_callbacks_see_each_row_and_can_stop():
    model, loader, loss, optimizer = make()
    seen = []
    history = nn.fit(
        model, loader, loss, optimizer, epochs=9, start=2, progress=False,
        callbacks=[lambda epoch, row: epoch == 4, lambda epoch, row: seen.append((epoch, row))],
    )  # fmt: skip
    assert [epoch for epoch, _ in seen] == [2, 3, 4]
    assert [row["loss"] for _, row in seen] == history["loss"]
    assert nn.fit(model, loader, loss, optimizer, epochs=0) == {}


def test_a_run_goes_on_from_a_checkpoint_with_the_same_bits(tmp_path):
    def train(model, loader, loss, optimizer, **more):
        nn.fit(model, loader, loss, optimizer, epochs=5, progress=False, **more)
        return weights(model)

    whole = train(*make())
    model, loader, loss, optimizer = make()

    def save(epoch, row):
        nn.save_checkpoint(tmp_path, step=epoch + 1, model=model, optimizer=optimizer)
        return epoch == 2

    train(model, loader, loss, optimizer, callbacks=[save])
    model, _, loss, optimizer = make(seed=9)
    loader = make()[1]
    found = nn.load_checkpoint(tmp_path, model=model, optimizer=optimizer)
    assert train(model, loader, loss, optimizer, start=found.step) == whole


def test_numbers_go_to_the_writer():
    calls = []
    writer = types.SimpleNamespace(add_scalar=lambda *each: calls.append(each))
    model, loader, loss, optimizer = make()
    history = nn.fit(
        model, loader, loss, optimizer, epochs=2, writer=writer, validation=loader, progress=False
    )
    assert calls == [
        (name, history[name][epoch], epoch)
        for epoch in range(2)
        for name in ["lr", "loss", "val_loss"]
    ]


def test_several_inputs_and_targets_that_are_no_tensors():
    class Sum(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(fe.ones(1))

        def forward(self, a, b):
            return self.w * (a + b)

    model = Sum()
    batches = [[fe.ones(2), fe.ones(2), 3.0], (fe.ones(2), fe.zeros(2), 3.0)]
    history = nn.fit(
        model, batches, lambda output, target: ((output - target) ** 2).mean(),
        nn.optim.SGD(model.parameters(), lr=0.0), epochs=1, progress=False,
    )  # fmt: skip
    assert history["loss"] == [(1 + 4) / 2]


def test_without_tqdm_there_is_a_line_for_each_epoch(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    nn.fit(*make(), epochs=2)
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert first.startswith("epoch 1/2: lr=0.05, loss=0.")
    assert second.startswith("epoch 2/2: ")
    nn.fit(*make(), epochs=1, progress=False)
    assert (out, capsys.readouterr()) == ("", ("", ""))


def test_the_bar_shows_the_loss_and_is_closed_also_after_an_error(monkeypatch):
    bars = []

    class Bar(list):
        def __init__(self, loader, desc):
            super().__init__(loader)
            self.desc, self.shown, self.closed = desc, [], False
            bars.append(self)

        def set_postfix(self, numbers, refresh=True):
            self.shown.append(list(numbers))

        def close(self):
            self.closed = True

    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=Bar))
    model, loader, loss, optimizer = make()
    nn.fit(model, loader, loss, optimizer, epochs=1, validation=loader)
    with pytest.raises(OperandError, match=r"expected batches \(input, ..., target\), got a int"):
        nn.fit(model, [3], loss, optimizer, epochs=1)
    assert [bar.desc for bar in bars] == ["epoch 1/1", "epoch 1/1"]
    assert bars[0].shown == [["loss"]] * 4 + [["lr", "loss", "val_loss"]]
    assert [bar.closed for bar in bars] == [True, True]


def test_tqdm_draws_the_bar(capsys):
    pytest.importorskip("tqdm")
    nn.fit(*make(), epochs=1)
    err = capsys.readouterr().err
    assert "epoch 1/1: 100%" in err
    assert "4/4" in err and "loss=" in err


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"epochs": "3"}, OperandError, "expected an integer as epochs, got '3'"),
        ({"epochs": True}, OperandError, "expected an integer as epochs"),
        ({"epochs": -1}, ArgumentError, "fit: expected epochs of at least 0, got -1"),
        ({"start": 0.5}, OperandError, "expected an integer as start, got 0.5"),
        ({"start": -1}, ArgumentError, "expected start of at least 0"),
        ({"model": len}, OperandError, "expected a Module, got builtin_function"),
        ({"loss": 3}, OperandError, "expected a function as loss, got 3"),
        ({"loss": lambda a, b: 3.0}, OperandError, "the loss to return a tensor, got float"),
        ({"optimizer": None}, OperandError, "fit: expected an Optimizer, got NoneType"),
        ({"scheduler": 3}, OperandError, r"object with step\(\) as scheduler, got int"),
        ({"writer": "runs"}, OperandError, r"object with add_scalar\(\) as writer, got str"),
        ({"callbacks": print}, OperandError, "expected functions as callbacks"),
        ({"callbacks": [3]}, OperandError, "expected functions as callbacks"),
        ({"metrics": [Accuracy()]}, OperandError, "expected a dict by name as metrics"),
        ({"metrics": {3: Accuracy()}}, OperandError, "expected a dict by name as metrics"),
        ({"loader": 3}, OperandError, "something to iterate as loader, got int"),
        ({"validation": 3}, OperandError, "something to iterate as loader, got int"),
        ({"metrics": {"loss": Accuracy()}}, ArgumentError, "another name for a metric"),
        ({"metrics": {"val_x": Accuracy()}}, ArgumentError, "another name for a metric"),
        ({"metrics": {"x": len}}, OperandError, "x: expected a Metric, got builtin_function"),
        ({"loader": []}, ArgumentError, "expected at least one sample"),
        ({"loader": [(fe.ones(1),)]}, OperandError, "expected batches"),
        ({"loader": [fe.ones(2, 2)]}, OperandError, "expected batches .* got a Tensor"),
        ({"loader": [{"x": 1}]}, OperandError, "expected batches .* got a dict"),
    ],
)
def test_what_cannot_be_trained_on(arguments, error, message):
    model, loader, loss, optimizer = make()
    before = weights(model)
    given = {"model": model, "loader": loader, "loss": loss, "optimizer": optimizer, "epochs": 1}
    with pytest.raises(error, match=message):
        nn.fit(**{**given, "progress": False, **arguments})
    assert weights(model) == before
