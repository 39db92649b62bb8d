"""Nothing lost, nothing let in: two processes in one run, kills at any moment, full disks, hostile names and models."""

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

import create_confusion_matrix
import create_ensemble_submission
import find_label_issues
import train
import train_ensemble
from common.runs import open_run, read_metrics, release_folders
from common.training.encoders.configs import set_up_transformers
from common.training.encoders.tiny import build_tiny_tokenizer
from tests.conftest import write_csv
from tests.scripts import Script
from tests.training.test_train import FILES, QUICK, ROOT, files, refused
from tests.training.test_train_ensemble import OWN, member_files

LONG = ["--epochs", "20", "--checkpoint-minutes", "0"]  # a checkpoint at every step: kills meet one being written
HOLD = "import sys; from common.runs import hold_folder; hold_folder(sys.argv[1]); print('held', flush=True); input()"


def contents(folder):
    return {name: (Path(folder) / name).read_bytes() for name in files(folder)}


# Two processes in one run


def hold(folder):
    """A process that has the run folder, as training has it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        cwd=os.getcwd(),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_run_belongs_to_one_process_until_that_dies(small_data, in_tmp, capsys, overwrite):
    arguments = [*QUICK, "--data", str(small_data), "--run", "x"]
    Path("runs/x").mkdir(parents=True)
    if overwrite:
        assert train.main(arguments) == 0
        shutil.copytree("runs/x", "runs/copy")  # another folder: this process holds the first one itself
        arguments[-1] = "copy"
    before = contents("runs")
    other = hold(f"runs/{arguments[-1]}")
    assert "is being written by another process" in refused(capsys, *arguments, *overwrite)
    assert contents("runs") == before
    other.kill()  # no farewell: the lock ends with the process
    other.wait()
    assert train.main([*arguments, *overwrite]) == 0
    assert files(f"runs/{arguments[-1]}") == FILES


def test_an_ensemble_and_its_members_belong_to_one_process(small_data, in_tmp, capsys):
    arguments = [*QUICK, "--data", str(small_data), "--seeds", "2", "--run"]
    assert train_ensemble.main([*arguments, "whole"]) == 0
    shutil.copytree("runs/whole", "runs/e")  # another folder: this process holds the first one itself
    Path("runs/e/results.json").unlink()
    before = contents("runs/e")
    for folder in ("runs/e", "runs/e/members/tiny-seed1"):
        other = hold(folder)
        capsys.readouterr()
        assert train_ensemble.main([*arguments, "e"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {folder} is being written by another process") and error.count("\n") == 1
        assert contents("runs/e") == before
        other.kill()
        other.wait()
    assert train_ensemble.main([*arguments, "e"]) == 0
    assert files("runs/e") == OWN | {"predictions/valid.csv"} | member_files(["tiny-seed0", "tiny-seed1"])


# Kills


def test_ctrl_c_saves_and_a_second_process_changes_nothing(small_data, in_tmp, capsys):
    arguments = [*QUICK, "--data", str(small_data), *LONG, "--run"]
    assert train.main([*arguments, "whole"]) == 0
    script = Script(ROOT / "train.py", *arguments, "cut")
    while len(read_metrics("runs/cut")) < 4:
        assert script.poll() is None, script.collect()
        time.sleep(0.01)
    os.kill(script.pid, signal.SIGSTOP)  # so that it does not end before the second one has asked
    script.wait_until_stopped()
    before = contents("runs/cut")
    assert "is being written by another process" in refused(capsys, *arguments, "cut")
    assert contents("runs/cut") == before
    os.kill(script.pid, signal.SIGCONT)
    os.kill(script.pid, signal.SIGINT)
    error = script.collect()[1]
    assert script.returncode == 130 and error.count("\n") == 1 and "the same command continues from it" in error
    assert train.main([*arguments, "cut"]) == 0
    assert files("runs/cut") == files("runs/whole") == FILES
    for name in ("predictions/valid.csv", "predictions/test.csv", "model/model.safetensors"):
        assert Path("runs/cut", name).read_bytes() == Path("runs/whole", name).read_bytes(), name


@pytest.mark.slow  # half a minute; test_kills.py kills in each kind of write
def test_an_ensemble_killed_at_random_moments_ends_the_same(small_data, in_tmp):
    arguments = [*QUICK, "--data", str(small_data), "--seeds", "2", *LONG, "--run"]
    assert train_ensemble.main([*arguments, "whole"]) == 0
    command = [sys.executable, str(ROOT / "train_ensemble.py"), *arguments, "cut"]
    moments = random.Random(8)
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in process.stdout:
            if "epoch" in line or "complete" in line:  # it trains
                break
        time.sleep(moments.uniform(0, 1))
        process.kill()
        process.communicate()
        for predictions in Path("runs/cut").rglob("predictions/*.csv"):  # whole or not there
            assert predictions.read_bytes() == Path("runs/whole", predictions.relative_to("runs/cut")).read_bytes()
    assert train_ensemble.main([*arguments, "cut"]) == 0
    assert files("runs/cut") == files("runs/whole")
    for name in files("runs/whole"):
        if name.endswith((".csv", ".safetensors")):
            assert Path("runs/cut", name).read_bytes() == Path("runs/whole", name).read_bytes(), name


def test_what_killed_writers_left_is_swept(small_data, in_tmp):
    arguments = [*QUICK, "--data", str(small_data), "--run", "x"]
    assert train.main(arguments) == 0
    Path("runs/x/results.json").unlink()
    for name in ("environment.json.a1.tmp.json", "results.json.b2.tmp.json", "learning_curves.png.c3.tmp.png"):
        Path("runs/x", f".{name}").touch()
    Path("runs/x/predictions/.valid.csv.d4.tmp.csv").touch()
    Path("runs/x/checkpoints").mkdir()
    Path("runs/x/checkpoints/.step-00000003.safetensors.e5.tmp.safetensors").touch()
    assert open_run("runs/x", json.loads(Path("runs/x/config.json").read_text())) is False
    assert not [name for name in files("runs/x") if ".tmp." in name]  # a large encoder's checkpoint has gigabytes
    Path("runs/x/.model.tmp").mkdir()
    Path("runs/x/.model.tmp/model.safetensors").touch()
    assert train.main(arguments) == 0
    assert files("runs/x") == FILES


# Disks


@pytest.fixture
def disk(tmp_path):
    """A disk of 24 MB, unmounted in the end; a function mounts it again with other options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
        ).returncode

    if not shutil.which("mount") or os.name != "posix" or os.getuid() != 0 or mount("size=24m") != 0:
        pytest.skip("only root can mount a small disk")
    try:
        yield place, mount
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_one_line_and_costs_nothing(small_data, disk, capsys):
    place, _ = disk
    arguments = [*QUICK, "--data", str(small_data), "--run"]
    assert train.main([*arguments, str(place / "early")]) == 0
    early = contents(place / "early")
    free = shutil.disk_usage(place).free
    refusals = 0
    for room in (0, 4, 8, 12, 40, 200, 1000, 2500, 5000, 8000):  # KiB
        (place / "filler").write_bytes(bytes(free - room * 1024))
        code = train.main([*arguments, str(place / "new")])
        error = capsys.readouterr().err
        assert code in (0, 2)
        if code == 0:
            break
        assert error.startswith("error: cannot write ") and error.endswith(": No space left on device\n"), error
        assert error.count("\n") == 1
        assert not (place / "new/results.json").exists() and contents(place / "early") == early
        refusals += 1
        (place / "filler").unlink()
        if room % 3:  # some start anew, some go on from what is there
            shutil.rmtree(place / "new")
    assert refusals > 5
    (place / "filler").unlink(missing_ok=True)
    assert train.main([*arguments, str(place / "new")]) == 0
    assert files(place / "new") == FILES
    for name in ("predictions/valid.csv", "predictions/test.csv", "model/model.safetensors"):
        assert (place / "new" / name).read_bytes() == early[name]


