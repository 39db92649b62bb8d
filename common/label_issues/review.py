"""The review list: the issues of labels and texts, merged and ranked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.classes import class_numbers
from common.files import whole_file
from common.label_issues.held_out import HeldOut
from common.label_issues.labels import LabelIssues
from common.label_issues.texts import TextIssues
from common.reading.spreadsheets import guard
from common.reading.tables import csv_writer

COLUMNS = (
    "rank",
    "id",
    "given_label",
    "suggested_label",
    "label_quality",
    "given_probability",
    "suggested_probability",
    "issue",
    "text",
)
ISSUES = {
    "label": "label probably wrong",
    "duplicate_other_label": "near-duplicate with another label",
    "duplicate_other_file": "near-duplicate in another file",
    "duplicate": "near-duplicate",
    "outlier": "outlier",
    "broken_text": "broken text",
}
SHOWN_DUPLICATES = 5


@dataclass(frozen=True)
class Review:
    """Rows with an issue: first the probably wrong labels, then the others, both by label quality."""

    table: pd.DataFrame  # [issues] COLUMNS; the column issue has keys of ISSUES, separated by spaces
    probabilities: np.ndarray  # [issues, classes]
    notes: list[list[str]]  # [issues] sentences about the text
    classes: list[str]
    duplicates: list[list[tuple[str, str]]] | None = None  # [issues] name and text of each near-duplicate


def build_review(held_out: HeldOut, labels: LabelIssues, texts: TextIssues, classes: Sequence[str]) -> Review:
    """Merge the label issues and text issues of the rows with predictions."""
    place = {row.id: row.Index for row in texts.rows.itertuples() if row.file == held_out.file}
    set_of = {row: rows for rows in texts.duplicate_sets for row in rows}

    kinds, notes, duplicates = [], [], []
    for position, row_id in enumerate(held_out.rows["id"]):
        row = place[row_id]
        found = ["label"] if labels.is_issue[position] else []
        said, copies = [], []
        if row in set_of:
            found += _duplicate_kinds(set_of[row], texts.rows)
            said.append(_duplicate_note(row, set_of[row], texts.rows))
            others = [other for other in set_of[row] if other != row][:SHOWN_DUPLICATES]
            copies = [("id " + _name(texts.rows, other), texts.rows["text"][other]) for other in others]
        if texts.is_outlier[row]:
            found.append("outlier")
            said.append("Unlike all other texts.")
        if texts.broken[row]:
            found.append("broken_text")
            said.append(f"Broken text: {texts.broken[row]}.")
        kinds.append(found)
        notes.append(said)
        duplicates.append(copies)

    ranking = np.lexsort((labels.quality, ~labels.is_issue))  # label issues first, then by quality; stable
    order = [row for row in ranking if kinds[row]]
    given = class_numbers(held_out.rows["label"], classes)
    everything = np.arange(len(given))
    table = pd.DataFrame(
        {
            "id": held_out.prefix + held_out.rows["id"],
            "given_label": held_out.rows["label"],
            "suggested_label": np.array(classes, dtype=object)[labels.suggested],
            "label_quality": labels.quality,
            "given_probability": labels.probabilities[everything, given],
            "suggested_probability": labels.probabilities[everything, labels.suggested],
            "issue": [" ".join(found) for found in kinds],
            "text": held_out.rows["text"],
        }
    )
    table = table.iloc[order].reset_index(drop=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return Review(
        table,
        labels.probabilities[order],
        [notes[row] for row in order],
        list(classes),
        [duplicates[row] for row in order],
    )


def write_review_table(path: str | Path, review: Review) -> None:
    """Write label_issues.csv. Texts carry a guard, for spreadsheets (common/reading/spreadsheets.py)."""
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv_writer(file)
        writer.writerow(COLUMNS)
        for row in review.table[list(COLUMNS)].itertuples(index=False):
            writer.writerow(
                [guard(v) if isinstance(v, str) else f"{v:.6f}" if isinstance(v, float) else v for v in row]
            )


def _duplicate_kinds(rows, texts):
    """The issues of a set of near-duplicates: different labels, texts in several files, or neither."""
    members = texts.iloc[rows]
    labels = set(members["label"]) - {""}
    kinds = ["duplicate_other_label"] if len(labels) > 1 else []
    kinds += ["duplicate_other_file"] if members["file"].nunique() > 1 else []
    return kinds or ["duplicate"]


def _duplicate_note(row, rows, texts):
    others = [other for other in rows if other != row]
    named = [_name(texts, other) for other in others[:SHOWN_DUPLICATES]]
    more = f" and {len(others) - SHOWN_DUPLICATES} more" if len(others) > SHOWN_DUPLICATES else ""
    return f"Nearly the same text: id {', id '.join(named)}{more}."


def _name(texts, row):
    """`x7 (Sport, test.csv)`."""
    return f"{texts['id'][row]} ({', '.join(filter(None, [texts['label'][row], texts['file'][row]]))})"
