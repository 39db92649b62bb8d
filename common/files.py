"""Write files completely or not at all: under a temporary name, then renamed."""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from common.cli import UserError

WINDOWS = os.name == "nt"


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. On success it is renamed to `path`; on failure nothing changes.

    Raises UserError if the folder is not writable or the disk is full, or for a target that is not a file.
    """
    with writing(path):
        path = find_target(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp" + path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with open(temporary, "r+b") as file:  # Windows flushes only files open for writing
                os.fsync(file.fileno())
            share(temporary)
            replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):  # the first error says more
                temporary.unlink(missing_ok=True)


def find_target(path: str | Path) -> Path:
    """The file that is replaced to write `path`: where it links to. Raises UserError for a folder, device or pipe."""
    os.fspath(path).encode()  # raises UnicodeEncodeError now: reports and model cards that name a run are written last
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"cannot write {path}: it is a {'folder' if os.path.isdir(path) else 'device or a pipe'}")
    return Path(os.path.realpath(path) if os.path.islink(path) else path)


def refuse_broken_links(paths: Iterable[Path]) -> None:
    """Raise UserError for a link to a file that is not there: a folder copied without what it links to."""
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} is a link to a file that is not there; copy the folder with cp -rL")


def share(path: Path) -> None:
    """Give a temporary file (0600) the permissions that the user's umask asks for."""
    umask = os.umask(0o077)
    os.umask(umask)
    os.chmod(path, 0o666 & ~umask)


def replace(source: Path, target: Path) -> None:
    """Rename a file or a folder, replacing an earlier file. Raises OSError.

    Windows refuses while another program has the target open. Virus scanners and search indexes soon close it, so this
    retries for a second; a spreadsheet keeps it open.
    """
    for pause in (0.1, 0.3, 0.6, None):
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if not WINDOWS:
                raise
            if pause is None:
                raise PermissionError(
                    error.errno, "another program has it open; close it there, then try again"
                ) from error
            time.sleep(pause)


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """While entered, turn errors of the system (a full disk, a missing permission) into a UserError that names `path`.

    This includes the exceptions of safetensors and tokenizers, which only say "(os error 28)".
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    except Exception as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise UserError(f"cannot write {path}: {os.strerror(int(number[1]))}") from error


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, without changing its newlines."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as indented JSON. Raises ValueError for NaN, which JSON lacks."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object. Raises UserError if the file is missing or damaged."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object")
    return value


def sha256(path: str | Path) -> str:
    """The file's SHA-256 as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
