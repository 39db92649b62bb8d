"""An encoder's weights under a classification head: loaded in float32, checked to be whole, with a seeded head."""

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from common.cli import UserError
from common.training.encoders.architectures import ATTENTION_DROPOUT_NAMES, DROPOUT_NAMES, POOLED_BY_CONFIG
from common.training.encoders.configs import load_config, load_part, set_padding
from common.training.encoders.pooling import add_mean_pooling, freeze_pooling_layer
from common.training.encoders.sources import Source
from common.training.encoders.tiny import build_tiny_model


def load_model(
    source: Source,
    tokenizer: PreTrainedTokenizerBase,
    classes: list[str],
    *,
    seed: int,
    pooling: str,
    dropout: float | None = None,
    attention_dropout: float | None = 0.0,
    print_line=print,
) -> PreTrainedModel:
    """An encoder with a fresh classification head, float32, on the CPU.

    `classes` [k] become the config's labels; `seed` draws the head (and all of `tiny`). `pooling` is "first" (the
    first token, as the architecture has it) or "mean" (see pooling.py). `dropout` and `attention_dropout` replace the
    checkpoint's values unless None. A head that the checkpoint has already is kept for the same class names alone;
    `print_line` tells.  Raises UserError where the weights cannot be had or do not fit.
    """
    torch.manual_seed(seed)
    labels = {
        "num_labels": len(classes),
        "id2label": dict(enumerate(classes)),
        "label2id": {name: number for number, name in enumerate(classes)},
    }
    if source.location == "tiny":
        model = build_tiny_model(tokenizer, labels, _dropout_settings(None, dropout, attention_dropout))
    else:
        config = load_config(source)
        set_padding(config, tokenizer)
        known = [str(config.id2label[number]) for number in sorted(config.id2label)]
        settings = {**labels, **_dropout_settings(config, dropout, attention_dropout)}
        if config.model_type in POOLED_BY_CONFIG and pooling == "mean":
            settings["classifier_pooling"] = "mean"
        for name, value in settings.items():
            setattr(config, name, value)
        model, report = load_part(
            AutoModelForSequenceClassification.from_pretrained,
            source,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            weights_only=True,
            trust_remote_code=False,
        )
        _check_loaded(source, model, report)
        _settle_head(model, report, known, classes, print_line)
    if getattr(model.config, "mean_pooling_layer", False):  # trained by this project before
        freeze_pooling_layer(model)
    elif pooling == "mean" and model.config.model_type not in POOLED_BY_CONFIG:
        add_mean_pooling(model)
    return model


def head_parameters(model: PreTrainedModel) -> set[str]:
    """The names of the parameters that are new or task-specific: the classification head and the pooler."""
    encoder = {id(p) for n, p in model.base_model.named_parameters() if not n.startswith("pooler.")}
    return {name for name, parameter in model.named_parameters() if id(parameter) not in encoder}


def unshared_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights by name, those that the model uses twice (BART's word embeddings) once, as save_pretrained does."""
    weights = remove_tied_weights_from_state_dict(dict(model.state_dict()), model)
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def _settle_head(model, report, known, classes, print_line):
    """Where the last layer came with the checkpoint: its rows in the order of `classes`, or drawn anew.

    By position, a row would stand for another class than it was trained for.
    """
    new = {*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])}
    name, layer = _output_layer(model)
    if f"{name}.weight" in new:
        return
    if sorted(known) == sorted(classes):
        order = torch.tensor([known.index(name) for name in classes])
        for parameter in layer.parameters():
            parameter.data = parameter.data[order].clone()
        print_line("the checkpoint was trained for these classes: its classification head is kept")
        return
    for parameter in layer.parameters():
        parameter._is_hf_initialized = False  # transformers would leave it as it is
    model._init_weights(layer)
    print_line(f"the checkpoint was trained for other classes ({', '.join(known[:3])}, ...): its head is drawn anew")


def _output_layer(model):
    """The name and the module of the layer that gives the logits: the last one as wide as there are classes."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == model.config.num_labels
    ][-1]


def _dropout_settings(config, dropout, attention_dropout):
    """The two rates under the configuration's own names. Raises UserError for a rate that it has no name for."""
    settings = {}
    for option, value, names in (
        ("--dropout", dropout, DROPOUT_NAMES),
        ("--attention-dropout", attention_dropout, ATTENTION_DROPOUT_NAMES),
    ):
        name = next((name for name in names if config is None or hasattr(config, name)), None)
        if value is not None and name:
            settings[name] = value
        elif value:
            raise UserError(f"{option} {value:g}: {config.model_type} has no such dropout; leave the option out")
    return settings


def _check_loaded(source, model, report):
    """Only the head may be new: a checkpoint that lacks encoder weights would train from noise without a word."""
    head = head_parameters(model)
    missing = [name for name in report["missing_keys"] if name not in head]
    mismatched = [str(entry[0]) for entry in report["mismatched_keys"] if entry[0] not in head]
    if missing or mismatched:
        raise UserError(
            f"model {source.location!r} does not fit its architecture ({model.config.model_type}): "
            f"{len(missing + mismatched)} encoder weights are missing or misshapen, e.g. {(missing + mismatched)[0]}"
        )
