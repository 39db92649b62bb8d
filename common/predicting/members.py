"""The saved models that predict, and their weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.cli import UserError
from common.files import refuse_broken_links
from common.reading.columns import fold, split_names
from common.runs import check_run
from common.saved.settings import Settings, read_settings


@dataclass(frozen=True)
class Member:
    """One saved model and its weight in the mean; the weights of all members sum to 1."""

    folder: Path  # with config.json, the weights, predicting.json
    settings: Settings
    weight: float


def find_members(arguments: Sequence[str]) -> tuple[list[Member], list[Path]]:
    """The models of the given runs (names or folders) and model folders; and the runs among the arguments.

    Each argument has the same weight, and so has each member of an ensemble. Raises UserError if there is no such run
    or model, if a run has no weights, or if two models have different classes.
    """
    members: list[Member] = []
    runs: list[Path] = []
    for argument in arguments:
        folders = [Path(argument)]
        if not is_model(folders[0]):
            run = check_run(argument)
            folders = _model_folders(run)
            runs.append(run)
        share = 1 / len(arguments) / len(folders)
        members += [Member(folder, read_settings(folder), share) for folder in folders]
    first = members[0]
    for other in members[1:]:
        if set(other.settings.classes) != set(first.settings.classes):
            differing = sorted(set(other.settings.classes) ^ set(first.settings.classes))
            raise UserError(
                f"{first.folder} and {other.folder} have different classes: only one of the two has {differing[0]!r}"
            )
    return members, runs


def find_text_column(members: Sequence[Member]) -> str:
    """The column of texts in training. Raises UserError if the members read columns of different names."""
    first, *others = [(member.folder, member.settings.text_column) for member in members]
    for folder, name in others:
        if [fold(part) for part in split_names(name)] != [fold(part) for part in split_names(first[1])]:
            raise UserError(
                f"{first[0]} was trained with --text-column {first[1]!r}, {folder} with {name!r}; give --text-column"
            )
    return first[1]


def find_id_columns(members: Sequence[Member]) -> list[str]:
    """The names that the column of ids had in training; case does not make two names different."""
    return list({fold(member.settings.id_column): member.settings.id_column for member in members}.values())


def is_model(path: Path) -> bool:
    """Whether a path is a model folder, which has weights."""
    return any(weight_files(path))


def weight_files(folder: Path) -> list[Path]:
    """The weights in a model folder: an encoder's or those of `tfidf`.

    Raises UserError for a link to a file that is not there.
    """
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("tfidf.npz")])
    refuse_broken_links(files)
    return files


def _model_folders(run: Path) -> list[Path]:
    """The model folders of a complete run: its own, or its members'.

    A run that is an ensemble's models/<name> has the models of members/<name>-seed*.
    """
    members = sorted(path.parent for path in run.glob("members/*/results.json"))
    place = run.absolute()
    if not members and place.parent.name == "models" and not (run / "model").is_dir():
        everyone = sorted(path.parent for path in place.parent.parent.glob("members/*/results.json"))
        members = [member for member in everyone if member.name.rpartition("-seed")[0] == place.name]
    folders = [folder / "model" for folder in members or [run]]
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing:
        raise UserError(f"{missing} is not there: run {run} was copied without its weights")
    return folders
