"""L-BFGS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ferrum import Tensor, cat, enable_grad, no_grad, zeros_like
from ferrum.errors import ArgumentError, OperandError
from ferrum_nn.errors import StateDictError
from ferrum_nn.optim.line_search import Point, strong_wolfe
from ferrum_nn.optim.optimizer import Optimizer, Options, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, COUNT, NUMBER, WHOLE, Option

LEAST_CURVATURE = 1e-10
"""What a step's yᵀs must exceed to be remembered: the inverse Hessian stays positive definite."""


def _line_search(value: Any) -> Any:
    if value not in (None, "strong_wolfe"):
        raise ValueError
    return value


class LBFGS(Optimizer):
    """L-BFGS (Liu and Nocedal, Mathematical Programming 45, 1989), with or without a line search.

    A step moves up to `max_iter` times by d = -H g, where H is made of the last `history_size`
    changes s of the parameters and y of the gradient: at first by min(1, 1/|g|₁) lr d, then by
    lr d, or from there on as `line_search_fn` "strong_wolfe" finds. It ends once no |g| exceeds
    `tolerance_grad`, neither the parameters nor the loss change by more than `tolerance_change`,
    or the loss was worked out `max_eval` times, by default max_iter * 5 // 4.
    There is one group of parameters, on one device. The state, kept with the first of them, is
    `n_iter` and `func_evals`, and all else that goes on from step to step: `d`, `t`, `old_dirs`
    (the y), `old_stps` (the s), `ro` (1 / yᵀs), `H_diag`, `prev_flat_grad` and `prev_loss`.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "max_iter": WHOLE,
        "max_eval": WHOLE,
        "tolerance_grad": NUMBER,
        "tolerance_change": NUMBER,
        "history_size": COUNT,
        "line_search_fn": Option('to be None or "strong_wolfe"', _line_search),
    }
    needs_closure: ClassVar = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if max_eval is None:
            max_eval = WHOLE.of("LBFGS", "max_iter", max_iter) * 5 // 4
        super().__init__(params, self._chosen(locals()))

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Take the one group of parameters; ArgumentError for another one."""
        if self.param_groups:
            raise ArgumentError("LBFGS: expected one group of parameters, got another one")
        super().add_param_group(param_group)

    def check_state(self, state: Mapping[Tensor, Mapping[str, Any]]) -> None:
        """Raise StateDictError unless all that a next step looks at is there, and fits."""
        entry = state.get(self._params()[0])
        if entry:
            wrong = _wrong_in(entry, sum(param.numel() for param in self._params()))
            if wrong:
                raise StateDictError(f"LBFGS: parameter 0: expected {wrong}")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the parameters, and return the loss before the first move.

        `closure` works out the loss and the gradients, and is called many times. Raises
        OperandError without one.
        """
        if not callable(closure):
            raise OperandError(
                f"LBFGS: expected a function that works out the loss and the gradients, got "
                f"{closure!r}"
            )
        options = self._options_of(self.param_groups[0])
        with enable_grad():
            loss = closure()
        with no_grad():
            grad = self._grad()
            state = self.state[self._params()[0]]
            state["func_evals"] = state.get("func_evals", 0) + 1
            state.setdefault("n_iter", 0)
            if not _largest(grad) <= options["tolerance_grad"]:  # NaN goes on, as in PyTorch
                self._iterate(closure, float(loss), grad, state, options)
        return loss

    def _iterate(
        self,
        closure: Callable[[], Any],
        loss: float,
        grad: Tensor,
        state: dict[str, Any],
        options: Options,
    ) -> None:
        evaluated = 1
        lr, tolerance = options["lr"], options["tolerance_change"]

        def at(t: float) -> Point:
            """Return the point of the line at t, and leave the parameters where they are."""
            self._move(d, t)
            with enable_grad():
                loss = float(closure())
            grad = self._grad()
            for param, value in zip(self._params(), begun, strict=True):
                param.copy_(value)
            return Point(t, loss, grad, grad.dot(d).item())

        for i in range(options["max_iter"]):
            d = _direction(grad, state, options["history_size"])
            t = lr
            if state["n_iter"] == 0:
                t /= max(1.0, grad.abs().sum().item())
            state["n_iter"] += 1
            before = loss
            state.update(d=d, t=t, prev_flat_grad=grad, prev_loss=loss)
            slope = grad.dot(d).item()
            if slope > -tolerance:
                return
            is_last = i + 1 == options["max_iter"]
            used = 0
            if options["line_search_fn"]:
                begun = [param.clone() for param in self._params()]
                start = Point(0.0, loss, grad, slope)
                most = options["max_eval"] - evaluated
                (t, loss, grad, _), used = strong_wolfe(at, start, t, _largest(d), tolerance, most)
                state["t"] = t
                self._move(d, t)
            else:
                self._move(d, t)
                if not is_last:
                    with enable_grad():
                        loss = float(closure())
                    grad = self._grad()
                    used = 1
            evaluated += used
            state["func_evals"] += used
            if (
                is_last
                or evaluated >= options["max_eval"]
                or _largest(grad) <= options["tolerance_grad"]
                or _largest(d * t) <= tolerance
                or abs(loss - before) < tolerance
            ):
                return

    def _grad(self) -> Tensor:
        """Return all gradients as one vector, with zeros where there is none."""
        return cat(
            [
                (zeros_like(param) if param.grad is None else param.grad).reshape(-1)
                for param in self._params()
            ]
        )

    def _move(self, d: Tensor, t: float) -> None:
        """Add t d to the parameters."""
        params = self._params()
        parts = d.split([param.numel() for param in params])
        for param, part in zip(params, parts, strict=True):
            param.add_(part.reshape(param.shape) * t)


def _direction(grad: Tensor, state: dict[str, Any], history_size: int) -> Tensor:
    """Return -H grad, by the two loops of the paper, after a look at the change since last time."""
    if state["n_iter"] == 0:
        state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
        return -grad
    changes, moves, ro = state["old_dirs"], state["old_stps"], state["ro"]
    y, s = grad - state["prev_flat_grad"], state["d"] * float(state["t"])
    curvature = y.dot(s).item()
    if curvature > LEAST_CURVATURE:
        for kept, new in ((changes, y), (moves, s), (ro, 1 / curvature)):
            del kept[: max(0, len(kept) + 1 - history_size)]
            kept.append(new)
        state["H_diag"] = curvature / y.dot(y).item()
    d = -grad
    shares = []
    for y, s, r in reversed(list(zip(changes, moves, ro, strict=True))):
        shares.append(s.dot(d).item() * float(r))
        d = d - y * shares[-1]
    d = d * float(state["H_diag"])
    for y, s, r in zip(changes, moves, ro, strict=True):
        d = d + s * (shares.pop() - y.dot(d).item() * float(r))
    return d


def _largest(x: Tensor) -> float:
    return x.abs().max().item() if x.numel() else 0.0


def _wrong_in(entry: Mapping[str, Any], size: int) -> str:
    """Return what a loaded state should be and is not, "" if all is well."""

    def is_number(x: Any) -> bool:
        return isinstance(x, (int, float)) or (isinstance(x, Tensor) and x.numel() == 1)

    if not all(isinstance(entry.get(name), int) for name in ("n_iter", "func_evals")):
        return "n_iter and func_evals to be whole numbers"
    if entry["n_iter"] == 0:
        return ""
    changes, moves, ro = (entry.get(name) for name in ("old_dirs", "old_stps", "ro"))
    if not (isinstance(changes, list) and isinstance(moves, list) and isinstance(ro, list)):
        return "old_dirs, old_stps and ro to be lists"
    if not len(changes) == len(moves) == len(ro):
        return "old_dirs, old_stps and ro of one length"
    for x in (entry.get("d"), entry.get("prev_flat_grad"), *changes, *moves):
        if not (isinstance(x, Tensor) and x.shape == (size,)):
            return f"tensors of shape {(size,)} as d, prev_flat_grad, in old_dirs and in old_stps"
    if not all(map(is_number, (entry.get("t"), entry.get("H_diag"), *ro))):
        return "t, H_diag and what is in ro to be numbers"
    return ""
