"""The rows of a table in any format, and which of them fit the header."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from common.reading.spelling import in_nfc


@dataclass
class Rows:
    """The header and the records of a table. Every cell is a string."""

    header: list[str]  # stripped; names may be empty or repeated
    records: list[list[str]]
    notes: list[str] = field(default_factory=list)  # how they were read, for the user


def rows_in_nfc(rows: Rows) -> Rows:
    """The same rows in NFC. Cells are normalised, not files: NFC turns the Greek question mark into a semicolon."""
    records = [[in_nfc(cell) for cell in record] for record in rows.records]
    return replace(rows, header=[in_nfc(name) for name in rows.header], records=records)


def is_blank(record: Sequence[str]) -> bool:
    """Whether all cells are empty or white space."""
    return not any(cell.strip() for cell in record)


def fits(record: Sequence[str], header: Sequence[str]) -> bool:
    """Whether each named column has a cell and no content lies beyond the header (Excel adds and drops empty cells)."""
    if len(record) == len(header):
        return True
    if len(record) > len(header):
        return is_blank(record[len(header) :])
    return is_blank(header[len(record) :])


def misfits(rows: Rows) -> Iterator[tuple[int, list[str]]]:
    """The records that do not fit the header, with row numbers from 1. Empty records are skipped and not counted."""
    number = 0
    for record in rows.records:
        if is_skipped(record, rows.header):
            continue
        number += 1
        if not fits(record, rows.header):
            yield number, record


def is_skipped(record: Sequence[str], header: Sequence[str]) -> bool:
    """Whether an empty record is skipped. In a table with one column it is a row."""
    return is_blank(record) and len(header) > 1
