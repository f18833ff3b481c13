"""What PyTorch refuses FERRUM refuses, with an error of its own that says which function it was."""

from __future__ import annotations

import contextlib
import inspect
import pickle
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum import errors
from ferrum.errors import FerrumError

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")

A = np.array
X, V, S = np.ones((3, 4)), np.ones(3), A(1.5)  # a matrix, a vector, a number
WHOLE, B = A([0, 1, 2]), A([True, False, True])
EMPTY = np.zeros((0, 3))

SHAPE, DTYPE, RANGE = errors.ShapeError, errors.DTypeError, errors.OutOfRangeError
ARGUMENT, OPERAND, GRADIENT = errors.ArgumentError, errors.OperandError, errors.GradientError

# Function, class of the error, and argument lists that must raise it.
TABLE: list[tuple[str, type[FerrumError], list[tuple[Any, ...]]]] = [
    ("add", SHAPE, [(X, V), (V, np.ones(2)), (X, np.ones((3, 3)))]),
    ("add", OPERAND, [(X, "text"), (X, None), (X, {}), (X, [1, 2])]),
    ("sub", SHAPE, [(X, V)]),
    ("sub", DTYPE, [(B, B)]),
    ("mul", SHAPE, [(X, V), (np.ones((2, 3)), np.ones((3, 2)))]),
    ("mul", OPERAND, [(X, "text")]),
    ("div", SHAPE, [(X, V)]),
    ("remainder", SHAPE, [(X, V)]),
    ("pow", SHAPE, [(X, V)]),
    ("pow", ARGUMENT, [(WHOLE, -1)]),
    ("maximum", SHAPE, [(X, V)]),
    ("maximum", OPERAND, [(X, "text"), (X, None)]),
    ("minimum", SHAPE, [(X, V)]),
    ("atan2", SHAPE, [(X, V)]),
    ("eq", SHAPE, [(X, V)]),
    ("ne", SHAPE, [(X, V)]),
    ("lt", SHAPE, [(X, V)]),
    ("ge", SHAPE, [(X, V)]),
    ("lt", OPERAND, [(X, "text"), (X, None)]),
    ("logical_and", SHAPE, [(X, V)]),
    ("logical_xor", SHAPE, [(X, V)]),
    ("bitwise_and", SHAPE, [(WHOLE, A([1, 2]))]),
    ("bitwise_and", DTYPE, [(X, X), (X, 1)]),
    ("bitwise_or", DTYPE, [(X, X), (WHOLE, 1.5)]),
    ("bitwise_xor", DTYPE, [(X, X)]),
    ("bitwise_not", DTYPE, [(X,)]),
    ("neg", DTYPE, [(B,)]),
    ("abs", DTYPE, [(B,)]),
    ("floor", DTYPE, [(B,)]),
    ("exp", OPERAND, [("text",), ([1.0, 2.0],), (None,), ({},)]),
    ("sqrt", OPERAND, [("text",), ([1.0],)]),
    ("sum", OPERAND, [("text",), ([1.0],), (None,)]),
    ("sum", RANGE, [(X, 2), (X, -3), (X, (0, 5)), (S, 1)]),
    ("sum", SHAPE, [(X, (0, 0)), (X, (1, -1))]),
    ("mean", RANGE, [(X, 2), (X, (0, 2))]),
    ("mean", DTYPE, [(WHOLE,), (B,)]),
    ("prod", RANGE, [(X, 2), (X, -3)]),
    ("var", RANGE, [(X, 2)]),
    ("var", DTYPE, [(WHOLE,), (B,)]),
    ("std", DTYPE, [(WHOLE,)]),
    ("amax", RANGE, [(X, 2)]),
    ("amax", SHAPE, [(EMPTY,), (EMPTY, 0), (X, (0, 0))]),
    ("amin", SHAPE, [(EMPTY, (0, 1))]),
    ("max", RANGE, [(X, 2), (X, -3)]),
    ("max", SHAPE, [(EMPTY,), (EMPTY, 0)]),
    ("min", SHAPE, [(EMPTY,)]),
    ("any", RANGE, [(X, 2)]),
    ("all", RANGE, [(X, -3)]),
    ("argmax", RANGE, [(X, 2), (X, -3)]),
    ("argmax", SHAPE, [(EMPTY,), (EMPTY, 0)]),
    ("argmin", SHAPE, [(EMPTY,)]),
    ("cumsum", RANGE, [(X, 2), (X, -3)]),
    ("logsumexp", RANGE, [(X, 2), (X, (0, 2))]),
    ("softmax", RANGE, [(X, 2), (X, -3)]),
    ("softmax", DTYPE, [(A([1, 2]), 0), (B, 0)]),
    ("log_softmax", RANGE, [(X, 2)]),
    ("log_softmax", DTYPE, [(WHOLE, 0)]),
    ("norm", DTYPE, [(WHOLE,)]),
    ("norm", RANGE, [(X, 2, 2)]),
    ("norm", ARGUMENT, [(X, "text")]),
    ("sort", RANGE, [(X, 2), (X, -3)]),
    ("argsort", RANGE, [(X, 2)]),
    ("topk", RANGE, [(X, 5), (X, -1), (X, 4, 0), (X, 1, 2)]),
    ("reshape", SHAPE, [(X, (5, 2)), (X, (-1, -1)), (X, (5, -1)), (X, (-2, 6)), (EMPTY, (0, -1))]),
    ("reshape", OPERAND, [(X, (1.5, 8)), (X, ("a",))]),
    ("view", SHAPE, [(X, (5, 2)), (X, (-1, -1))]),
    ("flatten", RANGE, [(X, 0, 2), (X, -3, 1)]),
    ("flatten", SHAPE, [(X, 1, 0)]),
    ("unflatten", SHAPE, [(X, 0, (2, 2)), (X, 1, (-1, 3)), (X, 1, (-1, -1))]),
    ("unflatten", RANGE, [(X, 2, (1, 1)), (S, 0, (1, 1))]),
    ("squeeze", RANGE, [(X, 2), (X, -3)]),
    ("unsqueeze", RANGE, [(X, 3), (X, -4)]),
    ("permute", SHAPE, [(X, (0,)), (X, (0, 0)), (X, (0, 1, 1))]),
    ("permute", RANGE, [(X, (0, 2)), (X, (0, 1, 2))]),
    ("transpose", RANGE, [(X, 0, 2), (X, -3, 0)]),
    ("movedim", RANGE, [(X, 0, 2), (X, 2, 0)]),
    ("movedim", SHAPE, [(X, (0, 0), (0, 1)), (X, (0, 1), (0,))]),
    ("t", SHAPE, [(np.ones((2, 3, 4)),)]),
    ("expand", SHAPE, [(X, (4,)), (X, (3, 5)), (X, (-1, 3, 4)), (V, (4,))]),
    ("broadcast_to", SHAPE, [(X, (4,)), (V, (2,))]),
    ("broadcast_tensors", SHAPE, [(X, V), (V, np.ones(2), V)]),
    ("repeat", SHAPE, [(X, (2,))]),
    ("narrow", RANGE, [(X, 0, 0, 4), (X, 0, 4, 1), (X, 0, 0, -1), (X, 0, -4, 1), (X, 2, 0, 1),
                       (S, 0, 0, 1)]),
    ("select", RANGE, [(X, 0, 3), (X, 0, -4), (X, 2, 0)]),
    ("split", SHAPE, [(X, [1, 1]), (X, [2, 2])]),
    ("split", ARGUMENT, [(X, 0), (X, -1)]),
    ("split", RANGE, [(X, 1, 2), (S, 1)]),
    ("chunk", ARGUMENT, [(X, 0), (X, -1)]),
    ("chunk", RANGE, [(X, 1, 2), (S, 1)]),
    ("unbind", RANGE, [(X, 2), (S,)]),
    ("flip", RANGE, [(X, (2,))]),
    ("flip", SHAPE, [(X, (0, 0))]),
    ("cat", SHAPE, [([X, V],), ([X, np.ones((3, 3))],), ([S, S],)]),
    ("cat", RANGE, [([X, X], 2), ([V, V], 1)]),
    ("cat", ARGUMENT, [([],)]),
    ("cat", OPERAND, [([X, 1.0],), ([1.0, 2.0],), (None,)]),
    ("stack", SHAPE, [([X, V],), ([V, np.ones(4)],)]),
    ("stack", RANGE, [([X, X], 3)]),
    ("stack", ARGUMENT, [([],)]),
    ("matmul", SHAPE, [(X, X), (X, V), (S, X), (X, S), (np.ones((2, 3, 4)), np.ones((3, 4, 5)))]),
    ("matmul", DTYPE, [(X, X.T.astype(np.float32))]),
    ("mm", SHAPE, [(X, V), (X, X), (V, V)]),
    ("bmm", SHAPE, [(X, X), (np.ones((2, 3, 4)), np.ones((3, 4, 5)))]),
    ("dot", SHAPE, [(X, X), (V, np.ones(4)), (V, S)]),
    ("gather", SHAPE, [(X, 0, A([0])), (X, 0, np.zeros((1, 5), np.int64))]),
    ("gather", RANGE, [(X, 0, A([[3]])), (X, 0, A([[-1]])), (X, 2, A([[0]]))]),
    ("gather", DTYPE, [(X, 0, A([[0.0]]))]),
    ("scatter_add", SHAPE, [(X, 0, A([[0, 1]]), A([[1.0]])), (X, 0, A([0]), A([1.0]))]),
    ("scatter_add", RANGE, [(X, 0, A([[3]]), A([[1.0]])), (X, 2, A([[0]]), A([[1.0]]))]),
    ("scatter_add", DTYPE, [(X, 0, A([[0]]), A([[1]])), (X, 0, A([[0.0]]), A([[1.0]]))]),
    ("index_select", RANGE, [(X, 0, A([3])), (X, 2, A([0]))]),
    ("index_select", SHAPE, [(X, 0, A([[0]]))]),
    ("index_select", DTYPE, [(X, 0, A([0.0])), (X, 0, B)]),
    ("masked_select", SHAPE, [(X, B)]),
    ("masked_select", DTYPE, [(X, X), (V, WHOLE)]),
    ("masked_fill", SHAPE, [(X, B, 1.0), (V, B, A([1.0, 2.0, 3.0]))]),
    ("masked_fill", DTYPE, [(V, V, 1.0), (WHOLE, B, A(1.5))]),
    ("where", SHAPE, [(B, X, X), (B, A([1.0, 2.0]), 0)]),
    ("where", OPERAND, [(B, V, "text"), ("text", V, V)]),
    ("clamp", ARGUMENT, [(X,)]),
    ("clamp", SHAPE, [(X, V)]),
    ("clamp", DTYPE, [(B, False, True)]),
    ("tril", SHAPE, [(V,)]),
    ("triu", SHAPE, [(S,)]),
    ("full", SHAPE, [((-1,), 0.0)]),
    ("full", OPERAND, [((2,), "text"), ((1.5,), 0)]),
    ("zeros", SHAPE, [(-1,), ((2, -3),)]),
    ("zeros", OPERAND, [(1.5,), ("text",), (None,)]),
    ("ones", OPERAND, [(1.5,)]),
    ("arange", ARGUMENT, [(0, 5, 0), (0, 5, -1), (-3,), (float("nan"),), (float("inf"),)]),
    ("arange", OPERAND, [("text",)]),
    ("linspace", ARGUMENT, [(0, 1, -1)]),
    ("eye", SHAPE, [(-1,)]),
    ("rand", SHAPE, [(-1,)]),
    ("randn", OPERAND, [("text",)]),
    ("randint", ARGUMENT, [(5, 2, (2,)), (0, (2,))]),
    ("randperm", ARGUMENT, [(-1,)]),
    ("tensor", OPERAND, [("text",), (None,), ([[1], [1, 2]],), ([1, "a"],), ({},)]),
    ("tensor", ARGUMENT, [(2**63,)]),
    ("is_floating_point", OPERAND, [("text",)]),
    ("numel", OPERAND, [([1.0],)]),
    ("allclose", OPERAND, [(X, "text"), (X, 1.0)]),
    ("equal", OPERAND, [(X, 1.0)]),
]  # fmt: skip
CASES = [
    pytest.param(name, error, args, id=f"{name}-{error.__name__}-{i}")
    for name, error, calls in TABLE
    for i, args in enumerate(calls)
]
# Functions that are made of an op of another name, which the text starts with.
OF = {
    "sub": "subtract", "mul": "multiply", "div": "divide", "eq": "equal", "ne": "not_equal",
    "lt": "less", "ge": "greater_equal", "neg": "negative", "bitwise_not": "bitwise_invert",
    "std": "var", "amax": "amax|max", "amin": "amin|min", "max": "max|argmax",
    "cat": "cat|concat", "stack": "stack|concat", "view": "view|reshape", "mm": "mm|matmul",
    "dot": "dot|matmul", "broadcast_to": "expand", "index_select": "index_select|index",
    "masked_fill": "masked_fill|where", "topk": "topk|sort", "norm": "norm|sum",
    "zeros": "zeros|full", "ones": "ones|full", "rand": "rand|uniform", "randn": "randn|normal",
    "clamp": "clamp|less|where|clip", "select": "select|getitem",
}  # fmt: skip


