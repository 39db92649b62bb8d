"""Mean pooling as an additional frozen layer. A saved model then loads without this project's code."""

import torch
from transformers import PreTrainedModel

from common.cli import UserError
from common.training.encoders.architectures import BERT_LIKE

POOLING_GAIN = 64.0  # the first token's own share is 1/64: small, and the sum stays in float16's range


def encoder_layers(model: PreTrainedModel) -> torch.nn.ModuleList | None:
    """The layers of a BERT-like encoder (see architectures.py), or None for other designs."""
    if model.config.model_type not in BERT_LIKE or model.config.is_decoder:
        return None
    layers = model.base_model.get_submodule("encoder.layer")
    assert isinstance(layers, torch.nn.ModuleList)
    return layers


@torch.no_grad()
def add_mean_pooling(model: PreTrainedModel) -> None:
    """Append a frozen encoder layer whose first token becomes LayerNorm(mean of all tokens + its own 1/64).

    Classification heads of BERT-like models read the first token. If queries and keys are zero, attention gives all
    tokens equal weight. If the value and output matrices are scaled identities and the feed-forward part is zero, the
    layer's first token is the mean of its inputs. So mean pooling needs only the standard architecture, and a saved
    model loads anywhere. Raises UserError for other architectures.
    """
    layers = encoder_layers(model)
    if layers is None:
        raise UserError(f"--pooling mean is not available for {model.config.model_type}; use --pooling first")
    layer = type(layers[0])(model.config)
    for parameter in layer.parameters():
        parameter.zero_()
    identity = torch.eye(model.config.hidden_size)
    layer.get_parameter("attention.self.value.weight").copy_(identity)
    layer.get_parameter("attention.output.dense.weight").copy_(identity * POOLING_GAIN)
    layer.get_parameter("attention.output.LayerNorm.weight").fill_(1)
    layer.get_parameter("output.LayerNorm.weight").fill_(1)
    layers.append(layer.to(layers[0].get_parameter("output.dense.weight").dtype))
    model.config.num_hidden_layers += 1
    model.config.mean_pooling_layer = True
    freeze_pooling_layer(layer)


def remove_mean_pooling(model: PreTrainedModel) -> None:
    """Remove the layer that add_mean_pooling appended: the head then reads the encoder's own first token."""
    layers = encoder_layers(model)
    assert layers is not None
    del layers[-1]
    model.config.num_hidden_layers -= 1
    model.config.mean_pooling_layer = False


def freeze_pooling_layer(layer: torch.nn.Module) -> None:
    """Make the pooling layer a fixed function: no gradients, no dropout (its inputs already had dropout)."""
    layer.requires_grad_(False)
    for module in layer.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
