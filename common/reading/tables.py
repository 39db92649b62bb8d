"""The one way to read tables. Every cell is a string; every error names file, row and column."""

import csv
from _csv import Writer  # csv itself does not export the type
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import pandas as pd

from common.cli import UserError, note
from common.reading import dialect
from common.reading.columns import find_column, find_text_columns, show_names, split_names
from common.reading.encoding import read_utf8
from common.reading.formats import FORMATS, read_other_format
from common.reading.rows import Rows, is_skipped, misfits, rows_in_nfc
from common.reading.spelling import in_nfc


def read_table(
    path: str | Path,
    required: Sequence[str] = (),
    hint: str = "",
    optional: Sequence[str] = (),
    texts: str | None = None,
    columns: Sequence[str] | None = None,
    may_lack: str | None = None,
    encoding: str | None = None,
    all_unique: bool = False,
    raw: bool = False,
) -> pd.DataFrame:
    """Read a file as a DataFrame of NFC-normalised strings, rows in file order.

    Reads CSV in any dialect that common/reading/dialect.py knows, JSON Lines, JSON, Parquet and Excel. `columns` names
    the columns of a CSV without a header; the CSV may lack the column `may_lack`. `raw` leaves a CSV's cells as they
    are. `build_table` explains the others.
    """
    path = Path(path)
    wanted = [*required, *optional, *(split_names(texts) if texts else [])]
    if path.suffix.lower() in FORMATS:
        rows = read_other_format(path, wanted)
    else:
        rows = dialect.parse_csv(path, read_utf8(path, encoding), wanted, columns, may_lack)
        rows = replace(rows, header=[in_nfc(name) for name in rows.header]) if raw else rows_in_nfc(rows)
    return build_table(path, rows, required, hint, optional, texts, all_unique)


def build_table(
    place: object,
    rows: Rows,
    required: Sequence[str] = (),
    hint: str = "",
    optional: Sequence[str] = (),
    texts: str | None = None,
    all_unique: bool = False,
) -> pd.DataFrame:
    """Check the rows and name the columns; `place` is the file's name in messages.

    Columns that match a `required` or `optional` name in any case get that name. `texts` is one name or several,
    separated by commas: the column `texts` then joins their cells with a blank line. Empty rows and columns without a
    name are left out. Columns with a repeated name are left out too, or refused with `all_unique`. Raises UserError for
    a missing or ambiguous column (`hint` is the advice), for a row that does not fit the header, and without rows.
    """
    header = rows.header
    positions: dict[str, list[int]] = {}  # name in the table -> positions in the file
    for name in required:
        positions[name] = [_found(place, header, name, find_column(place, header, name), hint)]
    if texts:
        positions[texts] = _found(place, header, texts, find_text_columns(place, header, texts), hint)
    for name in optional:
        position = find_column(place, header, name)
        if position is not None:
            positions[name] = [position]
    taken = {found[0]: name for name, found in positions.items() if len(found) == 1}
    counts = Counter(header)
    repeated = next((name for name, count in counts.items() if name and count > 1), None)
    if repeated is not None and all_unique:
        raise UserError(f"{place} has two columns named {repeated!r}")
    for number, record in misfits(rows):
        raise UserError(f"{place}, row {number}: expected {len(header)} fields, found {len(record)}")

    records = [record for record in rows.records if not is_skipped(record, header)]
    if not records:
        raise UserError(f"{place} has a header but no rows")
    if len(records) < len(rows.records):
        note(f"{place}: {len(rows.records) - len(records)} empty rows are left out")
    for message in rows.notes:
        note(message)
    left_out = [name for name, count in counts.items() if name and count > 1]
    if left_out:
        note(f"{place}: columns of the same name are left out: {show_names(left_out)}")
    table = {
        taken.get(position, name): [record[position] for record in records]
        for position, name in enumerate(header)
        if position in taken or (name and counts[name] == 1 and name not in positions)
    }
    for name, found in positions.items():
        if len(found) > 1:
            table[name] = ["\n\n".join(record[p] for p in found if record[p].strip()) for record in records]
    return pd.DataFrame(table, dtype="object")


def read_headerless(path: Path, columns: Sequence[str], delimiter: str, quotechar: str) -> pd.DataFrame:
    """Read a CSV file without a header, in a known dialect, into the named columns. Raises as `read_table`."""
    rows = dialect.read_headerless(path, read_utf8(Path(path)), columns, delimiter, quotechar)
    return build_table(path, rows_in_nfc(rows))


def csv_writer(file: TextIO) -> Writer:
    """A csv.writer that ends rows with a line feed and quotes every field that needs it.

    `csv.writer(file, lineterminator="\\n")` leaves a carriage return unquoted before Python 3.13.
    """
    return csv.writer(_LineFeeds(file))


def check_ids(path: object, ids: Iterable[str], numbers: Iterable[int] | None = None) -> None:
    """Raise UserError for empty or repeated ids. The message names rows by `numbers`, or counts them from 1."""
    first_seen: dict[str, int] = {}
    for number, value in zip(numbers, ids, strict=True) if numbers is not None else enumerate(ids, 1):
        if not value.strip():
            raise UserError(f"{path}, row {number}: the id is empty")
        if value in first_seen:
            raise UserError(f"{path}, row {number}: duplicate id {value!r}, first in row {first_seen[value]}")
        first_seen[value] = number


def _found(place, header, name, position, hint):
    if position is None:
        raise UserError(f"{place} has no column {name!r}; it has: {show_names(header)}. {hint}")
    return position


class _LineFeeds:
    """A file that replaces the CR LF at the end of each row. csv.writer writes one row a call."""

    def __init__(self, file: TextIO):
        self._file = file

    def write(self, row: str) -> None:
        self._file.write(row.removesuffix("\r\n") + "\n")
