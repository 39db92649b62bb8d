"""An encoder's configuration, identity and size; also where config.json names no model type."""

import hashlib
import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
from transformers.utils import cached_file

from common.cli import UserError
from common.files import sha256
from common.hub import explain_fetch
from common.training.encoders.architectures import POSITIONS_AFTER_PADDING
from common.training.encoders.sources import PEFT_ADAPTER, Source, weight_files

MOST_LAYERS = 1000  # a configuration with more is damaged or hostile
UNLIMITED = 2**20  # positions, where a configuration names no maximum


def load_config(source: Source) -> PreTrainedConfig:
    """The configuration as the library reads it, with its `model_type`. Raises UserError.

    Repositories from before 2020 (gbert-base among them) name no model type, and transformers 5 refuses them.
    """
    try:
        content, _ = load_part(PreTrainedConfig.get_config_dict, source)
    except UserError:
        if find_file(source, "adapter_config.json"):
            raise UserError(f"model {source.location!r} {PEFT_ADAPTER}") from None
        raise
    kind = AutoConfig
    if "model_type" not in content:
        kind = CONFIG_MAPPING[_guess_model_type(source, content.get("architectures"))]
    return load_part(kind.from_pretrained, source, trust_remote_code=False)


def _guess_model_type(source, architectures):
    """The type of the class that config.json names under `architectures`, else of what the name says."""
    for name in architectures or []:
        config_class = getattr(getattr(transformers, str(name), None), "config_class", None)
        if getattr(config_class, "model_type", None) in CONFIG_MAPPING:
            return config_class.model_type
    name = source.folder.resolve().name if source.folder else source.location
    for model_type in sorted(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, key=len, reverse=True):
        if model_type in name.lower():  # as transformers 4 did
            return model_type
    raise UserError(
        f"model {source.location!r}: its config.json has no model_type, and neither `architectures` nor the name tells "
        'it; add "model_type" to a local copy of config.json ("bert" for a BERT)'
    )


def describe_source(source: Source) -> dict:
    """The encoder's identity and size: {"revision", "parameters", "model_type", "weights"}.

    The revision is the hub's commit (see common/hub.py), or a hash over a local folder's weights; "weights" is the
    format of the file that is loaded, "safetensors" or "pickle". Raises UserError.
    """
    if source.location == "tiny":
        return {"revision": None, "parameters": 0, "model_type": "bert", "weights": None}
    config = load_config(source)
    parameters = _count_described(source, config)
    revision = source.revision
    if source.folder:
        files = weight_files(source.folder)
        held = sum(path.stat().st_size for path in files)
        if parameters > held:  # a weight takes at least a byte: stop before memory is asked for
            raise UserError(
                f"model folder {source.folder}: config.json describes {parameters:,} weights, "
                f"the files of its weights have {held:,} bytes"
            )
        digests = [sha256(path) for path in sorted([source.folder / "config.json", *files])]
        revision = "sha256:" + hashlib.sha256("".join(digests).encode()).hexdigest()
    return {
        "revision": revision,
        "parameters": parameters,
        "model_type": config.model_type,
        "weights": "safetensors" if has_safetensors(source) else "pickle",
    }


def has_safetensors(source: Source) -> bool:
    """Whether the encoder's weights are in .safetensors files; loading prefers them to pickles."""
    if source.folder:
        return weight_files(source.folder)[0].suffix == ".safetensors"
    return any(find_file(source, name) for name in ("model.safetensors", "model.safetensors.index.json"))


def find_file(source: Source, name: str) -> Path | None:
    """The path of one file of the encoder, fetched where need be, or None where there is no such file."""
    path = load_part(cached_file, source, filename=name, _raise_exceptions_for_missing_entries=False)
    return Path(path) if path else None


def set_padding(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give both a padding token where the files name none: the end token, as is usual for decoders like Llama."""
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
    padding = getattr(config, "pad_token_id", None) or 0
    return limit - (padding + 1 if config.model_type in POSITIONS_AFTER_PADDING else 0)


def _count_described(source, config):
    """The number of weights that a configuration describes, without memory for them. Raises UserError."""
    if (getattr(config, "num_hidden_layers", None) or 0) > MOST_LAYERS:
        raise UserError(f"model {source.location}: {config.num_hidden_layers:,} layers are more than {MOST_LAYERS}")
    try:
        with torch.device("meta"):
            return count_parameters(AutoModel.from_config(config))
    except Exception as error:  # sizes that no model can have
        raise UserError(explain(source, error)) from error


def count_parameters(model: torch.nn.Module) -> int:
    """How many weights the model has."""
    return int(np.sum([parameter.numel() for parameter in model.parameters()]))


@cache
def set_up_transformers() -> None:
    """Quieten transformers and keep it from conversions; before anything is loaded, and not on importing this."""
    transformers.logging.set_verbosity_error()  # missing head weights and the like are checked here, not shown
    transformers.utils.logging.disable_progress_bar()
    # Where a repository has pickle weights alone, it would ask a third party in the background to convert them.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"


def load_part(loader, source: Source, **settings):
    """What one of the library's loaders gives for this source. Raises UserError, in one line, where it cannot."""
    set_up_transformers()
    try:
        return loader(source.location, revision=source.revision, **settings)
    except UserError:
        raise
    except Exception as error:  # the libraries raise a dozen types here, all for the same few reasons
        raise UserError(explain(source, error)) from error


def explain(source: Source, error: Exception) -> str:
    """Why an encoder cannot be loaded, in one line."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if source.folder:
        return f"model folder {source.location} cannot be loaded: {first}"
    why = explain_fetch(error)
    if why:
        return f"model {source.location!r} {why}. Without the hub: --model starter or tiny, or a local folder"
    return f"model {source.location!r} cannot be loaded: {first}"
