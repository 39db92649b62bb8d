"""The forward pass: packed, without padding, for BERT-like architectures; padded for others.

In a packed batch the tokens of all texts form one row, so linear layers compute no padding. Attention works text by
text: with the variable-length kernel on GPUs that have it, in a padded rectangle on other GPUs, with one call per
length on CPUs. BERT-like classifiers read only the first token, so the last layer is computed for that token only.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask

from common.training.compute.attention import Packed, choose_attention, find_runs, has_varlen_kernel
from common.training.compute.devices import Device
from common.training.encoders.architectures import PADDING_MATTERS, POSITIONS_AFTER_PADDING
from common.training.encoders.pooling import encoder_layers

_compiled: list[tuple] = []  # the shapes of the weights of the encoder that was compiled last


def choose_mode(model: PreTrainedModel, device: Device) -> str:
    """How to compute batches of this model on this device.

    "varlen", "rectangle" and "packed" are packed and differ in their attention: the variable-length kernel of modern
    GPUs, a masked rectangle, one call per length on CPUs. "padded" is the architecture's own forward pass.
    The kernel needs CUDA, compute capability 8.0, bf16, no attention dropout, and a supported head size.
    """
    if encoder_layers(model) is None:
        return "padded"
    if device.device.type == "cpu":
        return "packed"
    config = model.config
    head_size = config.hidden_size // config.num_attention_heads
    fitting = device.device.type == "cuda" and device.precision == "bf16" and head_size % 8 == 0 and head_size <= 256
    if fitting and not config.attention_probs_dropout_prob and has_varlen_kernel(device.device):
        return "varlen"
    return "rectangle"


def compile_layers(model: PreTrainedModel) -> None:
    """Compile the layers. BERT-like layers share one graph before attention and one after it.

    Attention is not compiled, so the graphs depend only on the number of tokens, not on the texts, and few are needed.
    An encoder of another shape than the one before begins with none: torch compiles a function eight times at most.
    """
    shape = tuple(tuple(parameter.shape) for parameter in model.base_model.parameters())
    if _compiled and shape != _compiled[-1]:
        torch.compiler.reset()
    _compiled[:] = [shape]
    if encoder_layers(model) is None:
        model.compile(dynamic=True)
    else:
        vars(model)["layer_parts"] = torch.compile(_project, dynamic=True), torch.compile(_finish, dynamic=True)


def compute_logits(model: PreTrainedModel, batch: Packed, mode: str) -> torch.Tensor:
    """Logits [texts, classes] of a packed batch, in the given mode (see `choose_mode`)."""
    if mode == "padded" and model.config.model_type in PADDING_MATTERS:
        return torch.cat([model(input_ids=ids).logits for ids in _rectangles(batch)])
    stack = encoder_layers(model)
    if mode == "padded" or stack is None:
        return _padded_logits(model, batch)
    base: Any = model.base_model  # BERT-like: embeddings, encoder, perhaps a pooler
    positions = batch.places
    if base.config.model_type in POSITIONS_AFTER_PADDING:
        positions = _positions_after_padding(batch, base.embeddings.padding_idx)
    hidden = base.embeddings(input_ids=batch.ids[None], position_ids=positions[None])  # [1, tokens, h]
    if hasattr(base, "embeddings_project"):
        hidden = base.embeddings_project(hidden)
    hidden = hidden.squeeze(0)
    attend, segments = choose_attention(batch, mode, hidden.dtype)
    *layers, last = stack
    for layer in layers:
        hidden = _run(model, layer, hidden, attend, segments)
    if getattr(model.config, "mean_pooling_layer", False):
        summary = _mean_pooling_layer(last, hidden, batch)
    else:
        summary = _first_token_layer(last, hidden, batch, attend, segments)
    head: Any = model
    if getattr(base, "pooler", None) is not None:
        return head.classifier(head.dropout(base.pooler(summary[:, None])))
    return head.classifier(summary[:, None])  # both read the first of [texts, 1, h]


def _positions_after_padding(batch, padding):
    """Positions [tokens] from `padding` + 1. The library does not count the id `padding`, even within a text.

    A text holds this id if it spells the padding token, or if the configuration's padding is not the tokenizer's.
    """
    counts = (batch.ids != padding).long()
    total = counts.cumsum(0)
    before = (total - counts).index_select(0, batch.starts[:-1])  # [texts]
    return (total - before[batch.owner]) * counts + padding


def _run(model, layer, *inputs):
    """`_layer`, with the parts that `compile_layers` compiled, and with activation checkpointing if enabled."""
    inputs = layer, *inputs, *getattr(model, "layer_parts", (_project, _finish))
    if layer.gradient_checkpointing and layer.training:
        return checkpoint(_layer, *inputs, use_reentrant=False)
    return _layer(*inputs)


def _layer(layer, hidden, attend, segments, project, finish):
    """The encoder layer: hidden [tokens, h] -> [tokens, h]."""
    attention = layer.attention.self
    projected = project(hidden, attention.query, attention.key, attention.value)
    return finish(layer, attend(attention, None, projected, **segments), hidden)


def _first_token_layer(layer, hidden, batch, attend, segments):
    """The encoder layer's output for the first token of each text: hidden [tokens, h] -> [texts, h]."""
    attention = layer.attention.self
    first = hidden.index_select(0, batch.starts[:-1])  # [texts, h]
    query = _project(first, attention.query)
    return _finish(layer, attend(attention, query, _project(hidden, attention.key, attention.value), **segments), first)


def _project(hidden, *layers):
    """Several linear layers in one product: hidden [tokens, h] -> [tokens, layers x h]."""
    return functional.linear(
        hidden, torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
    )


def _finish(layer, context, hidden):
    """The part of a layer after attention: context and hidden [tokens, h] -> [tokens, h]."""
    return layer.feed_forward_chunk(layer.attention.output(context, hidden))


def _mean_pooling_layer(layer, hidden, batch):
    """The pooling layer (encoders/pooling.py), computed without its constant matrices: [tokens, h] -> [texts, h]."""
    total = torch.zeros(len(batch.lengths), hidden.shape[1], device=hidden.device)
    mean = total.index_add(0, batch.owner, hidden.float()) / batch.starts.diff()[:, None]
    first = hidden.index_select(0, batch.starts[:-1])
    return _finish(layer, mean.to(hidden.dtype), first)


def _rectangles(batch):
    """The token ids without padding: one [texts, length] for each run of texts of equal length."""
    for begin, texts, length in find_runs(batch.lengths):
        yield batch.ids[begin : begin + texts * length].view(texts, length)


def _padded_logits(model, batch):
    """The model's own forward pass on a rectangle [texts, longest]; padding is masked."""
    shape = len(batch.lengths), max(batch.lengths)
    ids = torch.full(shape, model.config.pad_token_id or 0, device=batch.ids.device)
    ids = ids.index_put_((batch.owner, batch.places), batch.ids)
    mask = torch.arange(shape[1], device=ids.device) < batch.starts.diff()[:, None]
    with _always_masked():
        return model(input_ids=ids, attention_mask=mask.long()).logits


@contextlib.contextmanager
def _always_masked() -> Iterator[None]:
    """Within this context, transformers always makes a mask for SDPA and does not check for padding.

    That check would make a GPU wait, and would add compiled graphs for batches without padding.
    """
    ALL_MASK_ATTENTION_FUNCTIONS["sdpa"] = _mask_unseen
    try:
        yield
    finally:
        del ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]


def _mask_unseen(*sizes, **settings):
    return sdpa_mask(*sizes, **settings | {"allow_is_bidirectional_skip": False})
