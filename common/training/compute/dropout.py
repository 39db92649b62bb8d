"""Dropout on CPUs: masks cut from random 64-bit words, where torch draws one Bernoulli number after another."""

import torch

BITS = 16  # of a word decide about one value: rates are met to 1/65,536


class WordDropout(torch.nn.Dropout):
    """torch.nn.Dropout with `drop` for its forward pass."""

    def forward(self, x):
        return drop(x, self.p) if self.training and self.p else x


def drop(x, rate):
    """Zeros in place of a random share `rate` of the values of `x` (a CPU tensor), the others scaled by 1/(1 - rate).

    The random words come from torch's generator for the CPU: torch.manual_seed decides.
    """
    count = x.numel()
    words = torch.empty(-(-count * BITS // 64), dtype=torch.int64).random_(-(2**63), None)
    dropped = round(rate * 2**BITS)
    kept = words.view(torch.int16)[:count].view(x.shape).ge_(dropped - 2 ** (BITS - 1))  # 1 or 0
    return x * kept.to(x.dtype).mul_(2**BITS / (2**BITS - dropped))


def use_word_dropout(model):
    """Let the dropout modules of a model on the CPU draw their masks from words; parameters are not touched."""
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.__class__ = WordDropout
