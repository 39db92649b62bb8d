"""The rows of a table, whatever file they come from, and which of them fit the header."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass
class Rows:
    """The records of a table, every cell a string in NFC, and its header apart."""

    header: list[str]  # stripped; names may be empty or repeated
    records: list[list[str]]
    notes: list[str] = field(default_factory=list)  # what the user should know about how they were read


def is_blank(record: Sequence[str]) -> bool:
    """Whether a record has no content at all."""
    return not any(cell.strip() for cell in record)


def fits(record: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a record has a cell for every named column, and no content beyond the header (Excel pads and cuts)."""
    if len(record) == len(header):
        return True
    if len(record) > len(header):
        return is_blank(record[len(header) :])
    return is_blank(header[len(record) :])


def misfits(rows: Rows) -> Iterator[tuple[int, list[str]]]:
    """The records that do not fit the header, with their row numbers, from 1; empty records are neither."""
    number = 0
    for record in rows.records:
        if is_skipped(record, rows.header):
            continue
        number += 1
        if not fits(record, rows.header):
            yield number, record


def is_skipped(record: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a record is no row: it is empty. In a table of one column an empty cell is a row."""
    return is_blank(record) and len(header) > 1
