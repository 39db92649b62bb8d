"""Files that are whole or not there: written under a temporary name, then renamed."""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from pathlib import Path

from common.cli import UserError

WINDOWS = os.name == "nt"


@contextlib.contextmanager
def whole_file(path):
    """Yield a temporary path beside `path`; on success it takes `path`'s place, on failure nothing changes.

    Raises UserError where the folder cannot be written or the disk is full.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp" + path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with open(temporary, "r+b") as file:  # Windows flushes only what is open for writing
                os.fsync(file.fileno())
            share(temporary)
            replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):  # the error that led here says more
                temporary.unlink(missing_ok=True)


def share(path):
    """Give a file the permissions that the user's umask asks for, in place of a temporary file's 0600."""
    umask = os.umask(0o077)
    os.umask(umask)
    os.chmod(path, 0o666 & ~umask)


def replace(source, target):
    """Rename a file or a folder, over an earlier file. Raises OSError.

    Windows refuses while another program has the target open. Virus scanners and search indexes soon let go of it, so
    a second of tries is worth it; a spreadsheet does not.
    """
    for pause in (0.1, 0.3, 0.6, None):
        try:
            return os.replace(source, target)
        except PermissionError as error:
            if not WINDOWS:
                raise
            if pause is None:
                raise PermissionError(
                    error.errno, "another program has it open; close it there, then try again"
                ) from error
            time.sleep(pause)


@contextlib.contextmanager
def writing(path):
    """While entered, what the system refuses (a full disk, a missing permission) is a UserError that names `path`.

    Also where safetensors and tokenizers meet it, whose exceptions only say "(os error 28)".
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


def write_text(path, text):
    """Write `text` as UTF-8, with the newlines that it has."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path, value):
    """Write `value` as readable JSON; NaN is refused, as it is no JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path):
    """Read a JSON object. Raises UserError where it is missing or damaged."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object")
    return value


def sha256(path):
    """The file's SHA-256 as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
