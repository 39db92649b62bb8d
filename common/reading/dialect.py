"""CSV dialects: which delimiter a file has, and how it quotes."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.cli import UserError
from common.reading.columns import count_found, fold
from common.reading.rows import Rows, fits, misfits

DELIMITERS = (",", ";", "\t", "|")
OFTEN_UNQUOTED = {"\t": "tab", "|": "bar"}  # shared tasks write these, with quotes that mean nothing
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
    """Parse the UTF-8 bytes of a CSV file.

    `wanted` names the columns to find. `columns` names those of a file without a header, which may lack `may_lack`.
    The delimiter is the one that a first line `sep=;` declares, else the one under which most of the wanted columns
    are found. Quoting is strict. A file that is broken under it is read with `\\"` as an escaped quote, or, where tabs
    or bars separate, without quoting, if every row then fits the header; a note says so. Raises UserError where
    nothing fits.
    """
    delimiter, data = find_delimiter(path, data, wanted, columns)
    names = (columns, may_lack)

    rows, problem = _read(data, delimiter, '"', *names)
    if rows and not (delimiter in OFTEN_UNQUOTED and _swallows_lines(rows, delimiter)):
        return rows
    attempts = []
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
    """The delimiter of a CSV file, or of its first bytes; and these bytes after a line that declares it."""
    declared = DECLARATION.match(data)
    if declared:
        return declared[1].decode("latin-1"), data[declared.end() :]
    return _choose_delimiter(path, data, wanted, columns), data


def read_headerless(path: Path, data: bytes, columns: Sequence[str], delimiter: str, quotechar: str) -> Rows:
    """Parse a CSV file of known dialect without a header into the named columns (10kGNAD's original files)."""
    return Rows(list(columns), list(_records(data, delimiter, quotechar, strict=False)))


def _read(data, delimiter, quotechar, columns=None, may_lack=None):
    """The Rows under one dialect, or None and what is broken, as the end of a message."""
    records = []
    try:
        for record in _records(data, delimiter, quotechar):
            records.append(record)
    except csv.Error as error:
        number = len(records) + bool(columns)
        if not number:
            return None, ": the header line cannot be read as CSV"
        shown = str(error).replace("\t", "\\t")  # the delimiter that it expected: a message's white space is one space
        return None, f", row {number}: broken quoting: {shown}"
    if columns:
        return _name_columns(records, list(columns), may_lack), None
    return Rows([name.strip() for name in records[0]], records[1:]), None


def _name_columns(records, columns, may_lack):
    """Rows of a file without a header; a header that is there all the same is no row."""
    if len(records[0]) == len(columns) - 1 and may_lack in columns:
        columns.remove(may_lack)
    has_header = [fold(name) for name in records[0]] == [fold(name) for name in columns]
    return Rows(columns, records[has_header:])


def _records(data: bytes, delimiter: str, quotechar: str | None, strict: bool = True) -> Iterator[list[str]]:
    """The records of a CSV file's UTF-8 bytes, blank lines left out, every field NFC-normalised."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")  # a StringIO takes 4 bytes a character
    quoting = csv.QUOTE_MINIMAL if quotechar else csv.QUOTE_NONE
    for row in csv.reader(text, delimiter=delimiter, quotechar=quotechar, quoting=quoting, strict=strict):
        if row:  # fields, not the text, are normalised: NFC makes a semicolon of the Greek question mark
            yield [unicodedata.normalize("NFC", field) for field in row]


def _choose_delimiter(path, data, wanted, columns):
    """The delimiter that finds the most wanted columns, then also fits the first row, then gives the most columns."""
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
    """Whether a quoted field holds a delimiter and a line break: perhaps it is no field, but several rows."""
    cells = (cell for record in [rows.header, *rows.records] for cell in record if delimiter in cell)
    return any("\n" in cell or "\r" in cell for cell in cells)
