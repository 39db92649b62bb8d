"""`tfidf` as its users meet it: a run without torch, a member of an ensemble, the baseline of an encoder's run."""

import subprocess
import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import create_ensemble_submission
import train
import train_ensemble
from common.data import load_dataset
from common.predictions import read_predictions
from common.reading.corrections import COLUMNS
from common.tfidf import run as tfidf_run
from common.tfidf.model import load_model, predict_probabilities
from common.training.options import FOR_ENCODERS, add_training_options
from tests.conftest import write_csv
from tests.training.test_train import QUICK, ROOT, files, read_json

TFIDF_FILES = {
    "config.json",
    "environment.json",
    "results.json",
    "predictions/test.csv",
    "model/README.md",
    "model/predicting.json",
    "model/tfidf.npz",
}


def test_a_run_has_the_files_of_a_run(small_data, in_tmp, capsys):
    arguments = ["--model", "tfidf", "--data", str(small_data), "--valid-fraction", "0.2", "--run", "x"]
    assert train.main(arguments) == 0
    run = Path("runs/x")
    assert files(run) == TFIDF_FILES | {"predictions/valid.csv"}
    results, valid = read_json(run / "results.json"), read_predictions(run / "predictions/valid.csv")
    assert results["evaluated_on"] == "valid" and results["accuracy"] == (valid.predicted == valid.labels).mean()
    assert results["train_rows"] == 45 - len(valid.ids) and results["test"]["rows"] == 12
    assert "test   accuracy" in capsys.readouterr().out

    test = read_predictions(run / "predictions/test.csv")
    again = predict_probabilities(load_model(run / "model"), load_dataset(small_data).test["text"])
    assert np.array_equal(test.probabilities, again)
    assert train.main(arguments) == 0
    assert "is complete" in capsys.readouterr().out
    assert train.main([*arguments, "--split-seed", "1"]) == 2
    assert "recipe.split_seed: 0 there, 1 now" in capsys.readouterr().err


def test_it_validates_on_the_rows_of_an_encoder(small_data, in_tmp):
    for model in ("tfidf", "tiny"):
        rest = ["--data", str(small_data), "--split-seed", "3", "--run", model]
        assert train.main([*(QUICK if model == "tiny" else ["--model", model]), *rest]) == 0
    one, other = (read_predictions(f"runs/{name}/predictions/valid.csv") for name in ("tfidf", "tiny"))
    assert (one.ids == other.ids).all() and one.classes == other.classes

    # and its scores are the baseline in the encoder's results
    own, baseline = read_json("runs/tfidf/results.json"), read_json("runs/tiny/results.json")["baseline"]
    assert baseline["model"] == "tfidf" and baseline["accuracy"] == own["accuracy"]
    assert {name: own["test"][name] for name in baseline["test"]} == baseline["test"]


def test_no_baseline_where_it_would_take_long_or_nothing_has_labels(small_data, in_tmp, monkeypatch):
    dataset = load_dataset(small_data)
    rows, labels = np.arange(45), np.zeros(45, dtype=int)
    assert tfidf_run.compute_baseline(dataset, labels, rows, None)["accuracy"] is None  # test rows alone
    monkeypatch.setattr(tfidf_run, "BASELINE_SECONDS", 0.001)
    assert tfidf_run.compute_baseline(dataset, labels, rows, dataset.test) is None
    monkeypatch.undo()
    unlabelled = replace(dataset, test=dataset.test.drop(columns="label"))
    assert tfidf_run.compute_baseline(unlabelled, labels, rows, None) is None


@pytest.mark.parametrize(
    ("texts", "characters", "classes", "seconds"),
    [
        (822, 2650, 2, 2.1),
        (822, 2650, 9, 3.7),
        (822, 2650, 100, 14.3),
        (7969, 100, 9, 5.1),
        (7969, 100, 100, 13.3),
        (5009, 142, 2, 1.6),
        (18_000, 106, 300, 132),  # 22 s for one of the six fits
    ],
)
def test_the_estimate_is_near_the_seconds_measured(texts, characters, classes, seconds):
    assert 1 / 1.6 < tfidf_run.estimate_seconds(pd.Series(["a" * characters] * texts), classes) / seconds < 1.6


def test_no_baseline_for_hundreds_of_classes(small_data, monkeypatch):
    """18,000 texts of 300 classes have less text than the 822 articles of nine, and take a minute or two."""
    monkeypatch.setattr(tfidf_run, "fit_model", lambda *_: pytest.fail("it trains"))
    train = pd.DataFrame({"text": ["a" * 106] * 18_000, "label": [str(n % 300) for n in range(18_000)]})
    dataset = replace(load_dataset(small_data), train=train, classes=sorted(set(train["label"])))
    assert tfidf_run.compute_baseline(dataset, np.zeros(18_000, dtype=int), np.arange(18_000), train.head(300)) is None


