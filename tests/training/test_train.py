"""train.py as its users run it: files, figures, resumption, refusals, two processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch.distributed.run

import train
from common.metrics import score_probabilities
from common.predictions import read_predictions
from common.runs import read_metrics
from tests.conftest import write_csv
from tests.scripts import Script, run_script

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "config.json",
    "environment.json",
    "metrics.jsonl",
    "results.json",
    "learning_curves.png",
    "predictions/valid.csv",
    "predictions/test.csv",
    "model/README.md",
    "model/config.json",
    "model/predicting.json",
    "model/model.safetensors",
    "model/tokenizer.json",
    "model/tokenizer_config.json",
}
QUICK = ["--model", "tiny", "--max-length", "32", "--epochs", "2", "--device", "cpu"]


def files(folder):
    """The files of a run but for the lock, which lasts as long as the process."""
    found = {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}
    return {name for name in found if Path(name).name != ".lock"}


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def refused(capsys, *arguments):
    """Run train.py with arguments that it must refuse; returns the one line that it says."""
    assert train.main([*arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


def test_a_run_from_start_to_end(small_data, in_tmp, capsys):
    assert train.main([*QUICK, "--data", str(small_data), "--valid-fraction", "0.2"]) == 0
    output = capsys.readouterr().out
    run = in_tmp / "runs" / f"{small_data.name}-tiny-seed0"
    assert files(run) == FILES
    assert files(in_tmp) == {f"runs/{run.name}/{name}" for name in FILES}

    valid, test = read_predictions(run / "predictions/valid.csv"), read_predictions(run / "predictions/test.csv")
    results = read_json(run / "results.json")
    assert len(valid.ids) == results["rows"] == 9 and len(test.ids) == results["test"]["rows"] == 12
    assert results["accuracy"] == (valid.predicted == valid.labels).mean()
    assert results["test"]["accuracy"] == (test.predicted == test.labels).mean()
    assert results["train_rows"] == 36 and results["steps"] == 6 and results["kept_epoch"] == 2
    assert set(results["per_class"]) == {"Kultur", "Sport", "Wirtschaft"}

    records = read_metrics(run)
    assert [(r["event"], r["step"]) for r in records] == [("step", 3), ("epoch", 3), ("step", 6), ("epoch", 6)]
    assert records[-1]["valid_accuracy"] == results["accuracy"]
    config = read_json(run / "config.json")
    assert config["classes"] == ["Kultur", "Sport", "Wirtschaft"] and config["recipe"]["epochs"] == 2
    assert set(config["data"]["fingerprint"]) == {"train.csv", "test.csv"}
    for part in ("epoch 1/2", "epoch 2/2", "valid  accuracy", "test   accuracy", "tokens/s", str(run.name)):
        assert part in output

    # The same command again: the results, no training. Another configuration: refused, nothing lost.
    before = (run / "results.json").stat().st_mtime_ns
    assert train.main([*QUICK, "--data", str(small_data), "--valid-fraction", "0.2"]) == 0
    assert "is complete" in (again := capsys.readouterr().out) and "valid  accuracy" in again
    other = refused(capsys, *QUICK, "--data", str(small_data), "--valid-fraction", "0.2", "--learning-rate", "0.01")
    assert "recipe.learning_rate: 0.001 there, 0.01 now" in other and "--overwrite" in other
    assert (run / "results.json").stat().st_mtime_ns == before
    arguments = [*QUICK, "--data", str(small_data), "--valid-fraction", "0", "--overwrite"]
    assert train.main(arguments) == 0
    assert files(run) == FILES - {"predictions/valid.csv"}
    assert read_json(run / "results.json")["accuracy"] is None


def test_the_saved_model_is_a_pipeline_with_the_same_probabilities(small_data, in_tmp):
    from transformers import pipeline

    assert train.main([*QUICK, "--data", str(small_data), "--run", "run", "--long-texts", "head"]) == 0
    classify = pipeline("text-classification", model="runs/run/model", top_k=None, device="cpu")
    predictions = read_predictions("runs/run/predictions/test.csv")
    from common.data import load_dataset

    texts = load_dataset(small_data).test["text"].tolist()
    for scores, row in zip(classify(texts, truncation=True, max_length=32), predictions.probabilities, strict=True):
        by_name = {entry["label"]: entry["score"] for entry in scores}
        assert [by_name[name] for name in predictions.classes] == pytest.approx(row, abs=1e-5)


def test_a_length_beyond_the_encoders_maximum_is_lowered_aloud(small_data, in_tmp, capsys):
    options = ["--model", "tiny", "--max-length", "2000", "--max-steps", "1", "--device", "cpu", "--run", "long"]
    assert train.main([*options, "--data", str(small_data)]) == 0
    assert "tiny reads at most 512 tokens: --max-length is lowered to that" in capsys.readouterr().out
    assert read_json("runs/long/config.json")["recipe"]["max_length"] == 512


def test_valid_csv_validates_and_train_csv_trains(small_data, tmp_path, in_tmp):
    folder = shutil.copytree(small_data, tmp_path / "data")
    shutil.move(folder / "test.csv", folder / "valid.csv")
    assert train.main([*QUICK, "--data", str(folder), "--run", "x", "--max-train-rows", "20", "--max-steps", "1"]) == 0
    results = read_json("runs/x/results.json")
    assert (results["rows"], results["train_rows"], results["steps"]) == (12, 20, 1)
    assert "test" not in results


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_last_epochs_predictions_are_not_computed_again(small_data, in_tmp, monkeypatch, keep):
    asked = []

    def predict(model, texts, device, reading, progress):
        asked.append(progress)
        probabilities = np.zeros((len(texts.lengths), model.config.num_labels), np.float32)
        probabilities[:, 0] = 0.9 - 0.1 * len(asked)
        probabilities[:, 1] = 1 - probabilities[:, 0]
        return probabilities

    def score(labels, probabilities, classes):
        first = {"accuracy": float(probabilities[0, 0])}  # the first epoch has the best
        return score_probabilities(labels, probabilities, classes) | first

    monkeypatch.setattr("common.training.run.predict", predict)
    monkeypatch.setattr("common.training.run.score_probabilities", score)
    arguments = [*QUICK, "--data", str(small_data), "--valid-fraction", "0.2", "--keep", keep, "--run", "x"]
    assert train.main(arguments) == 0
    again = ["predict valid"] if keep == "best" else []
    assert asked == ["validate", "validate", *again, "predict test"]
    assert read_predictions("runs/x/predictions/valid.csv").probabilities[0, 0] == pytest.approx(0.7 - 0.1 * len(again))


def test_killed_and_started_again_it_ends_the_same(small_data, in_tmp, capsys):
    arguments = [*QUICK, "--data", str(small_data), "--epochs", "20", "--checkpoint-minutes", "0"]
    assert train.main([*arguments, "--run", "whole"]) == 0
    for how in (signal.SIGKILL, signal.SIGTERM):
        script = Script(ROOT / "train.py", *arguments, "--run", "cut")
        steps = len(read_metrics("runs/cut"))
        while len(read_metrics("runs/cut")) < steps + 4:
            assert script.poll() is None, script.collect()
            time.sleep(0.01)
        os.kill(script.pid, how)
        error = script.collect()[1]
        assert script.returncode == (-9 if how == signal.SIGKILL else 130)
    assert error.count("\n") == 1 and "the same command continues from it" in error
    assert train.main([*arguments, "--run", "cut"]) == 0
    for name in ("predictions/valid.csv", "predictions/test.csv", "model/model.safetensors"):
        assert Path("runs/cut", name).read_bytes() == Path("runs/whole", name).read_bytes(), name
    assert files("runs/cut") == files("runs/whole") == FILES

    def losses(run):
        return [(r["event"], r["step"], r["train_loss"]) for r in read_metrics(run)]

    assert losses("runs/cut") == losses("runs/whole")


def test_a_run_that_goes_on_in_another_precision_says_so(small_data, in_tmp, monkeypatch, capsys):
    """On another machine, perhaps, which has no bf16."""
    arguments = [*QUICK, "--data", str(small_data), "--checkpoint-minutes", "0", "--run", "x", "--precision"]

    def interrupt(folder, record):
        if record["step"] == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("common.training.run.append_metrics", interrupt)
        assert train.main([*arguments, "fp32"]) == 130
    assert read_json("runs/x/environment.json")["precision"] == "fp32"
    capsys.readouterr()
    assert train.main([*arguments, "bf16"]) == 0
    note = "note: the steps until here were computed in fp32, the next ones in bf16"
    assert capsys.readouterr().out.count(f"resumed at step 5 of 6\n{note}\n") == 1
    environment = read_json("runs/x/environment.json")
    assert environment["precision"] == "fp32, then bf16" and environment["options"]["precision"] == "bf16"


def test_two_processes_train_as_one(small_data, in_tmp):
    exact = ["--dropout", "0", "--precision", "fp32"]  # to compare closely
    arguments = [*QUICK, "--data", str(small_data), "--adversarial", "1", *exact]
    forks = ["--standalone", "--nproc-per-node", "2", "--run-path", "--start-method", "fork"]
    command = [torch.distributed.run.__file__, *forks, ROOT / "train.py", *arguments, "--run-name", "two"]
    done = run_script(*command, environment={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 2/2") == 1  # one process speaks
    assert train.main([*arguments, "--run", "one"]) == 0
    assert files("runs/two") == files("runs/one") == FILES
    one, two = ([r["train_loss"] for r in read_metrics(f"runs/{name}")] for name in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-4)
    one, two = (read_predictions(f"runs/{name}/predictions/test.csv").probabilities for name in ("one", "two"))
    assert two == pytest.approx(one, abs=1e-3)
    assert read_json("runs/two/environment.json")["processes"] == 2


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes of torchrun in /proc")
def test_a_process_that_dies_ends_all_and_the_run_continues(small_data, in_tmp):
    arguments = [*QUICK, "--data", str(small_data), "--epochs", "40", "--checkpoint-minutes", "0"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(ROOT / "train.py"), *arguments, "--run-name"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = subprocess.run([*command, "whole"], env=environment, text=True, capture_output=True, check=False)
    assert whole.returncode == 0, whole.stderr

    process = subprocess.Popen([*command, "cut"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while len(read_metrics("runs/cut")) < 5:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    ranks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(ranks[-1]), signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    done = subprocess.run([*command, "cut"], env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stdout
    one, two = (Path("runs", name, "model/model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert one == two


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs: 0 must be at least 1"),
        (["--learning-rate", "nan"], "--learning-rate"),
        (["--valid-fraction", "1.5"], "at most 0.9"),
        (["--split-seed", "5000000000"], "--split-seed: 5000000000 must be at least 0 and at most 4294967295"),
        (["--precision", "fp16", "--device", "cpu"], "needs a CUDA GPU"),
        (["--model", "nonsense"], "no model 'nonsense'"),
        (["--data", "nonsense"], "no dataset 'nonsense'"),
        (["--unknown"], "unrecognized arguments"),
        (["--keep", "best", "--valid-fraction", "0"], "--keep best needs validation rows"),
        (["--valid-fraction", "0.01"], "with a validation share of 0.01 leave a class"),
    ],
)
def test_impossible_options_are_one_line(small_data, in_tmp, capsys, arguments, message):
    assert message in refused(capsys, *QUICK, "--data", str(small_data), *arguments)
    assert not any("results.json" in name for name in files(in_tmp))


def test_a_refused_command_does_not_take_the_runs_name(small_data, in_tmp, capsys):
    arguments = [*QUICK, "--data", str(small_data), "--max-steps", "1", "--run", "x", "--keep"]
    refused(capsys, *arguments, "best", "--valid-fraction", "0")
    assert train.main([*arguments, "last", "--valid-fraction", "0"]) == 0
    assert "another configuration" in refused(capsys, *arguments, "best")


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (["text", "topic"], [["a b", "x"], ["c d", "y"]], "no column 'label'; it has: text, topic"),
        (["text", "label"], [["a b", "x"], ["", "y"]], "row 2: the text is empty"),
        (["id", "text", "label"], [["1", "a", "x"], ["1", "b", "y"]], "row 2: duplicate id '1', first in row 1"),
        (["text", "label"], [["a", "x"], ["b", "x"]], "only one class"),
    ],
)
def test_bad_rows_are_one_line(tmp_path, in_tmp, capsys, header, rows, message):
    (tmp_path / "data").mkdir()
    write_csv(tmp_path / "data" / "train.csv", header, rows)
    assert message in refused(capsys, *QUICK, "--data", str(tmp_path / "data"))


def test_a_foreign_folder_is_not_touched(small_data, in_tmp, capsys):
    (in_tmp / "mine").mkdir()
    (in_tmp / "mine" / "thesis.txt").write_text("years of work")
    arguments = [*QUICK, "--data", str(small_data), "--run", str(in_tmp / "mine"), "--overwrite"]
    assert "is not empty and not a run" in refused(capsys, *arguments)
    assert files(in_tmp) == {"mine/thesis.txt"}


def test_help_needs_no_torch():
    command = [sys.executable, "-X", "importtime", str(ROOT / "train.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for option in ("--model", "--data", "--epochs", "--compile", "--corrections", "--max-train-rows"):
        assert option in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported and not {"torch", "transformers"} & imported
