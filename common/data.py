"""Datasets: training rows, and optional validation rows, test rows and form of a submission."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

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
from common.reading.columns import check_names, fold, show_names, split_names
from common.reading.encoding import check_encoding
from common.reading.identity import identify_recorded_rows, identify_rows
from common.reading.parts import find_parts
from common.reading.sample import Sample, check_sample, check_sample_ids, read_sample
from common.reading.sources import HUB_ID, Reading, Source, file_source, folder_source, hub_source
from common.reading.spelling import dataset_spellings, in_nfc, table_in_nfc
from common.reading.tables import check_ids, read_table

DATA_FOLDER = Path(__file__).resolve().parent.parent / "data"
DATASETS = {
    "sample": None,  # shipped
    "gnad10": "python data/gnad10/prepare.py",
    "kaggle": "python data/kaggle/prepare.py",
}


@dataclass(frozen=True)
class Dataset:
    """A checked dataset. Its frames have the columns id, text and label, all strings; test may lack the label."""

    name: str
    folder: Path  # or file, or name on the hub
    classes: list[str]  # sorted labels of the training rows: class k is column k everywhere
    train: pd.DataFrame
    valid: pd.DataFrame | None
    test: pd.DataFrame | None
    fingerprint: dict[str, str]  # file name -> sha256
    location: str = ""  # value of --data that finds it from any working directory
    places: dict[str, str] = field(default_factory=dict)  # split -> its file, for messages
    sample: Sample | None = None
    options: dict[str, str | None] = field(default_factory=dict)  # of load_dataset, those that choose the cells
    written: dict[str, str] = field(default_factory=dict)  # ids and labels that NFC changes -> as the files write them
    numbered: Sequence[str] = ()  # splits without ids, whose row numbers are the ids

    @property
    def files(self) -> dict[str, str]:
        """The file names of the frames, without their folder."""
        return {split: Path(place).name for split, place in self.places.items()}

    def identity(self, split: str) -> str | None:
        """A digest of the split's ids and texts, None without the split."""
        return identify_rows(split, self.fingerprint, self.options)

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The existing frames by split: train, valid, test."""
        frames = {"train": self.train, "valid": self.valid, "test": self.test}
        return {split: frame for split, frame in frames.items() if frame is not None}


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
    """Read and check a dataset by short name, folder, file or hub name. The arguments are the scripts' options.

    Raises UserError, naming file, row and column, if training or scoring would go wrong: a missing file or column, an
    empty text or label, a repeated id, a single class, a label that no training row has.
    """
    text, label, row_id = map(in_nfc, (text_column, label_column, id_column))  # as headers are
    check_names(text, label, row_id)
    if encoding:
        check_encoding(encoding)
    reading = Reading(text, label, row_id, split_names(columns) if columns else None, encoding)
    source = find_source(name_or_path, [*split_names(text), text, label, row_id])
    tables = {split: reading.table(source, split, labelled=split != "test") for split in source.parts}
    draft = read_sample(source.sample, tables, text, label, row_id, encoding) if source.sample else None
    numbered = check_id_column(source.places, tables, row_id)
    written = dataset_spellings(tables, label, row_id)
    tables = {split: table_in_nfc(table) for split, table in tables.items()}

    columns_of = {"text": text, "label": label, "id": row_id}
    frames = {
        split: check_rows(source.places[split], split, table, columns_of, drop_blank) for split, table in tables.items()
    }
    train, valid, test = frames["train"], frames.get("valid"), frames.get("test")
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
    sample = check_sample(*draft, classes) if draft else None
    if sample and test is not None:
        check_sample_ids(sample, source.places["test"], test)
    return Dataset(
        source.name,
        source.folder,
        classes,
        train.reset_index(drop=True),
        None if valid is None else valid.reset_index(drop=True),
        None if test is None else test.reset_index(drop=True),
        source.fingerprint,
        source.location,
        source.places,
        sample,
        {"text_column": text, "label_column": label, "id_column": row_id, "columns": columns, "encoding": encoding},
        written | (sample.written if sample else {}),
        numbered,
    )


def load_run_dataset(folder: Path) -> Dataset:
    """The dataset in a run's config.json, on which the run was trained. Raises UserError if it is missing."""
    data = read_json(folder / "config.json").get("data")
    if not isinstance(data, dict) or "folder" not in data:
        raise UserError(f"{folder / 'config.json'} names no dataset; give it with --data")
    place = data["folder"]
    there = Path(place).is_file() or "train" in find_parts(Path(place)) or HUB_ID.fullmatch(place)
    if not there and data.get("name") not in DATASETS:  # a short name's folder is known, wherever the run was trained
        raise UserError(f"run {folder}: its dataset {place} is missing; give it with --data")
    options = {key: data[key] for key in ("text_column", "label_column", "id_column") if data.get(key)}
    return load_dataset(place if there else data["name"], **options, **data.get("options", {}))


def is_trained_on(config: dict[str, Any], dataset: Dataset) -> bool:
    """Whether the run with this config.json was trained on the training rows, labels and classes of `dataset`."""
    data = config.get("data")
    if not isinstance(data, dict) or identify_recorded_rows("train", data) != dataset.identity("train"):
        return False
    label = fold(data.get("label_column") or "label")
    return label == fold(dataset.options["label_column"] or "label") and config.get("classes") == dataset.classes


def read_labels(path: str | Path, label_column: str = "label", id_column: str = "id") -> pd.DataFrame:
    """Read given labels, without texts, as a frame with the columns id and label. Raises as `load_dataset`."""
    table = read_table(path, [label_column], hint="Name it with --label-column", optional=[id_column])
    if id_column not in table and id_column != "id":
        raise UserError(f"{path} has no column {id_column!r} (--id-column); it has: {show_names(list(table.columns))}")
    ids = table[id_column] if id_column in table else [str(number) for number in range(1, len(table) + 1)]
    check_ids(path, ids)
    frame = pd.DataFrame({"id": ids, "label": table[label_column].str.strip()})
    refuse_blanks(path, frame, ["label"])
    return frame


def find_source(name_or_path: str | Path, wanted: list[str]) -> Source:
    """The source of a short name, a path or a hub name. The `wanted` columns must hold plain values."""
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
    """Raise UserError at once if this cannot be a dataset, without reading files or asking the hub."""
    name, path = str(name_or_path), Path(name_or_path)
    on_hub = name == "gnad10" or (not path.exists() and HUB_ID.fullmatch(name))
    if not on_hub and (name in DATASETS or not path.is_file()):
        find_folder(name_or_path)


def find_folder(name_or_folder: str | Path) -> Path:
    """The folder of a short name or a path. Fetches gnad10. Raises UserError with the command that fills the folder."""
    name = str(name_or_folder)
    folder = DATA_FOLDER / name if name in DATASETS else Path(name)
    if "train" in find_parts(folder):
        return folder
    if name == "gnad10":
        prepare_module("gnad10").fetch(folder)
        return folder
    if name in DATASETS:
        raise UserError(f"dataset {name!r} is missing; get it with: {DATASETS[name]}")
    if folder.is_dir():
        raise UserError(f"{folder} has no train.csv")
    raise UserError(f"no dataset {name!r}; expected {', '.join(DATASETS)}, a folder, a file, or owner/name on the hub")


def prepare_module(name: str) -> ModuleType:
    """The module data/<name>/prepare.py, the script that fills that dataset's folder."""
    spec = importlib.util.spec_from_file_location(f"prepare_{name}", DATA_FOLDER / name / "prepare.py")
    assert spec and spec.loader  # there is a loader for every .py file
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
