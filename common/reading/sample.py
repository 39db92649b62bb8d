"""sample_submission.csv: which header, ids and kind of columns a submission must have."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.cli import UserError, note
from common.reading.columns import find_column, fold, show_names
from common.reading.tables import check_ids, read_table

PREFIX = "prob_"


@dataclass(frozen=True)
class Sample:
    """The form of a submission, and where it comes from."""

    path: Path
    header: list[str]
    id_column: str  # one of the header
    ids: list[str]
    classes: list[str] | None  # the class of each other column, where those take probabilities; None: one takes labels


def read_sample(path: Path, id_column: str, classes: list[str]) -> Sample:
    """Read sample_submission.csv: an id column (`id_column`, else the first), and one for the label or one per class.

    Raises UserError for other columns, repeated ids, and labels of which none is among the classes.
    """
    table = read_table(path, all_unique=True, hint="")
    header = list(table.columns)
    position = find_column(path, header, id_column)
    name = header[position or 0]
    check_ids(path, table[name])
    others = [each for each in header if each != name]
    if len(others) == 1:
        _check_labels(path, others[0], table[others[0]], classes)
        return Sample(path, header, name, list(table[name]), None)
    class_of = {fold(PREFIX + each): each for each in classes} | {fold(each): each for each in classes}
    found = [class_of.get(fold(each)) for each in others]
    if sorted(filter(None, found)) != sorted(classes) or len(others) != len(classes):
        raise UserError(
            f"{path} has the columns {show_names(header)}; expected an id and a label, or an id and one column per "
            f"class ({show_names(classes)})"
        )
    return Sample(path, header, name, list(table[name]), found)


def adopt_sample_ids(path: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Where the test rows have no column `id`, but one named as the sample's first column, that one holds the ids."""
    if "test" not in tables or "id" in tables["test"]:
        return
    name = read_table(path).columns[0]
    for table in tables.values():
        position = find_column(path, list(table.columns), name)
        if position is not None:
            table.rename(columns={table.columns[position]: "id"}, inplace=True)


def check_sample_ids(sample: Sample, place: str, test: pd.DataFrame) -> None:
    """Refuse a sample whose ids are not those of the test rows, in any order."""
    there, wanted = set(test["id"]), set(sample.ids)
    missing, unknown = sorted(there - wanted), sorted(wanted - there)
    if missing or unknown:
        what = f"lacks id {missing[0]!r} of" if missing else f"has id {unknown[0]!r}, which is not in"
        raise UserError(f"{sample.path} {what} {place}; their ids must be the same (--id-column names the column)")


def _check_labels(path, column, labels, classes):
    """The labels of a sample are placeholders, but several that are no classes mean another column of train.csv."""
    there = sorted(set(labels.str.strip()) - {""})
    strange = sorted(set(there) - set(classes))
    if len(strange) > 1 and len(strange) == len(there):
        raise UserError(
            f"{path}: the column {column!r} has {show_names(strange)}, which are no classes of the training rows "
            f"({show_names(classes)}); name the column that has them with --label-column"
        )
    if strange and len(strange) == len(there):
        note(
            f"{path}: {strange[0]!r} in column {column!r} is no class; submissions get the labels of the training rows"
        )