@pytest.mark.parametrize(("name", "error", "args"), CASES)
def test_refused(ours: Any, name: str, error: type[FerrumError], args: Any) -> None:
    with pytest.raises(error) as caught:
        ours.run(name, args, {}, order=0)
    assert caught.type is error
    assert str(caught.value).partition(":")[0] in OF.get(name, name).split("|")


@pytest.mark.torch
@pytest.mark.parametrize(("name", "error", "args"), CASES)
def test_pytorch_refuses_too(twins: Any, name: str, error: type[FerrumError], args: Any) -> None:
    twins.refused(name, *args)


def test_there_are_enough() -> None:
    assert len(CASES) >= 150


# ---- the same for methods and operators, which the table of functions cannot call

CALLS: dict[str, tuple[type[FerrumError], Any, tuple[Any, ...]]] = {
    "x[5]": (RANGE, lambda x: x[5], (X,)),
    "x[0, 0, 0]": (RANGE, lambda x: x[0, 0, 0], (X,)),
    "x[1.0]": (OPERAND, lambda x: x[1.0], (X,)),
    "x['a']": (OPERAND, lambda x: x["a"], (X,)),
    "x[mask]": (RANGE, lambda x, m: x[m], (X, A([True, False]))),
    "x[floats]": (DTYPE, lambda x, i: x[i], (X, A([0.0]))),
    "x[i, j]": (SHAPE, lambda x, i, j: x[i, j], (X, A([0, 1]), WHOLE)),
    "x[beyond]": (RANGE, lambda x, i: x[i], (X, A([3]))),
    "x[0] = too much": (SHAPE, lambda x: x.clone().__setitem__(0, x), (X,)),
    "x[0] = text": (OPERAND, lambda x: x.clone().__setitem__(0, "a"), (X,)),
    "x[5] = 0": (RANGE, lambda x: x.clone().__setitem__(5, 0), (X,)),
    "iter of a number": (RANGE, list, (S,)),
    "len of a number": (RANGE, len, (S,)),
    "item of many": (SHAPE, lambda x: x.item(), (X,)),
    "bool of many": (SHAPE, bool, (X,)),
    "float of many": (SHAPE, float, (X,)),
    "int of none": (SHAPE, int, (EMPTY,)),
    "view of a transpose": (SHAPE, lambda x: x.t().view(-1), (X,)),
    "requires_grad of integers": (DTYPE, lambda x: x.requires_grad_(), (WHOLE,)),
    "backward of many": (GRADIENT, lambda x: (x * 2).backward(), (X,)),
    "backward of integers": (GRADIENT, lambda x: x.sum().backward(), (WHOLE,)),
    "a gradient of another dtype": (SHAPE, lambda x: setattr(x, "grad", x.detach()[0]), (X,)),
    "numpy of what requires grad": (GRADIENT, lambda x: x.numpy(), (X,)),
    "fill_ of many": (SHAPE, lambda x, y: x.clone().fill_(y), (X, V)),
    "copy_ of a larger": (SHAPE, lambda x, y: x.clone().copy_(y), (V, X)),
    "add_ of a larger": (SHAPE, lambda x, y: x.clone().add_(y), (V, X)),
    "add_ of floats": (DTYPE, lambda x, y: x.add_(y), (WHOLE, V)),
    "add with a fraction": (ARGUMENT, lambda x: x.add(x, alpha=0.5), (WHOLE,)),
    "div with a mode": (ARGUMENT, lambda x: x.div(2, rounding_mode="up"), (X,)),
    "expand_as": (SHAPE, lambda x, y: x.expand_as(y), (X, V)),
    "size of a number": (RANGE, lambda x: x.size(0), (S,)),
    "x @ number": (OPERAND, lambda x: x @ 2.0, (X,)),
    "x + text": (OPERAND, lambda x: x + "a", (X,)),
    "x < None": (OPERAND, lambda x: x < None, (X,)),
}  # fmt: skip


