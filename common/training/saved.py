"""A trained model, loaded from its folder to predict new texts."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from transformers import AutoTokenizer

from common.cli import UserError
from common.saved.settings import Settings, read_settings
from common.training.compute.devices import Device
from common.training.encoders.configs import load_config, load_part
from common.training.encoders.models import head_parameters, load_model
from common.training.encoders.sources import find_source
from common.training.prediction import predict
from common.training.tokens import encode


def load_encoder(
    folder: Path, settings: Settings, device: Device, progress: str | None = None
) -> Callable[[Sequence[str]], np.ndarray]:
    """A function from texts to probabilities [texts, classes] float32, computed on `device`.

    `folder` is a saved model's, `settings` are its predicting.json. Raises UserError where the two do not fit.
    """
    source = find_source(str(folder))
    labels = load_config(source).id2label or {}
    if [labels.get(number) for number in range(len(labels))] != settings.classes:
        raise UserError(f"{folder}: config.json and predicting.json name other classes; were files of two runs mixed?")
    tokenizer = load_part(AutoTokenizer.from_pretrained, source, trust_remote_code=False)
    model = load_model(source, tokenizer, settings.classes, seed=0, pooling="first", print_line=_silent)
    missing = head_parameters(model) - _weight_names(folder)
    if missing:
        raise UserError(f"{folder} has no weights for its classes ({min(missing)}): it was not trained to classify")
    return lambda texts: predict(model, encode(tokenizer, texts, progress=progress), device, settings, progress)


def predict_texts(run: Path, texts: Sequence[str], device: Device) -> np.ndarray:
    """What a run's trained model says of `texts`, [texts, classes] float32; read as in its training."""
    folder = run / "model"
    return load_encoder(folder, read_settings(folder), device.predicting(), f"predict by {run.name}")(texts)


def _silent(_line):
    """The head is the model's own: nobody need be told that it is kept."""


def _weight_names(folder):
    names = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            names |= set(weights.keys())
    return names
