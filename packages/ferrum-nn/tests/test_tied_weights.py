"""An Embedding and a Linear that share one Parameter, as the two ends of a language model do."""

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn


class Tied(nn.Module):
    """Tokens (n,) to scores (n, 5), by one matrix at both ends."""

    def __init__(self):
        self.embed = nn.Embedding(5, 3, dtype=fe.float64)
        self.head = nn.Linear(3, 5, bias=False, dtype=fe.float64)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.embed(tokens).tanh())


TOKENS, NEXT = fe.tensor([0, 3, 3, 1]), fe.tensor([3, 3, 1, 4])


def loss_of(model):
    return nn.functional.cross_entropy(model(TOKENS), NEXT)


def test_one_parameter_under_two_names():
    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["embed.weight"]
    both = dict(model.named_parameters(remove_duplicate=False))
    assert list(both) == ["embed.weight", "head.weight"]
    assert both["embed.weight"] is both["head.weight"]


def test_the_gradient_is_the_sum_of_both_ends():
    model = Tied()
    loss_of(model).backward()
    table = model.embed.weight.detach()
    lower, upper = (table.clone().requires_grad_() for _ in range(2))
    picked = nn.functional.embedding(TOKENS, lower).tanh()
    loss = nn.functional.cross_entropy(nn.functional.linear(picked, upper), NEXT)
    one, two = fe.grad(loss, [lower, upper])
    np.testing.assert_allclose(model.embed.weight.grad.numpy(), (one + two).numpy(), rtol=1e-12)


def test_the_gradient_is_that_of_differences_in_two_orders():
    def loss(table):
        scores = nn.functional.embedding(TOKENS, table).tanh() @ table.T
        return nn.functional.cross_entropy(scores, NEXT)

    table = Tied().embed.weight
    assert fe.gradcheck(loss, (table,))
    assert fe.gradgradcheck(loss, (table,))


def test_the_state_has_both_names_and_loads_into_one():
    model, other = Tied(), Tied()
    state = model.state_dict()
    assert list(state) == ["embed.weight", "head.weight"]
    assert other.load_state_dict(state) == ([], [])
    assert other.head.weight is other.embed.weight
    np.testing.assert_array_equal(other(TOKENS).detach().numpy(), model(TOKENS).detach().numpy())


@pytest.mark.parametrize("kind", [nn.optim.SGD, nn.optim.AdamW])
def test_an_optimizer_steps_it_once(kind):
    model = Tied()
    optimizer = kind(model.parameters(), lr=0.1)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 1
    before = model.embed.weight.detach().clone()
    lone = before.clone().requires_grad_()
    loss_of(model).backward()
    lone.grad = model.embed.weight.grad.clone()
    optimizer.step()
    kind([lone], lr=0.1).step()
    np.testing.assert_array_equal(model.head.weight.detach().numpy(), lone.detach().numpy())
    assert model.head.weight is model.embed.weight


def test_it_stays_one_through_training():
    model = Tied()
    optimizer = nn.optim.Adam(model.parameters(), lr=0.05)
    first = loss_of(model).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    assert loss_of(model).item() < first / 2
    assert model.head.weight is model.embed.weight


def test_a_saved_file_gives_it_back(tmp_path):
    model, other = Tied(), Tied()
    fe.save_file(model.state_dict(), tmp_path / "tied.safetensors")
    other.load_state_dict(fe.load_file(tmp_path / "tied.safetensors"))
    assert other.head.weight is other.embed.weight
    np.testing.assert_array_equal(other(TOKENS).detach().numpy(), model(TOKENS).detach().numpy())
