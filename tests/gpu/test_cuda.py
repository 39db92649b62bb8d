"""What only a GPU can show; `python -m benchmarks.gpu` runs this first. The agreements run on CPUs too."""

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from benchmarks.workload import peak_memory, plain_recipe, reset_peak_memory
from common.training.compute.devices import open_device
from common.training.compute.forward import compile_layers
from common.training.compute.memory import ACTIVATION_BYTES
from common.training.step import Step
from common.training.tokens import Encoded

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
SMALL = {"vocab_size": 1000, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
STEPS = 6


def has_bf16():
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


with_bf16 = pytest.mark.skipif(not has_bf16(), reason="needs compute capability 8.0")
PRECISIONS = ["fp32", "fp16", pytest.param("bf16", marks=with_bf16)]


def make(layers=2, **sizes):
    """A BERT without dropout, so that runs can be compared."""
    torch.manual_seed(0)
    config = BertConfig(
        **{**SMALL, **sizes},
        num_hidden_layers=layers,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertForSequenceClassification(config)


def articles(rows=48, longest=128):
    draw = np.random.default_rng(0)
    lengths = draw.integers(8, longest + 1, rows)
    return Encoded(draw.integers(5, 1000, lengths.sum()).astype(np.int32), np.cumsum([0, *lengths]))


def train(model, device, mode=None, budget=None, texts=None, steps=STEPS, print_line=print):
    """The step object after `steps` steps of 8 texts, and their losses."""
    texts = texts or articles()
    rows = len(texts.lengths)
    step = Step(model, texts, np.arange(rows) % 3, plain_recipe(8), 0, device, budget, print_line)
    step.mode = mode or step.mode
    step.begin_epoch(0)
    for number in range(steps):
        step(number, np.arange(8 * number, 8 * number + 8) % rows, 1.0)
    return step, step.read_losses()


def here(precision):
    return open_device("auto", precision, distributed=False)


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=on_cuda)])
def test_16_bits_train_as_32_bits_do(precision):
    if precision == "bf16" and torch.cuda.is_available() and not has_bf16():
        pytest.skip("this GPU has no bf16")
    exact, rounded = (train(make(), here(name))[1] for name in ("fp32", precision))
    assert rounded == pytest.approx(exact, abs=0.02)
    assert rounded != exact
    assert exact[-1] != pytest.approx(exact[0], abs=1e-3)  # it has learned something


def test_all_modes_agree():
    device = here("fp32")
    modes = ["rectangle", "padded", *([] if torch.cuda.is_available() else ["packed"])]
    expected = train(make(), device, modes[0])[1]
    for mode in modes[1:]:
        assert train(make(), device, mode)[1] == pytest.approx(expected, abs=1e-3)


@on_cuda
@with_bf16
def test_the_variable_length_kernel_is_there_and_agrees():
    device = here("bf16")
    step, losses = train(make(), device)
    assert step.mode == "varlen"
    assert losses == pytest.approx(train(make(), device, "rectangle")[1], abs=0.02)


@on_cuda
def test_compiled_layers_agree():
    device = here("auto")
    model = make()
    compile_layers(model)
    assert train(model, device)[1] == pytest.approx(train(make(), device)[1], abs=0.02)


@on_cuda
@pytest.mark.parametrize(
    "precision", ["fp32", "fp16", pytest.param("bf16", marks=pytest.mark.skipif(not has_bf16(), reason="no bf16"))]
)
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_step_waits_for_nothing(precision, kind):
    model = make()
    if kind == "distilbert":
        model = DistilBertForSequenceClassification(
            DistilBertConfig(vocab_size=1000, dim=256, n_layers=2, n_heads=4, hidden_dim=512, num_labels=3)
        )
    step, _ = train(model, here(precision), steps=2)  # the optimizer's state is there
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(2, 5):
            step(number, np.arange(8 * number, 8 * number + 8), 1.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(step.read_losses()) == 3


@on_cuda
def test_a_full_memory_is_recovered_from():
    """Memory for about half of a batch: the step goes on in smaller parts and computes the same."""
    device, texts = here("fp32"), articles(rows=8, longest=512)
    texts = Encoded(np.resize(texts.tokens, 8 * 512), np.arange(9) * 512)
    expected = train(make(layers=6), device, texts=texts, budget=512, steps=2)[1]
    lines = []
    torch.cuda.empty_cache()
    reset_peak_memory(device)
    train(make(layers=6), device, texts=texts, budget=10**9, steps=1)
    whole, total = torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(device.device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.6 * whole / total)
    try:
        step, losses = train(make(layers=6), device, texts=texts, budget=8 * 512, steps=2, print_line=lines.append)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert lines and "GPU memory is full" in lines[0] and step.budget < 8 * 512
    assert losses == pytest.approx(expected, abs=1e-3)


@on_cuda
@pytest.mark.parametrize(
    "precision", ["fp32", "fp16", pytest.param("bf16", marks=pytest.mark.skipif(not has_bf16(), reason="no bf16"))]
)
def test_peak_memory_stays_below_the_estimate(precision):
    """The growth from one budget to another, as in benchmarks/speed/memory.py: libraries' own memory cancels out."""
    device, peaks, tokens = here(precision), [], (2048, 8192)
    for budget in tokens:
        texts = Encoded(
            np.random.default_rng(0).integers(5, 1000, budget).astype(np.int32), np.arange(0, budget + 1, 256)
        )
        model = make(layers=6)
        reset_peak_memory(device)
        step = Step(model, texts, np.zeros(budget // 256, dtype=np.int64), plain_recipe(8), 0, device, budget)
        step.begin_epoch(0)
        for number in range(2):
            step(number, np.arange(budget // 256), 1.0)
        peaks.append(peak_memory(device))
    bytes_a_token = 6 * SMALL["hidden_size"] * ACTIVATION_BYTES * (2 if precision == "fp32" else 1)
    assert peaks[1] - peaks[0] <= bytes_a_token * (tokens[1] - tokens[0])