@pytest.mark.parametrize("label", CALLS)
def test_methods_refuse(ours: Any, label: str) -> None:
    error, call, args = CALLS[label]
    with pytest.raises(error, match=r"^[a-z_]+: ") as caught:
        ours.run(call, args, {}, order=0)
    assert caught.type is error


@pytest.mark.torch
@pytest.mark.parametrize("label", CALLS)
def test_methods_of_pytorch_refuse_too(twins: Any, label: str) -> None:
    _, call, args = CALLS[label]
    twins.refused(call, *args)


def test_nothing_is_changed_by_a_refused_write() -> None:
    x = fe.tensor([1, 2, 3])
    for write in (
        lambda: x.add_(0.5),
        lambda: x.mul_(fe.ones(2, dtype=fe.int64)),
        lambda: x.__setitem__(slice(None), fe.ones(2)),
        lambda: x.__setitem__(0, float("nan")),
        lambda: x.fill_(2**70),
        lambda: x.masked_fill_(fe.tensor([True, False, True]), 0.5),
        lambda: x.masked_fill_(fe.tensor([True, False, True]), 1e30),
        lambda: x.masked_fill_(fe.tensor([True, False, True]), None),
    ):
        with pytest.raises(FerrumError):
            write()
    assert x.tolist() == [1, 2, 3]