def test_a_read_only_disk(small_data, disk, capsys):
    place, mount = disk
    arguments = [*QUICK, "--data", str(small_data), "--run"]
    assert train.main([*arguments, str(place / "early")]) == 0
    shutil.copytree(place / "early", place / "half")
    (place / "half/results.json").unlink()
    before = contents(place)
    release_folders()  # as if the first process had ended: a disk with files open for writing stays writable
    assert mount("remount,ro") == 0
    capsys.readouterr()
    assert train.main([*arguments, str(place / "early")]) == 0  # a complete run is only read
    assert "is complete" in capsys.readouterr().out
    for name, more in (("new", []), ("half", []), ("early", ["--overwrite"])):
        assert "Read-only file system" in refused(capsys, *arguments, str(place / name), *more)
    assert contents(place) == before


# Names


def files_of_all_scripts(place, monkeypatch, classes, ids):
    """Run every script on a dataset with these classes and ids, below `place`; returns the files below `place`."""
    work, data = place / "a/b/work", place / "a/b/data"
    work.mkdir(parents=True)
    data.mkdir()
    rows = [[ids.format(n), f"Wort{n} und Satz {n % len(classes)} " * 3, classes[n % len(classes)]] for n in range(90)]
    write_csv(data / "train.csv", ["id", "text", "label"], rows)
    write_csv(data / "test.csv", ["id", "text", "label"], [["/" + row[0], *row[1:]] for row in rows[:18]])
    monkeypatch.chdir(work)
    arguments = [*QUICK, "--data", str(data), "--seeds", "2", "--folds", "2", "--max-steps", "1", "--run", "r"]
    assert train_ensemble.main(arguments) == 0
    assert create_confusion_matrix.main(["--run", "r", "--output", "matrix"]) == 0
    assert find_label_issues.main(["--run", "r", "--output", "issues"]) == 0
    assert create_ensemble_submission.main(["r", "--output", "submission.csv"]) == 0
    return files(place)


