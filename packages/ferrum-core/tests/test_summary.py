"""`summary` works on whatever has modules and hooks; here on the least that does."""

import pytest

import ferrum as fe
from ferrum.errors import OperandError


class Handle:
    def __init__(self, hooks, hook):
        self.hooks, self.hook = hooks, hook

    def remove(self):
        self.hooks.remove(self.hook)


class Part:
    """A module of parameters and parts by name, and a function for its forward."""

    def __init__(self, forward=lambda self, x: x, **held):
        self.forward, self.held, self.hooks, self.training = forward, held, [], True

    def __call__(self, *args, **kwargs):
        output = self.forward(self, *args, **kwargs)
        for hook in self.hooks:
            hook(self, args, output)
        return output

    def register_forward_hook(self, hook):
        self.hooks.append(hook)
        return Handle(self.hooks, hook)

    def named_modules(self, prefix=""):
        yield prefix, self
        for name, each in self.held.items():
            if isinstance(each, Part):
                yield from each.named_modules(f"{prefix}.{name}".strip("."))

    def named_parameters(self, recurse=True):
        for name, each in self.held.items():
            if isinstance(each, fe.Tensor):
                yield name, each
            elif recurse:
                yield from ((f"{name}.{inner}", p) for inner, p in each.named_parameters())

    def named_buffers(self):
        return iter([("mean", fe.zeros(5))])


def layer(n, m):
    return Part(lambda self, x: x @ self.held["w"], w=fe.ones(n, m, requires_grad=True))


def chain(**parts):
    def forward(self, x):
        for part in self.held.values():
            x = part(x)
        return x

    return Part(forward, **parts)


@pytest.fixture
def model():
    return chain(first=layer(3, 4), rest=chain(inner=layer(4, 2)))


def test_the_table_and_its_numbers(model):
    model.held["first"].held["w"].requires_grad_(False)
    found = fe.summary(model, (5, 3))
    assert str(found) == repr(found)
    assert str(found).split("\n") == [
        "Layer            Output shape  Parameters  Trainable",
        "----------------------------------------------------",
        "Part             (5, 2)",
        "  first: Part    (5, 4)                12          0",
        "  rest: Part     (5, 2)",
        "    inner: Part  (5, 2)                 8          8",
        "----------------------------------------------------",
        "Parameters: 20 (8 trainable, 12 not)",
        "Size: parameters 0.00 MB, buffers 0.00 MB, input 0.00 MB, outputs 0.00 MB",
    ]
    assert (found.parameters, found.trainable) == (20, 8)
    assert (found.parameter_bytes, found.buffer_bytes, found.input_bytes) == (80, 20, 60)
    assert found.output_bytes == 4 * (5 * 4 + 5 * 2)
    assert [row.name for row in found.rows] == ["", "first", "rest", "rest.inner"]
    assert [row.depth for row in found.rows] == [0, 1, 1, 2]


def test_without_an_input_there_are_no_shapes(model):
    found = fe.summary(model)
    assert [row.output for row in found.rows] == [None] * 4
    assert (found.parameters, found.input_bytes, found.output_bytes) == (20, 0, 0)


def test_tensors_shapes_several_and_keywords(model):
    def forward(self, a, b=None, *, scale=1):
        return {"sum": self.held["of"](a) * scale, "more": (a, [b]), "text": "x"}

    two = Part(forward, of=model)
    for given in [
        [(5, 3), (7,)],
        ((5, 3), fe.ones(7)),
        {"a": fe.ones(5, 3), "b": [7], "scale": 2},
    ]:
        found = fe.summary(two, given)
        assert found.rows[0].output == {"sum": (5, 2), "more": [(5, 3), [(7,)]], "text": "str"}
        assert found.input_bytes == 4 * (15 + 7)
    assert fe.summary(two, fe.ones(5, 3)).rows[0].output["more"] == [(5, 3), ["NoneType"]]
    assert fe.summary(Part(), ()).rows[0].output == ()


def test_the_dtype_and_device_of_zeros(model):
    seen = []
    watch = Part(lambda self, x: seen.append((x.dtype, x.device)), of=model)
    fe.summary(watch, (2,), dtype=fe.int64)
    fe.summary(watch, (2,), device="reference")
    assert seen[0] == (fe.int64, model.held["first"].held["w"].device)
    assert seen[1] == (fe.float32, fe.device("reference"))


def test_what_is_used_twice_counts_once():
    shared = layer(3, 3)
    tied = Part(lambda self, x: x @ self.held["w"], w=shared.held["w"])
    found = fe.summary(chain(a=shared, b=tied), (2, 3))
    assert [row.parameters for row in found.rows] == [0, 9, 0]
    twice = Part(lambda self, x: self.held["a"](self.held["a"](x)), a=shared)
    assert [row.calls for row in fe.summary(twice, (2, 3)).rows] == [1, 2]
    assert fe.summary(twice, (2, 3)).output_bytes == 2 * 4 * 6


@pytest.mark.parametrize("fails", [False, True])
def test_all_is_as_before_afterwards(model, fails):
    modes, weight = [], model.held["first"].held["w"]

    def forward(self, x):
        modes.append((self.training, self.held["of"].training))
        assert not fe.is_grad_enabled()
        fe.rand(3)
        self.held["of"](x)
        if fails:
            raise KeyError("mine")

    outer = Part(forward, of=model)
    outer.hooks.append(print)
    model.training = False
    weight.grad = fe.ones(3, 4)
    state = fe.get_rng_state()
    if fails:
        with pytest.raises(KeyError, match="mine"):
            fe.summary(outer, (2, 3))
    else:
        fe.summary(outer, (2, 3))
    assert modes == [(False, False)]
    assert (outer.training, model.training) == (True, False)
    assert (outer.hooks, model.hooks) == ([print], [])
    assert fe.get_rng_state() == state
    assert weight.grad.tolist() == fe.ones(3, 4).tolist()
    assert fe.is_grad_enabled()


def test_the_model_must_be_one():
    with pytest.raises(OperandError, match="summary: expected a module, got int"):
        fe.summary(3, (2,))
