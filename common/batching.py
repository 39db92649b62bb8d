"""Texts to tokens to batches: tokenized once, cut, dealt into batches at random, into microbatches by length."""

from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from common.encoder import Packed

CHUNK = 512  # texts tokenized at a time: enough for the tokenizer's threads, small enough for a moving bar


@dataclass(frozen=True)
class Encoded:
    """Token ids of many texts, special tokens included, in one array."""

    tokens: np.ndarray  # [all tokens] int32
    offsets: np.ndarray  # [texts + 1] int64

    @property
    def lengths(self):
        """Tokens of each text, [texts]."""
        return np.diff(self.offsets)

    def take(self, rows):
        """The texts at the given positions, in that order."""
        pieces = [self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        return _join(pieces)


def encode(tokenizer, texts, max_length, progress="tokenize"):
    """Tokenize texts, cut to `max_length` tokens with the special tokens; a list of str -> Encoded."""
    pieces = []
    with tqdm(total=len(texts), desc=progress, unit="text", disable=None, leave=False) as bar:
        for begin in range(0, len(texts), CHUNK):
            batch = tokenizer(list(texts[begin : begin + CHUNK]), truncation=True, max_length=max_length,
                              return_attention_mask=False, return_token_type_ids=False)  # fmt: skip
            pieces += [np.array(ids, dtype=np.int32) for ids in batch["input_ids"]]
            bar.update(len(batch["input_ids"]))
    return _join(pieces)


def _join(pieces):
    lengths = [len(piece) for piece in pieces]
    tokens = np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int32)
    return Encoded(tokens.astype(np.int32), np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


def deal_batches(rows, batch_size, seed, epoch):
    """One epoch's optimizer batches: all row positions 0..rows-1 in an order drawn from (seed, epoch) alone."""
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return [order[begin : begin + batch_size] for begin in range(0, rows, batch_size)]


def split_by_length(rows, lengths, budget, padded):
    """Split a batch into microbatches of texts of similar length, each of at most `budget` tokens (at least a text).

    `lengths` are those of all texts; with `padded`, a microbatch costs its texts times its longest. The split leaves
    the batch's gradient as it is: microbatches are summed before the step.
    """
    ordered = sorted(rows, key=lambda row: (-lengths[row], row))  # longest first: it decides if memory suffices
    microbatches, current, tokens = [], [], 0
    for row in ordered:
        cost = lengths[current[0]] * (len(current) + 1) if padded and current else tokens + lengths[row]
        if current and cost > budget:
            microbatches.append(np.array(current))
            current, tokens = [], 0
        current.append(row)
        tokens += lengths[row]
    return [*microbatches, np.array(current)] if current else microbatches


class TokenStore:
    """Encoded texts resident on the device: a batch is gathered there, only its row numbers travel."""

    def __init__(self, encoded, device):
        self.device = device
        self.lengths = encoded.lengths
        self._offsets = encoded.offsets[:-1]
        self._tokens = torch.from_numpy(encoded.tokens).to(device)

    def gather(self, rows):
        """The texts at positions `rows` (a NumPy array) as a Packed batch."""
        lengths = self.lengths[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        begin, offset, length = self._to_device(np.stack([starts[:-1], self._offsets[rows], lengths]))
        total = int(starts[-1])
        owner = torch.repeat_interleave(torch.arange(len(rows), device=self.device), length, output_size=total)
        places = torch.arange(total, device=self.device) - begin[owner]
        ids = self._tokens[offset[owner] + places].long()
        ends = torch.cat([begin, begin[-1:] + length[-1:]]).int()
        return Packed(ids, places, ends, tuple(int(n) for n in lengths))

    def _to_device(self, array):
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor
