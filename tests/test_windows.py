"""Windows' rules for files, simulated: the scripts train, resume and analyse under them."""

import errno
import fcntl
import mmap
import os
import shutil
import signal
from pathlib import Path

import pytest

import create_confusion_matrix
import create_ensemble_submission
import find_label_issues
import train
import train_ensemble
from common import files, runs
from common.cli import UserError
from common.files import write_text
from common.runs import hold_folder, release_folders
from common.training import run as training_run
from common.training.plots import draw_learning_curves
from tests.training.test_train import QUICK

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads what is open from /proc")


def in_use():
    """What this process has open or mapped: Windows neither deletes nor replaces it."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue  # the folder's own, which listdir has closed
    mapped = [line.split(maxsplit=5)[5:] for line in Path("/proc/self/maps").read_text().splitlines()]
    return {*links, *(part[0] for part in mapped if part)}


def refuse_used(path, below=False):
    path = os.path.realpath(path)
    if any(used == path or (below and used.startswith(path + "/")) for used in in_use()):
        raise PermissionError(errno.EACCES, "The process cannot access the file (simulated)", path)


@pytest.fixture
def windows(monkeypatch, in_tmp):
    """No flush of a handle opened for reading, no deletion or renaming of files in use, no folder's handle."""
    fsync, rename, unlink = os.fsync, os.replace, os.unlink

    def windows_fsync(handle):
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        fsync(handle)

    def windows_replace(source, target, **_):
        refuse_used(source, below=True)
        refuse_used(target, below=True)
        rename(source, target)

    def windows_unlink(path, **_):
        refuse_used(path)
        unlink(path)

    monkeypatch.setattr(os, "fsync", windows_fsync)
    monkeypatch.setattr(os, "replace", windows_replace)
    monkeypatch.setattr(os, "rename", windows_replace)
    for name in ("unlink", "remove"):
        monkeypatch.setattr(os, name, windows_unlink)
    monkeypatch.setattr(shutil, "_use_fd_functions", False)  # rmtree by paths, as there
    return in_tmp


def test_the_simulation_refuses_what_windows_refuses(windows):
    for name in ("a", "b"):
        Path(name).write_bytes(b"x" * 4096)
    with open("a", "rb") as file:
        for attempt in (lambda: os.fsync(file.fileno()), Path("a").unlink, lambda: os.replace("b", "a")):
            with pytest.raises(OSError):
                attempt()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            file.close()
            with pytest.raises(PermissionError):
                Path("a").unlink()
            assert mapped[0] == ord("x")
    os.replace("b", "a")


def test_files_are_written_and_written_again(windows):
    for text in ("alt", "neu"):
        write_text("folder/file.csv", text)
    assert os.listdir("folder") == ["file.csv"] and Path("folder/file.csv").read_text() == "neu"


def test_a_file_that_a_spreadsheet_has_open(windows, monkeypatch):
    pauses = []
    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    write_text("file.csv", "alt")
    complaint = r"^cannot write file.csv: another program has it open; close it there, then try again$"
    with open("file.csv"), pytest.raises(UserError, match=complaint):
        write_text("file.csv", "neu")
    assert os.listdir() == ["file.csv"] and Path("file.csv").read_text() == "alt" and len(pauses) == 3


def test_a_file_that_a_virus_scanner_has_open_for_a_moment(windows, monkeypatch):
    write_text("file.csv", "alt")
    monkeypatch.setattr(files, "WINDOWS", True)
    with open("file.csv") as scanner:
        monkeypatch.setattr(files.time, "sleep", lambda _: scanner.close())
        write_text("file.csv", "neu")
    assert Path("file.csv").read_text() == "neu"


def test_pictures_are_written_again(windows):
    for _ in range(2):
        draw_learning_curves("curves.png", {"run": [{"event": "epoch", "epoch": 1.0, "train_loss": 1.0}]})
    assert os.listdir() == ["curves.png"]


def test_locks_are_released_and_deleted(windows, monkeypatch):
    monkeypatch.setattr(runs, "WINDOWS", True)
    Path("run").mkdir()
    hold_folder("run")
    assert os.listdir("run") == [".lock"]
    with pytest.raises(PermissionError):
        os.unlink("run/.lock")
    release_folders()
    assert os.listdir("run") == []


def test_training_interrupted_resumed_and_overwritten(windows, small_data, monkeypatch):
    monkeypatch.setattr(runs, "WINDOWS", True)
    run = [*QUICK, "--data", str(small_data), "--checkpoint-minutes", "0", "--keep", "best", "--run", "run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "append_metrics", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        assert train.main(run) == 130  # after the first epoch
    assert list(Path("runs/run/checkpoints").iterdir())
    assert train.main(run) == 0 and not Path("runs/run/checkpoints").exists()  # deletes what it was resumed from
    assert train.main([*run, "--overwrite"]) == 0
    release_folders()
    shutil.rmtree("runs")


@pytest.mark.slow  # every script, twice: a quarter of a minute
def test_the_other_scripts_twice(windows, small_data, monkeypatch):
    monkeypatch.setattr(runs, "WINDOWS", True)
    arguments = [*QUICK, "--data", str(small_data), "--seeds", "1", "--folds", "2", "--run", "e"]
    assert train_ensemble.main(arguments) == 0
    for _ in range(2):
        assert create_confusion_matrix.main(["--run", "e"]) == 0
        assert find_label_issues.main(["--run", "e"]) == 0
        assert create_ensemble_submission.main(["e"]) == 0
    release_folders()  # the next command is another process
    assert train_ensemble.main([*arguments, "--overwrite"]) == 0
