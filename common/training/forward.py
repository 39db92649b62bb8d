"""The forward pass: packed (no padding at all) where the architecture allows, padded otherwise.

Packed, the tokens of all texts of a batch stand in one row: linear layers waste nothing on padding, and attention
works text by text, by the variable-length kernel on GPUs that have it, by one call per length elsewhere. BERT-like
classifiers read the first token alone, so the last layer is computed for that token only.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional
from transformers import AttentionInterface

from common.training.architectures import PADDING_MATTERS, POSITIONS_AFTER_PADDING
from common.training.pooling import encoder_layers

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None


@dataclass(frozen=True)
class Packed:
    """A batch of texts, one after another."""

    ids: torch.Tensor  # [tokens] int64
    places: torch.Tensor  # [tokens] int64, the position of each token in its text
    starts: torch.Tensor  # [texts + 1] int32, where each text begins; the last entry is the number of tokens
    lengths: tuple[int, ...]  # [texts], the same on the host


def choose_mode(model, device):
    """How batches of this model are computed on this Device: "varlen", "packed" or "padded".

    The variable-length kernel needs CUDA, compute capability 8.0 and bf16; attention dropout rules it out.
    """
    if encoder_layers(model) is None:
        return "padded"
    if device.device.type == "cpu":
        return "packed"
    fitting = device.device.type == "cuda" and device.precision == "bf16"
    if fitting and not model.config.attention_probs_dropout_prob and _has_varlen_kernel(device.device):
        return "varlen"
    return "padded"


@cache
def _has_varlen_kernel(device):
    """Whether the kernel runs here: builds and GPUs differ, and one small call tells."""
    if varlen_attn is None or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    row = torch.ones(8, 1, 64, device=device, dtype=torch.bfloat16)
    starts = torch.tensor([0, 3, 8], device=device, dtype=torch.int32)
    try:
        return bool(varlen_attn(row, row, row, starts, starts, 5, 5).isfinite().all())
    except (RuntimeError, NotImplementedError):
        return False


def compile_layers(model):
    """Compile every encoder layer by itself, in place: the layers share one compiled graph, compiling stays short."""
    for layer in encoder_layers(model) or [model]:
        layer.compile(dynamic=True)


def compute_logits(model, batch, mode):
    """Logits [texts, classes] of a packed batch, in the given mode (see `choose_mode`)."""
    if mode == "padded" and model.config.model_type in PADDING_MATTERS:
        return torch.cat([model(input_ids=ids).logits for ids in _rectangles(batch)])
    if mode == "padded":
        return _padded_logits(model, batch)
    _register_attention()
    model.config._attn_implementation = "text_by_text"
    base = model.base_model
    offset = base.embeddings.padding_idx + 1 if base.config.model_type in POSITIONS_AFTER_PADDING else 0
    hidden = base.embeddings(input_ids=batch.ids[None], position_ids=batch.places[None] + offset)  # [1, tokens, h]
    if hasattr(base, "embeddings_project"):
        hidden = base.embeddings_project(hidden)
    *layers, last = encoder_layers(model)
    segments = {"starts": batch.starts, "longest": max(batch.lengths)} if mode == "varlen" else {"runs": _runs(batch)}
    for layer in layers:
        hidden = layer(hidden, None, **segments)
    summary = _mean_pooling_layer if getattr(model.config, "mean_pooling_layer", False) else _first_token_layer
    first = summary(last, hidden[0], batch)[:, None]  # [texts, 1, h]
    if getattr(base, "pooler", None) is not None:
        return model.classifier(model.dropout(base.pooler(first)))
    return model.classifier(first)


def _first_token_layer(layer, hidden, batch):
    """The encoder layer's output for the first token of each text: hidden [tokens, h] -> [texts, h]."""
    attention = layer.attention.self
    texts, heads, size = len(batch.lengths), attention.num_attention_heads, attention.attention_head_size
    first = hidden[batch.starts[:-1].long()]  # [texts, h]
    query = attention.query(first).view(texts, heads, size)
    key = attention.key(hidden).view(-1, heads, size)
    value = attention.value(hidden).view(-1, heads, size)
    owner = torch.repeat_interleave(
        torch.arange(texts, device=hidden.device), batch.starts.diff().long(), output_size=len(hidden)
    )
    scores = (query[owner] * key).sum(-1).float() * attention.scaling  # [tokens, heads]
    # A softmax over each text's tokens; the maximum is subtracted for range and has no gradient.
    top = torch.full((texts, heads), -torch.inf, device=hidden.device).scatter_reduce(
        0, owner[:, None].expand(-1, heads), scores.detach(), "amax"
    )
    weights = (scores - top[owner]).exp()
    total = torch.zeros(texts, heads, device=hidden.device).index_add(0, owner, weights)
    weights = attention.dropout(weights / total[owner])[..., None]
    context = torch.zeros(texts, heads, size, device=hidden.device).index_add(0, owner, weights * value.float())
    attended = layer.attention.output(context.flatten(1).to(value.dtype), first)
    return layer.feed_forward_chunk(attended)