@pytest.mark.parametrize("value", [300, -129, 2**70])
def test_masked_fill_refuses_what_does_not_fit(value: int) -> None:
    x = fe.tensor([5], dtype=fe.int8)
    for fill in (x.masked_fill, x.masked_fill_):
        with pytest.raises(FerrumError, match="does not fit into int8"):
            fill(fe.tensor([True]), value)
    with pytest.raises(FerrumError, match="does not fit into int8"):
        fe.where(fe.tensor([False]), x, value)
    assert x.masked_fill(fe.tensor([True]), -128).tolist() == [-128]
    assert fe.where(fe.tensor([False]), x, -128).tolist() == [-128]
    assert x.tolist() == [5]


@pytest.mark.parametrize("dim", ["x", 1.0, 1.5, 1j, fe.float32])
@pytest.mark.parametrize("name", ["softmax", "cumsum", "unsqueeze", "unbind", "sort", "argmax"])
def test_dims_are_integers(name: str, dim: Any) -> None:
    with pytest.raises(FerrumError, match="expected an integer as dim, got"):
        getattr(fe.ones((2, 3)), name)(dim)


# ---- odd things in every position of every public function and method

ODD = [None, "x", [1, 2], object(), np.arange(3.0), fe.float32, 1 + 2j, {}]
FIXED = {"dim": 0, "dim0": 0, "dim1": 1, "dims": 0, "shape": (4,), "sizes": (2, 2), "size": (2, 2),
         "chunks": 2, "split_size": 1, "start": 0, "length": 1, "k": 1, "source": 0,
         "destination": 1, "dtype": fe.float32, "p": 2, "diagonal": 0, "key": 0}  # fmt: skip
