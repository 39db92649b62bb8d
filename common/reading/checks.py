"""Checks on the rows of a dataset: no blank cells, known labels, unique ids."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from common.cli import UserError, note
from common.reading.columns import show_names
from common.reading.tables import check_ids

SHOWN = 5  # a message names this many rows or labels


def check_id_column(places: dict[str, str], tables: dict[str, pd.DataFrame], name: str) -> list[str]:
    """The splits without an id column, whose row numbers are the ids.

    Raises UserError if test.csv, or train.csv without one, lacks a column that was named. The default may be missing.
    """
    decisive = "test" if "test" in tables else "train"
    if name != "id" and name not in tables[decisive]:
        names = show_names(list(tables[decisive].columns))
        raise UserError(f"{places[decisive]} has no column {name!r} (--id-column); it has: {names}")
    without = [split for split, table in tables.items() if name not in table]
    if without:
        note(f"{', '.join(places[split] for split in without)}: no column {name!r}, so row numbers are the ids")
    return without


def check_rows(
    place: str, split: str, table: pd.DataFrame, columns: dict[str, str], drop_blank: bool = False
) -> pd.DataFrame:
    """The frame of a split: id, text and, if the table has it, label. Its index is the row's position in the file.

    `columns` maps "text", "label" and "id" to the table's column names. Raises UserError for blank cells; `drop_blank`
    leaves their rows out instead. Test rows may have a blank text, since a submission needs every id.
    """
    frame = pd.DataFrame({"text": table[columns["text"]]})
    has_ids = columns["id"] in table
    frame.insert(0, "id", table[columns["id"]] if has_ids else [str(number) for number in range(1, len(table) + 1)])
    if columns["label"] in table:
        frame["label"] = table[columns["label"]].str.strip()
    if split == "test":
        check_ids(place, frame["id"])
        return frame
    if drop_blank:
        filled = (frame["text"].str.strip() != "") & (frame["label"] != "")
        if not filled.all():
            note(f"{place}: {(~filled).sum()} rows without a text or a label are left out (--drop-blank)")
        frame = frame[filled]
        if frame.empty:
            raise UserError(f"{place}: every row lacks a text or a label")
    check_ids(place, frame["id"], frame.index + 1)
    refuse_blanks(place, frame, ["text", "label"], "; --drop-blank leaves such rows out")
    return frame


def refuse_blanks(place: object, frame: pd.DataFrame, columns: Sequence[str], hint: str = "") -> None:
    """Raise UserError if a cell of `columns` is blank. The message names the first such rows and counts them."""
    blank = {column: frame.index[frame[column].str.strip() == ""] for column in columns}
    found = [
        f"{_rows(rows)}: the {column} is empty" + (f" ({len(rows)} rows)" if len(rows) > 1 else "")
        for column, rows in blank.items()
        if len(rows)
    ]
    if found:
        raise UserError(f"{place}, {'; '.join(found)}{hint}")


def _rows(positions):
    """`row 2`, or `rows 2, 7, 9, ...`, for positions counted from 0."""
    first = ", ".join(str(position + 1) for position in positions[:SHOWN])
    return f"row{'s' * (len(positions) > 1)} {first}{', ...' * (len(positions) > SHOWN)}"


def report_rare_labels(place: object, labels: pd.Series) -> None:
    """Print notes on likely typos: labels with a single row, and labels that look alike."""
    counts = Counter(labels)
    row_of = {label: row + 1 for row, label in labels.items()}
    lonely = [f"{label!r} (row {row_of[label]})" for label, count in sorted(counts.items()) if count == 1]
    if lonely:
        more = f" and {len(lonely) - SHOWN} more" if len(lonely) > SHOWN else ""
        classes = "1 class has" if len(lonely) == 1 else f"{len(lonely)} classes have"
        note(f"{place}: {classes} a single row, perhaps by mistake: {', '.join(lonely[:SHOWN])}{more}")
    spellings: dict[str, list[str]] = {}
    for label in sorted(counts):
        visible = "".join(c for c in label.casefold() if unicodedata.category(c) != "Cf")
        spellings.setdefault(" ".join(visible.split()), []).append(repr(label))
    alike = [" and ".join(labels) for labels in spellings.values() if len(labels) > 1]
    if alike:
        note(f"{place}: labels that differ only in case or invisible characters: {'; '.join(alike[:SHOWN])}")


def refuse_unknown_labels(place: object, frame: pd.DataFrame, classes: list[str], hint: str = "") -> None:
    """Raise UserError if a label is not one of the classes."""
    unknown = frame.index[~frame["label"].isin(classes)]
    if len(unknown):
        label = frame["label"][unknown[0]]
        many = f" ({len(unknown)} rows have such labels)" if len(unknown) > 1 else ""
        raise UserError(f"{place}, row {unknown[0] + 1}: label {label!r} does not occur in train.csv{many}{hint}")


def check_test_labels(place: object, test: pd.DataFrame, classes: list[str], allow_unknown: bool) -> pd.DataFrame:
    """Test rows with all labels, or without the column if all are empty. Raises UserError for gaps and placeholders."""
    if (test["label"] == "").all():
        return test.drop(columns="label")
    hint = "; --ignore-test-labels reads test rows without labels"
    refuse_blanks(place, test, ["label"], hint)
    if not allow_unknown:
        more = ", --allow-unknown-test-labels counts such rows as wrong"
        refuse_unknown_labels(place, test, classes, hint + more)
    return test
