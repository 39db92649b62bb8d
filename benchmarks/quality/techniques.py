"""Techniques that recipes.py compares and that the scripts do not have: training steps, cuts of long texts, windows.

A technique that pays moves to common/. The others stay here, so that they can be measured again.
"""

import numpy as np
import torch
import torch.nn.functional as F
from transformers import DataCollatorForLanguageModeling

from common.training.compute.devices import open_device
from common.training.encoders.models import head_parameters
from common.training.encoders.pooling import encoder_layers
from common.training.optimizer import learning_rate_factor
from common.training.prediction import predict
from common.training.step import Step
from common.training.tokens import Encoded, cover_with_windows, deal_batches


class RDrop(Step):
    """R-Drop: two passes with different dropout, and a loss on the divergence of their outputs (Wu et al. 2021)."""

    alpha = 1.0

    def loss(self, rows):
        """Mean cross-entropy of the two passes + alpha/4 x (KL + reversed KL), summed over the texts `rows`."""
        first, second = self.logits(rows), self.logits(rows)
        fit = [F.cross_entropy(logits, self.labels[rows], reduction="sum") for logits in (first, second)]
        p, q = first.log_softmax(-1), second.log_softmax(-1)
        apart = [F.kl_div(a, b, reduction="sum", log_target=True) for a, b in ((p, q), (q, p))]
        return sum(fit) / 2 + self.alpha / 4 * sum(apart)


class Averaged(Step):
    """EMA: at the end, the weights are replaced by their exponential moving average over about one epoch."""

    def __init__(self, model, texts, labels, recipe, seed, device, **settings):
        super().__init__(model, texts, labels, recipe, seed, device, **settings)
        per_epoch = -(-len(labels) // recipe.batch_size)
        self.decay, self.last = 1 - 1 / per_epoch, recipe.epochs * per_epoch - 1
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    def __call__(self, step, rows, rate):
        """Take the optimizer step, then update the average; after the last step, use the average."""
        super().__call__(step, rows, rate)
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, max(1 - self.decay, 1 / (step + 1)))
            if step == self.last:
                for parameter, average in zip(self.parameters, self.average, strict=True):
                    parameter.copy_(average)


class LayerDecay(Step):
    """Each layer learns at 0.9 times the rate of the one above it (Howard and Ruder 2018; Clark et al. 2020)."""

    decay = 0.9

    def __init__(self, model, texts, labels, recipe, seed, device, **settings):
        super().__init__(model, texts, labels, recipe, seed, device, **settings)
        layers, head = encoder_layers(model), head_parameters(model)
        depth = {id(p): len(layers) - n for n, layer in enumerate(layers) for p in layer.parameters()}
        named = {id(p): name for name, p in model.named_parameters()}
        groups = []
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                below = 0 if named[id(parameter)] in head else depth.get(id(parameter), len(layers) + 1)
                groups.append(
                    {
                        "params": [parameter],
                        "peak": group["peak"] * self.decay**below,
                        "weight_decay": group["weight_decay"],
                    }
                )
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


class TokenDropout(Step):
    """Replace a random share of the tokens by [MASK], or by [UNK] if there is no mask token, in training."""

    share, mask_id = 0.15, None  # mask_id: set by recipes.py

    def logits(self, rows):
        """Logits [texts, classes] with random tokens replaced; the special tokens at both ends are kept."""
        store, gather = self.store, self.store.gather

        def hidden(rows):
            batch = gather(rows)
            drop = torch.rand(batch.ids.shape, device=batch.ids.device) < self.share
            drop[batch.starts[:-1].long()] = False
            drop[batch.starts[1:].long() - 1] = False
            batch.ids[drop] = self.mask_id
            return batch

        self.store = _Borrowed(hidden, store.lengths)
        try:
            return super().logits(rows)
        finally:
            self.store = store


class _Borrowed:
    def __init__(self, gather, lengths):
        self.gather, self.lengths = gather, lengths


