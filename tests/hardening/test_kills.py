"""Scripts killed in the middle of every write, at random moments, and too late: the same command ends the same."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import common.training.run
import find_label_issues
import train
import train_ensemble
from common.runs import read_metrics
from tests.scripts import run_script
from tests.training.test_train import FILES, QUICK, ROOT, files
from tests.training.test_train_ensemble import OWN, member_files

RESULTS = (".csv", ".safetensors", ".html", "summary.json")  # the same bytes, whatever happened on the way


def assert_same_results(cut, whole):
    assert files(cut) == files(whole)
    for name in files(whole):
        if name.endswith(RESULTS):
            assert Path(cut, name).read_bytes() == Path(whole, name).read_bytes(), name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(
    ("script", "more"),
    [(train, ["--keep", "best"]), (train_ensemble, ["--seeds", "2", "--epochs", "1"])],
)
def test_killed_in_the_middle_of_its_writes(small_data, in_tmp, script, more):
    """Checkpoints, the best weights, the log, predictions, the model, results.json: see die_writing.py."""
    arguments = [*QUICK, "--data", str(small_data), *more, "--checkpoint-minutes", "0", "--run"]
    assert script.main([*arguments, "whole"]) == 0
    done = run_script(ROOT / "tests/hardening/die_writing.py", script.__name__, *arguments, "cut")
    assert done.returncode == 0, done.stderr
    killed_over = [Path(line).name for line in done.stdout.splitlines() if line.startswith("runs/cut/")]
    assert killed_over[:2] == ["config.json", "environment.json" if script is train else "config.json"]
    assert sum(name.startswith("step-") for name in killed_over) >= 2 and len(killed_over) > 5
    assert "damaged" not in done.stdout  # a half checkpoint has no name that anyone would read
    assert_same_results("runs/cut", "runs/whole")
    for log in Path("runs/whole").rglob("metrics.jsonl"):
        cut, whole = (read_metrics(Path("runs", run, log.parent.relative_to("runs/whole"))) for run in ("cut", "whole"))
        assert [(r["event"], r["step"], r["train_loss"]) for r in cut] == [
            (r["event"], r["step"], r["train_loss"]) for r in whole
        ]


def records(folder):
    """How many lines of metrics.jsonl a run and its members have written."""
    return sum(len(read_metrics(log.parent)) for log in Path(folder).rglob("metrics.jsonl"))


@pytest.mark.slow  # half a minute
def test_label_issues_killed_in_cross_validation_and_after_it_end_the_same(small_data, in_tmp):
    few = Path("few").resolve()  # one step an epoch
    few.mkdir()
    train_rows = pd.read_csv(small_data / "train.csv").groupby("label").head(6)
    train_rows.to_csv(few / "train.csv", index=False)
    arguments = ["--model", "tiny", "--data", str(few)]
    for name in ("whole", "cut"):
        Path(name).mkdir()
    os.chdir("whole")
    assert find_label_issues.main(arguments) == 0
    os.chdir("../cut")
    run = Path("runs/few-tiny-5folds")
    command = [sys.executable, str(ROOT / "find_label_issues.py"), *arguments]
    moments = random.Random(8)
    for how, where in ((signal.SIGKILL, "writing"), (signal.SIGINT, "training"), (signal.SIGTERM, "looking")):
        enough = records(run) + moments.randrange(2, 20)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

        def reached(where=where, enough=enough):
            if where == "looking":  # the cross-validation is complete
                return (run / "results.json").exists()
            return records(run) >= enough and (where == "training" or list(run.rglob(".*.tmp.*")))

        while not reached():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.001)
        if where != "writing":
            time.sleep(moments.uniform(0, 0.3))
        process.send_signal(how)
        error = process.communicate()[1]
        if how == signal.SIGKILL:
            assert process.returncode == -9
        else:
            assert process.returncode == 130, error
            assert error.startswith("interrupted") and error.count("\n") == 1
        assert not (run / "label_issues/summary.json").exists()
    assert find_label_issues.main(arguments) == 0
    os.chdir("..")
    assert_same_results("cut", "whole")


def test_a_signal_in_the_last_validation_ends_the_ensemble(small_data, in_tmp, monkeypatch, capsys):
    """The loop has no step left to stop before; the next member must not begin all the same."""
    arguments = [*QUICK, "--data", str(small_data), "--seeds", "2", "--run"]
    assert train_ensemble.main([*arguments, "whole"]) == 0
    predict, validations = common.training.run.predict, []

    def signals(*arguments):
        validations.append(arguments[-1])
        if validations == ["validate"] * 2:  # two epochs
            os.kill(os.getpid(), signal.SIGTERM)
        return predict(*arguments)

    monkeypatch.setattr(common.training.run, "predict", signals)
    capsys.readouterr()
    assert train_ensemble.main([*arguments, "cut"]) == 130
    error = capsys.readouterr().err
    assert error.startswith("interrupted") and error.count("\n") == 1
    assert not Path("runs/cut/members/tiny-seed1").exists()
    monkeypatch.undo()
    os.chdir(in_tmp)
    assert train_ensemble.main([*arguments, "cut"]) == 0
    assert files("runs/cut") == OWN | {"predictions/valid.csv"} | member_files(["tiny-seed0", "tiny-seed1"])
    assert_same_results("runs/cut", "runs/whole")


def test_checkpoints_of_a_complete_run_are_swept(small_data, in_tmp, monkeypatch):
    """Killed after results.json, before the checkpoints go: of a large encoder, gigabytes."""
    arguments = [*QUICK, "--data", str(small_data), "--run", "x", "--checkpoint-minutes", "0"]
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    assert train.main(arguments) == 0
    assert any(name.startswith("checkpoints/") for name in files("runs/x"))
    monkeypatch.undo()
    os.chdir(in_tmp)
    assert train.main(arguments) == 0
    assert files("runs/x") == FILES
