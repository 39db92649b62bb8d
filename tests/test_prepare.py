"""The scripts that fill data/gnad10 and data/kaggle, without the hub, the client or the network."""

import csv
import os
import stat
import sys
import zipfile
from pathlib import Path

import datasets
import pytest

from common.cli import note
from common.data import find_folder, load_dataset, prepare_module

TRAIN = "id,text,label\n" + "".join(f"t{n},Text {n},{'Sport' if n % 2 else 'Web'}\n" for n in range(8))
TEST = "id,text\na,Ein Artikel\nb,Noch einer\n"
SAMPLE = "id,label\nb,Web\na,Web\n"
FILES = {"train.csv": TRAIN, "test.csv": TEST, "sample_submission.csv": SAMPLE}


@pytest.fixture
def gnad10(tmp_path, monkeypatch):
    module = prepare_module("gnad10")
    monkeypatch.setattr(module, "FOLDER", tmp_path / "gnad10")
    return module


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    module = prepare_module("kaggle")
    monkeypatch.setattr(module, "FOLDER", tmp_path / "kaggle")
    return module


def fails(capsys, module, *arguments):
    """The message of a call that must fail: one line, exit code 2, and nothing written."""
    before = contents(module.FOLDER)
    capsys.readouterr()
    assert module.main([str(argument) for argument in arguments]) == 2
    assert contents(module.FOLDER) == before
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.exists() else {}


# gnad10


def rows_of(module, split):
    """As many rows of each class as 10kGNAD has; some texts with quotes, umlauts, semicolons."""
    position = ("train", "test").index(split)
    return [
        (name, f"{name} {n}: der „Größte“; 'so' heißt es, \"sagt\" er. ")
        for name, counts in module.ROWS.items()
        for n in range(counts[position])
    ]


def make_original(module, folder, change=lambda rows: rows):
    folder.mkdir(exist_ok=True)
    for split in ("train", "test"):
        with open(folder / f"{split}.csv", "w", encoding="utf-8", newline="") as file:  # as its authors wrote it
            csv.writer(file, delimiter=";", quotechar="'", quoting=csv.QUOTE_MINIMAL).writerows(
                change(rows_of(module, split))
            )
    return folder


def make_hub(module, splits=("train", "test")):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(module.ROWS))}
    )
    return datasets.DatasetDict(
        {
            split: datasets.Dataset.from_dict(
                {
                    "text": [text for _, text in rows_of(module, split)],
                    "label": [list(module.ROWS).index(label) for label, _ in rows_of(module, split)],
                },
                features=features,
            )
            for split in splits
        }
    )


def test_the_counts_are_those_of_the_official_split(gnad10):
    train, test = zip(*gnad10.ROWS.values(), strict=True)
    assert (len(gnad10.ROWS), sum(train), sum(test)) == (9, 9245, 1028)


def test_from_the_original_files(gnad10, tmp_path, capsys):
    original = make_original(gnad10, tmp_path / "original")
    assert gnad10.main(["--from-folder", str(original)]) == 0
    assert "9245 train rows, 1028 test rows, 9 classes" in capsys.readouterr().out
    assert set(contents(gnad10.FOLDER)) == {"train.csv", "test.csv"}
    dataset = load_dataset(gnad10.FOLDER)
    assert list(zip(dataset.test["label"], dataset.test["text"], strict=True)) == rows_of(gnad10, "test")
    assert list(dataset.train["id"][:2]) == ["train-1", "train-2"] and dataset.classes == sorted(gnad10.ROWS)
    assert "--overwrite" in fails(capsys, gnad10, "--from-folder", original)
    assert gnad10.main(["--from-folder", str(original), "--overwrite"]) == 0


def test_from_the_hub_and_on_first_use(gnad10, tmp_path, monkeypatch):
    asked = []
    hub = make_hub(gnad10)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, revision=None: asked.append(name) or hub)
    assert gnad10.main([]) == 0
    from_hub = contents(gnad10.FOLDER)
    assert gnad10.main(["--from-folder", str(make_original(gnad10, tmp_path / "original")), "--overwrite"]) == 0
    assert contents(gnad10.FOLDER) == from_hub  # both ways lead to the same files

    monkeypatch.setattr("common.data.DATA_FOLDER", tmp_path / "data")
    monkeypatch.setattr("common.data.prepare_module", lambda name: gnad10)
    assert contents(find_folder("gnad10")) == from_hub
    assert asked == ["community-datasets/gnad10"] * 2


def test_an_unreachable_hub_is_one_line_that_says_what_to_do(gnad10, monkeypatch, capsys):
    def failing(error):
        def fail(name, revision=None):
            raise error

        return fail

    monkeypatch.setattr(datasets, "load_dataset", failing(ConnectionError("Couldn't reach it")))
    error = fails(capsys, gnad10)
    assert "no connection to the hub (HF_HUB_OFFLINE is set)" in error and "--from-folder" in error
    monkeypatch.setattr(datasets, "load_dataset", failing(ValueError("Couldn't read it\nas parquet")))
    error = fails(capsys, gnad10)
    assert "Couldn't read it as parquet" in error and "--from-folder" in error
    monkeypatch.setitem(sys.modules, "datasets", None)  # not installed
    assert "make setup" in fails(capsys, gnad10)


