"""Files are whole or not there, whatever goes wrong while they are written."""

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from common.cli import UserError
from common.files import read_json, sha256, whole_file, write_json, write_text


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def failing(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


def test_a_file_appears_with_its_folders_and_readable_by_all():
    with whole_file("a/b/file.csv") as temporary:
        temporary.write_text("neu")
        assert temporary.parent.samefile("a/b") and temporary.suffix == ".csv"
        assert not Path("a/b/file.csv").exists()
    assert os.listdir("a/b") == ["file.csv"]
    assert Path("a/b/file.csv").read_text() == "neu"


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), UserError("x"), SystemExit(1)])
def test_a_body_that_raises_leaves_the_old_file(error):
    write_text("file.csv", "alt")
    with pytest.raises(type(error)), whole_file("file.csv") as temporary:
        temporary.write_text("halb")
        raise error
    assert os.listdir() == ["file.csv"] and Path("file.csv").read_text() == "alt"


@pytest.mark.parametrize(
    ("function", "code", "says"),
    [
        ("tempfile.mkstemp", errno.EROFS, "Read-only file system"),
        ("tempfile.mkstemp", errno.EACCES, "Permission denied"),
        ("os.fsync", errno.ENOSPC, "No space left on device"),
        ("os.replace", errno.ENOSPC, "No space left on device"),
        ("pathlib.Path.mkdir", errno.EACCES, "Permission denied"),
        ("pathlib.Path.write_text", errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_what_the_system_refuses_is_one_line(function, code, says):
    Path("file.csv").write_text("alt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(function, failing(code))
        with pytest.raises(UserError) as caught:
            write_text("file.csv", "neu")
    assert str(caught.value) == f"cannot write file.csv: {says}"
    assert os.listdir() == ["file.csv"] and Path("file.csv").read_text() == "alt"


def test_a_real_full_disk():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    write_text("file.csv", "alt")
    complaint = r"^cannot write file.csv: No space left on device$"
    with pytest.raises(UserError, match=complaint), whole_file("file.csv"), open("/dev/full", "w") as full:
        full.write("neu")
    assert os.listdir() == ["file.csv"] and Path("file.csv").read_text() == "alt"


def test_places_that_cannot_be_written():
    Path("file").touch()
    Path("folder").mkdir()
    for path in ("file/below.csv", "folder", "x" * 300 + ".csv"):
        with pytest.raises(UserError, match=rf"^cannot write {path[:20]}.*: "):
            write_text(path, "neu")
    assert sorted(os.listdir()) == ["file", "folder"]


def test_a_link_stays_and_its_target_is_written():
    Path("far").mkdir()
    write_text("far/real.csv", "alt")
    for link, target in (("link.csv", "far/real.csv"), ("second.csv", "link.csv"), ("early.csv", "far/later.csv")):
        Path(link).symlink_to(target)
    for number, link in enumerate(("link.csv", "second.csv", "early.csv")):
        write_text(link, f"neu {number}")
        assert Path(link).is_symlink()
    assert sorted(os.listdir("far")) == ["later.csv", "real.csv"]
    assert [Path("far", name).read_text() for name in ("real.csv", "later.csv")] == ["neu 1", "neu 2"]


def test_devices_pipes_and_folders_are_not_replaced():
    os.mkfifo("pipe")
    Path("link").symlink_to("pipe")
    before = os.listdir()
    for path in ("pipe", "link"):  # not /dev/null: a defect would replace it
        with pytest.raises(UserError) as caught:
            write_text(path, "neu")
        assert str(caught.value) == f"cannot write {path}: it is a device or a pipe"
    with pytest.raises(UserError, match=r"^cannot write \.: it is a folder$"):
        write_text(".", "neu")
    assert os.listdir() == before and Path("pipe").is_fifo()


def test_text_and_json_are_written_as_they_are():
    write_text("a.txt", "Größe\r\n🙂\n")
    assert Path("a.txt").read_bytes() == "Größe\r\n🙂\n".encode()
    write_json("a.json", {"Größe": [1.5, None, "🙂"]})
    assert "Größe" in Path("a.json").read_text(encoding="utf-8")
    assert read_json("a.json") == {"Größe": [1.5, None, "🙂"]}
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json("a.json", {"loss": number})
    assert read_json("a.json") == {"Größe": [1.5, None, "🙂"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^cannot read a.json: No such file or directory$"),
        (b"", r"^a.json is not valid JSON: "),
        (b'{"a": 1', r"^a.json is not valid JSON: "),
        (b'{"a": "\xff"}', r"^a.json is not valid JSON: "),
        (b"[1]", r"^a.json does not hold a JSON object$"),
    ],
)
def test_json_that_cannot_be_read(content, message):
    if content is not None:
        Path("a.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_json("a.json")


def test_sha256():
    content = os.urandom(100_000)
    Path("a").write_bytes(content)
    assert sha256("a") == hashlib.sha256(content).hexdigest()


def test_two_files_both_or_neither():
    with pytest.raises(UserError), whole_file("a") as first, whole_file("b") as second:
        first.write_text("neu")
        second.write_text("neu")
        raise UserError("x")
    assert os.listdir() == []


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o027, 0o077])
def test_files_have_the_permissions_that_the_umask_asks_for(umask):
    before = os.umask(umask)
    try:
        write_text("a.csv", "x")
        with whole_file("b.safetensors") as temporary:  # safetensors, too, replaces the file by one of its own
            save_file({"a": np.ones(3)}, temporary)
    finally:
        os.umask(before)
    assert {oct(os.stat(name).st_mode & 0o777) for name in os.listdir()} == {oct(0o666 & ~umask)}
