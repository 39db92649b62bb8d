"""Submission files: read and write them, check their rows and their class counts."""

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from common.cli import UserError
from common.data import Dataset
from common.files import find_target, read_json, sha256, whole_file, write_json
from common.predictions import SURENESS
from common.reading.columns import find_column, fold, show_names
from common.reading.dialect import parse_csv
from common.reading.encoding import read_utf8
from common.reading.sample import Sample
from common.reading.spelling import spellings, table_in_nfc
from common.reading.tables import check_ids, csv_writer, read_table

HEADER = ["id", "label"]  # without a sample_submission.csv
RECORD_KEYS = {"file", "sha256", "method", "members"}  # those that tell a record from other JSON files
FALSE_ALARMS = 0.01  # share of submissions without a shift that get a warning


def read_submission(
    path: Path, sample: Sample | None = None
) -> tuple[np.ndarray, np.ndarray, list[str], dict[str, str]]:
    """Read a submission with one label per row: ids and labels, both [rows] str, the header, and `spellings` of both.

    The columns are those of the sample, or id,label; without a sample any two, the id first. Raises UserError.
    """
    table = read_table(path, all_unique=True, raw=True)
    if SURENESS in table:  # a file of predict.py also has the columns of its input
        table = table[HEADER]
    written = spellings(cell.strip() for cell in table.to_numpy().ravel())
    table = table_in_nfc(table)
    header = list(table.columns)
    allowed = [each for each in (sample.header if sample else None, HEADER) if each and len(each) == 2]
    if len(header) != 2 or (sample and not any(_same(header, each) for each in allowed)):
        expected = " or ".join(dict.fromkeys(",".join(each) for each in allowed))
        raise UserError(f"{path}: the header is {show_names(header)}; expected {expected}, or id and prob_<class>")
    if not sample and fold(header[1]) == "id":
        raise UserError(f"{path}: the header is {','.join(header)}; expected the id first")
    id_column = sample.id_column if sample and _same(header, sample.header) else header[0]
    position = find_column(path, header, id_column) or 0
    ids, labels = table[header[position]], table[header[1 - position]].str.strip()
    check_ids(path, ids)
    blank = np.flatnonzero(labels == "")
    if len(blank):
        raise UserError(f"{path}, row {blank[0] + 1}: the label is empty")
    return ids.to_numpy(dtype=object), labels.to_numpy(dtype=object), header, written


def expected_ids(dataset: Dataset) -> np.ndarray | None:
    """The ids that a submission must have: those of the sample, else those of the test rows, else None."""
    if dataset.sample:
        return np.array(dataset.sample.ids, dtype=object)
    return None if dataset.test is None else dataset.test["id"].to_numpy(dtype=object)


def unexpected_counts(counts: dict[str, int], train_counts: dict[str, int]) -> dict[str, tuple[float, float]]:
    """The classes that are far more or less frequent than in training: {class: (expected count, z)}.

    The two-sample z statistic with pooled variance compares a class's share in the submission and in training. The
    limit of |z| is the normal quantile at which one in a hundred submissions without a shift gets a warning, over all
    classes (Bonferroni): 3.3 for nine classes.
    """
    rows, train_rows = sum(counts.values()), sum(train_counts.values())
    limit = NormalDist().inv_cdf(1 - FALSE_ALARMS / 2 / len(train_counts))
    found = {}
    for name, train_count in train_counts.items():
        pooled = (counts[name] + train_count) / (rows + train_rows)
        error = math.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / train_rows))
        deviations = (counts[name] / rows - train_count / train_rows) / error
        if abs(deviations) > limit:
            found[name] = rows * train_count / train_rows, deviations
    return found


def check_output(output: Path, inputs: Collection[Path], header: list[str]) -> None:
    """Raise UserError unless the submission and its JSON record can be written without a loss.

    The record replaces only an earlier record; the submission replaces only a file with such a record, or one with
    the `header` of a submission of labels; neither replaces an input, a folder or a device.
    """
    if output.suffix.lower() == ".json":
        raise UserError(f"--output {output}: the JSON record needs this name; name the submission .csv")
    record = record_file(output)
    for path in filter(Path.exists, map(find_target, (output, record))):
        if any(file.exists() and path.samefile(file) for file in inputs):
            raise UserError(f"{path} is an input; write to another file with --output")
    if record.exists() and not _is_record(record):
        raise UserError(f"--output {output}: {record} exists and is no record of a submission; choose another name")
    if output.exists() and not record.exists() and not _is_submission(output, header):
        raise UserError(
            f"--output {output}: it exists, and neither its header nor a {record.name} beside it says that it is a "
            "submission; choose another name"
        )


def submission_rows(
    sample: Sample,
    ids: Iterable[str],
    labels: Iterable[str],
    classes: list[str],
    probabilities: np.ndarray,
    written: dict[str, str],
) -> list[list[str]]:
    """A submission in the sample's form, header first: labels, or probabilities if the sample has a column per class.

    `probabilities` is [rows, classes]. `written` has the spelling of names, ids and labels that are not in NFC:
    Kaggle compares code points.
    """
    if sample.classes is None:
        columns = dict.fromkeys(sample.header, labels)
    else:
        others = [name for name in sample.header if name != sample.id_column]
        place = [classes.index(name) for name in sample.classes]
        columns = {
            name: [f"{value:.9g}" for value in probabilities[:, column]]
            for name, column in zip(others, place, strict=True)
        }
    columns[sample.id_column] = ids
    rows = [sample.header, *zip(*(columns[name] for name in sample.header), strict=True)]
    return [[written.get(cell, cell) for cell in row] for row in rows]


def write_submission(path: Path, rows: list[list[str]], record: dict[str, Any]) -> None:
    """Write the submission, header first, and beside it `record`, a JSON object, with its hash: both or neither."""
    with whole_file(path) as table, whole_file(record_file(path)) as beside:
        with open(table, "w", encoding="utf-8", newline="") as file:
            csv_writer(file).writerows(rows)
        write_json(beside, {"file": Path(path).name, "sha256": sha256(table), **record})


def record_file(path: str | Path) -> Path:
    """The JSON record of a submission: the same name with .json."""
    return Path(path).with_suffix(".json")


def _is_record(path):
    try:
        return read_json(path).keys() >= RECORD_KEYS
    except UserError:  # damaged, or no JSON object
        return False


def _is_submission(path, header):
    """Whether a file has the header of a submission of labels, or is empty. Probabilities may be a prediction file."""
    try:
        there = parse_csv(path, read_utf8(path), header).header if path.stat().st_size else HEADER
    except UserError:
        return False
    return any(_same(there, each) for each in (header, HEADER) if len(each) == 2)


def _same(header, other):
    return sorted(map(fold, header)) == sorted(map(fold, other))
