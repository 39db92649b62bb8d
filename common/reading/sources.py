"""What `--data` means: a folder with one file a split, a single file, or a dataset on the hub."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from common.cli import UserError
from common.files import sha256
from common.reading.formats import rows_of_frame
from common.reading.parts import SAMPLE, SPLIT_NAMES, SPLITS, find_parts
from common.reading.rows import Rows
from common.reading.tables import build_table, read_table

if TYPE_CHECKING:
    from datasets import DatasetDict

COLUMN_HINT = "Name it with --text-column or --label-column; a file without a header needs --columns text,label"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")  # owner/name or owner/name:config


@dataclass(frozen=True)
class Source:
    """The splits of a dataset: files, or rows from the hub."""

    name: str  # default run names contain it
    location: str  # value of --data that finds it from any working directory
    folder: Path  # as the user gave it, for messages
    parts: dict[str, Path | Rows]  # split -> its file, or rows already read
    places: dict[str, str]  # split -> its name in messages
    sample: Path | None  # sample_submission.csv
    fingerprint: dict[str, str]  # file -> sha256


@dataclass(frozen=True)
class Reading:
    """How the tables of a dataset are read."""

    text: str
    label: str
    id: str
    columns: list[str] | None
    encoding: str | None

    def table(self, source: Source, split: str, labelled: bool) -> pd.DataFrame:
        """The table of a split, with its columns checked."""
        part = source.parts[split]
        required = [self.label] if labelled else []
        optional = [self.id] if labelled else [self.id, self.label]
        if isinstance(part, Path):
            may_lack = None if labelled else self.label
            settings = (self.text, self.columns, may_lack, self.encoding)
            return read_table(part, required, COLUMN_HINT, optional, *settings, raw=True)
        return build_table(source.places[split], part, required, COLUMN_HINT, optional, self.text)


def folder_source(folder: Path) -> Source:
    """A folder with train.csv, optional valid.csv, test.csv and sample_submission.csv; other formats work too."""
    files = find_parts(folder)
    parts = {split: path for split, path in files.items() if split in SPLITS}
    return Source(
        name=folder.resolve().name,  # also of `--data .`
        location=str(folder.resolve()),
        folder=folder,
        parts=dict(parts),
        places={split: str(path) for split, path in parts.items()},
        sample=files.get(SAMPLE),
        fingerprint={path.name: sha256(path) for path in files.values()},
    )


def file_source(path: Path) -> Source:
    """A single file of training rows."""
    return Source(
        path.stem, str(path.resolve()), path, {"train": path}, {"train": str(path)}, None, {path.name: sha256(path)}
    )


def hub_source(name: str, wanted: list[str]) -> Source:
    """A dataset on the hub, `owner/name` or `owner/name:config`; ClassLabel numbers become names."""
    repository, _, config = name.partition(":")
    found = fetch_from_hub(repository, config or None)
    parts: dict[str, Path | Rows] = {}
    places, fingerprint = {}, {}
    for split, names in SPLIT_NAMES.items():
        there = next((each for each in names if each in found), None)
        if there:
            places[split] = f"{name}, split {there}"
            parts[split] = rows = _rows_of_split(places[split], found[there], wanted)
            content = json.dumps([rows.header, rows.records])
            fingerprint[there] = hashlib.sha256(content.encode()).hexdigest()
    if "train" not in parts:
        raise UserError(f"{name} has no split 'train'; it has: {', '.join(map(str, found))}")
    short = repository.split("/")[1] + (f"-{config}" if config else "")
    return Source(short, name, Path(name), parts, places, None, fingerprint)


def fetch_from_hub(repository: str, config: str | None = None, revision: str | None = None) -> "DatasetDict":
    """Fetch a dataset from the hub or its cache. Raises UserError if that fails."""
    try:  # late: a slow import, needed for the hub alone
        import datasets

        from common.hub import connect, explain_fetch
    except ImportError as error:
        raise UserError(f"{repository} cannot be fetched: {error}; install the packages with: make setup") from error
    datasets.logging.set_verbosity_error()
    datasets.config.HF_HUB_OFFLINE = bool(connect())
    try:
        return datasets.load_dataset(repository, *([config] if config else []), revision=revision)
    except Exception as error:  # connection, status, cache, parquet, an unknown config: many libraries' exceptions
        raise UserError(f"{repository} {explain_fetch(error) or f'cannot be fetched: {error}'}") from error


def _rows_of_split(place, split, wanted):
    # as in read_parquet: `to_pandas` would make floats of integers with a missing value
    frame = split.with_format("arrow")[:].to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    for name, feature in split.features.items():
        names = getattr(feature, "names", None)
        if names:  # -1 stands for a label that is withheld
            frame[name] = [names[int(value)] if value is not None and value >= 0 else "" for value in split[name]]
    return rows_of_frame(place, frame, wanted)
