"""The time of a call that has next to nothing to compute: Python, dispatch, recording.

One thread. The rows are those that a small network is made of, and its whole training step.
"""

from __future__ import annotations

from typing import Any

from harness import Case, Work, main


def plain(call: str) -> Any:
    """Return a case's work: `call` on two 4 x 4 tensors."""
    return _on_matrices(call, recording=False)


def recording(call: str) -> Any:
    """Return the same where the first of them requires grad, so that the call is recorded."""
    return _on_matrices(call, recording=True)


CALLS = {
    "add": lambda a, b: lambda: a + b,
    "multiply": lambda a, b: lambda: a * b,
    "matmul": lambda a, b: lambda: a @ b,
    "times a number": lambda a, b: lambda: a * 2.0,
    "exp": lambda a, b: a.exp,
    "sum": lambda a, b: a.sum,
    "transpose": lambda a, b: a.t,
    "index": lambda a, b: lambda: a[1],
    "softmax": lambda a, b: lambda: a.softmax(1),
}


def _on_matrices(call: str, recording: bool) -> Any:
    def build(library: Any) -> Work:
        t = library.t
        values = [[0.1 * (4 * i + j) for j in range(4)] for i in range(4)]
        a = t.tensor(values, requires_grad=recording)
        b = t.tensor(values)
        return CALLS[call](a, b)

    return build


def xor_step(optimizer: str) -> Any:
    """Return the training step of a 2-16-1 network on 32 rows."""

    def build(library: Any) -> Work:
        t, nn = library.t, library.nn
        t.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
        make = getattr(library.optim, optimizer)
        optim = make(model.parameters(), lr=0.01)
        x = t.rand(32, 2)
        y = ((x[:, 0] > 0.5) != (x[:, 1] > 0.5)).to(t.float32).reshape(32, 1)
        loss_of = nn.MSELoss()

        def step() -> None:
            optim.zero_grad()
            loss_of(model(x), y).backward()
            optim.step()

        return step

    return build


CASES = [
    *[
        case
        for call in CALLS
        for case in (
            Case(f"{call} 4x4", plain(call)),
            Case(f"{call} 4x4, recording", recording(call)),
        )
    ],
    Case("XOR step, SGD", xor_step("SGD")),
    Case("XOR step, Adam", xor_step("Adam")),
]

if __name__ == "__main__":
    main(__file__, CASES, threads=1)
