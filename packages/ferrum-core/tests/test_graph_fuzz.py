"""Random graphs against PyTorch: custom functions, checkpoints, hooks, writes, repeated walks.

A program is a pool of tensors, kept in both libraries side by side, and steps. It follows from a
seed, which a failure shows: `Program(seed).run()` repeats it.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum.errors import FerrumError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
torch_checkpoint = pytest.importorskip("torch.utils.checkpoint").checkpoint
pytestmark = [pytest.mark.torch, pytest.mark.slow]

SHAPE = (2, 3)
PROGRAMS = 1200


class Ours:
    lib, base, name = fe, fe.Function, "ours"
    functions: dict[str, Any]
    checkpoint = staticmethod(fe.checkpoint)
    grad = staticmethod(fe.grad)


class Theirs:
    lib, base, name = torch, torch.autograd.Function, "theirs"
    functions: dict[str, Any]
    grad = staticmethod(torch.autograd.grad)

    @staticmethod
    def checkpoint(f, *args):
        return torch_checkpoint(f, *args, use_reentrant=False)


UNARY = [
    "x.sin()",
    "x.tanh()",
    "x * x * 0.5",
    "x * 1",
    "x.clone()",
    "x.sigmoid()",
    "x.detach()",
    "x.t().exp().t().tanh()",
    "x.relu() + x",
    "x.softmax(1)",
    "x.flip(0)",
]
BINARY = [
    "x * y",
    "x + y",
    "x - y",
    "x * y + x",
    "x / (y * y + 1)",
    "(x.mT @ y).sum() * x * 0.1",
    "lib.stack([x, y, x]).sum(0)",
    "lib.where(x > y, x, y)",
    "(x @ y.mT).tanh() @ y",
]
VIEWS = ["[0]", "[:, 1:]", ".t()", "[1:]", ".reshape(6)"]
VIEWS += ["[:, 0]", "[:]", ".view(3, 2)", ".unsqueeze(0)"]
WRITES = ["mul_(0.7)", "add_(1)", "tanh_()", "mul_(s)", "add_(s)"]
WRITES += ["copy_(s)", "sin_()", "zero_()", "sigmoid_()"]


def ev(text, lib, **names):
    return eval(text, {"lib": lib, **names})


def body(rng, depth):
    """Draw a function of two tensors and a closed-over one, as data: a list of steps."""
    steps = []
    for _ in range(rng.randint(1, 4)):
        kind = rng.choices(
            ["unary", "binary", "function", "write", "checkpoint"],
            [3, 4, 2, 2, 1 if depth < 2 else 0],
        )[0]
        i, j = rng.random(), rng.random()
        if kind == "unary":
            steps.append((kind, rng.choice([u for u in UNARY if u != "x.detach()"]), i, j))
        elif kind == "binary":
            steps.append((kind, rng.choice(BINARY), i, j))
        elif kind == "function":
            steps.append((kind, rng.choice(list(Ours.functions)), i, j))
        elif kind == "write":
            steps.append((kind, (rng.choice(VIEWS), rng.choice(WRITES)), i, j))
        else:
            steps.append((kind, body(rng, depth + 1), i, j))
    return steps


def run_body(side, steps, args):
    pool = list(args)
    for kind, what, i, j in steps:
        x, y = pool[int(i * len(pool))], pool[int(j * len(pool))]
        if kind in ("unary", "binary"):
            pool.append(ev(what, side.lib, x=x, y=y))
        elif kind == "function":
            out = side.functions[what].apply(x, y)
            pool += list(out) if isinstance(out, tuple) else [out]
        elif kind == "write":
            z = x * 1
            v = ev(f"x{what[0]}", side.lib, x=z)
            ev(f"v.{what[1]}", side.lib, v=v, s=y.sum().tanh())
            pool.append(z)
        else:
            pool.append(side.checkpoint(lambda a, b, what=what: run_body(side, what, (a, b)), x, y))
    return pool[-1]


WEIGHTS = {
    "unary": 6,
    "binary": 10,
    "function": 8,
    "checkpoint": 7,
    "view": 7,
    "write": 6,
    "look": 5,
    "hook": 5,
    "retain": 3,
    "backward": 6,
    "grads": 5,
}


class Program:
    def __init__(self, seed):
        self.seed = seed
        self.rng = random.Random(seed)
        self.seen = Counter()
        self.story = []
        self.leaves = [self.constant(True) for _ in range(self.rng.randint(1, 3))]
        self.pool = [*self.leaves, self.constant(False)]
        self.hooked = []
        self.fixed = []
        self.views = []
        self.retained = []
        self.calls = []

    def constant(self, grad):
        values = np.array([self.rng.uniform(-1.2, 1.2) for _ in range(6)]).reshape(SHAPE)
        return [fe.tensor(values, requires_grad=grad), torch.tensor(values, requires_grad=grad)]

    def both(self, what, call):
        """Return what `call(side, k)` gives for both libraries; None where either raises."""
        self.story.append(what)
        try:  # PyTorch renews the history of views here, and crashes at a hook otherwise
            for p in (*self.pool, *self.views):
                _ = p[1].grad_fn
        except RuntimeError as error:
            self.seen["theirs raised"] += 1
            raise Apart from error
        found = []
        for k, side in enumerate((Ours, Theirs)):
            try:
                found.append(call(side, k))
            except (FerrumError, RuntimeError, ValueError, TypeError) as error:
                found.append(error)
        raised = [isinstance(each, Exception) for each in found]
        if any(raised):
            assert not raised[0] or isinstance(found[0], FerrumError), repr(found)
            # the two do not save the same tensors, so that one alone may notice a write
            kind = "both raised" if all(raised) else f"{'ours' if raised[0] else 'theirs'} raised"
            self.seen[kind] += 1
            self.story.append(f"   {kind}: {[str(each)[:150] for each in found]}")
            if kind != "both raised" or "retain=" in what:
                raise Apart
            return None
        return found

    def any(self, pool=None):
        return self.rng.choice(pool or self.pool)

    def no(self, pair):
        for name in ("leaves", "pool", "views"):
            for i, p in enumerate(getattr(self, name)):
                if p is pair:
                    return f"{name[0]}{i}"
        return "?"

    def nos(self, pairs):
        return " ".join(map(self.no, pairs))

    def add(self, what, call):
        found = self.both(what, call)
        if found is None:
            return
        if isinstance(found[0], (tuple, list)):
            self.pool += [list(p) for p in zip(*found, strict=True)]
        else:
            self.pool.append(found)

    # steps
    def unary(self):
        text, x = self.rng.choice(UNARY), self.any()
        self.add(f"{text} {self.no(x)}", lambda s, k: ev(text, s.lib, x=x[k]))

    def binary(self):
        text, x, y = self.rng.choice(BINARY), self.any(), self.any()
        self.add(f"{text} {self.no(x)} {self.no(y)}", lambda s, k: ev(text, s.lib, x=x[k], y=y[k]))

    def function(self):
        name, x, y = self.rng.choice(list(Ours.functions)), self.any(), self.any()
        self.add(
            f"{name} {self.no(x)} {self.no(y)}",
            lambda s, k: passed(s.functions[name].apply(x[k], y[k]), name),
        )

    def checkpoint(self):
        steps, x, y, z = body(self.rng, 0), self.any(), self.any(), self.any()

        def call(s, k):
            closed = z[k]
            return s.checkpoint(lambda a, b: run_body(s, steps, (a, b, closed)), x[k], y[k])

        self.fixed += [*self.pool, *self.views]  # PyTorch computes again from what was written
        self.add(f"checkpoint {steps} {self.no(x)} {self.no(y)} {self.no(z)}", call)

    def view(self):
        x = self.any(self.pool[len(self.leaves) :])
        text = self.rng.choice(VIEWS)
        found = self.both(f"view {text} {self.no(x)}", lambda s, k: ev(f"x{text}", s.lib, x=x[k]))
        if found is not None:
            self.views.append(found)

    def write(self):
        open_ones = self.pool[len(self.leaves) :] + self.views * 2
        open_ones = [v for v in open_ones if not any(v is x for x in self.fixed)]
        if not open_ones:
            return
        v, s_ = self.any(open_ones), self.any()
        text = self.rng.choice(WRITES)
        self.both(
            f"write {text} {self.no(v)} from {self.no(s_)}",
            lambda s, k: (ev(f"v.{text}", s.lib, v=v[k], s=s_[k].sum().tanh()), 0)[1],
        )

    def look(self):
        if self.views:
            v = self.any(self.views)
            x = self.any()
            self.add(f"use view with {self.no(x)}", lambda s, k: x[k] * v[k].sum().tanh())

    def hook(self):
        x = self.any()
        kind = self.rng.choice(["scale", "none", "square", "keep"])
        if not x[0].requires_grad:
            return
        y = self.any()

        def call(s, k):
            def hook(g):
                if g is None:  # PyTorch calls hooks of outputs without a gradient
                    return None
                self.calls.append((k, g.detach().numpy().copy().sum()))
                if kind == "none":
                    return None
                if kind == "scale":
                    return g * 0.5
                if kind == "square":
                    return g * g.detach() + g
                return g * (y[k].sum().tanh() + 1)

            x[k].register_hook(hook)
            return 0

        self.hooked.append(x)
        self.both(f"hook {kind} {self.no(x)}", call)

    def retain(self):
        x = self.any(self.pool + self.views)
        if x[0].requires_grad:
            self.both(f"retain {self.no(x)}", lambda s, k: (x[k].retain_grad(), 0)[1])
            if not any(x is r for r in self.retained):
                self.retained.append(x)

    def roots(self):
        found = [p for p in self.pool if p[0].requires_grad]
        return [self.any(found[-3:]) for _ in range(self.rng.randint(1, 2))] if found else []

    def loss(self, s, k, roots):
        return sum([(r[k] * r[k] * 0.5 + r[k]).sum() for r in roots])

    def backward(self):
        roots = self.roots()
        if not roots:
            return
        retain = self.rng.random() < 0.6
        times = self.rng.choice([1, 1, 2])
        only = (
            self.rng.sample(self.leaves, self.rng.randint(1, len(self.leaves)))
            if self.rng.random() < 0.3
            else None
        )
        create = self.rng.random() < 0.15

        def call(s, k):
            loss = self.loss(s, k, roots)
            for _ in range(times):
                options = {} if only is None else {"inputs": [x[k] for x in only]}
                if create:
                    for leaf in self.leaves:
                        if leaf[k].grad is not None:
                            leaf[k].grad = leaf[k].grad.detach().clone()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of PyTorch's, about cycles
                    loss.backward(retain_graph=retain or create, create_graph=create, **options)
            return 0

        self.both(
            f"backward x{times} retain={retain} create={create} only={only and self.nos(only)} "
            f"of {self.nos(roots)}",
            call,
        )
        self.compare()

    def grads(self):
        roots = self.roots()
        if not roots:
            return
        inputs = self.rng.sample(self.pool, min(len(self.pool), self.rng.randint(1, 4)))
        # PyTorch gives a hooked tensor's gradient before or after its hooks, by what else is wanted
        hooked = [x for x in self.hooked if not any(x is leaf for leaf in self.leaves)]
        inputs = [x for x in inputs if x[0].requires_grad and not any(x is h for h in hooked)]
        inputs = inputs or self.leaves
        order = self.rng.choice([1, 2, 2, 3])
        # what a rule reads, an output or the inputs again, tells what the second derivative by an
        # intermediate tensor is: the libraries differ there, but not in those by leaves
        order = 1 if hooked or self.retained else order
        inputs = self.leaves if order > 1 else inputs
        retain = order > 1 or self.rng.random() < 0.6

        def call(s, k):
            total, xs, out = self.loss(s, k, roots), [x[k] for x in inputs], []
            for n in range(order):
                gs = s.grad(
                    total, xs, retain_graph=retain, create_graph=n + 1 < order, allow_unused=True
                )
                out.append([None if g is None else g.numpy(force=True).copy() for g in gs])
                gs = [g for g in gs if g is not None and g.requires_grad]
                if not gs or n + 1 == order:
                    break
                total = sum([(g * g * 0.1 + g.sin()).sum() for g in gs])
            return out

        found = self.both(
            f"grads order {order} retain={retain} of {self.nos(roots)} by {self.nos(inputs)}",
            call,
        )
        if found is None:
            return
        self.seen[f"order {order}"] += 1
        ours, theirs = found
        # torch may give zeros where ours has none, or stop an order earlier
        for mine, yours in zip(ours, theirs, strict=False):
            for a, b in zip(mine, yours, strict=True):
                same(zero(a), zero(b), "gradient")
        for rest in (ours[len(theirs) :], theirs[len(ours) :]):
            for gs in rest:
                for g in gs:
                    same(zero(g), np.zeros(SHAPE), "gradient beyond")

    def compare(self):
        for p in (*self.pool, *self.views):
            same(p[0].numpy(force=True), p[1].numpy(force=True), f"value of {self.no(p)}")
            assert p[0].requires_grad == p[1].requires_grad, self.no(p)
        for x in (*self.leaves, *self.retained):
            a, b = x[0].grad, x[1].grad
            if a is not None or b is not None:
                a, b = (
                    np.zeros(tuple(x[0].shape)) if g is None else g.numpy(force=True)
                    for g in (a, b)
                )
                same(a, b, f"grad of {self.no(x)}")
        ours = sorted(v for k, v in self.calls if k == 0)
        theirs = sorted(v for k, v in self.calls if k == 1)
        ours, theirs = ([v for v in vs if v] for vs in (ours, theirs))  # zero may be None
        assert len(ours) == len(theirs), f"hooks ran {len(ours)} {len(theirs)}"
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)

    def run(self):
        kinds = [
            *self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=self.rng.randint(4, 16)),
            self.rng.choice(["backward", "grads"]),
        ]
        try:
            for kind in kinds:
                self.kind = kind
                getattr(self, kind)()
                if any(np.abs(p[1].numpy(force=True)).max() > 50 for p in self.pool[-2:]):
                    break
            self.compare()
        except Apart:
            self.seen["apart"] += 1
        except AssertionError as error:
            error.add_note("\n".join([f"seed {self.seed}", *self.story]))
            raise
        return self.seen + Counter(kinds)


def passed(out, name):
    """PyTorch lets an argument that is returned share memory with it, FERRUM copies."""
    return out * 1 if name == "Pass" else out


class Apart(Exception):  # noqa: N818 - no error: the two libraries went different ways
    """Ends a program in which one library refused what the other did."""


def zero(a):
    return np.zeros(SHAPE) if a is None else a


def same(a, b, what):
    scale = max(1.0, float(np.abs(b).max())) if b.size else 1.0
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-8 * scale, err_msg=what)


def test_programs(functions: Any) -> None:
    torch.set_num_threads(1)
    for side in (Ours, Theirs):
        side.functions = functions(side.base)
    seen: Counter[str] = Counter()
    for seed in range(PROGRAMS):
        seen += Program(seed).run()
    # the test tests something: every kind of step came up, and few programs ended early
    assert all(seen[kind] > 5 * PROGRAMS * weight / 100 for kind, weight in WEIGHTS.items()), seen
    assert min(seen[f"order {n}"] for n in (1, 2, 3)) > PROGRAMS / 10, seen
    assert seen["apart"] < PROGRAMS / 2, seen
    assert seen["ours raised"] < PROGRAMS / 25, seen
    assert seen["theirs raised"] < PROGRAMS / 15, seen