# What is the interpreter's to call, and `__array__`, whose dtype is NumPy's to judge.
NOT_WALKED = {"__init__", "__format__", "__reduce_ex__", "__deepcopy__", "__array__"}
METHODS = {
    name: method
    for name in dir(fe.Tensor)
    if inspect.isfunction(method := inspect.getattr_static(fe.Tensor, name))
    and (name.startswith("__") or not name.startswith("_"))
    and name not in NOT_WALKED
}
FUNCTIONS = {
    name: function
    for name in fe.__all__
    if inspect.isfunction(function := getattr(fe, name))
    and function.__module__ in ("ferrum.tensor", "ferrum.functions")
}


def usual(parameter: str) -> Any:
    x = fe.tensor([[1.0, 2.0], [3.0, 4.0]])
    by_name = {"mask": x > 1, "condition": x > 1, "index": x.long() % 2, "tensors": [x, x]}
    return FIXED.get(parameter, by_name.get(parameter, x))


def odd_calls(function: Any) -> Iterator[list[Any]]:
    """Yield arguments that are as usual but for one."""
    positional = [
        each
        for each in inspect.signature(function).parameters.values()
        if each.kind is not each.KEYWORD_ONLY and each.kind is not each.VAR_KEYWORD
    ]
    needed = sum(each.default is each.empty for each in positional)
    for at in range(len(positional)):
        for odd in ODD:
            args = [usual(each.name) for each in positional[: max(needed, at + 1)]]
            yield [*args[:at], odd, *args[at + 1 :]]