def test_class_names_and_ids_never_become_file_names(tmp_path, monkeypatch):
    hostile = ["../../x", "a/b", "con", "/etc/x", "..", "C:\\x", "x\\..\\y", "%2e%2e%2f", "~"]
    harmless = files_of_all_scripts(tmp_path / "1", monkeypatch, list("abcdefghi"), "{}")
    assert files_of_all_scripts(tmp_path / "2", monkeypatch, hostile, "../../{}") == harmless
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}


# Models from anywhere

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def checkpoint(tmp_path):
    """A function that makes a model folder with changed entries of its JSON files, and code that must not run."""
    set_up_transformers()  # or the bar of save_pretrained stands before the error
    tokenizer = build_tiny_tokenizer(["Der Sturm auf der Straße war stark.", "Für Öl und Ärger sorgt der Übermut."] * 3)

    def make(config=None, tokenizer_config=None):
        folder = tmp_path / "encoder"
        torch.manual_seed(0)
        BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), pad_token_id=0, **SIZES)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for name, changes in (("config.json", config), ("tokenizer_config.json", tokenizer_config)):
            entries = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps(entries | (changes or {})))
        (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
        return folder

    return make


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("hidden_size", 10**9, "the files of its weights have"),
        ("vocab_size", 10**10, "config.json describes 160,0"),
        ("max_position_embeddings", 10**10, "the files of its weights have"),
        ("intermediate_size", 10**12, "the files of its weights have"),
        ("num_hidden_layers", 10**7, "10,000,000 layers are more than 1000"),
        ("num_hidden_layers", 900, "the files of its weights have"),
        ("hidden_size", -16, "cannot be loaded"),
        ("hidden_size", "16; rm -rf", "cannot be loaded"),
        ("num_attention_heads", 0, "cannot be loaded"),
    ],
)
def test_sizes_that_the_weights_do_not_have(small_data, in_tmp, capsys, checkpoint, entry, value, message):
    start = time.monotonic()
    line = refused(capsys, "--model", str(checkpoint({entry: value})), "--data", str(small_data), "--max-length", "16")
    assert message in line and time.monotonic() - start < 60
    assert not Path("runs").exists()


def test_tokenizers_without_room_for_text(small_data, in_tmp, capsys, checkpoint):
    for limit in (-5, 0, 2):
        folder = checkpoint(tokenizer_config={"model_max_length": limit})
        assert "no room for text" in refused(capsys, "--model", str(folder), "--data", str(small_data))


def header(entries):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "weights",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 99_000_000) + b"{}",
        header(
            {
                "bert.embeddings.word_embeddings.weight": {
                    "dtype": "F32",
                    "shape": [10**9, 10**6],
                    "data_offsets": [0, 4 * 10**15],
                }
            }
        ),
        header({"x": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}),
        header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}}),
        b"\x80\x04" + b"pickle",
    ],
)
def test_weights_that_claim_more_than_they_hold(small_data, in_tmp, capsys, checkpoint, weights):
    folder = checkpoint()
    (folder / "model.safetensors").write_bytes(weights + bytes(100_000))
    assert "cannot be loaded" in refused(capsys, "--model", str(folder), "--data", str(small_data), "--run", "x")
    assert not Path("runs/x/results.json").exists()


def test_weights_by_an_index_that_leads_elsewhere(small_data, in_tmp, capsys, checkpoint):
    folder = checkpoint()
    shutil.move(folder / "model.safetensors", folder / "other.safetensors")
    index = {"metadata": {}, "weight_map": {"bert.embeddings.word_embeddings.weight": "../../../../../etc/passwd"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "cannot be loaded" in refused(capsys, "--model", str(folder), "--data", str(small_data), "--run", "x")


@pytest.mark.parametrize(
    ("config", "tokenizer_config"),
    [
        (None, {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}),
        (None, {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}),
        ({"auto_map": {"AutoConfig": "evil.Evil", "AutoModelForSequenceClassification": "evil.Evil"}}, None),
        ({"auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}, "model_type": "evil"}, None),
    ],
)
def test_code_beside_the_weights_is_not_run(small_data, in_tmp, capsys, checkpoint, config, tokenizer_config):
    """With an architecture that transformers has, its own code serves; else the model is refused."""
    arguments = ["--model", str(checkpoint(config, tokenizer_config)), "--data", str(small_data), "--max-steps", "1"]
    code = train.main([*arguments, "--device", "cpu", "--run", "x"])
    assert code == (2 if config and "model_type" in config else 0), capsys.readouterr().err
    assert not (in_tmp / "ran").exists()
