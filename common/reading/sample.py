"""sample_submission.csv: the header, the ids and the columns that a submission must have."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from common.cli import UserError, note
from common.reading.columns import find_column, fold, show_names, split_names
from common.reading.dialect import parse_csv
from common.reading.encoding import read_utf8
from common.reading.rows import Rows
from common.reading.spelling import in_nfc, spellings, table_in_nfc
from common.reading.tables import build_table, check_ids

PREFIX = "prob_"


@dataclass(frozen=True)
class Sample:
    """The form of a submission, and the file that sets it."""

    path: Path
    header: list[str]
    id_column: str  # in the header
    ids: list[str]
    classes: list[str] | None  # the class of each probability column; None: one column takes labels
    written: dict[str, str] = field(default_factory=dict)  # names and ids that NFC changes -> as the file writes them


def read_sample(
    path: Path,
    tables: dict[str, pd.DataFrame],
    text: str = "text",
    label: str = "label",
    id_column: str = "id",
    encoding: str | None = None,
) -> tuple[Sample, pd.DataFrame]:
    """Read sample_submission.csv; `check_sample` then checks its columns. The names are those of `tables`.

    Its id column is `id_column`, else the first without repetitions that the test rows have, too, else the first; a
    column named like a text, the label or a class holds no ids. If the test rows have no column `id` and nobody named
    another, that column becomes the column `id` in `tables`. Raises UserError for repeated ids.
    """
    classes = {in_nfc(name) for name in tables["train"][label].str.strip()}
    of_classes = [*classes, *(PREFIX + name for name in classes)]
    rows = parse_csv(path, read_utf8(path, encoding), [id_column, *of_classes])  # class names may hold delimiters
    table = build_table(path, Rows([in_nfc(name) for name in rows.header], rows.records, rows.notes), all_unique=True)
    no_ids = {fold(name) for name in (text, *split_names(text), label, *of_classes)}
    possible = [name for name in table if fold(name) not in no_ids]
    there = list(tables["test"].columns) if "test" in tables else []
    found = [name for name in possible if find_column("test.csv", there, name) is not None]
    shared = [name for name in found if table[name].is_unique]  # not a label's column that test.csv has, too
    position = find_column(path, list(table.columns), id_column)
    if position is None and shared and id_column == "id" and "id" not in there:
        _adopt_ids(tables, shared[0])
    name = [*shared, *possible, *table.columns][0] if position is None else table.columns[position]
    written = spellings([*rows.header, *table[name]])
    table = table_in_nfc(table)
    check_ids(path, table[name])
    return Sample(path, list(table.columns), name, list(table[name]), None, written), table


def _adopt_ids(tables, name):
    """Let the column `name` be the column `id` of every table that has it."""
    for split, table in tables.items():
        position = find_column(f"{split}.csv", list(table.columns), name)
        if position is not None:
            column = table.columns[position]
            tables[split] = table.drop(columns="id", errors="ignore").rename(columns={column: "id"})


def check_sample(sample: Sample, table: pd.DataFrame, classes: list[str]) -> Sample:
    """The sample with its class columns, if it has some.

    Raises UserError unless it has, besides the id, one column of labels or one column per class; also if there are
    several labels and none is a class.
    """
    others = [name for name in sample.header if name != sample.id_column]
    if len(others) == 1:
        _check_labels(sample.path, others[0], table[others[0]], classes)
        return sample
    exact = {PREFIX + name: name for name in classes} | {name: name for name in classes}
    folded = {fold(column): name for column, name in exact.items()}
    found = [exact.get(column, folded.get(fold(column), "")) for column in others]  # classes may differ only in case
    if sorted(found) != sorted(classes):
        raise UserError(
            f"{sample.path} has the columns {show_names(sample.header)}; expected an id and a label, or an id and one "
            f"column per class ({show_names(classes)})"
        )
    return replace(sample, classes=found)


def check_sample_ids(sample: Sample, place: str, test: pd.DataFrame) -> None:
    """Raise UserError unless sample and test rows have the same ids, in any order."""
    there, wanted = set(test["id"]), set(sample.ids)
    missing, unknown = sorted(there - wanted), sorted(wanted - there)
    if missing or unknown:
        what = f"lacks id {missing[0]!r} of" if missing else f"has id {unknown[0]!r}, which is not in"
        raise UserError(f"{sample.path} {what} {place}; their ids must be the same (--id-column names the column)")


def _check_labels(path, column, labels, classes):
    """Accept any one placeholder label; several unknown labels mean that --label-column is wrong."""
    there = sorted(set(labels.str.strip()) - {""})
    strange = sorted(set(there) - set(classes))
    if len(strange) > 1 and len(strange) == len(there):
        raise UserError(
            f"{path}: the column {column!r} has {show_names(strange)}; the classes of the training rows "
            f"are {show_names(classes)}. Name the column of train.csv that has these labels with --label-column"
        )
    if strange and len(strange) == len(there):
        note(f"{path}: {strange[0]!r} in column {column!r} is not a class; submissions use the labels of train.csv")
