"""CSV tables of strings: encoding, delimiter, quoting and header are checked, every refusal names file and row."""

import csv
import io
import unicodedata
from pathlib import Path

import pandas as pd

from common.cli import UserError

DELIMITERS = (",", ";", "\t")
csv.field_size_limit(2**31 - 1)  # the module's 128 KiB would refuse a long article


def read_table(path, required=(), hint=""):
    """Read a CSV file with a header as a DataFrame of NFC-normalised strings, all its columns, rows in file order.

    UTF-8 with or without BOM; the delimiter (comma, semicolon, tab) is the one that yields the `required` columns.
    Rows are counted from 1, the header apart. Raises UserError: no such file, not UTF-8, broken quoting, a row with
    another number of fields than the header, a missing or doubled column (`hint` says how to mend that), no rows.
    """
    text = _decode(Path(path))
    delimiter, header = _choose_delimiter(path, text, required)
    missing = [name for name in required if name not in header]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}; it has: {', '.join(header)}. {hint}")
    doubled = [name for name in header if header.count(name) > 1]
    if doubled:
        raise UserError(f"{path} has two columns named {doubled[0]!r}")

    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        next(reader)
        for row in reader:
            if not row:  # a blank line
                continue
            if len(row) != len(header):
                raise UserError(f"{path}, row {len(rows) + 1}: {len(row)} fields where the header has {len(header)}")
            rows.append(row)
    except csv.Error as error:
        raise UserError(f"{path}, row {len(rows) + 1}: {error}") from error
    if not rows:
        raise UserError(f"{path} has a header but no rows")
    return pd.DataFrame(rows, columns=header, dtype="object")


def read_headerless(path, columns, delimiter, quotechar):
    """Read a CSV file without a header into the named columns (10kGNAD's original files). Raises as `read_table`."""
    reader = csv.reader(io.StringIO(_decode(Path(path)), newline=""), delimiter=delimiter, quotechar=quotechar)
    rows = [row for row in reader if row]
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise UserError(f"{path}, row {number}: {len(row)} fields where {len(columns)} are expected")
    return pd.DataFrame(rows, columns=columns, dtype="object")


def check_ids(path, ids):
    """Refuse empty and repeated ids, naming the rows."""
    first_seen = {}
    for number, value in enumerate(ids, 1):
        if not value.strip():
            raise UserError(f"{path}, row {number}: the id is empty")
        if value in first_seen:
            raise UserError(f"{path}, row {number}: id {value!r} stands already in row {first_seen[value]}")
        first_seen[value] = number


def _decode(path):
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save it as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}, line {line}: a NUL byte; the file is damaged or not a CSV")
    if not text.strip():
        raise UserError(f"{path} is empty")
    return unicodedata.normalize("NFC", text)


def _choose_delimiter(path, text, required):
    headers = {}
    for delimiter in DELIMITERS:
        try:
            headers[delimiter] = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        except csv.Error:
            continue  # broken under this delimiter; another may read it
    if not headers:
        raise UserError(f"{path}: the header line cannot be read as CSV")
    best = max(headers, key=lambda d: (sum(name in headers[d] for name in required), len(headers[d])))
    return best, [name.strip() for name in headers[best]]