def tails(encoded, max_length, head_share=0.0):
    """Cut texts to `max_length` tokens: `head_share` of them from the start, the others from the end.

    Sun et al. 2019 take 128 tokens from the start and 382 from the end, so their `head_share` is a quarter.
    """
    room = max_length - sum(encoded.specials)
    front, rows = int(room * head_share), np.arange(len(encoded.lengths))
    keep = np.minimum(encoded.lengths, max_length)
    end = encoded.windows(rows, encoded.lengths - keep, keep)
    pieces = []
    for row in rows:
        ids = end.tokens[end.offsets[row] : end.offsets[row + 1]].copy()
        if encoded.lengths[row] > max_length:
            first = encoded.specials[0]
            ids[first : first + front] = encoded.tokens[encoded.offsets[row] + first :][:front]
        pieces.append(ids)
    return Encoded(np.concatenate(pieces), end.offsets, encoded.specials)


def predict_overlapping(model, encoded, device, max_length):
    """Probabilities [texts, classes], averaged over evenly spaced, overlapping windows of `max_length` tokens."""
    room = max_length - sum(encoded.specials)
    counts = np.maximum(-(-(encoded.lengths - sum(encoded.specials)) // room), 1)
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    hidden = np.maximum(encoded.lengths - max_length, 0)
    begin = number * hidden[owner] // np.maximum(counts - 1, 1)[owner]
    windows = encoded.windows(owner, begin, np.minimum(encoded.lengths, max_length)[owner])
    probabilities = predict(model, windows, device.predicting())
    total = np.zeros((len(counts), probabilities.shape[1]))
    np.add.at(total, owner, probabilities)
    return total / counts[:, None]


def reset_top_layers(model, count):
    """Initialize the top `count` layers again (Zhang et al. 2021, Revisiting Few-sample BERT Fine-tuning)."""
    pooling = bool(getattr(model.config, "mean_pooling_layer", False))
    layers = list(encoder_layers(model))[: -1 if pooling else None]
    for module in [module for layer in layers[-count:] for module in layer.modules()]:
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=model.config.initializer_range)
            torch.nn.init.zeros_(module.bias)
        elif isinstance(module, torch.nn.LayerNorm):
            module.reset_parameters()


def further_pretraining(model, texts, tokenizer, recipe, seed, epochs=3):
    """Masked-language modelling on the task's texts (Encoded, uncut) before fine-tuning (Gururangan et al. 2020).

    15 % of the tokens are masked as in BERT. The language-model head is new, except that its output matrix is the word
    embeddings. Batches have 32 windows; the learning rate rises to the recipe's and then falls.
    """
    torch.manual_seed(seed)
    layers, size = encoder_layers(model), model.config.hidden_size
    pooling = layers.pop(-1) if getattr(model.config, "mean_pooling_layer", False) else None
    table = model.get_input_embeddings().weight
    bias = torch.nn.Parameter(torch.zeros(len(table)))
    head = torch.nn.Sequential(torch.nn.Linear(size, size), torch.nn.GELU(), torch.nn.LayerNorm(size))
    parameters = [p for p in (*model.base_model.parameters(), *head.parameters(), bias) if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.01, fused=True)
    windows = cover_with_windows(texts, recipe.max_length)[0]
    batches = [batch for epoch in range(epochs) for batch in deal_batches(len(windows.lengths), 32, seed, epoch)]
    hide = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    model.train()
    for step, rows in enumerate(batches):
        batch = hide(
            [
                {"input_ids": windows.tokens[a:b].tolist()}
                for a, b in zip(windows.offsets[rows], windows.offsets[rows + 1], strict=True)
            ]
        )
        hidden_tokens = batch["labels"] != -100
        with torch.autocast("cpu", torch.bfloat16, enabled=open_device().precision == "bf16"):
            hidden = model.base_model(batch["input_ids"], batch["attention_mask"])[0][hidden_tokens]
            logits = F.linear(head(hidden), table, bias)
        F.cross_entropy(logits.float(), batch["labels"][hidden_tokens]).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.param_groups[0]["lr"] = recipe.learning_rate * learning_rate_factor(step, len(batches), 0.1)
        optimizer.step()
        optimizer.zero_grad()
    if pooling is not None:
        layers.append(pooling)


def attention_pooling(model):
    """Make the appended mean-pooling layer trainable. Its query is zero at first, so it starts as mean pooling."""
    layer = encoder_layers(model)[-1]
    torch.nn.init.normal_(layer.attention.self.key.weight, std=0.02)
    layer.requires_grad_(True)
    model.config.mean_pooling_layer = False  # compute it with attention, no longer in closed form
