"""Run folders: what is in them, whether they are complete, which one is meant."""

import atexit
import contextlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock, Timeout

from common.cli import UserError
from common.files import WINDOWS, read_json, write_json, write_text

RUNS_FOLDER = Path("runs")
PLACES = {"folder", "location"}  # may change between two starts of the same run
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "scikit-learn", "cleanlab", "numpy", "pandas")
LOCK = ".lock"  # held while a process writes the run; deleted when the process ends
_held = {}  # (device, inode) of the run folders that this process holds -> its lock


def run_folder(run):
    """The folder that `--run` means: a name below runs/, or a path (anything with a separator, `.` and `..`).

    A name that runs/ does not have, but the working directory has as a complete run, means that one.
    """
    path = Path(run)
    if path.name != str(run) or path.name == "..":  # Path drops the `./` of `./x`
        return path
    below = RUNS_FOLDER / path
    return path if not below.exists() and (path / "config.json").exists() and is_complete(path) else below


def run_name(folder):
    """How a command names a run so that `run_folder` finds it: `demo` for runs/demo, else its path."""
    folder = Path(folder)
    return shlex.quote(folder.name if folder.parent == RUNS_FOLDER else os.path.join(".", folder))


def is_complete(folder):
    """Whether the run has ended: results.json is written last."""
    return (Path(folder) / "results.json").exists()


def open_run(folder, config, overwrite=False, shared=False):
    """Make the run folder, or enter it again with the same configuration.

    `config` is a JSON object; all of it must agree with an earlier config.json in the folder, but for the places where
    data and model lie, which their fingerprints stand for. Returns True where the run is complete already. Raises
    UserError where the folder holds a run with another configuration, or other people's files; `overwrite` discards
    the earlier run instead. The folder then is this process's until it ends, another one gets a UserError; unless it
    is `shared`, as by the jobs that train an ensemble's members.
    """
    folder = Path(folder)
    config_file = folder / "config.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {config_file}: {error.strerror or error}") from error
    if _is_foreign(folder):  # before the lock, which is a file
        raise UserError(f"{folder} is not empty and no run; name another with --run")
    if not shared:
        hold_folder(folder)
    config = json.loads(json.dumps(config))  # as it reads back
    earlier = read_json(config_file) if config_file.exists() else None
    if overwrite and earlier is not None:
        discard_run(folder)
        earlier = None
    if earlier is None:
        write_json(config_file, config)
        return False
    difference = _first_difference(earlier, config)
    if difference:
        raise UserError(
            f"{folder} holds a run with another configuration ({difference}); "
            "give this one another name with --run, or discard that one with --overwrite"
        )
    if not shared:
        _sweep(folder)
    return is_complete(folder)


def hold_folder(folder):
    """Take a run folder for the rest of this process's life. Raises UserError where another process has it.

    The system drops the lock when the process ends, however it dies; a lock file that a killed process left holds
    nothing. Places that cannot be locked (a read-only disk, some network disks) go without.
    """
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in _held:
        return
    lock = FileLock(Path(folder).resolve() / LOCK)
    try:
        with warnings.catch_warnings(action="ignore"):  # "flock not supported on this filesystem"
            lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder} is being written by another process; wait for it, or name another run") from None
    except (OSError, NotImplementedError):
        return
    if not _held:
        atexit.register(release_folders)
    _held[status.st_dev, status.st_ino] = lock


def release_folders():
    """Drop all locks and delete their files, in the order that never deletes the next process's lock."""
    for lock in _held.values():
        with contextlib.suppress(OSError):
            if WINDOWS:  # an open file cannot be deleted there, so that the next process's is safe
                lock.release()
                os.unlink(lock.lock_file)
            else:
                os.unlink(lock.lock_file)
                lock.release()
    _held.clear()


def find_run(needs):
    """The newest complete run below runs/ that has the file `needs` (such as 'predictions/oof.csv'), or None.

    Members of an ensemble are not looked at, only runs themselves. Newest is by the time of results.json.
    """
    return next((folder for folder in complete_runs() if (folder / needs).exists()), None)


def complete_runs():
    """The folders of all complete runs below runs/, newest first."""
    newest_first = sorted(RUNS_FOLDER.glob("*/results.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent for path in newest_first]


def check_run(run, needs="results.json"):
    """The folder of a run given by the user, checked to be complete and to have `needs`. Raises UserError."""
    folder = run_folder(run)
    if not (folder / "config.json").exists():
        known = [path.name for path in complete_runs()[:5]]
        there = f"; the newest complete runs: {', '.join(known)}" if known else ""
        raise UserError(f"no run {str(run)!r}: {folder / 'config.json'} does not exist{there}")
    if not is_complete(folder):
        raise UserError(f"run {folder} is not complete yet; start its command again to finish it")
    if not (folder / needs).exists():
        raise UserError(f"run {folder} has no {needs}")
    return folder


def append_metrics(folder, record):
    """Append one JSON object to metrics.jsonl, in a single write."""
    path = Path(folder) / "metrics.jsonl"
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    except OSError as error:  # a full disk
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def read_metrics(folder):
    """The records of metrics.jsonl, oldest first; a last line that a crash cut short is left out."""
    path = Path(folder) / "metrics.jsonl"
    records = []
    for line in path.read_bytes().splitlines() if path.exists() else []:  # bytes: the cut may be inside a character
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def cut_metrics(folder, step):
    """Before a run goes on from `step`: drop the records of later steps, which will come again."""
    kept = [record for record in read_metrics(folder) if record["step"] <= step]
    write_text(Path(folder) / "metrics.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in kept))


def environment():
    """Versions, machine and commit: what somebody needs to get the same numbers."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    repository = Path(__file__).resolve().parent.parent
    git = (
        subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=repository,
            text=True,
            capture_output=True,
            check=False,
        )
        if shutil.which("git")
        else None
    )
    return {
        "versions": versions,
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "commit": git.stdout.strip() or None if git and git.returncode == 0 else None,
    }


def _is_foreign(folder):
    """Whether a folder holds something else than a run: other files, or another tool's config.json, as models have."""
    if (folder / "config.json").exists():
        return "script" not in read_json(folder / "config.json")
    # a start that was killed leaves its lock and the temporary name of config.json, see whole_file
    return any(path.name != LOCK and not path.name.startswith(".config.json.") for path in folder.iterdir())


def _sweep(folder):
    """Delete what killed writers left, see whole_file: the folder is held, so nobody is writing these now.

    A run that was killed between its last file and the end has checkpoints, too, that nobody will need again.
    """
    if is_complete(folder):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    for path in [path for place in (".", "predictions", "checkpoints") for path in (folder / place).glob(".*.tmp.*")]:
        with contextlib.suppress(OSError):  # a complete run may lie on a read-only disk
            path.unlink()


def discard_run(folder):
    """Delete a run, results.json first and config.json last: whenever that is cut short, it is an incomplete run."""
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
