"""Try two short texts before training, so that an encoder that cannot classify texts fails with one line."""

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.cli import UserError
from common.training.compute.devices import Device
from common.training.compute.forward import choose_mode, compute_logits
from common.training.encoders.architectures import BERT_LIKE
from common.training.encoders.models import class_count
from common.training.tokens import TokenStore, encode

TRIAL_TEXTS = ("Der Ball ist rund.", "Ja.")


def try_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, device: Device) -> None:
    """Compute logits and gradients of two texts on the device and discard them.

    BERT-like models compute only logits, without dropout: this takes a tenth of a second and no random numbers.
    Raises UserError if the architecture needs other inputs than tokens (images, boxes, a language) or does not run
    in this precision.
    """
    gradients = model.config.model_type not in BERT_LIKE  # the project's tests cover those of BERT-like models
    device.place(model)
    model.train(gradients)
    try:
        with torch.set_grad_enabled(gradients):
            _classify(model, tokenizer, device)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # depends on the architecture
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        hint = "; try --precision fp32" if device.precision != "fp32" else ""
        raise UserError(
            f"the encoder ({model.config.model_type}) cannot classify texts in {device.precision}: {first}{hint}"
        ) from error
    finally:
        model.zero_grad(set_to_none=True)


def _classify(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, device: Device) -> None:
    store = TokenStore(encode(tokenizer, TRIAL_TEXTS), device.device)
    with device.autocast():
        logits = compute_logits(model, store.gather([0, 1]), choose_mode(model, device)).float()
    if logits.shape != (len(TRIAL_TEXTS), class_count(model)):
        raise ValueError(f"its logits have the shape {list(logits.shape)}")
    if logits.requires_grad:
        logits.sum().backward()
