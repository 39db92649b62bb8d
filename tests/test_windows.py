"""Windows' rules for files, simulated: the scripts train, resume and analyse under them."""

import errno
import fcntl
import mmap
import os
import shutil
from pathlib import Path

import pytest

from common import files
from common.cli import UserError
from common.files import replace, write_text

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
    monkeypatch.setattr(files.time, "sleep", lambda _: None)
    write_text("file.csv", "alt")
    monkeypatch.setattr(os, "name", "nt")
    with open("file.csv"), pytest.raises(UserError, match=r"^cannot write file.csv: another program has it open; "):
        # whole_file would build WindowsPath here: its last step alone
        with files.writing("file.csv"):
            Path("file.tmp").write_text("neu") if False else None
            replace("file.csv.new", "file.csv")
