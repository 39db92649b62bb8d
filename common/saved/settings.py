"""predicting.json in a model folder: the settings that prediction needs, so that a copied folder can predict."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from common.cli import UserError
from common.confidence.temperature import recalibrate
from common.files import read_json, write_json
from common.predictions import VALID, read_predictions

FILE = "predicting.json"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a saved model reads texts, and the meaning of its outputs."""

    classes: list[str]  # in the order of the model's outputs
    max_length: int | None  # in tokens; None: the model reads whole texts
    long_texts: str | None  # "windows" or "head", see --long-texts
    temperature: float | None = None  # fitted on the validation rows; None: not fitted, or it did not help
    text_column: str = "text"  # of the training rows
    id_column: str = "id"


def write_settings(folder: Path, settings: Settings) -> None:
    """Write predicting.json into a model folder."""
    write_json(folder / FILE, asdict(settings))


def read_settings(folder: Path) -> Settings:
    """Read a model folder's predicting.json, or for older runs without it, the run's config.json.

    Raises UserError if there is neither or the file is damaged.
    """
    path = folder / FILE
    if path.exists():
        found = read_json(path)
        names = {field.name for field in fields(Settings)}
        if not {"classes", "max_length", "long_texts"} <= found.keys() <= names:
            there = ", ".join(sorted(found))
            raise UserError(f"{path} is damaged: expected {', '.join(sorted(names))}; found {there}")
        return Settings(**found)
    run = folder.resolve().parent
    if not (run / "config.json").exists():
        raise UserError(
            f"{folder} has no {FILE}, which says how the model reads texts: expected a run, or a run's model folder; "
            "transformers' pipeline predicts with other models"
        )
    return settings_of_run(run)


def settings_of_run(run: Path) -> Settings:
    """The settings from a run's config.json and validation rows. Raises UserError if config.json lacks them."""
    config = read_json(run / "config.json")
    if not {"classes", "recipe", "data"} <= config.keys():
        raise UserError(f"{run / 'config.json'} is not one of train.py's: expected classes, recipe and data in it")
    scaling = recalibrate(read_predictions(run / VALID))[0] if (run / VALID).exists() else None
    return Settings(
        classes=config["classes"],
        **{name: config["recipe"].get(name) for name in ("max_length", "long_texts")},
        temperature=scaling["temperature"] if scaling else None,
        **{name: config["data"][name] for name in ("text_column", "id_column") if config["data"].get(name)},
    )
