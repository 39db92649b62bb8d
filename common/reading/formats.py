"""Other formats than CSV: JSON Lines, JSON, Parquet and Excel, read by pandas."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from pandas.api.types import is_list_like

from common.cli import UserError
from common.reading.columns import fold
from common.reading.rows import Rows
from common.reading.spelling import in_nfc

NEVER_IN_CSV = re.compile("[\0\ud800-\udfff]")
REPLACEMENT = "\ufffd"  # Unicode's character for what cannot be decoded


def read_json_lines(path: Path) -> pd.DataFrame:
    """One JSON object a line."""
    objects = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                objects.append(_parse(line))
            except ValueError as error:
                raise UserError(f"{path}, line {number}: not valid JSON: {error}") from error
    return _table(path, objects)


def read_json(path: Path) -> pd.DataFrame:
    """A list of JSON objects (one a row), an object of columns as pandas writes it, or JSON Lines."""
    try:
        return _table(path, _parse(_text(path)))
    except ValueError as error:
        if str(error).startswith("Extra data"):  # several values: one a line
            return read_json_lines(path)
        raise UserError(f"{path} is not valid JSON: {error}") from error


def read_parquet(path: Path) -> pd.DataFrame:
    """Any Parquet file. Integer columns with missing values stay integers; the index that pandas stored is a column."""
    frame = pd.read_parquet(path, dtype_backend="pyarrow")
    named = [level for level, name in enumerate(frame.index.names) if name is not None and name not in frame.columns]
    return frame.reset_index(level=named)


def read_excel(path: Path) -> pd.DataFrame:
    """The first sheet, every cell as a string. Its first row is the header."""
    try:
        table = pd.read_excel(path, header=None, dtype=str, na_filter=False)
    except ImportError as error:
        raise UserError(
            f"{path}: pandas needs another package for Excel files ({str(error).splitlines()[0]}); "
            "or save it as 'CSV UTF-8' in Excel"
        ) from error
    return pd.DataFrame(table.to_numpy()[1:], columns=table.iloc[0]) if len(table) else table


FORMATS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".parquet": read_parquet,
    ".xlsx": read_excel,
    ".xls": read_excel,
}


def read_other_format(path: Path, wanted: Sequence[str]) -> Rows:
    """Read a file in one of `FORMATS`. Raises UserError, naming the file, if pandas cannot read it."""
    try:
        frame = FORMATS[path.suffix.lower()](path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UserError:
        raise
    except Exception as error:  # each format's library has its own exceptions
        raise UserError(f"{path} cannot be read as {path.suffix[1:]}: {str(error).strip().splitlines()[0]}") from error
    return rows_of_frame(path, frame, wanted)


def rows_of_frame(place: object, frame: pd.DataFrame, wanted: Sequence[str]) -> Rows:
    """A DataFrame as Rows of strings. Leaves out columns of lists or objects; raises UserError if one is wanted."""
    header, columns = [], []
    for position, name in enumerate(frame.columns):
        values = frame.iloc[:, position].astype(object).tolist()
        nested = next(
            (row for row, value in enumerate(values, 1) if isinstance(value, bytes) or is_list_like(value)), None
        )
        if nested is not None:
            if fold(str(name)) in {fold(each) for each in wanted}:
                kind = type(values[nested - 1]).__name__
                raise UserError(f"{place}, row {nested}: column {str(name)!r} holds a {kind}, not a text")
            continue
        header.append(text_of(str(name)).strip())
        columns.append([text_of(value) for value in values])
    return Rows(header, [list(record) for record in zip(*columns, strict=True)])


def text_of(value: object) -> str:
    """A cell as a string in NFC. A missing value becomes the empty string.

    U+FFFD replaces NUL and lone surrogates, such as "\\ud83d", the first half of an emoji in a shortened tweet. JSON
    can hold them; the UTF-8 and CSV files that the scripts write cannot.
    """
    if isinstance(value, str):
        return in_nfc(NEVER_IN_CSV.sub(REPLACEMENT, value))
    return "" if pd.isna(value) else str(value)


def _parse(text):
    """A JSON value. Names are cleaned here because pandas cannot have lone surrogates in column names."""
    return json.loads(text, object_pairs_hook=lambda pairs: {text_of(name): value for name, value in pairs})


def _text(path):
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: JSON must be") from error


def _table(path, value):
    if isinstance(value, dict) and all(isinstance(column, (list, dict)) for column in value.values()):
        return pd.DataFrame(value, dtype=object)
    if not isinstance(value, list):
        raise UserError(f"{path} does not hold a list of JSON objects, one a row")
    for number, row in enumerate(value, 1):
        if not isinstance(row, dict):
            raise UserError(f'{path}, row {number}: expected a JSON object such as {{"text": ...}}')
    return pd.DataFrame(value, dtype=object)
