"""Hooks before and after forward, and around backward."""

import copy
import weakref

import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import OperandError


class Double(nn.Module):
    def forward(self, x, *, plus=0):
        return x * 2 + plus


def leaf(*values):
    return fe.tensor(values, requires_grad=True)


# ---- forward


def test_forward_hooks_run_in_order_and_may_replace():
    module, calls = Double(), []

    def note(name, result=None):
        def hook(module, args, *rest):
            calls.append(name)
            return result(args, *rest) if result else None

        return hook

    module.register_forward_pre_hook(note("pre"))
    module.register_forward_pre_hook(note("pre+1", lambda args: args[0] + 1))
    module.register_forward_pre_hook(note("first"), prepend=True)
    module.register_forward_hook(note("post"))
    module.register_forward_hook(note("post*10", lambda args, out: out * 10))
    module.register_forward_hook(note("before post"), prepend=True)
    assert module(1) == 40
    assert calls == ["first", "pre", "pre+1", "before post", "post", "post*10"]


def test_hooks_with_keywords():
    module = Double()
    module.register_forward_pre_hook(
        lambda module, args, kwargs: ((args[0] + 1,), {"plus": kwargs["plus"] * 2}),
        with_kwargs=True,
    )
    module.register_forward_hook(
        lambda module, args, kwargs, out: out + kwargs["plus"], with_kwargs=True
    )
    assert module(1, plus=3) == 16
    module.register_forward_pre_hook(lambda module, args, kwargs: None, with_kwargs=True)
    assert module(1, plus=3) == 16
    module.register_forward_pre_hook(lambda module, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(OperandError, match="expected None or"):
        module(1, plus=3)


def test_a_tuple_from_a_pre_hook_is_the_arguments():
    module = Double()
    module.register_forward_pre_hook(lambda module, args: (5,))
    assert module(1) == 10


def test_handles_take_hooks_away():
    module = Double()
    with module.register_forward_hook(lambda module, args, out: out + 1):
        assert module(1) == 3
    assert module(1) == 2
    handle = module.register_forward_pre_hook(lambda module, args: (3,), prepend=True)
    handle.remove()
    handle.remove()
    assert module(1) == 2


def test_a_copy_has_the_hooks_too():
    module = Double()
    module.register_forward_hook(lambda module, args, out: out + 1)
    assert copy.deepcopy(module)(1) == 3


# ---- backward


def test_full_backward_hooks_see_the_gradients_on_both_sides():
    module, seen = nn.Linear(2, 1, bias=False), []
    with fe.no_grad():
        module.weight.copy_(fe.tensor([[2.0, 3.0]]))
    module.register_full_backward_hook(lambda *args: seen.append(args))
    x = leaf([1.0, 1.0])
    (module(x) * 5).sum().backward()
    [(owner, grad_input, grad_output)] = seen
    assert owner is module
    assert [g.tolist() for g in grad_input] == [[[10, 15]]]
    assert [g.tolist() for g in grad_output] == [[[5]]]
    assert x.grad.tolist() == [[10, 15]]
    assert module.weight.grad.tolist() == [[5, 5]]


def test_what_backward_hooks_return_replaces_the_gradient():
    module = Double()
    module.register_full_backward_pre_hook(lambda module, grad_output: (grad_output[0] * 10,))
    module.register_full_backward_hook(lambda module, grad_input, grad_output: grad_input[0] + 1)
    x = leaf(1.0, 1.0)
    module(x).sum().backward()
    assert x.grad.tolist() == [21, 21]


def test_backward_hooks_prepend():
    module, calls = Double(), []
    module.register_full_backward_hook(lambda *_: calls.append("second"))
    module.register_full_backward_hook(lambda *_: calls.append("first"), prepend=True)
    module.register_full_backward_pre_hook(lambda *_: calls.append("pre"))
    module(leaf(1.0)).sum().backward()
    assert calls == ["pre", "first", "second"]


def test_arguments_without_gradient_are_none_in_grad_input():
    class Pair(nn.Module):
        def forward(self, number, x, y):
            return x * number, y + 0

    module, seen = Pair(), []
    module.register_full_backward_hook(lambda _, gi, go: seen.append((gi, go)))
    x = leaf(1.0)
    first, _ = module(3, x, fe.ones(1))
    first.sum().backward()
    [(grad_input, grad_output)] = seen
    assert [g is None for g in grad_input] == [True, False, True]
    assert [g is None for g in grad_output] == [False, True]
    assert x.grad.tolist() == [3]


def test_hooks_run_also_where_no_input_wants_a_gradient():
    module, seen = nn.Linear(2, 1), []
    module.register_full_backward_hook(lambda _, gi, go: seen.append((gi, go)))
    module(fe.ones(1, 2)).sum().backward()
    [(grad_input, grad_output)] = seen
    assert grad_input == ()
    assert grad_output[0].tolist() == [[1]]


def test_second_order_goes_through_backward_hooks():
    module = Double()
    module.register_full_backward_hook(lambda _, grad_input, grad_output: None)
    x = leaf(3.0)
    (g,) = fe.grad((module(x) ** 2).sum(), x, create_graph=True)
    (h,) = fe.grad(g.sum(), x)
    assert (g.tolist(), h.tolist()) == ([24], [8])


def test_without_grad_backward_hooks_do_nothing():
    module = Double()
    module.register_full_backward_hook(lambda *_: pytest.fail("there is no backward"))
    with fe.no_grad():
        assert module(leaf(1.0)).tolist() == [2]


def test_backward_hooks_want_tensors_and_the_right_number():
    class Named(nn.Module):
        def forward(self, x):
            return {"x": x}

    module = Named()
    module.register_full_backward_hook(lambda *_: None)
    with pytest.raises(OperandError, match="Named: a module with backward hooks must return"):
        module(leaf(1.0))
    module = Double()
    module.register_full_backward_hook(lambda _, grad_input, grad_output: (None, None))
    with pytest.raises(OperandError, match="expected None or 1 gradients, got 2"):
        module(leaf(1.0)).sum().backward()


def test_a_hook_that_is_no_function_is_refused():
    layer = nn.Tanh()
    for register in (
        layer.register_forward_pre_hook,
        layer.register_forward_hook,
        layer.register_full_backward_pre_hook,
        layer.register_full_backward_hook,
    ):
        with pytest.raises(OperandError, match="register_hook: expected a function, got int"):
            register(5)
    assert fe.equal(layer(fe.zeros(2)), fe.zeros(2))


def test_hooks_that_are_always_called():
    class Failing(nn.Module):
        def forward(self, x):
            raise ValueError("no")

    net, seen = Failing(), []
    net.register_forward_hook(lambda m, args, out: seen.append("plain"))
    net.register_forward_hook(lambda m, args, out: seen.append((args, out)), always_call=True)
    net.register_forward_hook(
        lambda m, args, kwargs, out: seen.append(kwargs), with_kwargs=True, always_call=True
    ).remove()
    with pytest.raises(ValueError, match="no"):
        net(5)
    assert seen == [((5,), None)]
    net.register_forward_hook(lambda m, args, out: 1 / 0, always_call=True)
    with pytest.raises(ValueError, match="no"), pytest.warns(UserWarning, match="always_call=True"):
        net(5)

    fine, seen = nn.Identity(), []
    fine.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    fine.register_forward_hook(lambda m, args, out: 1 / 0)
    fine.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    with pytest.raises(ZeroDivisionError):
        fine(3)
    assert seen == [3, 3]


@pytest.mark.parametrize("with_kwargs", [False, True])
def test_a_hook_that_is_removed_is_let_go(with_kwargs):
    def hook(*args):
        seen.append(len(args))

    layer, seen = nn.Linear(1, 1), []
    options = {"with_kwargs": with_kwargs}
    handle = layer.register_forward_hook(hook, always_call=True, **options)
    other = layer.register_forward_hook(hook, **options)
    handle.remove()
    with pytest.raises(fe.FerrumError):
        layer(fe.ones(2))
    assert seen == []  # what is left of it is not for errors
    layer(fe.ones(1))
    assert seen == [3 + with_kwargs]
    other.remove()
    alive = weakref.ref(hook)
    del hook, handle, other
    assert alive() is None
