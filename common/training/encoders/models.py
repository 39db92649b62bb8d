"""Load an encoder with a classification head: float32 weights, checked for completeness, a seeded head."""

from collections.abc import Callable

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from common.cli import UserError
from common.training.encoders.architectures import (
    ATTENTION_DROPOUT_NAMES,
    BERT_LIKE,
    DROPOUT_NAMES,
    DROPOUTS_BESIDE,
    POOLED_BY_CONFIG,
)
from common.training.encoders.configs import load_config, load_part, set_padding
from common.training.encoders.pooling import (
    add_mean_pooling,
    encoder_layers,
    freeze_pooling_layer,
    remove_mean_pooling,
)
from common.training.encoders.sources import Source
from common.training.encoders.tiny import build_tiny_model

# A checkpoint's own settings of these would change what the model returns, and what `pipeline` makes of it
PLAIN_OUTPUT = {"problem_type": None, "output_attentions": False, "output_hidden_states": False, "return_dict": True}


def load_model(
    source: Source,
    tokenizer: PreTrainedTokenizerBase,
    classes: list[str],
    *,
    seed: int,
    pooling: str,
    dropout: float | None = None,
    attention_dropout: float | None = 0.0,
    print_line: Callable[[str], None] = print,
) -> PreTrainedModel:
    """An encoder with a classification head, float32, on the CPU.

    `classes` [k] become the config's labels. `seed` is the random seed of the head (and of all weights of `tiny`).
    `pooling` is "first" (the first token), "mean" (see pooling.py) or "saved" (the checkpoint's own). `dropout` and
    `attention_dropout` replace the checkpoint's values unless None. A checkpoint's own head is kept only if its class
    names are the same; `print_line` reports this. Raises UserError if the weights cannot be loaded or do not fit.
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
        _check_config(source, config)
        set_padding(config, tokenizer)
        known = [str(name) for _, name in sorted((config.id2label or {}).items())]
        settings = {**labels, **PLAIN_OUTPUT, **_dropout_settings(config, dropout, attention_dropout)}
        if config.model_type in POOLED_BY_CONFIG and pooling != "saved":
            settings["classifier_pooling"] = "mean" if pooling == "mean" else POOLED_BY_CONFIG[config.model_type]
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
        _check_loaded(source, model, report, print_line)
        _settle_head(model, report, known, classes, print_line)
    layers = encoder_layers(model)
    if layers is not None and getattr(model.config, "mean_pooling_layer", False):  # trained by this project before
        if pooling == "first":
            remove_mean_pooling(model)
        else:
            freeze_pooling_layer(layers[-1])
    elif pooling == "mean" and model.config.model_type not in POOLED_BY_CONFIG:
        add_mean_pooling(model)
    return model


def class_count(model: PreTrainedModel) -> int:
    """The number of classes, which is the number of logits."""
    return len(model.config.id2label or {})


def head_parameters(model: PreTrainedModel) -> set[str]:
    """Names of the new or task-specific parameters: the classification head and the pooler."""
    encoder = {id(p) for n, p in model.base_model.named_parameters() if not n.startswith("pooler.")}
    return {name for name, parameter in model.named_parameters() if id(parameter) not in encoder}


def unshared_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights by name. Tied weights (BART's word embeddings) appear once, as in save_pretrained."""
    weights = remove_tied_weights_from_state_dict(dict(model.state_dict()), model)
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def _settle_head(
    model: PreTrainedModel, report: dict, known: list[str], classes: list[str], print_line: Callable[[str], None]
) -> None:
    """If the checkpoint has an output layer, reorder its rows to match `classes`, or initialize it again.

    Otherwise a row would be used for a class that it was not trained for.
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
        vars(parameter)["_is_hf_initialized"] = False  # otherwise transformers skips it
    model._init_weights(layer)
    print_line(f"the checkpoint was trained for other classes ({', '.join(known[:3])}, ...): a new head is initialized")


def _output_layer(model: PreTrainedModel) -> tuple[str, torch.nn.Linear]:
    """Name and module of the output layer: the last linear layer with one output per class."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == class_count(model)
    ][-1]


def _dropout_settings(
    config: PreTrainedConfig | None, dropout: float | None, attention_dropout: float | None
) -> dict[str, float]:
    """The two rates under the configuration's names (None: a BERT's). Raises UserError for an unsupported rate."""
    settings: dict[str, float] = {}
    for option, value, names in (
        ("--dropout", dropout, DROPOUT_NAMES),
        ("--attention-dropout", attention_dropout, ATTENTION_DROPOUT_NAMES),
    ):
        name = next((name for name in names if config is None or hasattr(config, name)), None)
        if value is not None and name:
            settings |= dict.fromkeys((name, *DROPOUTS_BESIDE.get(name, ())), value)
        elif value and config is not None:
            raise UserError(f"{option} {value:g}: {config.model_type} has no such dropout; leave the option out")
    return settings


def _check_config(source: Source, config: PreTrainedConfig) -> None:
    """Raise UserError for a BERT-like configuration that this project or transformers does not compute."""
    if config.model_type not in BERT_LIKE:
        return
    if config.is_decoder:
        raise UserError(
            f"model {source.location!r} is a decoder (is_decoder in config.json): its first token, which the head "
            'reads, sees no other token; use another encoder, or set "is_decoder" to false in a local copy'
        )
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    if positions != "absolute":
        raise UserError(
            f"model {source.location!r} has the position_embedding_type {positions!r}, which transformers 5 does not "
            "compute; use an encoder with absolute positions"
        )


def _check_loaded(source: Source, model: PreTrainedModel, report: dict, print_line: Callable[[str], None]) -> None:
    """Only the head may be new. If encoder weights are missing, training would silently start from noise.

    Encoder weights that the model has no place for get a warning.
    """
    head = head_parameters(model)
    missing = [name for name in report["missing_keys"] if name not in head]
    mismatched = [str(entry[0]) for entry in report["mismatched_keys"] if entry[0] not in head]
    if missing or mismatched:
        raise UserError(
            f"model {source.location!r} does not fit its architecture ({model.config.model_type}): "
            f"{len(missing + mismatched)} encoder weights are missing or misshapen, e.g. {(missing + mismatched)[0]}"
        )
    base: torch.nn.Module = model.base_model
    parts = {name for name, _ in base.named_children()} - {"pooler"}
    names = [str(name) for name in report["unexpected_keys"] if str(name).endswith((".weight", ".bias"))]
    unused = sorted(name for name in names if name.removeprefix(f"{model.base_model_prefix}.").split(".")[0] in parts)
    if unused:
        print_line(
            f"warning: {len(unused)} encoder weights of the checkpoint are not used, e.g. {unused[0]}; does its "
            "config.json fit?"
        )
