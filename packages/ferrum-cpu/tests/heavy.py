"""Work for tests that start processes: they import it by name, since conftest.py sets the path."""

import numpy as np

import ferrum as fe


def work():
    """Return the bytes of a little of everything that is large enough for threads."""
    generator = np.random.default_rng(0)
    x = fe.tensor(generator.standard_normal((700, 600)).astype(np.float32))
    w = fe.tensor(generator.standard_normal((600, 500)).astype(np.float32), requires_grad=True)
    hidden = (x @ w).tanh()
    loss = (hidden.softmax(1) * hidden).sum() + hidden.exp().mean() + hidden.var()
    loss.backward()
    results = [hidden.detach(), loss.detach(), w.grad, x.T + 1, x.sum(0), x.argmax(1), x.cumsum(0)]
    return b"".join(each.numpy().tobytes() for each in results)


def put_work(queue):
    """Put the result of `work` into a queue, from a child."""
    queue.put(work())