def test_another_version_of_the_data_is_refused(gnad10, tmp_path, monkeypatch, capsys):
    short = make_original(gnad10, tmp_path / "short", lambda rows: rows[1:])
    assert "expected 9245 train rows, found 9244" in fails(capsys, gnad10, "--from-folder", short)
    other = make_original(gnad10, tmp_path / "other", lambda rows: [("Wetter", "Regen"), *rows[1:]])
    assert "expected 1510 train rows of 'Web', found 1509" in fails(capsys, gnad10, "--from-folder", other)
    assert "cannot read" in fails(capsys, gnad10, "--from-folder", tmp_path / "none")
    (other / "test.csv").write_text("Web;ein Text;und noch etwas\n")
    assert "row 1: expected 2 fields, found 3" in fails(capsys, gnad10, "--from-folder", other)
    hub = make_hub(gnad10, splits=["train"])
    monkeypatch.setattr(datasets, "load_dataset", lambda name, revision=None: hub)
    assert "no split 'test'" in fails(capsys, gnad10)


# kaggle


def make_zip(path, members=FILES, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_from_a_zip(kaggle, tmp_path, capsys):
    members = {f"competition/{name}": text for name, text in FILES.items()} | {"competition/notes.txt": "?"}
    assert kaggle.main(["--zip", str(make_zip(tmp_path / "c.zip", members))]) == 0
    assert "8 training rows, 2 test rows, 2 classes" in capsys.readouterr().out
    assert contents(kaggle.FOLDER) == FILES
    assert stat.S_IMODE((kaggle.FOLDER / "train.csv").stat().st_mode) == 0o644


def test_other_names_in_the_zip_are_those_of_folders(kaggle, tmp_path, capsys):
    note.cache_clear()
    names = {"Train_data.csv": TRAIN + "x,Text,Wetter\n", "test.csv": TEST, "test_data.csv": "?", "dev.csv": "?"}
    archive = make_zip(tmp_path / "c.zip", {f"kit/{name}": text for name, text in names.items()})
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("sampleSubmission.csv", SAMPLE.replace("id,label", "Key,Class"))
    assert kaggle.main(["--zip", str(archive)]) == 0
    assert contents(kaggle.FOLDER) == {
        "train.csv": names["Train_data.csv"],
        "test.csv": TEST,
        "sample_submission.csv": "Key,Class\nb,Web\na,Web\n",
    }
    assert capsys.readouterr().out.startswith("note: train.csv: 1 class has a single row, perhaps by mistake: 'Wetter'")
    more = make_zip(tmp_path / "d.zip", FILES | {"Sample-Submission.csv": SAMPLE, "trainset.csv": "?"})
    assert kaggle.main(["--zip", str(more), "--overwrite"]) == 0 and contents(kaggle.FOLDER) == FILES


def test_exact_names_win_in_zips_of_windows(kaggle, tmp_path):
    members = {f"kit\\{name}": text for name, text in FILES.items()} | {"kit\\training.csv": "?"}
    archive = tmp_path / "c.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name, text in members.items():
            member = zipfile.ZipInfo()
            member.filename = name  # as read: ZipInfo(name) replaces the separator on Windows
            file.writestr(member, text)
    assert kaggle.main(["--zip", str(archive)]) == 0 and contents(kaggle.FOLDER) == FILES


def test_existing_files_are_replaced_only_when_asked(kaggle, tmp_path, capsys):
    kaggle.FOLDER.mkdir()
    (kaggle.FOLDER / "sample_submission.csv").write_text("mine\n")
    archive = make_zip(tmp_path / "c.zip", {"train.csv": TRAIN, "test.csv": TEST})
    assert "sample_submission.csv exists already; --overwrite" in fails(capsys, kaggle, "--zip", archive)
    assert kaggle.main(["--zip", str(archive), "--overwrite"]) == 0
    assert set(contents(kaggle.FOLDER)) == {"train.csv", "test.csv"}  # no sample of another download stays behind


def test_other_column_names(kaggle, tmp_path, capsys):
    archive = make_zip(
        tmp_path / "c.zip",
        FILES | {"train.csv": TRAIN.replace("text", "body", 1), "test.csv": TEST.replace("text", "body")},
    )
    assert "c.zip: train.csv has no column 'text'; it has: id, body, label" in fails(capsys, kaggle, "--zip", archive)
    assert kaggle.main(["--zip", str(archive), "--text-column", "body"]) == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("../train.csv", TRAIN, "points outside"),
        ("a/../../train.csv", TRAIN, "points outside"),
        ("/etc/train.csv", TRAIN, "points outside"),
        ("..\\train.csv", TRAIN, "points outside"),
        ("C:\\train.csv", TRAIN, "points outside"),
        ("../innocent.txt", "", "points outside"),
        ("sub/train.csv", TRAIN, "two files for train.csv: train.csv and sub/train.csv"),
    ],
)
def test_hostile_names_are_refused(kaggle, tmp_path, capsys, name, text, message):
    archive = make_zip(tmp_path / "c.zip", FILES | {name: text})
    before = sorted(tmp_path.rglob("*"))
    assert message in fails(capsys, kaggle, "--zip", archive)
    assert sorted(tmp_path.rglob("*")) == before


