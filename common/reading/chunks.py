"""Tables read in chunks of rows, so that a large CSV file never fills the memory."""

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pandas as pd

from common.cli import note
from common.reading.columns import split_names
from common.reading.dialect import OFTEN_UNQUOTED, find_delimiter
from common.reading.formats import FORMATS
from common.reading.rows import Rows, fits, is_skipped
from common.reading.spelling import in_nfc
from common.reading.tables import build_table, read_table

WHOLE = 8 * 2**20  # bytes: smaller files are read at once; that takes ten times their size in memory
HEAD = 2**20  # bytes of a larger file that decide on its delimiter


class _Unusual(Exception):
    """The file is broken, or only the whole file tells its dialect."""


def open_chunks(
    path: Path, size: int, texts: str, optional: list[str], encoding: str | None = None, hint: str = ""
) -> Callable[[], Iterator[pd.DataFrame]]:
    """A function that reads the table in chunks of `size` rows; the arguments are those of `read_table`.

    Each call of that function reads the table from the start. This checks the whole file once. It streams a large CSV
    file if the quoting is regular and every row fits the header. It leaves other files to `read_table`, which knows
    more dialects and says what is wrong. Raises UserError.
    """
    if path.suffix.lower() not in FORMATS and path.is_file() and path.stat().st_size > WHOLE:

        def stream(tell: bool = False) -> Iterator[pd.DataFrame]:
            records = _records(path, [*split_names(texts), *optional], encoding, tell)
            header = next(records)
            while batch := list(islice(records, size)):
                yield build_table(path, Rows(header, batch), texts=texts, optional=optional, hint=hint)

        try:
            if sum(map(len, stream(tell=True))):
                return stream
        except (_Unusual, csv.Error, UnicodeError):
            pass
    table = read_table(path, texts=texts, optional=optional, hint=hint, encoding=encoding)
    return lambda: (table.iloc[begin : begin + size] for begin in range(0, len(table), size))


def _records(path, wanted, encoding, tell):
    """The records of a plain CSV file, header first. Raises _Unusual, csv.Error or UnicodeError for other files."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
        utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding = encoding or ("utf-16" if utf16 else "utf-8-sig")
        head = codecs.getincrementaldecoder(encoding)().decode(head).encode()
        delimiter, rest = find_delimiter(path, head, wanted)
        file.seek(0)
        text = io.TextIOWrapper(file, encoding=encoding, newline="")
        if rest is not head:
            text.readline()  # `sep=;`
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        header = [in_nfc(name).strip() for name in next(rows)]
        yield header
        skipped = 0
        for row in filter(None, rows):
            if any("\0" in cell for cell in row) or not fits(row, header):
                raise _Unusual
            if delimiter in OFTEN_UNQUOTED and any("\n" in cell and delimiter in cell for cell in row):
                raise _Unusual
            if is_skipped(row, header):
                skipped += 1
            else:
                yield [in_nfc(cell) for cell in row]
        if skipped and tell:
            note(f"{path}: {skipped} empty rows are left out")
