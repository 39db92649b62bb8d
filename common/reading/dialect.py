"""CSV dialects: which delimiter a file has, and how it quotes."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.cli import UserError
from common.reading.columns import count_found, fold
from common.reading.rows import Rows, fits, misfits

DELIMITERS = (",", ";", "\t", "|")
OFTEN_UNQUOTED = ("\t", "|")  # shared tasks use these and do not quote: a quote is part of the text
DECLARATION = re.compile(rb'"?sep=([^\r\n])"?\r?\n', re.IGNORECASE)  # Excel's own first line
ESCAPED = re.compile(rb'\\([\\"])')
csv.field_size_limit(2**31 - 1)  # the module's 128 KiB would refuse a long article


def parse_csv(
    path: Path,
    data: bytes,
    wanted: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    may_lack: str | None = None,
) -> Rows:
    """Parse the UTF-8 bytes of a CSV file. The cells are as the file writes them, not in NFC.

    `wanted` names the columns to find. `columns` names the columns of a file without a header; the file may lack the
    column `may_lack`. A first line `sep=;` declares the delimiter; otherwise the delimiter that finds most of the
    wanted columns wins. Quoting is strict. If that fails, `\\"` is tried as an escaped quote and, with tabs or bars,
    reading without quotes; a trial counts if every row fits the header, and a note reports it. Raises UserError if no
    trial succeeds.
    """
    delimiter, data = find_delimiter(path, data, wanted, columns)
    names = (columns, may_lack)

    rows, problem = _read(data, delimiter, '"', *names)
    if rows and not (delimiter in OFTEN_UNQUOTED and _swallows_lines(rows, delimiter)):
        return rows
    attempts: list[tuple[bytes, str | None, str]] = []
    if problem and b'\\"' in data:
        unescaped = ESCAPED.sub(lambda found: b"\\" if found[1] == b"\\" else b'""', data)
        attempts.append((unescaped, '"', r"read with \" as an escaped quote"))
    if delimiter in OFTEN_UNQUOTED:
        attempts.append((data, None, "read without quoting: quotes are characters of the text"))
    for content, quotechar, note in attempts:
        other, _ = _read(content, delimiter, quotechar, *names)
        if other and other.records and not any(misfits(other)):
            other.notes.append(f"{path} is {note}")
            return other
    if problem:
        raise UserError(f"{path}{problem}")
    return rows


def find_delimiter(
    path: Path, data: bytes, wanted: Sequence[str], columns: Sequence[str] | None = None
) -> tuple[str, bytes]:
    """The delimiter of a CSV file or of its first bytes, and the bytes without a line that declares it."""
    declared = DECLARATION.match(data)
    if declared:
        return declared[1].decode("latin-1"), data[declared.end() :]
    return _choose_delimiter(path, data, wanted, columns), data


def read_headerless(path: Path, data: bytes, columns: Sequence[str], delimiter: str, quotechar: str) -> Rows:
    """Parse a CSV file without a header, in a known dialect, into the named columns (10kGNAD's original files).

    The cells are as the file writes them, not in NFC.
    """
    return Rows(list(columns), list(_records(data, delimiter, quotechar, strict=False)))


def _read(data, delimiter, quotechar, columns=None, may_lack=None):
    """The Rows under one dialect and None, or None and the error, as the end of a message."""
    records = []
    try:
        for record in _records(data, delimiter, quotechar):
            records.append(record)
    except csv.Error as error:
        number = len(records) + bool(columns)
        if not number:
            return None, ": the header line cannot be read as CSV"
        shown = str(error).replace("\t", "\\t")  # csv names the delimiter; messages fold white space
        return None, f", row {number}: broken quoting: {shown}"
    if columns:
        return _name_columns(records, list(columns), may_lack), None
    return Rows([name.strip() for name in records[0]], records[1:]), None


def _name_columns(records, columns, may_lack):
    """The Rows under the given column names. A first record with the same names is a header, not a row."""
    if len(records[0]) == len(columns) - 1 and may_lack in columns:
        columns.remove(may_lack)
    has_header = [fold(name) for name in records[0]] == [fold(name) for name in columns]
    return Rows(columns, records[has_header:])


def _records(data: bytes, delimiter: str, quotechar: str | None, strict: bool = True) -> Iterator[list[str]]:
    """The records of a CSV file's UTF-8 bytes, blank lines left out."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")  # a StringIO takes 4 bytes a character
    rows = csv.reader(
        text,
        delimiter=delimiter,
        quotechar=quotechar,
        quoting=csv.QUOTE_MINIMAL if quotechar else csv.QUOTE_NONE,
        strict=strict,
    )
    yield from filter(None, rows)


def _choose_delimiter(path, data, wanted, columns):
    """The delimiter that finds most wanted columns. Ties: the one that fits the first row, then most columns."""
    ranks = {}
    for delimiter in DELIMITERS:
        records = _records(data, delimiter, '"')
        try:
            header = [name.strip() for name in next(records)]
        except csv.Error:
            if delimiter not in OFTEN_UNQUOTED:
                continue  # broken under this delimiter; another may read it
            records = _records(data, delimiter, None)
            header = [name.strip() for name in next(records)]
            if len(header) == 1:
                continue
        found = len(header) == len(columns) if columns else count_found(header, wanted)
        try:
            first_fits = fits(next(records, header), header)
        except csv.Error:
            first_fits = False
        ranks[delimiter] = (found, found > 0 and first_fits, len(header))
    if not ranks:
        raise UserError(f"{path}: the header line cannot be read as CSV")
    return max(ranks, key=ranks.get)


def _swallows_lines(rows, delimiter):
    """Whether a quoted field holds a delimiter and a line break: it may be several rows in truth."""
    cells = (cell for record in [rows.header, *rows.records] for cell in record if delimiter in cell)
    return any("\n" in cell or "\r" in cell for cell in cells)
