"""The texts to predict, in chunks: from a table, a dataset's test rows, or lines on standard input."""

import codecs
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from common.cli import UserError, note
from common.data import DATASETS, find_folder
from common.files import sha256 as file_sha256
from common.reading.chunks import open_chunks
from common.reading.columns import find_text_columns, show_names
from common.reading.formats import text_of
from common.reading.parts import find_parts
from common.reading.tables import check_ids

CHUNK = 1024  # rows of a part: a second on a GPU, a minute or two on a CPU


@dataclass(frozen=True)
class Chunk:
    """Some rows of the input."""

    ids: Sequence[str]
    texts: Sequence[str]
    others: Sequence[Sequence[str]]  # [rows, columns], the cells to copy


@dataclass(frozen=True)
class Texts:
    """All rows of the input; they can be read several times."""

    name: str  # for messages
    rows: int
    blank: int  # number of rows without text
    columns: Sequence[str]  # names of the cells to copy
    fingerprint: str  # of the texts and ids: the file and the columns that are read, or the lines
    chunks: Callable[[], Iterator[Chunk]]

    @property
    def chunk_count(self) -> int:
        """The number of chunks."""
        return -(-self.rows // CHUNK)

    def rows_of(self, chunk: int) -> int:
        """The number of rows of a chunk; the last one may have fewer."""
        return min(CHUNK, self.rows - chunk * CHUNK)


def find_input(argument: str) -> Path:
    """The file of an argument: a file, or the test rows of a dataset (folder or short name)."""
    path = Path(argument)
    if path.is_file():
        return path
    if path.is_dir() or argument in DATASETS:
        folder = path if path.is_dir() else find_folder(argument)
        found = find_parts(folder, "test").get("test")
        if not found:
            raise UserError(f"{folder} has no test.csv; name the file with the new texts")
        return found
    raise UserError(f"cannot read {path}: no such file")


def read_texts(
    path: Path, text_column: str, id_columns: Sequence[str], encoding: str | None = None, needs_ids: bool = True
) -> Texts:
    """Open the input and check all of it before hours of prediction.

    `text_column` is one column, or several separated by commas. `id_columns` is the column of ids, or several names
    where models were trained with different ones. Without such a column, row numbers are the ids; a column other than
    `id` may be needed. Raises UserError with file, row and column if the file cannot be read, for empty or duplicate
    ids, or if it has one of several `id_columns`.
    """
    tables = open_chunks(path, CHUNK, text_column, list(id_columns), encoding, hint="Name it with --text-column")
    names = list(next(tables()).columns)
    id_column, shown = id_columns[0], " or ".join(map(repr, id_columns))
    there = [name for name in id_columns if name in names]
    if there and len(id_columns) > 1:
        raise UserError(
            f"the models were trained with --id-column {shown}, and {path} has {there[0]!r}; give --id-column"
        )
    if not there and list(id_columns) != ["id"]:
        if needs_ids:
            raise UserError(f"{path} has no column {shown} (--id-column); it has: {show_names(names)}")
        note(f"{path} has no column {shown}, which had the ids in training: row numbers are the ids")
    joined = names[-1] == text_column and find_text_columns(path, names[:-1], text_column)
    columns = [name for name in (names[:-1] if joined else names) if name != id_column]

    def chunks() -> Iterator[Chunk]:
        start = 1
        for table in tables():
            numbers = (str(number) for number in range(start, start + len(table)))
            ids = list(table.get(id_column, numbers))
            yield Chunk(ids, table[text_column].tolist(), table[columns].to_numpy(dtype=object).tolist())
            start += len(table)

    rows = blank = 0
    hashes = []  # 8 bytes per row; the ids would take about 100
    for chunk in chunks():
        rows += len(chunk.ids)
        blank += sum(not text.strip() for text in chunk.texts)
        hashes.append(np.array([hash(row_id) if row_id.strip() else 0 for row_id in chunk.ids], dtype=np.int64))
    all_hashes = np.concatenate(hashes)
    if len(np.unique(all_hashes)) < rows or not all_hashes.all():
        check_ids(path, (row_id for chunk in chunks() for row_id in chunk.ids))  # names the rows
    return Texts(str(path), rows, blank, columns, f"{file_sha256(path)} {text_column!r} {id_column!r}", chunks)


def read_lines(stream: BinaryIO, encoding: str | None = None) -> Texts:
    """The lines of standard input: each is a text, its line number is the id. They are kept in a temporary file.

    Raises UserError if there are none or they are not UTF-8 (or in the `encoding`).
    """
    spool = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")  # noqa: SIM115 - open until the process ends
    rows = blank = 0
    digest = sha256()
    for line in _decode_lines(stream, encoding):
        text = text_of(line if rows else line.removeprefix("\ufeff")).rstrip("\r").replace("\r", " ")
        spool.write(text + "\n")
        digest.update(f"{text}\n".encode())
        rows += 1
        blank += not text.strip()
    if not rows:
        raise UserError("standard input is empty: expected a text on each line")

    def chunks() -> Iterator[Chunk]:
        spool.seek(0)
        start = 1
        while batch := [line.removesuffix("\n") for line in islice(spool, CHUNK)]:
            yield Chunk([str(number) for number in range(start, start + len(batch))], batch, [[text] for text in batch])
            start += len(batch)

    return Texts("standard input", rows, blank, ["text"], digest.hexdigest(), chunks)


def _decode_lines(stream: BinaryIO, encoding: str | None) -> Iterator[str]:
    """The lines of a stream, decoded before they are split: in UTF-16 a line feed has two bytes. Raises UserError."""
    decoder = codecs.getincrementaldecoder(encoding or "utf-8")()
    line, number = "", 1
    for piece in chain(stream, [b""]):
        try:
            line += decoder.decode(piece, final=not piece)
        except UnicodeError as error:
            raise UserError(f"standard input, line {number}: not {encoding or 'UTF-8'} ({error})") from error
        *complete, line = line.split("\n")
        yield from complete
        number += len(complete)
    if line:
        yield line


def texts_of(name: str, frame: pd.DataFrame, fingerprint: str) -> Texts:
    """The rows of a dataset's frame, which has the columns id and text."""

    def chunks() -> Iterator[Chunk]:
        for begin in range(0, len(frame), CHUNK):
            part = frame.iloc[begin : begin + CHUNK]
            yield Chunk(part["id"].tolist(), part["text"].tolist(), [[]] * len(part))

    blank = int((frame["text"].str.strip() == "").sum())
    return Texts(name, len(frame), blank, [], fingerprint, chunks)