@pytest.mark.parametrize("name", METHODS)
def test_methods_know_what_to_say_of_odd_arguments(name: str) -> None:
    calls = [args for args in odd_calls(METHODS[name]) if isinstance(args[0], fe.Tensor)]
    for args in calls:
        with contextlib.suppress(FerrumError):  # anything else is a fault
            METHODS[name](*args)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_know_what_to_say_of_odd_arguments(name: str) -> None:
    for args in odd_calls(FUNCTIONS[name]):
        with contextlib.suppress(FerrumError):
            FUNCTIONS[name](*args)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("dot", lambda x: x[0].dot(None)),
        ("mm", lambda x: x.mm([1.0])),
        ("bmm", lambda x: fe.bmm(x, "a")),
        ("gather", lambda x: x.gather(0, [0])),
        ("scatter_add", lambda x: x.scatter_add(0, x.long(), None)),
        ("index_select", lambda x: x.index_select(0, [0])),
        ("masked_select", lambda x: x.masked_select([True])),
        ("type_as", lambda x: x.type_as("float32")),
        ("view_as", lambda x: x.view_as((4,))),
        ("expand_as", lambda x: x.expand_as((2, 2))),
        ("copy_", lambda x: x.copy_(np.ones((2, 2)))),
        ("adopt", lambda x: x.adopt(None)),
        ("sum", lambda x: fe.sum([1.0])),
        ("tril", lambda x: fe.tril(None)),
    ],
)
def test_what_is_no_tensor_is_named(name: str, call: Any) -> None:
    with pytest.raises(OPERAND, match=rf"^{name}: expected a tensor, got .*fe.tensor\(...\)"):
        call(fe.ones(2, 2))


def test_what_else_is_odd_is_named() -> None:
    x = fe.ones(2, 2)
    for call, said in (
        (lambda: x.add_(None), "add_: expected tensors, got NoneType; make a tensor"),
        (lambda: x.pow_([1, 2]), "pow_: expected tensors, got list; make a tensor"),
        (lambda: x.sum(0, 1), "sum: expected True or False as keepdim, got 1"),
        (lambda: x.amax(0, None), "amax: expected True or False as keepdim, got None"),
        (lambda: x.var(object), "var: expected an integer as dim, got <class 'object'>"),
        (lambda: x.topk("a"), "topk: expected an integer as k, got 'a'"),
        (lambda: x.narrow(0, None, 1), "narrow: expected an integer as start, got None"),
        (lambda: x.split(None), "split: expected an integer as split_size, got None"),
        (lambda: x.norm({}), "norm: expected a number or 'fro' for p, got {}"),
    ):
        with pytest.raises(FerrumError, match=f"^{re.escape(said)}"):
            call()
    assert x.sum(np.int64(0), np.True_).shape == (1, 2)


def test_errors_of_python_use_public_names() -> None:
    x = fe.ones(2, 2)
    for call, name in (
        (lambda: fe.Tensor(), "Tensor.__init__"),
        (lambda: x.type(), "Tensor.type"),
        (lambda: x.sum(bogus=1), "Tensor.sum"),
        (lambda: x.mul(), "Tensor.mul"),
        (lambda: x.less(), "Tensor.lt"),
        (lambda: x.exp_(1), "Tensor.exp_"),
        (lambda: x.backward(bogus=1), "Tensor.backward"),
        (lambda: fe.sum(), "Tensor.sum"),
    ):
        with pytest.raises(TypeError, match=rf"^{name}\(\) "):
            call()  # type: ignore[no-untyped-call]
    assert pickle.loads(pickle.dumps(fe.exp)) is fe.exp
    assert pickle.loads(pickle.dumps(fe.Tensor.add)) is fe.Tensor.add
