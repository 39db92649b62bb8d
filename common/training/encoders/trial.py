"""A trial of two short texts before training: an encoder that cannot classify texts ends in one line."""

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.cli import UserError
from common.training.compute.devices import Device
from common.training.compute.forward import choose_mode, compute_logits
from common.training.encoders.architectures import BERT_LIKE
from common.training.tokens import TokenStore, encode

TRIAL_TEXTS = ("Der Ball ist rund.", "Ja.")


def try_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, device: Device) -> None:
    """Compute logits and gradients of two texts on the device, and forget them.

    Raises UserError where the architecture wants more than tokens (images, boxes, a language), or cannot be computed
    in this precision.
    """
    if model.config.model_type in BERT_LIKE:  # tested often enough
        return
    model.to(device.device).train()
    try:
        _classify(model, tokenizer, device)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever an architecture raises that was given too little
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        hint = "; try --precision fp32" if device.precision != "fp32" else ""
        raise UserError(
            f"the encoder ({model.config.model_type}) cannot classify texts in {device.precision}: {first}{hint}"
        ) from error
    finally:
        model.zero_grad(set_to_none=True)


def _classify(model, tokenizer, device):
    store = TokenStore(encode(tokenizer, TRIAL_TEXTS), device.device)
    with device.autocast():
        logits = compute_logits(model, store.gather([0, 1]), choose_mode(model, device)).float()
    if logits.shape != (len(TRIAL_TEXTS), model.config.num_labels):
        raise ValueError(f"it gives logits of shape {list(logits.shape)}")
    logits.sum().backward()
