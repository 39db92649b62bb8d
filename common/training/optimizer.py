"""The optimizer: parameter groups, learning rate schedule, class weights."""

import numpy as np
import torch
from transformers import PreTrainedModel

from common.training.encoders.models import head_parameters
from common.training.recipe import Recipe


def make_optimizer(model: PreTrainedModel, recipe: Recipe) -> torch.optim.AdamW:
    """Fused AdamW. Biases and norms have no weight decay; the head has its own learning rate.

    Each group's "peak" is its peak learning rate.
    """
    head = head_parameters(model)
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name in head, parameter.ndim >= 2), []).append(parameter)
    settings = [
        {
            "params": members,
            "peak": recipe.learning_rate * (recipe.head_factor if is_head else 1),
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (is_head, decays), members in groups.items()
    ]
    return torch.optim.AdamW(settings, lr=recipe.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def learning_rate_factor(step: int, total_steps: int, warmup: float) -> float:
    """Linear warm-up over the first `warmup` share of the steps, then linear decay to 0; in (0, 1]."""
    rise = max(1, round(total_steps * warmup))
    return min((step + 1) / rise, (total_steps - step) / max(1, total_steps - rise + 1), 1.0)


def class_weights(labels: np.ndarray, classes: int, choice: str) -> np.ndarray:
    """The weight of each class in the loss, [classes] float64: 1, or inverse to its frequency ("balanced").

    `labels` are class numbers [texts], or soft labels [texts, classes].
    """
    if choice == "none":
        return np.ones(classes)
    counts = labels.sum(axis=0, dtype=np.float64) if labels.ndim == 2 else np.bincount(labels, minlength=classes)
    return len(labels) / (classes * np.maximum(counts, 1))
