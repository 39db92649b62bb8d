"""The packed forward pass equals the architectures' own; batches hold what they should."""

import functools
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

import common.training.compute.attention
import common.training.compute.forward
from common.training.compute.attention import has_varlen_kernel
from common.training.compute.devices import Device
from common.training.compute.forward import choose_mode, compile_layers, compute_logits
from common.training.encoders.pooling import add_mean_pooling
from common.training.tokens import Encoded, TokenStore, deal_batches, split_by_length

CPU = Device(torch.device("cpu"), "fp32")
SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "num_labels": 4,
    "pad_token_id": 1,
}
FAMILIES = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**SIZES)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**SIZES)),
    "xlm-roberta": lambda: XLMRobertaForSequenceClassification(XLMRobertaConfig(**SIZES)),
    "electra": lambda: ElectraForSequenceClassification(ElectraConfig(embedding_size=8, **SIZES)),
}


def make(family, pooling="first"):
    torch.manual_seed(0)
    model = FAMILIES[family]()
    for parameter in model.parameters():  # the usual 0.02 would hide errors behind nearly equal attention weights
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    if pooling == "mean":
        add_mean_pooling(model)
    return model.eval()


def texts(*lengths, seed=0):
    draw = np.random.default_rng(seed)
    return Encoded(draw.integers(2, 50, sum(lengths)).astype(np.int32), np.cumsum([0, *lengths]))


def library_logits(model, encoded, row):
    """One text through the library's own forward pass: no padding, no packing."""
    model.config._attn_implementation = "eager"
    ids = torch.from_numpy(encoded.tokens[encoded.offsets[row] : encoded.offsets[row + 1]]).long()
    return model(input_ids=ids[None]).logits[0]


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_packed_equals_the_librarys_forward_pass(family, pooling):
    model = make(family, pooling)
    encoded = texts(7, 3, 7, 12, 1)
    batch = TokenStore(encoded, torch.device("cpu")).gather(np.array([0, 2, 3, 1, 4]))
    for mode in ("packed", "rectangle", "padded"):
        logits = compute_logits(model, batch, mode)
        expected = torch.stack([library_logits(model, encoded, row) for row in (0, 2, 3, 1, 4)])
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert expected.std(dim=0).min() > 1e-3  # the texts differ: equality says something


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_padding_id_within_a_text_has_the_librarys_position(family):
    model = make(family, "mean")
    encoded = texts(7, 3, 12)
    usual = library_logits(model, encoded, 0)
    encoded.tokens[[1, 4, 5, 7, 21]] = SIZES["pad_token_id"]
    batch = TokenStore(encoded, torch.device("cpu")).gather(np.arange(3))
    expected = torch.stack([library_logits(model, encoded, row) for row in range(3)])
    for mode in ("packed", "rectangle"):
        torch.testing.assert_close(compute_logits(model, batch, mode), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(usual, expected[0], rtol=0.01)


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("mode", ["packed", "rectangle", "varlen"])
def test_gradients_equal_the_librarys(mode, pooling, kernel):
    encoded = texts(5, 9, 5)
    gradients = []
    for ours in (True, False):
        model = make("bert", pooling)
        if ours:
            logits = compute_logits(model, TokenStore(encoded, torch.device("cpu")).gather(np.arange(3)), mode)
        else:
            logits = torch.stack([library_logits(model, encoded, row) for row in range(3)])
        logits.square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    assert bool(kernel) == (mode == "varlen")
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-5, msg=name)


def test_bf16_attention_on_a_cpu_stays_close_to_fp32():
    """It takes another way than fp32: see _scaled_dot_product."""
    encoded, found = texts(5, 9, 9), []
    for precision in ("fp32", "bf16"):
        model = make("bert").eval()
        with Device(torch.device("cpu"), precision).autocast():
            batch = TokenStore(encoded, torch.device("cpu")).gather(np.arange(3))
            logits = compute_logits(model, batch, "packed").float()
        logits.square().sum().backward()
        found.append((logits.detach(), model.base_model.encoder.layer[0].attention.self.query.weight.grad))
    for exact, rounded in zip(*found, strict=True):
        assert not torch.equal(exact, rounded)
        torch.testing.assert_close(rounded, exact, rtol=0.1, atol=0.03 * float(exact.abs().max()))


@torch.no_grad()
def test_mean_pooling_layer_is_the_mean():
    model = make("bert")
    encoded = texts(6)
    ids = torch.from_numpy(encoded.tokens).long()[None]
    hidden = model.bert(ids).last_hidden_state[0]
    add_mean_pooling(model)
    pooled = model.bert(ids).last_hidden_state[0, 0]
    expected = torch.nn.functional.layer_norm(hidden.mean(0) + hidden[0] / 64, [16])
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-4)
    assert model.config.num_hidden_layers == len(model.bert.encoder.layer) == 4


