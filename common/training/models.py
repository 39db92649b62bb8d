"""Encoders: short names, loading of weights and tokenizers with the known traps handled, the pooling layer."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from common.cli import UserError
from common.files import sha256
from common.hub import explain_fetch
from common.training.registry import MODELS
from common.training.tiny import build_tiny_model, build_tiny_tokenizer

transformers.logging.set_verbosity_error()  # missing head weights and the like are checked here, not shown
transformers.utils.logging.disable_progress_bar()
# Where a repository has pickle weights alone, transformers would ask a third party in the background to convert them.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"

MOST_LAYERS = 1000  # a configuration with more is damaged or hostile
POOLING_GAIN = 64.0  # the pooling layer's first-token share is 1/64: small, and the sum stays in float16's range


@dataclass(frozen=True)
class Source:
    """Where an encoder comes from: a hub id (with revision), a local folder, or `tiny`, which is built."""

    name: str
    location: str
    revision: str | None = None


def find_source(name):
    """Resolve a short name, a hub id or a local folder. Raises UserError for what can be none of them."""
    if name == "tiny":
        return Source(name, "tiny")
    if name in MODELS:
        return Source(name, MODELS[name].hub_id, MODELS[name].revision)
    path = Path(name)
    if name and path.is_dir():
        if not (path / "config.json").exists():
            raise UserError(f"model folder {path} has no config.json")
        if not any(path.glob("*.safetensors")):
            raise UserError(
                f"model folder {path} has no .safetensors weights; pickle files are not loaded. Convert it: "
                "load it where you trust it and call model.save_pretrained(folder)"
            )
        return Source(path.resolve().name, str(path))
    if path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        known = ", ".join([*MODELS, "tiny"])
        raise UserError(f"no model {name!r}: neither a folder, a hub id (owner/name), nor one of {known}")
    return Source(name, name)


def describe_source(source):
    """The encoder's identity and size: {"revision", "parameters", "model_type"}.

    The revision is the hub's commit (see common/hub.py), or a hash over a local folder's weights. Raises UserError.
    """
    if source.location == "tiny":
        return {"revision": None, "parameters": 0, "model_type": "bert"}
    config = _load(AutoConfig, source)
    parameters = _count_described(source, config)
    revision = source.revision
    folder = Path(source.location)
    if folder.is_dir():
        held = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        if parameters > held:  # a weight takes at least a byte: stop before memory is asked for
            raise UserError(
                f"model folder {folder}: config.json describes {parameters:,} weights, "
                f"the .safetensors files have {held:,} bytes"
            )
        digests = [sha256(path) for path in sorted([folder / "config.json", *folder.glob("*.safetensors")])]
        revision = "sha256:" + hashlib.sha256("".join(digests).encode()).hexdigest()
    return {"revision": revision, "parameters": parameters, "model_type": config.model_type}


def load_tokenizer(source, train_texts):
    """The encoder's tokenizer with `model_max_length` capped at what the positions allow; and a list of warnings.

    `train_texts` serve `tiny` alone, whose tokenizer is trained on them. Raises UserError where it cannot be had.
    """
    if source.location == "tiny":
        return build_tiny_tokenizer(train_texts), []
    config = _load(AutoConfig, source)
    tokenizer = _load(AutoTokenizer, source)
    # GottBERT and others name no maximum (transformers then says 1e30); positions say it.
    tokenizer.model_max_length = min(tokenizer.model_max_length, max_positions(config))
    if tokenizer.model_max_length <= tokenizer.num_special_tokens_to_add():
        raise UserError(f"model {source.location!r}: its tokenizer leaves no room for text (model_max_length)")
    return tokenizer, tokenizer_warnings(tokenizer)


def max_positions(config):
    """How many tokens the position embeddings allow; RoBERTa-like models count from the padding id + 1."""
    limit = getattr(config, "max_position_embeddings", None) or 2**20
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
    return limit - offset


def tokenizer_warnings(tokenizer):
    """What a tokenizer does to German that costs accuracy: lowercasing, stripped umlauts, unknown ß."""

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    warnings = []
    if ids("für") == ids("fur"):
        warnings.append("the tokenizer strips umlauts (für = fur): German loses meaning, prefer a cased German model")
    if ids("Straße") == ids("straße"):
        warnings.append("the tokenizer lowercases (Straße = straße): nouns are lost, prefer a cased German model")
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids("Straße für Öl Ärger Übermut"):
        warnings.append("the tokenizer knows no umlauts or ß: such words become unknown")
    return warnings


def load_model(source, tokenizer, classes, *, seed, pooling, dropout=None, attention_dropout=0.0):
    """An encoder with a fresh classification head, float32, on the CPU.

    `classes` [k] become the config's labels; `seed` draws the head (and all of `tiny`). `pooling` is "first" (the
    first token, as the architecture has it) or "mean" (see `add_mean_pooling`). `dropout` and `attention_dropout`
    replace the checkpoint's values unless None. Raises UserError where the weights cannot be had or do not fit.
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
        config = _load(AutoConfig, source)
        settings = _dropout_settings(config, dropout, attention_dropout)
        pooling_key = "classifier_pooling"  # ModernBERT and EuroBERT pool by configuration
        if hasattr(config, pooling_key) and pooling == "mean":
            settings[pooling_key] = "mean"
        model, report = _load(
            AutoModelForSequenceClassification,
            source,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **labels,
            **settings,
        )
        _check_loaded(source, model, report)
    if getattr(model.config, "mean_pooling_layer", False):  # trained by this project before
        freeze_pooling_layer(model)
    elif pooling == "mean" and not hasattr(model.config, "classifier_pooling"):
        add_mean_pooling(model)
    return model


