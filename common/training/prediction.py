"""Predict class probabilities with a trained model."""

import numpy as np
import torch
from transformers import PreTrainedModel

from common.cli import UserError
from common.saved.settings import Settings
from common.training.compute.devices import Device
from common.training.compute.forward import choose_mode, compute_logits
from common.training.compute.memory import free_cached_memory, is_out_of_memory, microbatch_budget
from common.training.compute.processes import sum_over_processes
from common.training.encoders.models import class_count
from common.training.progress import progress_bar
from common.training.recipe import Recipe
from common.training.tokens import Encoded, TokenStore, cover_with_windows, cut_heads, split_by_length


@torch.inference_mode()
def predict(
    model: PreTrainedModel,
    texts: Encoded,
    device: Device,
    reading: Recipe | Settings | None = None,
    progress: str | None = "predict",
) -> np.ndarray:
    """Class probabilities of `texts`, [texts, classes] float32, in their order.

    `reading` (its max_length and long_texts) says how to read long texts: cut them, or average the probabilities of
    windows. Without it, texts are used as they are. `progress` names the progress bar; None shows no bar. Long texts
    come first; a microbatch is halved when memory runs out. Under torchrun every process computes a share and gets
    all results. Training predicts on `device.predicting()`. Raises UserError if a single text does not fit.
    """
    device.place(model)
    model.eval()
    owner = np.arange(len(texts.lengths))
    if reading and reading.max_length:
        if reading.long_texts == "windows":
            texts, owner = cover_with_windows(texts, reading.max_length)
        else:
            texts = cut_heads(texts, reading.max_length)
    store = TokenStore(texts, device.device)
    mode = choose_mode(model, device)
    parts = np.arange(len(owner))[device.rank :: device.processes]
    budget = microbatch_budget(model, device, training=False)
    counts = torch.from_numpy(np.bincount(owner)).to(device.device)
    probabilities = torch.zeros(len(counts), class_count(model), device=device.device)
    bar = progress_bar(len(parts), progress or "predict", "text", shown=device.main and progress is not None)
    with bar, device.autocast():
        waiting = split_by_length(parts, store.lengths, budget, mode == "padded")
        while waiting:
            micro = waiting.pop(0)
            try:
                logits = compute_logits(model, store.gather(micro), mode)
                rows = torch.from_numpy(owner[micro]).to(device.device)
                probabilities.index_add_(0, rows, logits.float().softmax(dim=-1))
                bar.update(len(micro))
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(micro) == 1:
                    raise UserError("GPU memory is too small for a single text; lower --max-length") from None
            free_cached_memory(device)
            waiting[:0] = np.array_split(micro, 2)
    if device.processes > 1:
        sum_over_processes([probabilities])
    return (probabilities / counts[:, None]).cpu().numpy()