def _mean_pooling_layer(layer, hidden, batch):
    """The pooling layer (common/training/pooling.py) without its constant matrices: [tokens, h] -> [texts, h]."""
    starts = batch.starts.long()
    owner = torch.repeat_interleave(
        torch.arange(len(batch.lengths), device=hidden.device), starts.diff(), output_size=len(hidden)
    )
    total = torch.zeros(len(batch.lengths), hidden.shape[1], device=hidden.device).index_add(0, owner, hidden.float())
    mean = (total / starts.diff()[:, None]).to(hidden.dtype)
    return layer.feed_forward_chunk(layer.attention.output(mean, hidden[starts[:-1]]))


def _runs(batch):
    """Neighbouring texts of equal length share an attention call: [(first token, texts, length)]."""
    runs, position = [], 0
    for length in batch.lengths:
        if runs and runs[-1][2] == length:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1, length)
        else:
            runs.append((position, 1, length))
        position += length
    return runs


def _rectangles(batch):
    """The token ids of each run of texts of equal length, [texts, length] each."""
    return [batch.ids[begin : begin + texts * length].view(texts, length) for begin, texts, length in _runs(batch)]


def _text_by_text(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, *, runs=None, starts=None, longest=None, **_
):
    """Attention within each text of a packed row: [1, heads, tokens, size] each -> [1, tokens, heads, size]."""
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))  # [tokens, heads, size]
    if runs is None:
        return varlen_attn(query, key, value, starts, starts, longest, longest, scale=scaling)[None], None
    outputs = []
    for begin, texts, length in runs:
        part = slice(begin, begin + texts * length)
        q, k, v = (x[part].unflatten(0, (texts, length)).transpose(1, 2) for x in (query, key, value))
        if q.device.type == "cpu" and q.dtype == torch.bfloat16:
            # The CPU's fused kernel is as slow in bf16 as in fp32; plain products take half (benchmarks/speed/packing)
            output = functional.dropout((q * scaling @ k.transpose(-1, -2)).softmax(-1), dropout).to(v.dtype) @ v
        else:
            output = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)[None], None


@cache
def _register_attention():
    """Make `text_by_text` known to transformers: at the first batch, importing this changes nothing."""
    AttentionInterface.register("text_by_text", _text_by_text)


def _padded_logits(model, batch):
    """The model's own forward pass on a rectangle [texts, longest]; padding is masked."""
    texts, longest = len(batch.lengths), max(batch.lengths)
    ids = torch.full((texts, longest), model.config.pad_token_id or 0, device=batch.ids.device)
    owner = torch.repeat_interleave(
        torch.arange(texts, device=ids.device), batch.starts.diff().long(), output_size=len(batch.ids)
    )
    ids[owner, batch.places] = batch.ids
    mask = None
    if min(batch.lengths) < longest:
        mask = torch.zeros_like(ids)
        mask[owner, batch.places] = 1
    return model(input_ids=ids, attention_mask=mask).logits
