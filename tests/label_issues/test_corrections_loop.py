"""From out-of-fold predictions to label issues, to corrections, and back into training."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

import find_label_issues
import train
import train_ensemble
from common.cli import UserError
from common.data import load_dataset
from common.predictions import read_predictions
from common.reading.corrections import COLUMNS, flagged_ids
from common.splitting.splits import split_validation
from tests.conftest import write_csv
from tests.label_issues.hand_made_issues import rows, write_dataset, write_oof, write_run
from tests.training.test_train import QUICK, read_json


@pytest.fixture
def quick_cross_validation(monkeypatch):
    """find_label_issues.py trains with the defaults; these tests cannot wait for them."""
    whole = train_ensemble.main.__wrapped__
    monkeypatch.setattr(train_ensemble.main, "__wrapped__", lambda argv: whole([*argv, *QUICK[2:]]))


def test_without_a_run_it_cross_validates_and_keeps_the_run(small_data, in_tmp, quick_cross_validation, capsys):
    arguments = ["--model", "tiny", "--data", str(small_data)]
    assert find_label_issues.main(arguments) == 0
    run = Path(f"runs/{small_data.name}-tiny-5folds")
    oof = read_predictions(run / "predictions/oof.csv")
    assert len(oof.ids) == 45 and sorted(set(oof.folds)) == [0, 1, 2, 3, 4]
    assert (run / "label_issues/label_issues.html").exists()
    assert "starting a 5-fold cross-validation" in capsys.readouterr().out
    assert find_label_issues.main([]) == 0  # now there is a run
    assert f"run {run} (the newest with out-of-fold predictions)" in capsys.readouterr().out

    # Of a newer run of other data, and of another encoder, that one is still found
    other = write_run(Path("runs/other"), write_dataset(Path("other"), rows()))
    write_oof(other / "predictions/oof.csv", rows())
    assert find_label_issues.main(arguments) == 0
    assert f"run {run} (the newest" in capsys.readouterr().out
    assert find_label_issues.main(["--data", "other"]) == 0
    assert "run runs/other (the newest" in capsys.readouterr().out


def test_corrections_touch_the_training_side_alone(small_data, in_tmp, capsys):
    plain = [*QUICK, "--data", str(small_data), "--valid-fraction", "0.2", "--max-steps", "2"]
    assert train.main([*plain, "--run", "plain"]) == 0
    valid = read_predictions("runs/plain/predictions/valid.csv")
    with open(small_data / "train.csv", encoding="utf-8", newline="") as file:
        label_of = {row["id"]: row["label"] for row in csv.DictReader(file)}
    trained = [row_id for row_id in label_of if row_id not in set(valid.ids)]

    # One training row relabelled, two left out; a validation row relabelled, which must change nothing there
    first = next(row_id for row_id in trained if label_of[row_id] == "Kultur")
    other = next(name for name in valid.classes if name != valid.labels[0])
    changes = [
        [first, "Kultur", "Sport", "relabel"],
        [trained[-1], label_of[trained[-1]], "", "exclude"],
        [trained[-2], label_of[trained[-2]], "", "exclude"],
        [valid.ids[0], valid.labels[0], other, "relabel"],
    ]
    write_csv("corrections.csv", ["id", "given_label", "new_label", "action"], changes)
    assert train.main([*plain, "--run", "corrected", "--corrections", "corrections.csv"]) == 0
    said = capsys.readouterr().out
    assert "corrections.csv: 4 rows, 0 kept, 2 relabelled, 2 excluded" in said
    assert "corrections: 1 ignored, because validation rows keep their given labels" in said
    results = read_json("runs/corrected/results.json")
    assert results["train_rows"] == len(trained) - 2
    recorded = read_json("runs/corrected/config.json")["data"]["corrections"]
    assert recorded["sha256"] == hashlib.sha256(Path("corrections.csv").read_bytes()).hexdigest()
    again = read_predictions("runs/corrected/predictions/valid.csv")
    assert (again.ids == valid.ids).all() and (again.labels == valid.labels).all()
    assert not np.array_equal(again.probabilities, valid.probabilities)

    # An ensemble without folds has the same validation rows, and says the same; with folds every row also trains
    several = [*plain, "--corrections", "corrections.csv", "--seeds", "1"]
    for options, ignored in (([], 1), (["--folds", "2"], 0)):
        assert train_ensemble.main([*several, *options, "--run", f"ensemble{len(options)}"]) == 0
        assert capsys.readouterr().out.count("corrections: 1 ignored") == ignored

    # A run with corrections is another run than one without
    assert train.main([*plain, "--run", "plain", "--corrections", "corrections.csv"]) == 2
    assert "data.corrections" in capsys.readouterr().err


def test_a_second_round_takes_the_decisions_of_the_first(small_data, in_tmp, capsys):
    dataset = load_dataset(small_data)
    first, second = dataset.train["id"][:2]
    label = dict(zip(dataset.train["id"], dataset.train["label"], strict=True))
    write_csv("corrections.csv", COLUMNS, [[first, label[first], "", "keep"], [second, label[second], "", "exclude"]])
    tfidf = ["--models", "tfidf", "--data", str(small_data), "--folds", "3"]
    assert train_ensemble.main([*tfidf, "--run", "again", "--corrections", "corrections.csv"]) == 0
    assert find_label_issues.main(["--run", "again"]) == 0
    assert "To carry them on, give that file with --corrections" in " ".join(capsys.readouterr().out.split())
    assert find_label_issues.main(["--run", "again", "--corrections", "corrections.csv"]) == 0
    said = capsys.readouterr().out
    assert "corrections.csv: 2 earlier decisions, which the page carries on" in said and "open again" not in said
    page = Path("runs/again/label_issues/label_issues.html").read_text(encoding="utf-8")
    assert (
        f'"earlier": [["{first}", "{label[first]}", "", "keep"], ["{second}", "{label[second]}", "", "exclude"]]'
        in page
    )

    plain, issues = (
        ["--models", "tfidf", "--data", str(small_data), "--folds", "3"],
        "again/label_issues/label_issues.csv",
    )
    assert train_ensemble.main([*plain, "--run", "excluded", "--auto-exclude", f"runs/{issues}"]) == 0
    capsys.readouterr()
    assert find_label_issues.main(["--run", "excluded"]) == 0
    assert "open again" not in capsys.readouterr().out, "an excluded list has no decisions"

    write_csv("corrections.csv", COLUMNS, [["elsewhere", label[first], "", "keep"]])
    assert find_label_issues.main(["--run", "again", "--corrections", "corrections.csv"]) == 2
    assert "'elsewhere' is not among the training rows" in capsys.readouterr().err


def test_auto_exclude_drops_flagged_rows_from_each_folds_training_side(small_data, in_tmp):
    train_rows = load_dataset(small_data).train
    label_of = dict(zip(train_rows["id"], train_rows["label"], strict=True))
    ids = list(label_of)
    header, issues = ["rank", "id", "given_label", "issue"], ("label", "label outlier", "duplicate")
    listed = [[rank, ids[rank], label_of[ids[rank]], issue] for rank, issue in enumerate(issues)]
    write_csv("label_issues.csv", header, listed)
    assert flagged_ids("label_issues.csv", label_of) == set(ids[:2])
    other = next(label for label in label_of.values() if label != label_of[ids[0]])
    with pytest.raises(UserError, match=rf"id '{ids[0]}' has the label '{other}' now, not '{label_of[ids[0]]}'"):
        flagged_ids("label_issues.csv", label_of | {ids[0]: other})
    arguments = [*QUICK, "--data", str(small_data), "--folds", "3", "--seeds", "1", "--max-steps", "1"]
    assert train_ensemble.main([*arguments, "--run", "x", "--auto-exclude", "label_issues.csv"]) == 0
    whole = read_predictions("runs/x/predictions/oof.csv")
    assert len(whole.ids) == 45  # the flagged rows are predicted all the same
    for fold in range(3):
        part = read_predictions(f"runs/x/members/tiny-seed0-fold{fold}/predictions/valid.csv")
        flagged = len({ids[0], ids[1]} - set(part.ids))
        results = read_json(f"runs/x/members/tiny-seed0-fold{fold}/results.json")
        assert results["train_rows"] == 45 - len(part.ids) - flagged


@pytest.mark.parametrize("model", [["--model", "tfidf"], QUICK])
def test_a_class_without_training_rows_is_refused(model, small_data, in_tmp, capsys):
    """corrections.csv as a whole leaves rows of the class, but they are all validation rows."""
    dataset = load_dataset(small_data)
    train_rows, _ = split_validation(dataset.train, 0.1, 0)
    rows = [row for row in dataset.train.iloc[train_rows].itertuples() if row.label == "Sport"]
    assert 0 < len(rows) < 15
    write_csv("issues.csv", ["id", "given_label", "issue"], [[row.id, "Sport", "label"] for row in rows])
    write_csv("corrections.csv", COLUMNS, [[row.id, "Sport", "", "exclude"] for row in rows])
    for option in (["--auto-exclude", "issues.csv"], ["--corrections", "corrections.csv"]):
        assert train.main([*model, "--data", str(small_data), *option, "--run", "x"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "no row of class 'Sport' would be left to train on" in error
    assert not Path("runs/x").exists()


def test_corrections_and_exclusion_exclude_each_other(small_data, in_tmp, capsys):
    assert train.main([*QUICK, "--data", str(small_data), "--corrections", "a.csv", "--auto-exclude", "b.csv"]) == 2
    assert "not allowed with" in capsys.readouterr().err
