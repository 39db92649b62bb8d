"""Attention within each text of a packed batch: variable-length kernel, padded rectangle, or one call per length."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.nn import functional

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Packed:
    """A batch of texts in one row of tokens, without padding."""

    ids: torch.Tensor  # [tokens] int64
    places: torch.Tensor  # [tokens] int64, the position of each token in its text
    owner: torch.Tensor  # [tokens] int64, the number of each token's text
    starts: torch.Tensor  # [texts + 1] int32, where each text begins; the last entry is the number of tokens
    lengths: tuple[int, ...]  # [texts], the same on the host


@cache
def has_varlen_kernel(device: torch.device) -> bool:
    """Whether the kernel runs on this GPU and build of torch, found by one small call.

    torch 2.10 has a kernel without `scale`.
    """
    if varlen_attn is None or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    row = torch.ones(8, 1, 64, device=device, dtype=torch.bfloat16)
    starts = torch.tensor([0, 3, 8], device=device, dtype=torch.int32)
    try:
        output: Any = varlen_attn(row, row, row, starts, starts, 5, 5, scale=0.125)
        return bool(output.isfinite().all())
    except (RuntimeError, NotImplementedError, TypeError):
        return False


def choose_attention(batch: Packed, mode: str, dtype: torch.dtype) -> tuple[Callable, dict[str, Any]]:
    """The attention function of a mode and its arguments for this batch, the same in all layers.

    The function takes (attention module, query, projected, **segments). Without a query, `projected` [tokens, 3 x h]
    holds queries, keys and values, and the result is [tokens, h]. With one query a text, `query` [texts, h],
    `projected` [tokens, 2 x h] holds keys and values, and the result is [texts, h].
    """
    texts, longest = len(batch.lengths), max(batch.lengths)
    if mode == "packed":
        return _attend_by_length, {"runs": find_runs(batch.lengths)}
    if mode == "varlen":
        singles = torch.arange(texts + 1, device=batch.starts.device, dtype=torch.int32)
        return _attend_by_kernel, {"starts": batch.starts, "longest": longest, "singles": singles}
    is_padding = torch.arange(longest, device=batch.starts.device) >= batch.starts.diff()[:, None]
    if torch.is_autocast_enabled(batch.starts.device.type):
        dtype = torch.get_autocast_dtype(batch.starts.device.type)
    mask = torch.zeros(is_padding.shape, device=is_padding.device, dtype=dtype).masked_fill_(is_padding, -torch.inf)
    return _attend_in_rectangle, {"spots": batch.owner * longest + batch.places, "mask": mask[:, None, None]}


def _attend_by_kernel(attention, query, projected, *, starts, longest, singles):
    """Use the variable-length kernel. `singles` are the `starts` of a batch with one token per text."""
    parts = _heads(attention, projected).unbind(1)  # 2 or 3 of [tokens, heads, size]
    if query is not None:
        parts = _heads(attention, query).squeeze(1), *parts
        return varlen_attn(*parts, singles, starts, 1, longest, scale=attention.scaling).flatten(1)
    return varlen_attn(*parts, starts, starts, longest, longest, scale=attention.scaling).flatten(1)


def _attend_in_rectangle(attention, query, projected, *, spots, mask):
    """Fused attention on [texts, longest] with masked padding; `spots` [tokens] are the tokens' places in it."""
    texts, longest = mask.shape[0], mask.shape[-1]
    spread = projected.new_zeros(texts * longest, projected.shape[1]).index_copy_(0, spots, projected)
    parts = _heads(attention, spread).unflatten(0, (texts, longest)).permute(2, 0, 3, 1, 4)
    if query is not None:
        query = _heads(attention, query).transpose(1, 2)  # [texts, heads, 1, size]
        return _scaled_dot_product(attention, query, *parts, mask).flatten(1)
    output = _scaled_dot_product(attention, *parts, mask)  # [texts, heads, longest, size]
    return output.transpose(1, 2).flatten(0, 1).flatten(1).index_select(0, spots)


def _attend_by_length(attention, query, projected, *, runs):
    """One call for each run of neighbouring texts of equal length, without padding."""
    outputs, number = [], 0
    for begin, texts, length in runs:
        part = _heads(attention, projected[begin : begin + texts * length]).unflatten(0, (texts, length))
        parts = part.permute(2, 0, 3, 1, 4)  # 2 or 3 of [texts, heads, length, size]
        if query is not None:
            parts = _heads(attention, query[number : number + texts]).transpose(1, 2), *parts
            number += texts
        outputs.append(_scaled_dot_product(attention, *parts).transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs).flatten(1)


def _heads(attention, projected):
    """[tokens, parts x h] -> [tokens, parts, heads, size]."""
    return projected.unflatten(-1, (-1, attention.num_attention_heads, attention.attention_head_size))


def _scaled_dot_product(attention, query, key, value, mask=None):
    """Attention of [texts, heads, queries, size] with the module's dropout."""
    dropout = attention.dropout.p if attention.training else 0.0
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        # The CPU's fused kernel is no faster in bf16 than in fp32; plain products take half the time
        # (benchmarks/speed/packing)
        weights = (query * attention.scaling @ key.transpose(-1, -2)).softmax(-1)
        return functional.dropout(weights, dropout).to(value.dtype) @ value
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout, scale=attention.scaling
    )


def find_runs(lengths: Sequence[int]) -> list[tuple[int, int, int]]:
    """Runs of neighbouring texts of equal length, which share an attention call: [(first token, texts, length)]."""
    runs: list[tuple[int, int, int]] = []
    position = 0
    for length in lengths:
        if runs and runs[-1][2] == length:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1, length)
        else:
            runs.append((position, 1, length))
        position += length
    return runs