def test_a_member_beside_encoders(small_data, in_tmp):
    """One, however many seeds: its predictions weigh as much as one seed of an encoder."""
    arguments = [*QUICK[2:], "--models", "tiny,tfidf", "--data", str(small_data), "--seeds", "2", "--folds", "3"]
    assert train_ensemble.main([*arguments, "--run", "e"]) == 0
    members = sorted(path.name for path in Path("runs/e/members").iterdir())
    names = ["tfidf-seed0", "tiny-seed0", "tiny-seed1"]
    assert members == [f"{name}-fold{fold}" for name in names for fold in range(3)]
    assert files("runs/e/members/tfidf-seed0-fold1") == TFIDF_FILES | {"predictions/valid.csv"}
    whole = read_predictions("runs/e/predictions/oof.csv")
    part = read_predictions("runs/e/members/tfidf-seed0-fold1/predictions/valid.csv")
    assert set(part.ids) == set(whole.ids[whole.folds == 1])
    assert [voter["model"] for voter in read_json("runs/e/results.json")["voters"]] == ["tiny", "tiny", "tfidf"]
    tests = [read_predictions(f"runs/e/members/{name}/predictions/test.csv").probabilities for name in members]
    assert read_predictions("runs/e/predictions/test.csv").probabilities == pytest.approx(np.mean(tests, 0), abs=1e-6)

    # Each encoder alone, so that a submission can weigh them
    alone = read_predictions("runs/e/models/tfidf/predictions/test.csv").probabilities
    assert alone == pytest.approx(np.mean(tests[:3], 0), abs=1e-6)
    assert read_json("runs/e/models/tiny/results.json")["rows"] == 45
    assert create_ensemble_submission.main(["e", "--weights", "auto"]) == 0
    record = read_json("submission.json")
    assert [Path(member["name"]).name for member in record["members"]] == ["tfidf", "tiny"]
    assert all(member["leaving_out"]["rows"] == 45 for member in record["members"])
    assert record["weights"]["search"]["file"] == "oof.csv"
    assert create_ensemble_submission.main(["e"]) == 0
    assert len(read_json("submission.json")["members"]) == 1


def test_what_a_member_beside_encoders_shares_with_them(small_data, in_tmp, capsys):
    first = load_dataset(small_data).train.iloc[0]
    write_csv(in_tmp / "c.csv", COLUMNS, [[first["id"], first["label"], "", "exclude"]])
    arguments = ["--models", "tiny,tfidf", "--data", str(small_data), "--seeds", "1", "--max-steps", "1"]
    assert train_ensemble.main([*arguments, "--corrections", "c.csv", "--run", "e"]) == 0
    output = capsys.readouterr().out
    assert output.count("c.csv: ") == 1 and "does not use" not in output
    options = [read_json(path)["options"] for path in Path("runs/e/members").glob("*/environment.json")]
    assert options == [{"max_steps": 1, "corrections": "c.csv"}] * 2


def test_options_for_encoders_alone_are_named(small_data, in_tmp, capsys):
    arguments = ["tfidf", "--data", str(small_data), "--keep", "best", "--split-seed", "1", "--epochs", "3", "--run"]
    for script, name in ((train, "--model"), (train_ensemble, "--models")):
        assert script.main([name, *arguments, script.__name__, "--device", "cpu"]) == 0
        assert capsys.readouterr().out.startswith("tfidf does not use --epochs, --keep, --device\n")
        assert script.main([name, *arguments, "taught", "--teacher", "nonexistent"]) == 2
        assert capsys.readouterr().err == "error: --teacher is for encoders; tfidf learns only from given labels\n"
        assert not Path("runs/taught").exists()


def test_every_machine_option_is_for_encoders_or_for_both():
    """A new one must be put on a side: tfidf says which options it does not use."""
    parser = ArgumentParser()
    add_training_options(parser)
    group = next(group for group in parser._action_groups if group.title == "machine")
    assert {action.dest for action in group._group_actions} == FOR_ENCODERS | {"track"}


def test_an_ensemble_of_it_alone_has_no_learning_curves(small_data, in_tmp):
    assert train_ensemble.main(["--models", "tfidf", "--data", str(small_data), "--folds", "3", "--run", "e"]) == 0
    assert not any(name.endswith(".png") for name in files("runs/e"))


def test_a_run_needs_no_torch(small_data, in_tmp):
    arguments = ["--model", "tfidf", "--data", str(small_data)]
    code = (
        f"import sys, train; assert train.main({arguments}) == 0; print({{'torch', 'transformers'}} & set(sys.modules))"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")
