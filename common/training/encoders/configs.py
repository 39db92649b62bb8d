"""An encoder's configuration, identity and size; also if config.json has no model type."""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
from transformers.utils import cached_file

from common.cli import UserError
from common.files import sha256
from common.hub import explain_fetch
from common.training.encoders.architectures import FIXED_PADDING, POSITIONS_AFTER_PADDING
from common.training.encoders.sources import PEFT_ADAPTER, Source, weight_files

TOKENIZER_FILES = ("*token*.json", "vocab.*", "merges.txt", "*.model")  # the files of all tokenizers
MOST_LAYERS = 1000  # a configuration with more layers is damaged or hostile
UNLIMITED = 2**20  # positions, if the configuration has no maximum


def load_config(source: Source) -> PreTrainedConfig:
    """The configuration with its `model_type`. Raises UserError.

    Repositories from before 2020, such as gbert-base, have no model type, and transformers 5 refuses them.
    """
    try:
        content, _ = load_part(PreTrainedConfig.get_config_dict, source)
    except UserError:
        if find_file(source, "adapter_config.json"):
            raise UserError(f"model {source.location!r} {PEFT_ADAPTER}") from None
        raise
    load = AutoConfig.from_pretrained
    if "model_type" not in content:
        load = CONFIG_MAPPING[_guess_model_type(source, content.get("architectures"))].from_pretrained
    return load_part(load, source, trust_remote_code=False)


def _guess_model_type(source: Source, architectures: list[str] | None) -> str:
    """The model type of the class in config.json's `architectures`, else one that occurs in the encoder's name."""
    for name in architectures or []:
        config_class = getattr(getattr(transformers, str(name), None), "config_class", None)
        model_type = getattr(config_class, "model_type", "")
        if model_type in CONFIG_MAPPING:
            return model_type
    name = source.folder.resolve().name if source.folder else source.location
    for model_type in sorted(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, key=len, reverse=True):
        if model_type in name.lower():  # as transformers 4 did
            return model_type
    raise UserError(
        f"model {source.location!r}: its config.json has no model_type, and neither `architectures` nor the name "
        'gives one; add "model_type" to a local copy of config.json ("bert" for a BERT)'
    )


def describe_source(source: Source) -> dict:
    """The encoder's identity and size: {"revision", "parameters", "model_type", "weights"}.

    The revision is the hub's commit (see common/hub.py) or a hash of a local folder's configuration, weights and
    tokenizer.
    "weights" is the format of the loaded file, "safetensors" or "pickle". Raises UserError.
    """
    if source.location == "tiny":
        return {"revision": None, "parameters": 0, "model_type": "bert", "weights": None}
    config = load_config(source)
    parameters = _count_described(source, config)
    revision = source.revision
    if source.folder:
        files = weight_files(source.folder)
        held = sum(path.stat().st_size for path in files)
        if parameters > held:  # a weight takes at least a byte: stop before allocating memory
            raise UserError(
                f"model folder {source.folder}: config.json describes {parameters:,} weights, "
                f"the files of its weights have {held:,} bytes"
            )
        vocabulary = [path for pattern in TOKENIZER_FILES for path in source.folder.glob(pattern) if path.is_file()]
        digests = [sha256(path) for path in sorted({source.folder / "config.json", *files, *vocabulary})]
        revision = "sha256:" + hashlib.sha256("".join(digests).encode()).hexdigest()
    return {
        "revision": revision,
        "parameters": parameters,
        "model_type": config.model_type,
        "weights": "safetensors" if has_safetensors(source) else "pickle",
    }


def has_safetensors(source: Source) -> bool:
    """Whether the encoder has .safetensors files, which are preferred to pickled weights."""
    if source.folder:
        return weight_files(source.folder)[0].suffix == ".safetensors"
    return any(find_file(source, name) for name in ("model.safetensors", "model.safetensors.index.json"))


def find_file(source: Source, name: str) -> Path | None:
    """The path of one file of the encoder, downloaded if necessary; None if there is no such file."""
    path = load_part(cached_file, source, filename=name, _raise_exceptions_for_missing_entries=False)
    return Path(path) if path else None


def set_padding(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """If the files have no padding token, use the end token, as usual for decoders such as Llama."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.sep_token or tokenizer.unk_token
    rows = getattr(config, "vocab_size", None) or UNLIMITED
    padding = getattr(config, "pad_token_id", None)
    if padding is None or not 0 <= padding < rows:
        config.pad_token_id = tokenizer.pad_token_id


def max_positions(config: PreTrainedConfig) -> int:
    """How many tokens the position embeddings allow."""
    limit = getattr(config, "max_position_embeddings", None) or UNLIMITED
    if limit < 0:  # XLNet
        return UNLIMITED
    padding = FIXED_PADDING.get(config.model_type, getattr(config, "pad_token_id", None) or 0)
    return limit - (padding + 1 if config.model_type in POSITIONS_AFTER_PADDING else 0)


def _count_described(source: Source, config: PreTrainedConfig) -> int:
    """The number of weights that a configuration describes. Allocates no memory for them. Raises UserError."""
    if (getattr(config, "num_hidden_layers", None) or 0) > MOST_LAYERS:
        raise UserError(f"model {source.location}: {config.num_hidden_layers:,} layers are more than {MOST_LAYERS}")
    try:
        with torch.device("meta"):
            return count_parameters(AutoModel.from_config(config))
    except Exception as error:  # impossible sizes
        raise UserError(explain(source, error)) from error


def count_parameters(model: torch.nn.Module) -> int:
    """How many weights the model has."""
    return int(np.sum([parameter.numel() for parameter in model.parameters()]))


@cache
def set_up_transformers() -> None:
    """Silence transformers and disable its weight conversion. Runs before the first load, not at import."""
    transformers.logging.set_verbosity_error()  # this project checks for missing weights
    transformers.utils.logging.disable_progress_bar()
    # For repositories with only pickled weights, transformers would ask a third party to convert them.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"


def load_part(loader: Callable, source: Source, **settings: Any) -> Any:
    """Call one of transformers' loaders for this source. Raises UserError with one line if it fails."""
    set_up_transformers()
    try:
        return loader(source.location, revision=source.revision, **settings)
    except UserError:
        raise
    except Exception as error:  # the libraries raise a dozen types here
        raise UserError(explain(source, error)) from error


def explain(source: Source, error: Exception) -> str:
    """Why an encoder cannot be loaded, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    first = " ".join(lines[:2]) if lines[0].endswith((":", "(")) else lines[0]
    if isinstance(error, KeyError):  # its message is the key alone
        first = f"unknown key {first}"
    if source.folder:
        return f"model folder {source.location} cannot be loaded: {first}"
    why = explain_fetch(error)
    if why:
        return f"model {source.location!r} {why}. Without the hub: --model starter or tiny, or a local folder"
    return f"model {source.location!r} cannot be loaded: {first}"
