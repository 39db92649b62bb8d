"""Dropout from random words: torch.nn.Dropout's behaviour, with torch's generator deciding."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.training.compute.dropout import WordDropout, drop, use_word_dropout


@given(st.lists(st.integers(0, 5), max_size=3), st.floats(0, 0.9), st.sampled_from([torch.float32, torch.bfloat16]))
def test_values_are_zero_or_scaled(shape, rate, dtype):
    x = torch.ones(shape, dtype=dtype)
    torch.manual_seed(1)
    out = drop(x, rate)
    assert out.shape == x.shape and out.dtype == dtype
    scale = torch.tensor(1 / (1 - round(rate * 65536) / 65536)).to(dtype)
    assert ((out == 0) | (out == scale)).all()
    torch.manual_seed(1)
    assert torch.equal(drop(x, rate), out)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_the_share_is_the_rate_at_every_place_of_a_word(rate):
    torch.manual_seed(0)
    zeros = (drop(torch.ones(400_000), rate) == 0).double().view(-1, 4)
    deviation = (rate * (1 - rate) / 100_000) ** 0.5
    assert (zeros.mean(0) - rate).abs().max() <= 5 * deviation
    together = (zeros[:, 0] * zeros[:, 1]).mean()  # neighbours are independent
    assert abs(together - rate**2) <= 5 * (rate**2 * (1 - rate**2) / 100_000) ** 0.5


def test_gradients_pass_where_values_did():
    x = torch.arange(1.0, 101.0, requires_grad=True)
    torch.manual_seed(0)
    out = drop(x, 0.25)
    out.sum().backward()
    assert torch.allclose(x.grad * x, out) and 0 < (x.grad == 0).sum() < 60


def test_a_model_keeps_its_weights_and_its_outputs_in_evaluation():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 2))
    before = copy.deepcopy(model)
    use_word_dropout(model)
    assert isinstance(model[1], WordDropout) and model[1].p == 0.5
    x = torch.randn(3, 4)
    assert torch.equal(model.eval()(x), before.eval()(x))
    model.train()
    assert not torch.equal(model(x), model(x))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))
