"""Unicode: tables are read in NFC, and submissions are written as the competition's files write ids and labels."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd


def in_nfc(text: str) -> str:
    """The text in Unicode's normal form C, in which one character has one spelling."""
    return unicodedata.normalize("NFC", text)


def table_in_nfc(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its cells in NFC."""
    return pd.DataFrame({name: [in_nfc(cell) for cell in table[name]] for name in table}, dtype="object")


def spellings(cells: Iterable[str]) -> dict[str, str]:
    """How a file writes the cells that NFC changes: {cell in NFC: its most frequent spelling}."""
    counts = Counter((in_nfc(cell), cell) for cell in cells)
    written = {cell: spelling for (cell, spelling), _ in reversed(counts.most_common())}  # the last one stays
    return {cell: spelling for cell, spelling in written.items() if spelling != cell}


def dataset_spellings(tables: Mapping[str, pd.DataFrame], label: str, row_id: str) -> dict[str, str]:
    """How train.csv writes labels and test.csv ids, where NFC changes them."""
    ids = tables["test"][row_id] if row_id in tables.get("test", ()) else ()
    return spellings(ids) | spellings(tables["train"][label].str.strip())
