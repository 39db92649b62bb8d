"""Faster dropout on CPUs: masks from random 64-bit words. torch draws one Bernoulli number per value."""

import torch

BITS = 16  # random bits per value: rates are exact to 1/65,536


class WordDropout(torch.nn.Dropout):
    """torch.nn.Dropout whose forward pass is `drop`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop values while training."""
        return drop(x, self.p) if self.training and self.p else x


def drop(x: torch.Tensor, rate: float) -> torch.Tensor:
    """Set a random share `rate` of the values of `x` (a CPU tensor) to zero and scale the rest by 1/(1 - rate).

    Uses torch's CPU generator, so torch.manual_seed makes it reproducible.
    """
    count = x.numel()
    words = torch.empty(-(-count * BITS // 64), dtype=torch.int64).random_(-(2**63), None)
    dropped = round(rate * 2**BITS)
    kept = words.view(torch.int16)[:count].view(x.shape).ge_(dropped - 2 ** (BITS - 1))  # 1 or 0
    return x * kept.to(x.dtype).mul_(2**BITS / (2**BITS - dropped))


def use_word_dropout(model: torch.nn.Module) -> None:
    """Replace the dropout modules of a model on the CPU; parameters stay the same."""
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.__class__ = WordDropout
