"""corrections.csv: a person's decisions about labels, and how they change the training rows.

The columns are `id`, `given_label`, `new_label` and `action`. The actions are `keep` (new_label is empty or the given
label), `relabel` (new_label is a class) and `exclude` (new_label is empty). A separate action column lets a class have
the name "excluded". Cells may carry the guard of common/reading/spreadsheets.py; the review page writes it. Exports of
annotation tools work too, see common/reading/annotations.py.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from common.cli import UserError
from common.reading.annotations import is_annotations, read_annotations
from common.reading.spreadsheets import restore
from common.reading.tables import check_ids, read_table

COLUMNS = ("id", "given_label", "new_label", "action")
ACTIONS = ("keep", "relabel", "exclude")
ACCEPT = "accept"  # the review page's button for relabel


def apply_corrections(frame: pd.DataFrame, path: str | Path, classes: list[str]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Apply a corrections file to training rows, a frame with the columns id, text and label.

    Returns the corrected frame, in the old order and with a new index, and the counts {"rows": rows of the file,
    "kept": ..., "relabelled": ..., "excluded": ...}. Raises UserError, naming file and row, for an unknown or repeated
    id, a given label other than the row's, an unknown class or action, a new label that contradicts the action, or a
    class without any row left.
    """
    table = read_corrections(path)
    row_of = {row_id: row for row, row_id in enumerate(frame["id"])}
    labels = frame["label"].tolist()
    excluded = set()
    counts = {"rows": len(table), "kept": 0, "relabelled": 0, "excluded": 0}

    for number, (row_id, given, new, action) in enumerate(table.itertuples(index=False), 1):
        place = f"{path}, row {number}"
        if row_id not in row_of:
            raise UserError(f"{place}: id {row_id!r} is not among the training rows")
        row = row_of[row_id]
        if given != labels[row]:
            raise UserError(f"{place}: id {row_id!r} has the label {labels[row]!r} now, not {given!r}")
        if action == "relabel" and new not in classes:
            raise UserError(f"{place}: new_label {new!r} is not a class; the classes are {', '.join(classes)}")
        if (action == "exclude" and new) or (action == "keep" and new not in ("", given)):
            raise UserError(f"{place}: {action} contradicts new_label {new!r}; leave new_label empty, or write relabel")
        if action == "relabel" and new != given:
            labels[row] = new
            counts["relabelled"] += 1
        elif action == "exclude":
            excluded.add(row)
            counts["excluded"] += 1
        else:
            counts["kept"] += 1

    corrected = frame.assign(label=labels)
    corrected = corrected[[row not in excluded for row in range(len(frame))]].reset_index(drop=True)
    emptied = sorted(set(frame["label"]) - set(corrected["label"]))
    if emptied:
        raise UserError(f"{path}: no row of class {emptied[0]!r} would be left to train on")
    return corrected, counts


def flagged_ids(path: str | Path, label_of: Mapping[str, str]) -> set[str]:
    """The ids whose label a label_issues.csv (from find_label_issues.py) flags. `label_of` maps ids to given labels.

    Raises UserError for another kind of file, for an unknown id, and for a given label other than the row's.
    """
    hint = "Give the label_issues.csv that find_label_issues.py writes"
    table = read_table(path, ("id", "given_label", "issue"), hint)
    rows = [row for row in table.itertuples() if "label" in row.issue.split()]
    flagged = {restore(row.id): restore(row.given_label).strip() for row in rows}
    for row_id, given in flagged.items():
        if row_id not in label_of:
            raise UserError(f"{path}: id {row_id!r} is not among the training rows")
        if given != label_of[row_id]:
            raise UserError(f"{path}: id {row_id!r} has the label {label_of[row_id]!r} now, not {given!r}")
    return set(flagged)


def read_corrections(path: str | Path) -> pd.DataFrame:
    """Read corrections as a frame of strings with `COLUMNS`, without guards. Raises UserError."""
    if is_annotations(Path(path)):
        answers = read_annotations(Path(path))
        rows = [(row_id, given, new, "keep" if new == given else "relabel") for row_id, given, new in answers]
        table = pd.DataFrame(rows, columns=list(COLUMNS), dtype="object")
        check_ids(path, table["id"])
        return table
    table = read_table(path, COLUMNS, hint="Download it from label_issues.html, see python find_label_issues.py --help")
    table = table[list(COLUMNS)].map(restore)
    for column in ("given_label", "new_label", "action"):  # as labels of datasets are
        table[column] = table[column].str.strip()
    check_ids(path, table["id"])
    table["action"] = table["action"].str.lower().replace(ACCEPT, "relabel")
    for number, action in enumerate(table["action"], 1):
        if action not in ACTIONS:
            raise UserError(f"{path}, row {number}: action {action!r}; expected {', '.join(ACTIONS)}")
    return table
