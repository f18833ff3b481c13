"""The work whose instructions test_instructions.py counts, as a program for callgrind.

    python instructions.py      prints the names, in the order of the counts

`getppid` marks where callgrind writes what it has counted since: after N calls and after 2N more,
so that the difference of the two is N calls and nothing else.
"""

import gc
import os
import sys

import ferrum as fe
import ferrum_nn as nn

CALLS = 200  # of small work; what moves 10,000 elements is called a tenth as often
WARM = 60  # calls before, until Python has specialised the code


def small(call, recording):
    """Return a call on two 4 x 4 tensors, the first of which may require grad."""
    values = [[0.1 * (4 * i + j) for j in range(4)] for i in range(4)]
    a, b = fe.tensor(values, requires_grad=recording), fe.tensor(values)
    return lambda: call(a, b)


def xor_step(optimizer):
    """Return the training step of a 2-16-1 network on 32 rows, as benchmarks/hot_path.py has it."""
    fe.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optim = optimizer(model.parameters(), lr=0.01)
    x = fe.rand(32, 2)
    y = ((x[:, 0] > 0.5) != (x[:, 1] > 0.5)).to(fe.float32).reshape(32, 1)
    loss_of = nn.MSELoss()

    def step():
        optim.zero_grad()
        loss_of(model(x), y).backward()
        optim.step()

    return step


def kernels():
    """Return calls of kernels on about 10,000 elements, by name."""
    fe.manual_seed(0)
    x, y = fe.rand(100, 100), fe.rand(100, 100)
    a, b = fe.rand(48, 48), fe.rand(48, 48)
    classes, index = fe.randint(0, 100, (100,)), fe.randint(0, 100, (100, 100))
    weight = fe.rand(100, 100, requires_grad=True)
    weight.grad = fe.rand(100, 100)
    adam = nn.optim.Adam([weight], lr=0.001)
    return {
        "add": lambda: x + y,
        "exp": x.exp,
        "sum": x.sum,
        "softmax": lambda: x.softmax(1),
        "transposed copy": lambda: x.t().contiguous(),
        "matmul": lambda: a @ b,
        "cross_entropy": lambda: nn.functional.cross_entropy(x, classes),
        "adam_step": adam.step,
        "gather": lambda: x.gather(1, index),
        "uniform": lambda: fe.rand(100, 100),
    }


def work():
    """Return what is counted, as (name, call, calls)."""
    found = []
    for name, call in (("add", lambda a, b: a + b), ("matmul", lambda a, b: a @ b)):
        found.append((f"{name} 4x4", small(call, False), CALLS))
        found.append((f"{name} 4x4, recording", small(call, True), CALLS))
    found.append(("XOR step, SGD", xor_step(nn.optim.SGD), CALLS // 2))
    found.append(("XOR step, Adam", xor_step(nn.optim.Adam), CALLS // 2))
    found += [(name, call, CALLS // 10) for name, call in kernels().items()]
    return found


def repeat(call, count):
    """Call it so often."""
    for _ in range(count):
        call()


def main():
    """Do all the work, with marks between, and print what it was."""
    assert fe.get_num_threads() == 1
    gc.disable()
    for name, call, calls in work():
        repeat(call, WARM)
        os.getppid()
        repeat(call, calls)
        os.getppid()
        repeat(call, 2 * calls)
        os.getppid()
        print(f"{name}\t{calls}", file=sys.stdout)


if __name__ == "__main__":
    main()
