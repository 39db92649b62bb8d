"""sample_submission.csv: the header, the ids and the columns that a submission must have."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.cli import UserError, note
from common.reading.columns import find_column, fold, show_names
from common.reading.tables import check_ids, read_table

PREFIX = "prob_"


@dataclass(frozen=True)
class Sample:
    """The form of a submission, and the file that sets it."""

    path: Path
    header: list[str]
    id_column: str  # in the header
    ids: list[str]
    classes: list[str] | None  # the class of each probability column; None: one column takes labels


def read_sample(path: Path, id_column: str, classes: list[str], encoding: str | None = None) -> Sample:
    """Read sample_submission.csv: an id column (`id_column`, else the first), and a label column or one per class.

    Raises UserError for other columns, for repeated ids, and if none of its labels is a class.
    """
    table = read_table(path, all_unique=True, encoding=encoding)
    header = list(table.columns)
    position = find_column(path, header, id_column)
    name = header[position or 0]
    check_ids(path, table[name])
    others = [each for each in header if each != name]
    if len(others) == 1:
        _check_labels(path, others[0], table[others[0]], classes)
        return Sample(path, header, name, list(table[name]), None)
    class_of = {fold(PREFIX + each): each for each in classes} | {fold(each): each for each in classes}
    found = [class_of[fold(each)] for each in others if fold(each) in class_of]
    if sorted(found) != sorted(classes) or len(others) != len(classes):
        raise UserError(
            f"{path} has the columns {show_names(header)}; expected an id and a label, or an id and one column per "
            f"class ({show_names(classes)})"
        )
    return Sample(path, header, name, list(table[name]), found)


def adopt_sample_ids(path: Path, tables: dict[str, pd.DataFrame], encoding: str | None = None) -> None:
    """Without a column `id` in the test rows, use the column that is named like the sample's first column.

    Replaces tables in `tables`.
    """
    if "test" not in tables or "id" in tables["test"]:
        return
    name = read_table(path, encoding=encoding).columns[0]
    for part, table in tables.items():
        position = find_column(path, list(table.columns), name)
        if position is not None:
            tables[part] = table.rename(columns={table.columns[position]: "id"})


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