def test_links_are_refused(kaggle, tmp_path, capsys):
    link = zipfile.ZipInfo("test.csv")
    link.create_system = 3  # Unix
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("train.csv", TRAIN)
        archive.writestr(link, "/etc/passwd")
    assert "is a link" in fails(capsys, kaggle, "--zip", tmp_path / "c.zip")


def test_bombs_are_refused_while_they_unpack(kaggle, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(kaggle, "SIZE_LIMIT", 10**6)
    monkeypatch.setattr(kaggle, "CHUNK", 10**4)
    archive = make_zip(tmp_path / "c.zip", FILES | {"train.csv": "0" * 10**7})
    assert archive.stat().st_size < 20_000
    assert "more than 1 MB when unpacked" in fails(capsys, kaggle, "--zip", archive)
    half = TRAIN + "x,Text,Web\n" * 50_000  # each below the limit, not the two together
    archive = make_zip(tmp_path / "c.zip", {"train.csv": half, "test.csv": half})
    assert "more than 1 MB when unpacked" in fails(capsys, kaggle, "--zip", archive)

    archive = make_zip(tmp_path / "liar.zip", FILES | {"train.csv": "0" * 10**7})
    size = (10**7).to_bytes(4, "little")
    assert archive.read_bytes().count(size) == 2
    archive.write_bytes(archive.read_bytes().replace(size, (100).to_bytes(4, "little")))  # declares 100 bytes
    assert "cannot be unpacked" in fails(capsys, kaggle, "--zip", archive)


def test_what_is_no_usable_zip_is_refused(kaggle, tmp_path, capsys):
    file = tmp_path / "c.zip"
    assert "cannot read" in fails(capsys, kaggle, "--zip", file)
    assert "cannot read" in fails(capsys, kaggle, "--zip", tmp_path)
    file.write_text("<html>sign in</html>")
    assert "cannot be unpacked" in fails(capsys, kaggle, "--zip", file)
    make_zip(file)
    file.write_bytes(file.read_bytes()[:-40])
    assert "cannot be unpacked" in fails(capsys, kaggle, "--zip", file)
    make_zip(file, compression=zipfile.ZIP_STORED)
    file.write_bytes(file.read_bytes().replace(b"Text 3", b"Text X"))
    assert "Bad CRC-32" in fails(capsys, kaggle, "--zip", file)
    make_zip(file)
    data = bytearray(file.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1  # encrypted
    file.write_bytes(data)
    assert "password" in fails(capsys, kaggle, "--zip", file)
    assert "has no test.csv; it has: train.csv" in fails(capsys, kaggle, "--zip", make_zip(file, {"train.csv": TRAIN}))
    assert "it has: nothing" in fails(capsys, kaggle, "--zip", make_zip(file, {}))


def test_files_that_are_no_dataset_are_refused(kaggle, tmp_path, capsys):
    def error(**changes):
        members = FILES | {name.replace("_csv", ".csv"): text for name, text in changes.items()}
        return fails(capsys, kaggle, "--zip", make_zip(tmp_path / "c.zip", members))

    assert "c.zip: train.csv, row 9: the text is empty" in error(train_csv=TRAIN + "x,,Web\n")
    assert "c.zip: test.csv, row 3: duplicate id 'a'" in error(test_csv=TEST + "a,x\n")
    assert "lacks id 'c' of test.csv" in error(test_csv=TEST + "c,x\n")


def make_client(folder, monkeypatch, body):
    program = folder / "bin" / "kaggle"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport shutil, sys\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def test_from_the_client(kaggle, tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "c.zip")
    make_client(
        tmp_path,
        monkeypatch,
        f"open({str(tmp_path / 'asked')!r}, 'w').write(' '.join(sys.argv[1:6]))\n"
        f"shutil.copy({str(archive)!r}, sys.argv[6])",
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    assert kaggle.main([]) == 0
    asked = (tmp_path / "asked").read_text()
    assert asked == "competitions download -c lnu-deep-learn-2-text-classification-2025 -p"
    assert contents(kaggle.FOLDER) == FILES and not list(temporary.iterdir())


def test_a_client_that_fails_says_why(kaggle, tmp_path, monkeypatch, capsys):
    make_client(tmp_path, monkeypatch, "sys.exit(print('403 Client Error: Forbidden') or 1)")
    assert "join the competition" in fails(capsys, kaggle)
    (tmp_path / "bin/kaggle").write_text(f"#!{sys.executable}\nprint('nothing to do')\n")
    assert "expected one zip file from the Kaggle client, found 0" in fails(capsys, kaggle)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", str(Path("/nowhere/python")))
    assert "pip install kaggle" in fails(capsys, kaggle)
