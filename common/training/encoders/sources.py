"""Where an encoder comes from: a short name, a hub id or a local folder. No torch, so a typo fails at once."""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from common.cli import UserError, note
from common.files import refuse_broken_links
from common.reading.folders import folders_below
from common.training.encoders.registry import MODELS, TFIDF

PEFT_ADAPTER = (
    "holds a PEFT adapter, not an encoder; merge it first: load it with peft, call merge_and_unload(), and save that "
    "model and its tokenizer with save_pretrained(folder)"
)

BUILT = ("tiny", TFIDF)  # built from the training texts, without a checkpoint


@dataclass(frozen=True)
class Source:
    """Where a model comes from: a hub id with a revision, or a local folder; `tiny` and `tfidf` are built."""

    name: str
    location: str
    revision: str | None = None

    @property
    def folder(self) -> Path | None:
        """The local folder; None if the encoder is on the hub or built."""
        path = Path(self.location)
        return path if self.location not in BUILT and path.is_dir() else None


def find_source(name: str) -> Source:
    """Resolve a short name, a hub id or a local folder. Raises UserError for anything else."""
    if name in BUILT:
        return Source(name, name)
    if name in MODELS:
        return Source(name, MODELS[name].hub_id, MODELS[name].revision)
    path = Path(name)
    known = [*MODELS, *BUILT]
    if name and path.is_dir():
        location = str(_find_model(path))
        return Source(path.resolve().name, os.path.join(".", location) if location in known else location)
    if path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"no model {name!r}: {hint}expected a folder, a hub id (owner/name), or one of {', '.join(known)}"
        )
    return Source(name, name)


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder, sorted: model*.safetensors, else pytorch_model*.bin, else other .safetensors.

    Raises UserError for a link to a file that is not there.
    """
    patterns = ("model*.safetensors", "pytorch_model*.bin", "*.safetensors")
    files = next((found for pattern in patterns if (found := sorted(folder.glob(pattern)))), [])
    refuse_broken_links(files)
    return files


def _find_model(folder: Path) -> Path:
    """The folder, or the only folder below it that holds a model. Raises UserError and names the folder that does."""
    if not (folder / "config.json").exists() or (folder / "members").is_dir() or (folder / "predictions").is_dir():
        members = sorted((folder / "members").glob("*/model/config.json"))
        if (folder / "model" / "config.json").exists():
            raise UserError(f"{folder} is a run folder; use its model: --model {folder / 'model'}")
        if members:
            raise UserError(f"{folder} is an ensemble's folder; use a member's model: --model {members[0].parent}")
        snapshots = sorted([*folder.glob("snapshots/*/config.json"), *folder.glob("models--*/snapshots/*/config.json")])
        if snapshots:
            raise UserError(f"{folder} is a hub cache folder; use a snapshot of it: --model {snapshots[-1].parent}")
        if (folder / "adapter_config.json").exists():
            raise UserError(f"model folder {folder} {PEFT_ADAPTER}")
        below = [each for each in folders_below(folder) if (each / "config.json").exists() and weight_files(each)]
        if len(below) == 1:  # Kaggle's: gbert-base/transformers/default/1
            note(f"{below[0]} holds the encoder of {folder}")
            return below[0]
        if below:
            raise UserError(f"{folder} holds several encoders; name one: {', '.join(map(str, below[:5]))}")
        raise UserError(f"model folder {folder} has no config.json")
    if not weight_files(folder):
        raise UserError(f"model folder {folder} has no weights: expected model.safetensors or pytorch_model.bin")
    return folder
