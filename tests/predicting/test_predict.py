"""predict.py as its users run it: the numbers of training, columns, undecided rows, resumption, refusals."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import create_confusion_matrix
import create_ensemble_submission
import predict
import train
import train_ensemble
from common.confidence.coverage import coverage_at, show_threshold
from common.confidence.temperature import at_temperature, recalibrate
from common.predicting import texts as texts_module
from common.predictions import Predictions, read_predictions, write_predictions
from common.runs import check_run
from tests.conftest import CLASSES, write_csv

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--model", "tiny", "--epochs", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, small_data):
    """A folder with a run `long` that reads texts in windows of 12 tokens, and a two-encoder ensemble of it `folds`."""
    folder = tmp_path_factory.mktemp("runs")
    before = Path.cwd()
    os.chdir(folder)
    try:
        data = ["--data", str(small_data)]
        assert train.main([*QUICK, *data, "--run", "long", "--max-length", "12", "--valid-fraction", "0.2"]) == 0
        models = ["--models", "tiny,runs/long/model", "--folds", "2", "--seeds", "1", "--max-length", "40"]
        assert train_ensemble.main([*models, *QUICK[2:], *data, "--run", "folds"]) == 0
        rows = read(small_data / "train.csv").iloc[[3, 20]]
        decisions = [[row.id, row.label, "", "exclude"] for row in rows.itertuples()]
        write_csv("corrections.csv", ["id", "given_label", "new_label", "action"], decisions)
        words = ["--model", "tfidf", *data, "--corrections", "corrections.csv"]
        assert train_ensemble.main([*words, "--folds", "2", "--seeds", "1", "--run", "words"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    """An empty folder that sees the runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(place / "runs")
    return tmp_path


def refused(capsys, *arguments):
    """Run predict.py with arguments that it must refuse; returns the one line that it says."""
    capsys.readouterr()
    assert predict.main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


