"""The loop that most trainings are, and one for measuring a model.

history = nn.fit(model, loader, nn.CrossEntropyLoss(), optimizer, epochs=5,
                 validation=held_out, metrics={"accuracy": nn.metrics.Accuracy()})
history["val_accuracy"]  # one number for each epoch
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, TypeAlias

from ferrum import Tensor, no_grad
from ferrum.errors import ArgumentError, OperandError
from ferrum_nn.containers import module_of
from ferrum_nn.metrics import MeanLoss, Metric
from ferrum_nn.module import Module
from ferrum_nn.optim.optimizer import Optimizer
from ferrum_nn.tensorboard import SummaryWriter
from ferrum_nn.utils.clip_grad import clip_grad_norm_

Row: TypeAlias = dict[str, float]
Loss: TypeAlias = Callable[[Any, Any], Tensor]
Metrics: TypeAlias = Mapping[str, Metric]


def fit(
    model: Module,
    loader: Iterable[Any],
    loss: Loss,
    optimizer: Optimizer,
    *,
    epochs: int,
    start: int = 0,
    validation: Iterable[Any] | None = None,
    metrics: Metrics | None = None,
    scheduler: Any = None,
    clip_grad_norm: float | None = None,
    callbacks: Iterable[Callable[[int, Row], Any]] = (),
    writer: SummaryWriter | None = None,
    progress: bool = True,
) -> dict[str, list[float]]:
    """Train `model` from epoch `start` to before `epochs`, and return what each epoch came to.

    A batch of `loader` is (input, ..., target): `loss(model(input, ...), target)` is made smaller.
    The gradients, taken as one vector, are scaled down to a norm of `clip_grad_norm` where it is
    larger. An optimizer that asks for the loss several times a step, as LBFGS does, gets a closure
    that works it out anew for the batch; metrics and mean take the first. After each epoch

    - the model is measured on `validation`, if there is one;
    - `scheduler.step()` is called, with the last loss ("val_loss" if there is one) where it wants
      an argument, as ReduceLROnPlateau does;
    - `writer.add_scalar` gets each number;
    - each of `callbacks` is called with the number of the epoch and its row; if one returns True,
      that was the last epoch.

    A row has "loss", "lr", each of `metrics` and, with validation, "val_loss" and "val_<metric>".
    The numbers for training are taken while the model changes. The result has a list of each.

    `progress` shows a bar, where tqdm is installed (`pip install "ferrum-nn[progress]"`), or else a
    line for each epoch, on stderr. The model is left in the mode of `train()`.
    """
    loaders = (loader,) if validation is None else (loader, validation)
    metrics = _checked(model, loss, metrics, *loaders)
    _check_plan(optimizer, epochs, start, scheduler, clip_grad_norm, writer)
    wants_loss = scheduler is not None and _wants_loss(scheduler)
    listed = _functions(callbacks)
    history: dict[str, list[float]] = {}
    model.train()
    for epoch in range(start, epochs):
        row: Row = {"lr": float(optimizer.param_groups[0]["lr"])}
        with _bar(loader, f"epoch {epoch + 1}/{epochs}", progress) as bar:
            row |= _pass(model, bar, loss, metrics, _learning(optimizer, clip_grad_norm, bar))
            if validation is not None:
                measured = evaluate(model, validation, loss, metrics)
                row |= {f"val_{name}": value for name, value in measured.items()}
            bar.set_postfix({name: f"{value:.4g}" for name, value in row.items()})
        if scheduler is not None:
            scheduler.step(*[row.get("val_loss", row["loss"])] if wants_loss else [])
        _note(history, row, epoch, writer)
        answers = [callback(epoch, row) for callback in listed]
        if any(answer is True for answer in answers):
            break
    return history


def evaluate(
    model: Module, loader: Iterable[Any], loss: Loss, metrics: Metrics | None = None
) -> Row:
    """Return the mean "loss" of a model over the batches of `loader`, and `metrics` by name.

    It is measured as `eval()` leaves it, without gradients; each module has its mode again after.
    """
    metrics = _checked(model, loss, metrics, loader)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            return _pass(model, loader, loss, metrics)
    finally:
        for module, mode in modes:
            module.training = mode


def _pass(
    model: Module,
    loader: Iterable[Any],
    loss: Loss,
    metrics: Metrics,
    learn: Callable[[Tensor, Callable[[], Tensor], MeanLoss], None] | None = None,
) -> Row:
    mean = MeanLoss()
    for metric in metrics.values():
        metric.reset()

    def again() -> Tensor:
        return loss(model(*inputs), target)

    for batch in loader:
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise OperandError(
                "fit, evaluate: expected batches (input, ..., target), got a "
                f"{type(batch).__name__}"
            )
        *inputs, target = batch
        output = model(*inputs)
        value = loss(output, target)
        mean.update(value, target.shape[0] if isinstance(target, Tensor) and target.shape else 1)
        if learn is not None:
            if not isinstance(value, Tensor):
                raise OperandError(
                    f"fit: expected the loss to return a tensor, got {type(value).__name__}"
                )
            learn(value, again, mean)
        for metric in metrics.values():
            metric.update(output, target)
    if not mean.count:
        raise ArgumentError("fit, evaluate: expected at least one sample, the loader has none")
    return {"loss": mean.compute(), **{name: each.compute() for name, each in metrics.items()}}


def _learning(
    optimizer: Optimizer, clip_grad_norm: float | None, bar: Any
) -> Callable[[Tensor, Callable[[], Tensor], MeanLoss], None]:
    def learn(value: Tensor, again: Callable[[], Tensor], mean: MeanLoss) -> None:
        known = [value]

        def closure() -> Tensor:
            value = known.pop() if known else again()
            optimizer.zero_grad()
            value.backward()
            return value

        if optimizer.needs_closure:
            optimizer.step(closure)
        else:
            closure()
            if clip_grad_norm is not None:
                params = [each for group in optimizer.param_groups for each in group["params"]]
                clip_grad_norm_(params, clip_grad_norm)
            optimizer.step()
        bar.set_postfix({"loss": f"{mean.compute():.4g}"}, refresh=False)

    return learn


def _note(
    history: dict[str, list[float]], row: Row, epoch: int, writer: SummaryWriter | None
) -> None:
    """Add a row to the history, and to what TensorBoard shows."""
    for name, value in row.items():
        history.setdefault(name, []).append(value)
        if writer is not None:
            writer.add_scalar(name, value, epoch)


# ---- what arguments must be


def _checked(model: Any, loss: Any, metrics: Any, *loaders: Any) -> Metrics:
    module_of("fit, evaluate", model)
    if not callable(loss):
        raise OperandError(f"fit, evaluate: expected a function as loss, got {loss!r}")
    for each in loaders:
        if not (isinstance(each, Iterable) or hasattr(type(each), "__getitem__")):
            raise OperandError(
                f"fit, evaluate: expected something to iterate as loader, got {type(each).__name__}"
            )
    found = {} if metrics is None else metrics
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise OperandError(f"fit, evaluate: expected a dict by name as metrics, got {metrics!r}")
    for name, metric in found.items():
        if not isinstance(metric, Metric):
            raise OperandError(
                f"fit, evaluate: {name}: expected a Metric, got {type(metric).__name__}"
            )
        if name in ("loss", "lr") or name.startswith("val_"):
            raise ArgumentError(f"fit, evaluate: expected another name for a metric than {name!r}")
    return found


def _check_plan(
    optimizer: Any, epochs: Any, start: Any, scheduler: Any, clip_grad_norm: Any, writer: Any
) -> None:
    for name, value in (("epochs", epochs), ("start", start)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise OperandError(f"fit: expected an integer as {name}, got {value!r}")
        if value < 0:
            raise ArgumentError(f"fit: expected {name} of at least 0, got {value}")
    if not isinstance(optimizer, Optimizer):
        raise OperandError(f"fit: expected an Optimizer, got {type(optimizer).__name__}")
    for name, each, method in (("scheduler", scheduler, "step"), ("writer", writer, "add_scalar")):
        if each is not None and not callable(getattr(each, method, None)):
            raise OperandError(
                f"fit: expected an object with {method}() as {name}, got {type(each).__name__}"
            )
    if optimizer.needs_closure and clip_grad_norm is not None:
        raise ArgumentError(
            f"fit: expected no clip_grad_norm with {type(optimizer).__name__}, which goes by how "
            f"the gradient changes, got {clip_grad_norm!r}"
        )


def _functions(callbacks: Any) -> list[Callable[[int, Row], Any]]:
    listed: list[Any] = list(callbacks) if isinstance(callbacks, Iterable) else [None]
    if not all(map(callable, listed)):
        raise OperandError(f"fit: expected functions as callbacks, got {callbacks!r}")
    return listed


def _wants_loss(scheduler: Any) -> bool:
    parameters = inspect.signature(scheduler.step).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.default is p.empty and p.kind in kinds for p in parameters)


class _Line:
    """What stands in for a bar: says nothing, or at the end one line."""

    def __init__(self, loader: Iterable[Any], title: str | None) -> None:
        self.loader, self.title, self.shown = loader, title, ""

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)

    def set_postfix(self, numbers: Mapping[str, str], refresh: bool = True) -> None:
        self.shown = ", ".join(f"{name}={text}" for name, text in numbers.items())

    def close(self) -> None:
        if self.title is not None:
            print(f"{self.title}: {self.shown}", file=sys.stderr)


@contextmanager
def _bar(loader: Iterable[Any], title: str, progress: bool) -> Iterator[Any]:
    bar: Any = _Line(loader, title if progress else None)
    if progress:
        with suppress(ImportError):
            bar = import_module("tqdm").tqdm(loader, desc=title)
    try:
        yield bar
    finally:
        bar.close()
