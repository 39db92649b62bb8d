"""Datasets: training rows, and perhaps validation rows, test rows and the form of a submission."""

import importlib.util
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from common.cli import UserError
from common.files import read_json
from common.reading.checks import (
    check_id_column,
    check_rows,
    check_test_labels,
    refuse_blanks,
    refuse_unknown_labels,
    report_rare_labels,
)
from common.reading.columns import fold, show_names, split_names
from common.reading.encoding import check_encoding
from common.reading.parts import SPLITS, find_parts
from common.reading.sample import Sample, adopt_sample_ids, check_sample_ids, read_sample
from common.reading.sources import HUB_ID, Source, file_source, folder_source, hub_source
from common.reading.tables import build_table, check_ids, read_table

DATA_FOLDER = Path(__file__).resolve().parent.parent / "data"
DATASETS = {
    "sample": None,  # shipped
    "gnad10": "python data/gnad10/prepare.py",
    "kaggle": "python data/kaggle/prepare.py",
}


@dataclass(frozen=True)
class Dataset:
    """A checked dataset. Frames have the columns id, text and (train, valid; test where known) label, all strings."""

    name: str
    folder: Path  # or file, or name on the hub
    classes: list[str]  # the sorted labels of the training rows: class k is column k everywhere
    train: pd.DataFrame
    valid: pd.DataFrame | None
    test: pd.DataFrame | None
    fingerprint: dict[str, str]  # file name -> sha256
    location: str = ""  # what --data takes to read it again, from any working directory
    places: dict[str, str] = field(default_factory=dict)  # "train", "valid", "test" -> its file, for messages
    sample: Sample | None = None

    @property
    def files(self) -> dict[str, str]:
        """The file names of the frames, without their folder."""
        return {split: Path(place).name for split, place in self.places.items()}

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The frames that there are, by the names train, valid and test."""
        frames = {"train": self.train, "valid": self.valid, "test": self.test}
        return {split: frame for split, frame in frames.items() if frame is not None}


@dataclass(frozen=True)
class _Reading:
    """How the tables of a dataset are read."""

    text: str
    label: str
    id: str
    columns: list[str] | None
    encoding: str | None
    drop_blank: bool

    def table(self, source: Source, split: str, labelled: bool) -> pd.DataFrame:
        """The table of a split, with its columns checked."""
        part = source.parts[split]
        needed = {
            "required": [self.label] if labelled else [],
            "texts": self.text,
            "optional": [self.id] if labelled else [self.id, self.label],
            "hint": "Name it with --text-column or --label-column; a file without a header needs --columns text,label",
        }
        if isinstance(part, Path):
            may_lack = None if labelled else self.label
            return read_table(part, columns=self.columns, may_lack=may_lack, encoding=self.encoding, **needed)
        return build_table(source.places[split], part, **needed)


def load_dataset(
    name_or_path: str | Path,
    text_column: str = "text",
    label_column: str = "label",
    id_column: str = "id",
    columns: str | None = None,
    encoding: str | None = None,
    drop_blank: bool = False,
    ignore_test_labels: bool = False,
    allow_unknown_test_labels: bool = False,
) -> Dataset:
    """Read and check a dataset given by short name, folder, file, or name on the hub; the options are the scripts'.

    Raises UserError, naming file, row and column, for whatever would make training or scoring wrong: a missing file or
    column, an empty text or label, a repeated id, a single class, a label outside the training rows' classes.
    """
    names = [unicodedata.normalize("NFC", name) for name in (text_column, label_column, id_column)]  # as headers are
    if len({fold(name) for name in names}) < 3:
        raise UserError("--text-column, --label-column and --id-column must name three different columns")
    if encoding:
        check_encoding(encoding)
    reading = _Reading(*names, split_names(columns) if columns else None, encoding, drop_blank)
    source = find_source(name_or_path, [*split_names(names[0]), names[0], *names[1:]])
    tables = {split: reading.table(source, split, labelled=split != "test") for split in source.parts}
    if id_column == "id" and source.sample:
        adopt_sample_ids(source.sample, tables)
    check_id_column(source.places, tables, reading.id)

    columns_of = {"text": reading.text, "label": reading.label, "id": reading.id}
    frames = {
        split: check_rows(source.places[split], split, table, columns_of, reading.drop_blank)
        for split, table in tables.items()
    }
    train, valid, test = (frames.get(split) for split in SPLITS)
    classes = sorted(set(train["label"]))
    if len(classes) < 2:
        raise UserError(f"{source.places['train']}: only one class, {classes[0]!r}; a classifier needs two or more")
    report_rare_labels(source.places["train"], train["label"])
    if ignore_test_labels and test is not None:
        test = test.drop(columns="label", errors="ignore")
    if valid is not None:
        refuse_unknown_labels(source.places["valid"], valid, classes)
    if test is not None and "label" in test:
        test = check_test_labels(source.places["test"], test, classes, allow_unknown_test_labels)
    sample = read_sample(source.sample, reading.id, classes) if source.sample else None
    if sample and test is not None:
        check_sample_ids(sample, source.places["test"], test)
    train, valid, test = (None if frame is None else frame.reset_index(drop=True) for frame in (train, valid, test))
    return Dataset(
        source.name,
        source.folder,
        classes,
        train,
        valid,
        test,
        source.fingerprint,
        source.location,
        source.places,
        sample,
    )


def load_run_dataset(folder: Path) -> Dataset:
    """The dataset that a run was trained on, by its config.json. Raises UserError where it is not there."""
    data = read_json(folder / "config.json").get("data")
    if not isinstance(data, dict) or "folder" not in data:
        raise UserError(f"{folder / 'config.json'} names no dataset; name it with --data")
    place = data["folder"]
    there = Path(place).is_file() or "train" in find_parts(Path(place)) or HUB_ID.fullmatch(place)
    if not there and data.get("name") not in DATASETS:  # a short name's folder is known, wherever the run was trained
        raise UserError(f"run {folder}: its dataset {place} is not there; name it with --data")
    options = {key: data[key] for key in ("text_column", "label_column", "id_column") if data.get(key)}
    return load_dataset(place if there else data["name"], **options, **data.get("options", {}))


def read_labels(path: str | Path, label_column: str = "label", id_column: str = "id") -> pd.DataFrame:
    """Read a table of given labels, texts or not: a frame with the columns id and label. Raises as `load_dataset`."""
    table = read_table(path, [label_column], hint="Name it with --label-column", optional=[id_column])
    if id_column not in table and id_column != "id":
        raise UserError(f"{path} has no column {id_column!r} (--id-column); it has: {show_names(list(table.columns))}")
    ids = table[id_column] if id_column in table else [str(number) for number in range(1, len(table) + 1)]
    check_ids(path, ids)
    frame = pd.DataFrame({"id": ids, "label": table[label_column].str.strip()})
    refuse_blanks(path, frame, ["label"])
    return frame


def find_source(name_or_path: str | Path, wanted: list[str]) -> Source:
    """What a short name, a path, or a name on the hub means; `wanted` are the columns that must hold plain values."""
    name, path = str(name_or_path), Path(name_or_path)
    if name not in DATASETS and path.is_file():
        return file_source(path)
    if name not in DATASETS and not path.exists() and HUB_ID.fullmatch(name):
        try:
            return hub_source(name, wanted)
        except UserError as error:
            raise UserError(f"no file or folder {name!r}; as a dataset on the hub: {error}") from error
    return folder_source(find_folder(name_or_path))


def check_name(name_or_path: str | Path) -> None:
    """Refuse in no time what can be no dataset; files and the hub are read later. Raises UserError."""
    name, path = str(name_or_path), Path(name_or_path)
    on_hub = name == "gnad10" or (not path.exists() and HUB_ID.fullmatch(name))
    if not on_hub and (name in DATASETS or not path.is_file()):
        find_folder(name_or_path)


def find_folder(name_or_folder: str | Path) -> Path:
    """The folder of a short name (fetched or refused with the command that fills it) or of a path."""
    name = str(name_or_folder)
    folder = DATA_FOLDER / name if name in DATASETS else Path(name)
    if "train" in find_parts(folder):
        return folder
    if name == "gnad10":
        prepare_module("gnad10").fetch(folder)
        return folder
    if name in DATASETS:
        raise UserError(f"dataset {name!r} is not there yet; fill it with: {DATASETS[name]}")
    if folder.is_dir():
        raise UserError(f"{folder} has no train.csv")
    raise UserError(
        f"no dataset {name!r}: neither one of {', '.join(DATASETS)} nor a folder, a file, or owner/name on the hub"
    )


def prepare_module(name: str):
    """The module data/<name>/prepare.py: each dataset's folder owns the script that fills it."""
    spec = importlib.util.spec_from_file_location(f"prepare_{name}", DATA_FOLDER / name / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