def read(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.mark.parametrize("run", ["long", "folds", "words"])
def test_the_probabilities_are_those_of_training(here, small_data, run, capsys):
    assert predict.main([run, str(small_data / "test.csv"), "--probabilities"]) == 0
    ours, training = read_predictions("predictions.csv"), read_predictions(f"runs/{run}/predictions/test.csv")
    assert (ours.ids == training.ids).all() and ours.classes == training.classes
    assert np.abs(ours.probabilities - training.probabilities).max() < 1e-6
    assert training.probabilities.std(axis=0).min() > 1e-4  # no constant would pass
    assert {path.name for path in here.iterdir()} == {"runs", "predictions.csv"}
    out = capsys.readouterr().out
    assert "12 texts" in out and "next:" not in out  # too few held-out rows to choose a threshold on

    # Other scripts read the file: the input's own labels are the given ones
    assert (ours.labels == training.labels).all()
    assert create_confusion_matrix.main(["--predictions", "predictions.csv"]) == 0
    scored = json.loads(Path("confusion_matrix/metrics.json").read_text())["accuracy"]
    assert scored == json.loads(Path(f"runs/{run}/results.json").read_text())["test"]["accuracy"]
    arguments = ["predictions.csv", "--data", str(small_data), "--output", "a.csv"]
    assert create_ensemble_submission.main(arguments) == 0
    assert create_ensemble_submission.main([run, "--output", "b.csv"]) == 0
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()


def test_columns_are_copied_and_ours_keep_their_names(here, small_data):
    table = read(small_data / "test.csv").rename(columns={"text": "Text"})
    table["prob_alt"], table["Fold"], table["note"] = "0.5", "x", '=1+1; a, "b"\nc'
    table.to_csv("new.csv", sep=";", index=False)
    assert predict.main(["long", "new.csv", "--output", "out.csv"]) == 0
    out = read("out.csv")
    assert list(out.columns) == [
        *("id", "text", "input_label", "input_prob_alt", "input_Fold", "note"),
        *("label", "probability"),
    ]
    assert out["note"].tolist() == table["note"].tolist() and out["text"].tolist() == table["Text"].tolist()
    training = read_predictions("runs/long/predictions/test.csv")
    assert out["label"].tolist() == list(training.predicted)
    assert out["probability"].astype(float).to_numpy() == pytest.approx(training.probabilities.max(axis=1), abs=1e-6)
    assert predict.main(["long", "new.csv", "--no-copy", "--output", "out.csv"]) == 0
    assert list(read("out.csv").columns) == ["id", "label", "probability"]
    # The input's labels are found in any spelling
    table.rename(columns={"label": "LABEL"}).to_csv("new.csv", index=False)
    assert predict.main(["long", "new.csv", "--output", "out.csv", "--probabilities"]) == 0
    assert "input_LABEL" in read("out.csv") and list(read_predictions("out.csv").labels) == table["label"].tolist()
    assert create_confusion_matrix.main(["--predictions", "out.csv", "--resamples", "100"]) == 0
    assert predict.main(["long", "new.csv", "--no-copy", "--output", "out.csv"]) == 0
    # Labels alone are a submission's
    assert create_ensemble_submission.main(["out.csv", "--data", str(small_data)]) == 0
    assert read("submission.csv")["label"].tolist() == list(training.predicted)


def test_the_encoders_of_an_ensemble_predict_with_its_members(here, small_data, capsys):
    """--weights auto weighs the encoders, also for rows that they have not predicted yet."""
    write_csv("new/train.csv", ["text", "label"], read(small_data / "train.csv")[["text", "label"]].to_numpy())
    write_csv("new/test.csv", ["text"], [[text] for text in read(small_data / "test.csv")["text"]])
    shutil.copytree("runs/folds", "runs_copy", symlinks=False)
    arguments = ["./runs_copy", "--data", "new", "--weights", "auto"]
    assert create_ensemble_submission.main(arguments) == 0
    for model in ("tiny", "model"):
        before = read_predictions(f"runs_copy/models/{model}/predictions/test.csv").probabilities
        (file,) = Path("runs_copy/models", model, "predictions").glob("test-*.csv")
        assert read_predictions(file).probabilities == pytest.approx(before, abs=1e-6)
    for member in Path("runs_copy/members").glob("tiny-*"):
        shutil.rmtree(member)
    assert "copied without its weights" in refused(capsys, "runs_copy/models/tiny", "new/test.csv")


def test_a_run_predicts_without_its_data_and_a_model_folder_without_its_run(here, small_data, place):
    shutil.copytree(place / "runs" / "long", here / "elsewhere")
    config = json.loads((here / "elsewhere" / "config.json").read_text())
    config["data"]["folder"] = "/nowhere"
    (here / "elsewhere" / "config.json").write_text(json.dumps(config))
    shutil.copytree(place / "runs" / "long" / "model", here / "model")
    outputs = []
    for run in ("long", "./elsewhere", "model"):
        assert predict.main([run, str(small_data / "test.csv"), "--output", "out.csv"]) == 0
        outputs.append(Path("out.csv").read_bytes())
    assert outputs[0] == outputs[1] == outputs[2]

    # A run from before there was predicting.json
    (here / "elsewhere" / "model" / "predicting.json").unlink()
    assert predict.main(["./elsewhere", str(small_data / "test.csv"), "--output", "out.csv"]) == 0
    assert Path("out.csv").read_bytes() == outputs[0]


def test_the_model_folder_says_what_it_is(here):
    settings = json.loads(Path("runs/long/model/predicting.json").read_text())
    assert settings == {
        "classes": list(CLASSES),
        "max_length": 12,
        "long_texts": "windows",
        "temperature": None,  # nine validation rows are too few
        "text_column": "text",
        "id_column": "id",
    }
    card = Path("runs/long/model/README.md").read_text()
    test = json.loads(Path("runs/long/results.json").read_text())["test"]
    low, high = test["accuracy_interval"]
    assert f"| test | 12 | {test['accuracy']:.1%} ({low:.1%} to {high:.1%}) | {test['macro_f1']:.1%} |" in card
    for part in ("# long\n", "36 training rows", ", ".join(CLASSES), "python predict.py FOLDER new.csv", "windows"):
        assert part in card
    words = json.loads(next(Path("runs/words/members").glob("*/model/predicting.json")).read_text())
    assert (
        words["max_length"] is None
        and "transformers" not in Path(next(Path("runs/words/members").glob("*/model/README.md"))).read_text()
    )


def test_rows_left_out_of_training_are_predicted_by_all_members(here, small_data):
    rows = read(small_data / "train.csv").iloc[[3, 20]]
    excluded = read_predictions("runs/words/predictions/train-excluded.csv")
    assert list(excluded.ids) == rows["id"].tolist() and list(excluded.labels) == rows["label"].tolist()
    rows.to_csv("rows.csv", index=False)
    assert predict.main(["words", "rows.csv", "--probabilities"]) == 0
    assert read_predictions("predictions.csv").probabilities == pytest.approx(excluded.probabilities, abs=1e-6)
    arguments = ["--run", "words", "--split", "train-excluded", "--output", "matrix", "--resamples", "100"]
    assert create_confusion_matrix.main(arguments) == 0
    assert json.loads(Path("matrix/metrics.json").read_text())["rows"] == 2


def test_several_runs_weigh_the_same(here, small_data):
    assert predict.main(["long", "folds", str(small_data / "test.csv"), "--probabilities"]) == 0
    parts = [read_predictions(f"runs/{run}/predictions/test.csv").probabilities for run in ("long", "folds")]
    assert read_predictions("predictions.csv").probabilities == pytest.approx(np.mean(parts, axis=0), abs=1e-6)


def test_lines_of_standard_input(here, monkeypatch, capsys):
    class Stdin:
        buffer = io.BytesIO("Der Zug fährt.\n\nEin\0Tor!".encode())

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert predict.main(["long", "-"]) == 0
    captured = capsys.readouterr()
    table = pd.read_csv(io.StringIO(captured.out), dtype=str, keep_default_na=False)
    assert list(table.columns) == ["id", "text", "label", "probability"]
    assert table["text"].tolist() == ["Der Zug fährt.", "", "Ein\ufffdTor!"] and table["id"].tolist() == ["1", "2", "3"]
    assert set(table["label"]) <= set(CLASSES) and "1 rows have no text" in captured.err
    assert {path.name for path in here.iterdir()} == {"runs"}


def test_half_emojis_in_json_are_copied_as_replacement_characters(here):
    rows = [{"id": "a\0", "text": "Ein Tor! \ud83d", "label": "\udc00"}, {"id": "b", "text": "Ein Zug", "label": "\0"}]
    Path("tweets.json").write_text(json.dumps(rows))
    assert predict.main(["words", "tweets.json", "--probabilities"]) == 0
    table = read("predictions.csv")
    assert table["id"].tolist() == ["a\ufffd", "b"] and table["text"].tolist() == ["Ein Tor! \ufffd", "Ein Zug"]
    assert list(read_predictions("predictions.csv").labels) == ["\ufffd", "\ufffd"]


def test_unsure_rows_stay_undecided(here, small_data, tmp_path, capsys):
    """Against a run whose held-out rows are made: over-sure, so that a temperature is fitted."""
    shutil.copytree(check_run("long"), "sure")
    rng = np.random.default_rng(0)
    labels = np.array(CLASSES, dtype=object)[rng.integers(0, 3, 200)]
    logits = rng.normal(size=(200, 3)) + 2 * (labels[:, None] == np.array(CLASSES, dtype=object)[None])
    shares = at_temperature(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 0.2).astype(np.float32)
    held_out = Predictions(np.array([str(n) for n in range(200)], dtype=object), list(CLASSES), shares, labels)
    write_predictions("sure/predictions/valid.csv", held_out)
    scaling, recalibrated = recalibrate(held_out)
    assert scaling["temperature"] > 2

    arguments = ["./sure", str(small_data / "test.csv"), "--probabilities"]
    training = read_predictions("runs/long/predictions/test.csv")
    sure = at_temperature(training.probabilities, scaling["temperature"]).max(axis=1)
    threshold = round(float(np.median(sure)), 4)
    undecided = sure < threshold
    assert 0 < undecided.sum() < 12
    assert predict.main([*arguments, "--min-probability", str(threshold)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    kept = coverage_at(recalibrated, threshold)
    assert f"{kept.share:.0%} of 200 validation rows stay, {kept.accuracy:.1%} of them right" in out
    assert f"{undecided.sum()} of 12 rows are undecided" in out
    table = read("predictions.csv")
    assert ((table["label"] == "").to_numpy() == undecided).all()
    assert table["probability"].astype(float).to_numpy() == pytest.approx(sure, abs=1e-6)
    again = read_predictions("predictions.csv")  # undecided rows are no broken file; the columns are the model's
    assert again.probabilities == pytest.approx(training.probabilities, abs=1e-6)

    # The same numbers as create_confusion_matrix.py
    assert create_confusion_matrix.main(["--run", "./sure", "--split", "valid"]) == 0
    figures = json.loads(Path("sure/confusion_matrix/metrics.json").read_text())
    target = next(each for each in figures["coverage"]["targets"] if each["target_accuracy"] == 0.95)
    capsys.readouterr()
    assert predict.main([*arguments, "--target-accuracy", "0.95"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"a probability of {show_threshold(target['min_probability'])} or more" in out
    checked = target["cross_checked"]
    assert f"{checked['share']:.0%} of 200 validation rows stay, {checked['accuracy']:.1%} of them right (cross-" in out
    assert figures["recalibrated"]["temperature"] == scaling["temperature"]

    # Without held-out rows nothing is promised, and nothing can be chosen
    assert predict.main(["sure/model", *arguments[1:], "--min-probability", "0.9"]) == 0
    assert "is not known" in capsys.readouterr().out
    assert "there are none here" in refused(capsys, "sure/model", *arguments[1:], "--target-accuracy", "0.95")


def test_interrupted_it_goes_on(here, small_data, monkeypatch, capsys):
    from common.training import saved

    monkeypatch.setattr(texts_module, "CHUNK", 5)
    arguments = ["folds", str(small_data / "test.csv"), "--probabilities", "--output"]
    assert predict.main([*arguments, "whole.csv"]) == 0
    calls, real = [], saved.predict

    def counted(*given, **named):
        calls.append(1)
        if len(calls) in (5, 7):
            raise KeyboardInterrupt
        return real(*given, **named)

    monkeypatch.setattr(saved, "predict", counted)
    for _ in range(2):
        capsys.readouterr()
        assert predict.main([*arguments, "cut.csv"]) == 130
        assert "the same command continues" in capsys.readouterr().err and not Path("cut.csv").exists()
    assert predict.main([*arguments, "cut.csv"]) == 0
    assert len(calls) == 4 * 3 + 2  # four members, three chunks; only the interrupted ones twice
    assert Path("cut.csv").read_bytes() == Path("whole.csv").read_bytes()

    # Parts of another input are not taken for this one's
    calls[:] = [1] * 4
    assert predict.main([*arguments, "cut.csv"]) == 130
    text = (small_data / "test.csv").read_text(encoding="utf-8")
    Path("other.csv").write_text(text.replace("er", "ir"), encoding="utf-8")
    calls[:] = [1] * 10
    assert predict.main(["folds", "other.csv", "--output", "cut.csv"]) == 0
    assert len(calls) == 10 + 12 and not Path("cut.csv.parts").exists()


def test_a_new_test_file_is_predicted_and_submitted(here, small_data, place, capsys):
    shutil.copytree(place / "runs" / "long", here / "mine")
    other = shutil.copytree(small_data, here / "other")
    table = read(small_data / "test.csv").iloc[::-1].drop(columns="label")
    table["id"] = [f"neu{number}" for number in range(len(table))]
    table.to_csv(other / "test.csv", index=False)
    arguments = ["./mine", "--data", str(other)]
    assert create_ensemble_submission.main(arguments) == 0
    assert "predicting 12 texts" in capsys.readouterr().out
    submission = read("submission.csv")
    assert submission["id"].tolist() == table["id"].tolist()
    training = read_predictions("runs/long/predictions/test.csv")
    assert submission["label"].tolist() == list(training.predicted[::-1])
    kept = [path.name for path in (here / "mine" / "predictions").iterdir()]
    assert len(kept) == 3 and any(name.startswith("test-") for name in kept)
    shutil.rmtree("mine/model")  # they are kept: the weights are not needed again
    assert create_ensemble_submission.main(arguments) == 0
    assert "predicting" not in capsys.readouterr().out


def test_refusals_are_one_line_and_leave_files_alone(here, small_data, capsys):
    test = small_data / "test.csv"
    Path("predictions.csv").write_text("mine")
    write_csv("other.csv", ["id", "Betreff"], [["1", "a"]])
    write_csv("twice.csv", ["id", "text"], [["1", "a"], ["2", "b"], ["1", "c"]])
    write_csv("blank.csv", ["id", "text"], [["1", "a"], ["", "b"]])
    write_csv("uneven.csv", ["id", "text"], [["1", "a"], ["2", "b", "c"]])
    shutil.copytree(check_run("long"), "light", ignore=shutil.ignore_patterns("model"))
    shutil.copytree(check_run("long"), "wrong")
    always = np.tile(np.float32([0.8, 0.1, 0.1]), (60, 1))
    ids, labels = np.array([str(n) for n in range(60)], dtype=object), np.array(["Sport"] * 60, dtype=object)
    write_predictions("wrong/predictions/valid.csv", Predictions(ids, list(CLASSES), always, labels))
    os.mkfifo("pipe")
    cases = [
        ("expected one or more runs, then the new texts", "long"),
        ("no run 'none'", "none", test),
        ("was copied without its weights", "./light", test),
        ("no such file", "long", "none.csv"),
        ("no column 'text'", "long", "other.csv"),
        ("no column 'nr'", "long", test, "--id-column", "nr"),
        ("duplicate id '1', first in row 1", "long", "twice.csv"),
        ("row 2: the id is empty", "long", "blank.csv"),
        ("row 2: expected 2 fields, found 3", "long", "uneven.csv"),
        ("not allowed with", "long", test, "--min-probability", "0.5", "--target-accuracy", "0.9"),
        ("at most 1", "long", test, "--min-probability", "2"),
        (
            "--target-accuracy 0.5: even the surest of the 60 validation rows",
            "./wrong",
            test,
            "--target-accuracy",
            "0.5",
        ),
        ("is a folder", "long", test, "--output", "wrong"),
        ("cannot write pipe: it is a device or a pipe", "long", test, "--output", "pipe"),
        ("is the input", "long", "other.csv", "--text-column", "Betreff", "--output", "other.csv"),
    ]
    for message, *arguments in cases:
        assert message in refused(capsys, *arguments), arguments
    assert Path("predictions.csv").read_text() == "mine" and Path("other.csv").read_text().startswith("id,Betreff")
    assert Path("pipe").is_fifo() and not list(here.glob("*.parts"))


def test_other_classes_are_refused(here, small_data, place, capsys):
    shutil.copytree(place / "runs" / "long" / "model", here / "model")
    settings = json.loads(Path("model/predicting.json").read_text())
    Path("model/predicting.json").write_text(json.dumps(settings | {"classes": ["Etat", "Kultur", "Sport"]}))
    assert "different classes" in refused(capsys, "long", "model", small_data / "test.csv")
    assert "have different classes" in refused(capsys, "model", small_data / "test.csv")


@pytest.mark.slow  # two processes that each import torch
def test_two_processes_write_what_one_writes(here, small_data):
    big = pd.concat([read(small_data / "test.csv")] * 200).drop(columns="id")
    big.to_csv("big.csv", index=False)
    assert predict.main(["long", "big.csv", "--device", "cpu", "--output", "one.csv"]) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(ROOT / "predict.py"), "long", "big.csv", "--device", "cpu", "--output", "two.csv"]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("files  two.csv") == 1 and not Path("two.csv.parts").exists()
    assert Path("two.csv").read_bytes() == Path("one.csv").read_bytes()


def test_help_needs_no_torch():
    command = [sys.executable, "-X", "importtime", str(ROOT / "predict.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--target-accuracy" in done.stdout and "RUN ... INPUT" in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported and not {"torch", "transformers"} & imported
