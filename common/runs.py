"""Run folders: their files, whether they are complete, and how users name them."""

import atexit
import contextlib
import json
import os
import shlex
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from common.cli import UserError
from common.files import WINDOWS, read_json, write_json, write_text

RUNS_FOLDER = Path("runs")
PLACES = {"folder", "location", "file"}  # keys that may differ between two starts of the same run
LOCK = ".lock"  # a process holds it while it writes the run, and deletes it at its end
_held: dict[tuple[int, int], FileLock] = {}  # (device, inode) of a run folder -> the lock of this process


def run_folder(run: str | Path) -> Path:
    """The folder of `--run`: a name below runs/, or a path (anything with a separator, `.` and `..`).

    If runs/ lacks the name and the working directory has a complete run of that name, the folder is that run.
    """
    path = Path(run)
    if path.name != str(run) or path.name == "..":  # Path drops the `./` of `./x`
        return path
    below = RUNS_FOLDER / path
    return path if not below.exists() and (path / "config.json").exists() and is_complete(path) else below


def run_name(folder: str | Path) -> str:
    """The run's name in a command, such that `run_folder` finds it: `demo` for runs/demo, else its path."""
    folder = Path(folder)
    return shlex.quote(folder.name if folder.parent == RUNS_FOLDER else os.path.join(".", folder))


def is_complete(folder: str | Path) -> bool:
    """Whether the run has finished: results.json is its last file."""
    return (Path(folder) / "results.json").exists()


def open_run(
    folder: str | Path,
    config: dict[str, Any],
    overwrite: bool = False,
    shared: bool = False,
    reads: Iterable[str | Path] = (),
) -> bool:
    """Make the run folder, or open it again with the same configuration. Returns whether the run is complete.

    `config` is a JSON object. It must equal the folder's config.json, except for the paths of data and model, whose
    fingerprints must match instead. Raises UserError if the folder has a run with another configuration, or files that
    are not a run's. `overwrite` discards the earlier run instead, unless one of the files that the script `reads` is in
    it; a run that got no further than its config.json is replaced, unless it is `shared`. This process then holds the
    folder until it ends, and other processes get a UserError. `shared` folders are not held: several jobs train an
    ensemble's members.
    """
    folder = Path(folder)
    config_file = folder / "config.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {config_file}: {error.strerror or error}") from error
    if _is_foreign(folder):  # before the lock: it is a file too
        raise UserError(f"{folder} is not empty and not a run; give another name with --run")
    if not shared:
        hold_folder(folder)
    config = json.loads(json.dumps(config))  # as it reads back
    earlier = read_json(config_file) if config_file.exists() else None
    difference = earlier and _first_difference(earlier, config)
    unused = (
        not shared
        and difference
        and all(path.is_dir() or path.name in (LOCK, "config.json") for path in folder.rglob("*"))
    )
    if unused or (overwrite and earlier is not None):
        for path in reads:
            if Path(path).resolve().is_relative_to(folder.resolve()):
                raise UserError(f"--overwrite would delete {path}, which is read; copy it elsewhere, or change --run")
        discard_run(folder)
        earlier = None
    if earlier is None:
        write_json(config_file, config)
        return False
    if difference:
        raise UserError(
            f"{folder} has a run with another configuration ({difference}); "
            "choose another name with --run, or discard that run with --overwrite"
        )
    if not shared:
        _sweep(folder)
    return is_complete(folder)


def hold_folder(folder: str | Path) -> None:
    """Lock a run folder until this process ends. Raises UserError if another process holds it.

    The system releases the lock however the process ends, so the lock file of a killed process locks nothing. Disks
    without locks (read-only, some network disks) are used without one.
    """
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in _held:
        return
    lock = FileLock(Path(folder).resolve() / LOCK)
    try:
        with warnings.catch_warnings(action="ignore"):  # "flock not supported on this filesystem"
            lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder} is being written by another process; wait for it, or choose another name") from None
    except (OSError, NotImplementedError):
        return
    if not _held:
        atexit.register(release_folders)
    _held[status.st_dev, status.st_ino] = lock


def release_folder(folder: str | Path) -> None:
    """Release the lock of one folder, if this process holds it."""
    status = os.stat(folder)
    if lock := _held.pop((status.st_dev, status.st_ino), None):
        lock.release()


