"""Save a trained model to its folder, and load it to predict new texts."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.cli import UserError
from common.files import replace, share, writing
from common.saved.card import describe_model
from common.saved.settings import Settings, read_settings
from common.tfidf.run import is_tfidf, predict_tfidf
from common.training.compute.devices import Device
from common.training.encoders.configs import load_config
from common.training.encoders.models import head_parameters, load_model, unshared_weights
from common.training.encoders.sources import find_source
from common.training.encoders.tokenizer import load_saved_tokenizer
from common.training.prediction import predict
from common.training.tokens import encode


def save_trained(run: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, results: dict) -> None:
    """Write a run's model folder with its model card, atomically."""
    folder = run / "model"
    temporary = folder.with_name(".model.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with writing(folder):
            write_model(temporary, model, tokenizer)
            describe_model(temporary, run, results)
            shutil.rmtree(folder, ignore_errors=True)
            replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write weights, configuration and tokenizer to a new folder that `pipeline` can load.

    model.save_pretrained would write only on the first process of a torchrun, but each may have a member to save.
    """
    folder.mkdir(parents=True)
    model.config.architectures = [type(model).__name__]
    weights = {name: tensor.cpu() for name, tensor in unshared_weights(model).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    share(folder / "model.safetensors")
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_encoder(
    folder: Path, settings: Settings, device: Device, progress: str | None = None
) -> Callable[[Sequence[str]], np.ndarray]:
    """A function from texts to probabilities [texts, classes] float32, computed on `device`.

    `folder` is a model folder, `settings` its predicting.json. Raises UserError if they do not match.
    """
    source = find_source(str(folder.resolve()))
    config = load_config(source)
    labels = config.id2label or {}
    if [name for _, name in sorted(labels.items())] != settings.classes:
        raise UserError(f"{folder}: config.json and predicting.json have different classes; are they of two runs?")
    tokenizer = load_saved_tokenizer(source, config)
    model = load_model(source, tokenizer, settings.classes, seed=0, pooling="saved", print_line=_silent)
    missing = head_parameters(model) - _weight_names(folder)
    if missing:
        raise UserError(f"{folder} has no weights for its classes ({min(missing)}); it is no trained classifier")
    return lambda texts: predict(model, encode(tokenizer, texts, progress=progress), device, settings, progress)


def predict_texts(run: Path, texts: Sequence[str], device: Device) -> np.ndarray:
    """A run's probabilities for `texts`, [texts, classes] float32, by its encoder or `tfidf`, read as in training."""
    if is_tfidf(run):
        return predict_tfidf(run, texts)
    folder = run / "model"
    return load_encoder(folder, read_settings(folder), device.predicting(), f"predict by {run.name}")(texts)


def _silent(_line: str) -> None:
    """Print nothing: that a trained model keeps its head is no news."""


def _weight_names(folder: Path) -> set[str]:
    """The names of all weights in a folder."""
    names: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            names |= set(weights.keys())
    return names
