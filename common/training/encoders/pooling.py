"""Pooling by the mean of all tokens, as one more frozen layer: a saved model then needs no code of this project."""

import torch
from transformers import PreTrainedModel

from common.cli import UserError
from common.training.encoders.architectures import BERT_LIKE

POOLING_GAIN = 64.0  # the pooling layer's first-token share is 1/64: small, and the sum stays in float16's range


def encoder_layers(model: PreTrainedModel) -> torch.nn.ModuleList | None:
    """The layers of a BERT-like encoder (see architectures.py), or None for other designs."""
    if model.config.model_type not in BERT_LIKE or model.config.is_decoder:
        return None
    return model.base_model.encoder.layer


@torch.no_grad()
def add_mean_pooling(model: PreTrainedModel) -> None:
    """Append a frozen encoder layer whose first token becomes LayerNorm(mean of all tokens + its own 1/64).

    Classification heads of BERT-like models read the first token. With queries and keys zero, attention weighs all
    tokens alike; with value and output matrices scaled identities and the feed-forward part zero, the layer's first
    token is the mean of its inputs. So mean pooling needs no code beside the standard architecture, and a saved model
    loads anywhere.
    """
    layers = encoder_layers(model)
    if layers is None:
        raise UserError(f"--pooling mean is not available for {model.config.model_type}; use --pooling first")
    layer = type(layers[0])(model.config)
    for parameter in layer.parameters():
        parameter.zero_()
    layer.attention.self.value.weight.copy_(torch.eye(model.config.hidden_size))
    layer.attention.output.dense.weight.copy_(torch.eye(model.config.hidden_size) * POOLING_GAIN)
    layer.attention.output.LayerNorm.weight.fill_(1)
    layer.output.LayerNorm.weight.fill_(1)
    layers.append(layer.to(layers[0].output.dense.weight.dtype))
    model.config.num_hidden_layers += 1
    model.config.mean_pooling_layer = True
    freeze_pooling_layer(model)


def freeze_pooling_layer(model: PreTrainedModel) -> None:
    """The pooling layer is a fixed function: no gradients, no dropout (its inputs have had theirs)."""
    layer = encoder_layers(model)[-1]
    layer.requires_grad_(False)
    for module in layer.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