def release_folders() -> None:
    """Release all locks and delete their files, in the order that never deletes the next process's lock."""
    for lock in _held.values():
        with contextlib.suppress(OSError):
            if WINDOWS:  # cannot delete an open file, so the next process's lock is safe
                lock.release()
                os.unlink(lock.lock_file)
            else:
                os.unlink(lock.lock_file)
                lock.release()
    _held.clear()


def find_run(needs: str) -> Path | None:
    """The newest complete run below runs/ that has the file `needs` (such as 'predictions/oof.csv'), or None.

    The time of results.json decides. An ensemble's members do not count as runs.
    """
    return next((folder for folder in complete_runs() if (folder / needs).exists()), None)


def complete_runs() -> list[Path]:
    """The folders of all complete runs below runs/, newest first."""
    newest_first = sorted(RUNS_FOLDER.glob("*/results.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent for path in newest_first if is_run(path.parent)]


def is_run(folder: Path) -> bool:
    """Whether a folder is of one of our scripts. A damaged or foreign folder does not stop the others."""
    try:
        return "script" in read_json(folder / "config.json")
    except UserError:
        return False


def check_run(run: str | Path, needs: str = "results.json") -> Path:
    """The folder of a run that the user named. Raises UserError unless it is complete and has the file `needs`."""
    folder = run_folder(run)
    folder = folder if folder.name not in ("", "..") else folder.resolve()  # messages and pictures name it
    if not (folder / "config.json").exists():
        known = [path.name for path in complete_runs()[:5]]
        there = f"; the newest complete runs: {', '.join(known)}" if known else ""
        raise UserError(f"no run {str(run)!r}: {folder / 'config.json'} does not exist{there}")
    if not is_complete(folder):
        raise UserError(f"run {folder} is not complete; run its command again to finish it")
    if not (folder / needs).exists():
        raise UserError(f"run {folder} has no {needs}")
    return folder


def append_metrics(folder: str | Path, record: dict[str, Any]) -> None:
    """Append one JSON object to metrics.jsonl in a single write."""
    path = Path(folder) / "metrics.jsonl"
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    except OSError as error:  # a full disk
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The records of metrics.jsonl, oldest first, without a last line that a crash cut short."""
    path = Path(folder) / "metrics.jsonl"
    records = []
    for line in path.read_bytes().splitlines() if path.exists() else []:  # bytes: the cut may be inside a character
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def cut_metrics(folder: str | Path, step: int) -> None:
    """Drop the records of steps after `step`: the run resumes there and writes them again."""
    kept = [record for record in read_metrics(folder) if record["step"] <= step]
    write_text(Path(folder) / "metrics.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in kept))


def _is_foreign(folder):
    """Whether a folder has files other than a run's, such as the config.json of a model."""
    if (folder / "config.json").exists():
        return "script" not in read_json(folder / "config.json")
    # a process killed at the start leaves its lock and a temporary config.json, see whole_file
    return any(path.name != LOCK and not path.name.startswith(".config.json.") for path in folder.iterdir())


def _sweep(folder):
    """Delete the temporary files of killed processes, see whole_file: the folder is held, so nobody writes them now.

    Also delete the checkpoints of a complete run that was killed between results.json and its end.
    """
    if is_complete(folder):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    for path in [path for place in (".", "predictions", "checkpoints") for path in (folder / place).glob(".*.tmp.*")]:
        with contextlib.suppress(OSError):  # a complete run may be on a read-only disk
            path.unlink()


def discard_run(folder: Path) -> None:
    """Delete a run, results.json first and config.json last. Cut short, this leaves an incomplete run."""
    for member in folder.glob("members/*/"):  # a job with --members holds its member alone
        hold_folder(member)
        release_folder(member)  # Windows does not delete open files, and a new folder may get the same inode
    order = {"results.json": 0, "config.json": 2}
    try:
        there = [path for path in folder.iterdir() if path.name != LOCK]
        for path in sorted(there, key=lambda path: order.get(path.name, 1)):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError as error:
        raise UserError(f"cannot delete {folder}: {error.strerror or error}") from error


def _first_difference(old, new, prefix=""):
    for key in sorted((old.keys() | new.keys()) - PLACES):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            difference = _first_difference(before, now, f"{prefix}{key}.")
            if difference:
                return difference
        elif before != now:
            return f"{prefix}{key}: {_short(before)} there, {_short(now)} now"
    return None


def _short(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