def encoder_layers(model):
    """The ModuleList of BERT-like layers (BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA), or None for other designs."""
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    return layers if layers is not None and hasattr(layers[0], "feed_forward_chunk") else None


@torch.no_grad()
def add_mean_pooling(model):
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


def freeze_pooling_layer(model):
    """The pooling layer is a fixed function: no gradients, no dropout (its inputs have had theirs)."""
    layer = encoder_layers(model)[-1]
    layer.requires_grad_(False)
    for module in layer.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def head_parameters(model):
    """The names of the parameters that are new or task-specific: the classification head and the pooler."""
    encoder = {id(p) for n, p in model.base_model.named_parameters() if not n.startswith("pooler.")}
    return {name for name, parameter in model.named_parameters() if id(parameter) not in encoder}


def _count_described(source, config):
    """The number of weights that a configuration describes, without memory for them. Raises UserError."""
    if (getattr(config, "num_hidden_layers", None) or 0) > MOST_LAYERS:
        raise UserError(f"model {source.location}: {config.num_hidden_layers:,} layers are more than {MOST_LAYERS}")
    try:
        with torch.device("meta"):
            return count_parameters(AutoModel.from_config(config))
    except Exception as error:  # sizes that no model can have
        raise UserError(_explain(source, error)) from error


def count_parameters(model):
    """How many weights the model has."""
    return int(np.sum([parameter.numel() for parameter in model.parameters()]))


def _dropout_settings(config, dropout, attention_dropout):
    """The configuration's own names for the two rates."""
    names = {"dropout": "hidden_dropout_prob", "attention": "attention_probs_dropout_prob"}
    if config is not None and config.model_type == "distilbert":
        names = {"dropout": "dropout", "attention": "attention_dropout"}
    elif config is not None and config.model_type in ("modernbert", "eurobert"):
        names = {"dropout": "classifier_dropout", "attention": "attention_dropout"}
    given = {names["dropout"]: dropout, names["attention"]: attention_dropout}
    return {name: value for name, value in given.items() if value is not None}


def _load(kind, source, **settings):
    try:
        return kind.from_pretrained(source.location, revision=source.revision, trust_remote_code=False, **settings)
    except UserError:
        raise
    except Exception as error:  # the libraries raise a dozen types here, all for the same few reasons
        raise UserError(_explain(source, error)) from error


def _explain(source, error):
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if Path(source.location).is_dir():
        return f"model folder {source.location} cannot be loaded: {first}"
    why = explain_fetch(error)
    if why:
        return f"model {source.location!r} {why}. Without the hub: --model starter or tiny, or a local folder"
    return f"model {source.location!r} cannot be loaded: {first}"


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
