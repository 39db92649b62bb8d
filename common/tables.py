"""CSV tables of strings: encoding, delimiter, quoting and header are checked, every refusal names file and row."""

import csv
import io
import itertools
import unicodedata
from collections import Counter
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
    data = _read_utf8(Path(path))
    delimiter, header = _choose_delimiter(path, data, required)
    missing = [name for name in required if name not in header]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}; it has: {', '.join(header)}. {hint}")
    name, count = Counter(header).most_common(1)[0]
    if count > 1:
        raise UserError(f"{path} has two columns named {name!r}")

    rows = []
    try:
        for row in itertools.islice(_records(data, delimiter), 1, None):
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
    rows = list(_records(_read_utf8(Path(path)), delimiter, quotechar, strict=False))
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise UserError(f"{path}, row {number}: {len(row)} fields where {len(columns)} are expected")
    return pd.DataFrame(rows, columns=columns, dtype="object")


def csv_writer(file):
    """A csv.writer whose rows end with a line feed and whose fields read back as they were.

    Unlike `csv.writer(file, lineterminator="\\n")`, which before Python 3.13 leaves a carriage return unquoted.
    """
    return csv.writer(_LineFeeds(file))


def check_ids(path, ids):
    """Refuse empty and repeated ids, naming the rows."""
    first_seen = {}
    for number, value in enumerate(ids, 1):
        if not value.strip():
            raise UserError(f"{path}, row {number}: the id is empty")
        if value in first_seen:
            raise UserError(f"{path}, row {number}: id {value!r} stands already in row {first_seen[value]}")
        first_seen[value] = number


def _read_utf8(path):
    """The bytes of a file, checked to be UTF-8 without NUL; its text would take two to four times the memory."""
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
    return data


def _records(data, delimiter, quotechar='"', strict=True):
    """The records of a CSV file's bytes, blank lines left out, every field NFC-normalised."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")  # a StringIO takes 4 bytes a character
    for row in csv.reader(text, delimiter=delimiter, quotechar=quotechar, strict=strict):
        if row:  # fields, not the text, are normalised: NFC makes a semicolon of the Greek question mark
            yield [unicodedata.normalize("NFC", field) for field in row]


def _choose_delimiter(path, data, required):
    """The delimiter that finds the most required columns, then also fits the first row, then gives the most columns."""
    headers, ranks = {}, {}
    for delimiter in DELIMITERS:
        records = _records(data, delimiter)
        try:
            headers[delimiter] = header = [name.strip() for name in next(records)]
        except csv.Error:
            continue  # broken under this delimiter; another may read it
        found = sum(name in header for name in required)
        try:
            fits = len(next(records, header)) == len(header)
        except csv.Error:
            fits = False
        ranks[delimiter] = (found, found > 0 and fits, len(header))
    if not headers:
        raise UserError(f"{path}: the header line cannot be read as CSV")
    best = max(ranks, key=ranks.get)
    return best, headers[best]


class _LineFeeds:
    """A file for a csv.writer, which writes one row a call: rows ending in CR LF get LF."""

    def __init__(self, file):
        self._file = file

    def write(self, row):
        self._file.write(row.removesuffix("\r\n") + "\n")
