"""From texts to batches: tokenize once, read texts whole or in windows, draw random batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from common.training.compute.attention import Packed
from common.training.progress import progress_bar

CHUNK = 512  # texts tokenized at a time: enough for the tokenizer's threads, small enough for a moving bar


@dataclass(frozen=True)
class Encoded:
    """Token ids of many texts, special tokens included, in one array."""

    tokens: np.ndarray  # [all tokens] int32
    offsets: np.ndarray  # [texts + 1] int64
    specials: tuple[int, int] = (1, 1)  # number of special tokens before and after each text

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each text, [texts]."""
        return np.diff(self.offsets)

    def take(self, rows: np.ndarray | Sequence[int]) -> "Encoded":
        """The texts at the given positions, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        return self.windows(rows, np.zeros(len(rows), dtype=np.int64), self.lengths[rows])

    def followed_by(self, more: "Encoded") -> "Encoded":
        """These texts, then those of `more` from the same tokenizer."""
        offsets = np.concatenate([self.offsets, self.offsets[-1] + more.offsets[1:]])
        return Encoded(np.concatenate([self.tokens, more.tokens]), offsets, self.specials)

    def windows(self, owner: np.ndarray, begin: np.ndarray, lengths: np.ndarray) -> "Encoded":
        """Windows of texts: the text's position (`owner`), the first token (`begin`) and `lengths`, each [windows].

        A window keeps the special tokens at both ends: `lengths` counts them, `begin` does not.
        """
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        window = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(starts[-1]) - starts[window]
        first, last = self.specials
        source = place + np.where(place < first, 0, begin[window])
        from_end = lengths[window] - place  # 1 for the last token
        source = np.where(from_end <= last, self.lengths[owner][window] - from_end, source)
        return Encoded(self.tokens[self.offsets[:-1][owner][window] + source], starts, self.specials)


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int | None = None,
    progress: str | None = "tokenize",
) -> Encoded:
    """Tokenize texts with special tokens, whole or cut to `max_length` tokens.

    A blank text has no tokens if the tokenizer adds no special ones. It becomes one unknown or padding token.
    """
    substitutes = (tokenizer.unk_token_id, tokenizer.pad_token_id, 0)
    nothing = next(token for token in substitutes if token is not None)
    pieces: list[np.ndarray] = []
    with progress_bar(len(texts), progress or "tokenize", "text", shown=progress is not None) as bar:
        for begin in range(0, len(texts), CHUNK):
            batch = tokenizer(
                list(texts[begin : begin + CHUNK]),
                truncation=max_length is not None,
                max_length=max_length,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
            pieces += [np.array(ids or [nothing], dtype=np.int32) for ids in batch["input_ids"]]
            bar.update(len(batch["input_ids"]))
    lengths = [len(piece) for piece in pieces]
    tokens = np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return Encoded(tokens.astype(np.int32), offsets, _special_ends(tokenizer))


def _special_ends(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """The number of special tokens that the tokenizer adds before and after a text."""
    special = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    text = [place for place, mark in enumerate(special) if not mark] or [0]
    return text[0], len(special) - 1 - text[-1]


def cut_heads(texts: Encoded, max_length: int) -> Encoded:
    """The first tokens of each text, at most `max_length`."""
    rows = np.arange(len(texts.lengths))
    return texts.windows(rows, np.zeros(len(rows), dtype=np.int64), np.minimum(texts.lengths, max_length))


def draw_windows(texts: Encoded, max_length: int, seed: int, epoch: int) -> Encoded:
    """What an epoch reads: short texts whole; of longer texts the head or a random window, each half the time."""
    draw = np.random.default_rng([seed, epoch, 1])
    rows = np.arange(len(texts.lengths))
    hidden = np.maximum(texts.lengths - max_length, 0)
    begin = draw.integers(0, hidden + 1) * draw.integers(0, 2, size=len(rows))
    return texts.windows(rows, begin, np.minimum(texts.lengths, max_length))


def cover_with_windows(texts: Encoded, max_length: int) -> tuple[Encoded, np.ndarray]:
    """The fewest windows of at most `max_length` tokens that cover each text, and each window's text, [windows]."""
    ends = sum(texts.specials)
    body, room = texts.lengths - ends, max_length - ends
    counts = np.maximum(-(-body // room), 1)
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = number * body[owner] // counts[owner]
    end = (number + 1) * body[owner] // counts[owner]
    return texts.windows(owner, begin, end - begin + ends), owner


def deal_batches(rows: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """One epoch's optimizer batches: positions 0..rows-1, shuffled with (seed, epoch)."""
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return [order[begin : begin + batch_size] for begin in range(0, rows, batch_size)]


def split_by_length(rows: np.ndarray, lengths: np.ndarray, budget: int, padded: bool) -> list[np.ndarray]:
    """Split a batch into microbatches of texts of similar length, each of at most `budget` tokens or a single text.

    `lengths` are those of all texts. A `padded` microbatch costs its number of texts times its longest text. The split
    does not change the batch's gradient: the microbatches' gradients are summed before the step.
    """
    # longest first, so that memory runs out early or not at all
    ordered = sorted(rows, key=lambda row: (-lengths[row], row))
    microbatches: list[np.ndarray] = []
    current: list[int] = []
    tokens = 0
    for row in ordered:
        cost = lengths[current[0]] * (len(current) + 1) if padded and current else tokens + lengths[row]
        if current and cost > budget:
            microbatches.append(np.array(current))
            current, tokens = [], 0
        current.append(row)
        tokens += lengths[row]
    return [*microbatches, np.array(current)] if current else microbatches


class TokenStore:
    """Encoded texts on the device. Batches are gathered there: only row numbers are copied."""

    def __init__(self, encoded: Encoded, device: torch.device):
        self.device = device
        self.lengths = encoded.lengths
        self._offsets = encoded.offsets[:-1]
        self._tokens = torch.from_numpy(encoded.tokens).to(device)

    def gather(self, rows: np.ndarray | Sequence[int]) -> Packed:
        """The texts at positions `rows` as a Packed batch."""
        rows = np.asarray(rows)
        lengths = self.lengths[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        begin, offset, length = self.to_device(np.stack([starts[:-1], self._offsets[rows], lengths]))
        total = int(starts[-1])
        owner = torch.repeat_interleave(torch.arange(len(rows), device=self.device), length, output_size=total)
        places = torch.arange(total, device=self.device) - begin[owner]
        ids = self._tokens[offset[owner] + places].long()
        ends = torch.cat([begin, begin[-1:] + length[-1:]]).int()
        return Packed(ids, places, owner, ends, tuple(int(n) for n in lengths))

    def to_device(self, array: np.ndarray) -> torch.Tensor:
        """Copy an array to the device. The host does not wait for the copy."""
        tensor = torch.from_numpy(array)
        if self.device.type not in ("cpu", "mps"):
            tensor = tensor.pin_memory()  # only a copy from pinned memory is asynchronous
        return tensor.to(self.device, non_blocking=True)