@pytest.fixture
def kernel():
    """The variable-length kernel for CPUs, in plain products: torch's own operator calls it, forward and backward.

    Yields the list of its calls: (number of texts, most queries a text).
    """
    calls = []

    def by_text(query, key, value, cu_q, cu_k, max_q, max_k, scale, *others):
        """Per text [heads, length, size] of each, and the attention weights."""
        assert cu_q.dtype == cu_k.dtype == torch.int32 and cu_q[-1] == len(query) and cu_k[-1] == len(key)
        assert (max_q, max_k) == (cu_q.diff().max(), cu_k.diff().max())
        assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1 and query.shape[-1] % 8 == 0
        calls.append((len(cu_q) - 1, max_q))
        for (a, b), (c, d) in zip(pairwise(cu_q.tolist()), pairwise(cu_k.tolist()), strict=True):
            parts = (query[a:b], key[c:d], value[c:d], *(x[a:b] for x in others))
            q, k, v, *rest = (x.transpose(0, 1) for x in parts)
            yield q, k, v, (q @ k.mT * scale).softmax(-1), *rest

    def forward(query, key, value, cu_q, cu_k, max_q, max_k, dropout, causal, debug, *, scale=None, **_):
        assert dropout == 0 and not causal and not debug
        texts = by_text(query, key, value, cu_q, cu_k, max_q, max_k, scale)
        output = torch.cat([(weights @ v).transpose(0, 1) for _, _, v, weights in texts])
        unused = torch.zeros(2, dtype=torch.uint64)
        return output, torch.zeros(query.shape[1], len(query)), unused, unused.clone(), torch.empty(0)

    def backward(gradient, query, key, value, output, lse, cu_q, cu_k, max_q, max_k, *_, scale=None, **__):
        found = []
        for q, k, v, weights, dout in by_text(query, key, value, cu_q, cu_k, max_q, max_k, scale, gradient):
            of_weights = dout @ v.mT
            of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdim=True)) * scale
            found.append([x.transpose(0, 1) for x in (of_scores @ k, of_scores.mT @ q, weights.mT @ dout)])
        return tuple(map(torch.cat, zip(*found, strict=True)))

    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", forward, "CPU")
    library.impl("_flash_attention_backward", backward, "CPU")
    yield calls
    library._destroy()


@pytest.mark.parametrize("pooling", ["first", "mean"])
@torch.no_grad()
def test_the_variable_length_operator(kernel, pooling):
    """The mode of modern GPUs, by torch's own operator."""
    model = make("roberta", pooling)
    encoded = texts(4, 11, 6)
    batch = TokenStore(encoded, torch.device("cpu")).gather(np.arange(3))
    expected = torch.stack([library_logits(model, encoded, row) for row in range(3)])
    torch.testing.assert_close(compute_logits(model, batch, "varlen"), expected, rtol=1e-4, atol=1e-5)
    one_query = [(3, 1)] if pooling == "first" else []  # the last layer: the first tokens alone ask
    assert kernel == [(3, 11)] * (2 if pooling == "first" else 3) + one_query


@pytest.mark.parametrize(
    ("hidden", "heads", "expected"), [(64, 8, "varlen"), (24, 2, "rectangle"), (528, 2, "rectangle")]
)
def test_heads_that_the_kernel_lacks_take_the_rectangle(monkeypatch, hidden, heads, expected):
    monkeypatch.setattr(common.training.compute.forward, "has_varlen_kernel", lambda device: True)
    sizes = SIZES | {"hidden_size": hidden, "num_attention_heads": heads, "num_hidden_layers": 1}
    model = BertForSequenceClassification(BertConfig(attention_probs_dropout_prob=0.0, **sizes))
    gpu = Device(torch.device("cuda"), "bf16")
    assert choose_mode(model, gpu) == expected
    assert choose_mode(model, replace(gpu, precision="fp16")) == "rectangle"
    assert choose_mode(model, Device(torch.device("mps"), "fp32")) == "rectangle"
    model.config.attention_probs_dropout_prob = 0.1
    assert choose_mode(model, gpu) == "rectangle"


@pytest.fixture
def few_graphs():
    """Dynamo keeps some graphs of a function and then computes uncompiled. Here it keeps half as many, and raises."""
    torch._dynamo.reset()
    limit = torch._dynamo.config.recompile_limit // 2
    with torch._dynamo.config.patch(recompile_limit=limit, fail_on_recompile_limit_hit=True):
        yield
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    torch._dynamo.reset()


SHAPES = ((9, 4, 6), (7, 7), (5,), (12, 1), (3, 3, 3, 3, 3), (20, 2), (8,), (6, 13, 2, 2), (11, 11, 4))


@pytest.mark.parametrize(
    "mode", ["varlen", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("packed", "rectangle"))]
)
def test_compiled_layers_are_few_graphs_and_compute_the_same(monkeypatch, few_graphs, kernel, mode):
    """However many texts of whatever length."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    plain, compiled = make("bert", "mean"), make("bert", "mean")
    compile_layers(compiled)
    for lengths in SHAPES:
        batch = TokenStore(texts(*lengths), torch.device("cpu")).gather(np.arange(len(lengths)))
        expected, found = (compute_logits(model, batch, mode) for model in (plain, compiled))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        found.sum().backward()
    with torch.inference_mode():
        for lengths in SHAPES:
            compute_logits(
                compiled, TokenStore(texts(*lengths), torch.device("cpu")).gather(np.arange(len(lengths))), mode
            )


def test_a_kernel_without_scale_is_not_used(monkeypatch):
    """As in torch 2.10, which such a GPU may run."""

    def varlen_attn(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None):
        return query

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for kernel, usable in ((varlen_attn, False), (lambda *given, scale: given[0], True)):
        monkeypatch.setattr(common.training.compute.attention, "varlen_attn", kernel)
        has_varlen_kernel.cache_clear()
        assert has_varlen_kernel(torch.device("cpu")) is usable
    has_varlen_kernel.cache_clear()


def test_each_encoder_of_an_ensemble_is_compiled(monkeypatch, few_graphs):
    """torch compiles a function eight times at most; the graphs of the encoder before do not count."""
    from torch._dynamo.testing import CompileCounter  # loads torch's compiler

    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    graphs = []
    for hidden in (16, 24, 32, 32):
        model = BertForSequenceClassification(BertConfig(**SIZES | {"hidden_size": hidden, "num_hidden_layers": 2}))
        compile_layers(model)
        before = counter.frame_count
        for lengths in SHAPES[:2]:
            batch = TokenStore(texts(*lengths), torch.device("cpu")).gather(np.arange(len(lengths)))
            compute_logits(model, batch, "packed").sum().backward()
        with torch.inference_mode():
            compute_logits(model.eval(), batch, "packed")
        graphs.append(counter.frame_count - before)
    assert graphs[0] == graphs[1] == graphs[2] > 0 and graphs[3] == 0  # another seed shares them


@pytest.mark.slow  # a whole model is captured again and again
def test_a_compiled_padded_model_is_few_graphs(monkeypatch, few_graphs):
    compile_module = functools.partialmethod(torch.nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(torch.nn.Module, "compile", compile_module)
    model = DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32, num_labels=3)
    )
    compile_layers(model)
    for lengths in SHAPES:
        batch = TokenStore(texts(*lengths), torch.device("cpu")).gather(np.arange(len(lengths)))
        compute_logits(model, batch, "padded").sum().backward()


@torch.no_grad()
def test_other_architectures_are_padded():
    torch.manual_seed(0)
    model = DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32, num_labels=3)
    ).eval()
    assert choose_mode(model, CPU) == "padded"
    encoded = texts(5, 2)
    batch = TokenStore(encoded, torch.device("cpu")).gather(np.arange(2))
    expected = torch.stack([library_logits(model, encoded, row) for row in range(2)])
    torch.testing.assert_close(compute_logits(model, batch, "padded"), expected, rtol=1e-4, atol=1e-5)


def test_attention_dropout_acts_on_the_packed_path():
    model = make("bert")
    batch = TokenStore(texts(8, 8), torch.device("cpu")).gather(np.arange(2))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    assert torch.equal(compute_logits(model, batch, "packed"), compute_logits(model, batch, "packed"))
    for layer in model.bert.encoder.layer[:-1]:
        layer.attention.self.dropout.p = 0.5
    assert not torch.equal(compute_logits(model, batch, "packed"), compute_logits(model, batch, "packed"))


def test_gather_returns_the_texts():
    encoded = texts(4, 2, 6)
    batch = TokenStore(encoded, torch.device("cpu")).gather(np.array([2, 0]))
    assert batch.lengths == (6, 4)
    assert batch.ids.tolist() == [*encoded.tokens[6:12], *encoded.tokens[0:4]]
    assert batch.places.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert batch.starts.tolist() == [0, 6, 10]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 200), st.booleans())
@settings(max_examples=100, deadline=None)
def test_microbatches_hold_every_row_once_within_the_budget(lengths, budget, padded):
    lengths = np.array(lengths)
    parts = split_by_length(np.arange(len(lengths)), lengths, budget, padded)
    assert sorted(row for part in parts for row in part) == list(range(len(lengths)))
    for part in parts:
        cost = len(part) * lengths[part].max() if padded else lengths[part].sum()
        assert cost <= budget or len(part) == 1
    ordered = np.concatenate([lengths[part] for part in parts])
    assert (np.diff(ordered) <= 0).all()


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_batches_are_a_seeded_permutation(rows, size, seed, epoch):
    batches = deal_batches(rows, size, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(rows))
    assert all(len(batch) == size for batch in batches[:-1])
    again = deal_batches(rows, size, seed, epoch)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))
    if rows > 20:
        assert (np.concatenate(batches) != np.concatenate(deal_batches(rows, size, seed, epoch + 1))).any()
