"""Convert a text file to UTF-8, or refuse it with advice on how to save it."""

import codecs
from pathlib import Path

from common.cli import UserError

SAVE_AS_UTF8 = "save it as UTF-8 (in Excel: 'CSV UTF-8')"
ZIP = b"PK\x03\x04"  # the first bytes of .xlsx files


def read_utf8(path: Path, encoding: str | None = None) -> bytes:
    """The content of a text file as UTF-8 without a byte order mark.

    It recognises UTF-8, and UTF-16 with a byte order mark; other files need `encoding`. It returns bytes because a str
    takes up to four bytes a character. Raises UserError if the file cannot be read, is not text in that encoding,
    contains a NUL character or is empty.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    data = _to_utf8(path, data, encoding)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        hint = ". If it is UTF-16, give --encoding utf-16-le" if data[1:200:2].count(0) > 40 else ""
        raise UserError(f"{path}, line {line}: a NUL byte; the file is damaged or not a CSV{hint}")
    if not data.strip():
        raise UserError(f"{path} is empty")
    return data


def check_encoding(name: str) -> None:
    """Raise UserError unless Python knows a text encoding of this name."""
    try:
        if not isinstance("".encode(name), bytes):
            raise LookupError
    except (LookupError, ValueError) as error:
        raise UserError(f"--encoding {name}: no such encoding; known are utf-8, cp1252, latin-1, utf-16") from error


def _to_utf8(path: Path, data: bytes, encoding: str | None) -> bytes:
    if encoding:
        check_encoding(encoding)
        try:
            return data.decode(encoding).removeprefix("\ufeff").encode()
        except UnicodeError as error:
            raise UserError(f"{path} is not in the encoding {encoding} (--encoding): {error}") from error
    if data.startswith(ZIP):
        raise UserError(f"{path} is a zip file, not a CSV: if it is an Excel file, name it .xlsx, or {SAVE_AS_UTF8}")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # Excel's "Unicode text"; never valid UTF-8
        try:
            return data.decode("utf-16").encode()
        except UnicodeError:
            pass
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); {SAVE_AS_UTF8}, "
            "or, if it is part of a dataset, name its encoding, perhaps --encoding cp1252"
        ) from error
    return data
