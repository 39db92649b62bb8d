"""Which predictions find_label_issues.py takes, and to which rows of the dataset they belong."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

import find_label_issues
import train_ensemble
from common.data import is_trained_on, load_dataset
from common.files import sha256
from tests.conftest import write_csv
from tests.label_issues.hand_made_issues import (
    CLASSES,
    FILES,
    read_csv,
    refuse,
    rows,
    words,
    write_dataset,
    write_oof,
    write_run,
)


def test_the_newest_run_with_out_of_fold_predictions(in_tmp, capsys):
    table = rows()
    data = write_dataset(in_tmp / "data", table)
    for age, name in enumerate(["new", "old"]):
        run = write_run(in_tmp / "runs" / name, data)
        write_oof(run / "predictions" / "oof.csv", table)
        os.utime(run / "results.json", (time.time() - 100 * age,) * 2)
    write_run(in_tmp / "runs" / "newest-without", data)
    assert find_label_issues.main(["--output", "here"]) == 0
    assert "new (the newest" in capsys.readouterr().out
    assert {path.name for path in Path("here").iterdir()} == FILES and not Path("runs/new/label_issues").exists()


@pytest.mark.parametrize("alike", [False, True])
def test_validation_rows_are_told_from_training_rows(alike, in_tmp, capsys):
    train, valid = rows(60), rows(30)
    for number, row in enumerate(valid):
        row[1] = words(f"valid {number}")
    if not alike:  # row numbers are ids in both files: labels tell, or else the file's name
        valid[0][2], valid[1][2] = valid[1][2], valid[0][2]
    data = write_dataset(in_tmp / "data", train, ids=False, valid=valid)
    run = write_run(in_tmp / "runs" / "plain", data)
    numbers = [str(number) for number in range(1, 31)]
    path = write_oof(run / "predictions" / "valid.csv", valid, ids=numbers)
    assert find_label_issues.main(["--predictions", str(path), "--output", "out"]) == 0
    assert "rows of valid.csv; train.py applies corrections only to train.csv" in capsys.readouterr().out
    found = {row["id"]: row["text"] for row in read_csv("out/label_issues.csv")}
    shown = [int(row_id.removeprefix("valid.csv:")) for row_id in found]  # not as `1`, which is a row of train.csv
    assert list(found.values()) == [valid[number - 1][1] for number in shown] and len(shown) >= 3

    foreign = write_oof(in_tmp / "foreign.csv", valid, ids=numbers)
    if alike:
        error = refuse(capsys, "--predictions", foreign, "--data", data)
        assert "its ids and labels fit" in error and "train.csv and" in error
    else:
        assert find_label_issues.main(["--predictions", str(foreign), "--data", str(data)]) == 0


def test_a_foreign_configuration_beside_predictions_is_not_a_run(in_tmp):
    table = rows()
    data = write_dataset(in_tmp / "data", table)
    write_oof(in_tmp / "oof.csv", table)
    for content in ('{"model": "bert", "data": "x"}', "[1]"):
        Path("config.json").write_text(content)
        assert find_label_issues.main(["--predictions", "oof.csv", "--data", str(data)]) == 0


def test_moved_rows_are_noticed_if_row_numbers_are_the_ids(in_tmp, capsys):
    """Also if --drop-blank has left gaps in them; a file with the ids 1, 2, ... of its own may be mended."""
    table = rows()
    gaps = [*table[:10], ["r10", "", "Sport"], *table[11:]]
    for name, made, ids, options in (("gaps", gaps, False, ["--drop-blank"]), ("own", table, True, [])):
        numbered = [[str(number), *row[1:]] for number, row in enumerate(made, 1)]
        numbered[-1][2] = numbered[-2][2]
        data = write_dataset(in_tmp / name, numbered, ids=ids)
        tfidf = ["--models", "tfidf", "--data", str(data), *options, "--folds", "3", "--run", name]
        assert train_ensemble.main(tfidf) == 0
        write_dataset(in_tmp / name, [*numbered[:-2], *numbered[:-3:-1]], ids=ids)  # the last two change places
        assert find_label_issues.main(["--run", name]) == (0 if ids else 2)
    assert "gaps/train.csv has changed since run runs/gaps was trained" in capsys.readouterr().err


def test_a_run_on_another_label_column_is_another_run(in_tmp):
    data = in_tmp / "data"
    data.mkdir()
    topics = [[*row, CLASSES[(CLASSES.index(row[2]) + 1) % 3]] for row in rows(30)]
    write_csv(data / "train.csv", ["id", "text", "topic", "mood"], topics)
    config = {"data": {"fingerprint": {"train.csv": sha256(data / "train.csv")}, "label_column": "topic"}}
    config["classes"] = CLASSES
    for column, same in (("topic", True), ("Topic", True), ("mood", False)):
        assert is_trained_on(config, load_dataset(data, label_column=column)) is same


def test_a_label_that_no_training_row_has_is_one_line(in_tmp, capsys):
    data = write_dataset(in_tmp / "data", rows(), test=[["t1", words("a"), "Neu"], ["t2", words("b"), "Sport"]])
    path = write_oof(in_tmp / "test.csv", [["t1", "", "Neu"], ["t2", "", "Sport"]], made=np.full((2, 3), 1 / 3))
    options = ["--predictions", path, "--data", data, "--allow-unknown-test-labels"]
    assert "id 't1': no training row has the label 'Neu'" in refuse(capsys, *options)


def test_decisions_of_training_rows_are_not_for_others(in_tmp, capsys):
    """The ids of train.csv and test.csv may be equal."""
    table = rows()
    data = write_dataset(in_tmp / "data", table, test=table[:9])
    run = write_run(in_tmp / "runs" / "r", data)
    path = write_oof(run / "predictions" / "test.csv", table[:9])
    write_csv("corrections.csv", ["id", "given_label", "new_label", "action"], [["r00", table[0][2], "", "exclude"]])
    error = refuse(capsys, "--predictions", path, "--corrections", "corrections.csv")
    assert "--corrections are of training rows, but" in error and "test.csv" in error


def test_every_label_column_has_its_own_cross_validation(in_tmp):
    names = ["topic", "mood", "style"]
    Path("data").mkdir()
    labelled = [[*row, *(CLASSES[(CLASSES.index(row[2]) + more) % 3] for more in (1, 2))] for row in rows(30)]
    write_csv("data/train.csv", ["id", "text", *names], labelled)
    for _ in range(2):  # the second time, the runs are found
        for name in names:
            assert find_label_issues.main(["--data", "data", "--label-column", name, "--model", "tfidf"]) == 0
    assert len(list(Path("runs").iterdir())) == 3


def test_in_sample_predictions_are_refused(in_tmp, capsys):
    table = rows()
    run = write_run(in_tmp / "runs" / "plain", write_dataset(in_tmp / "data", table))
    held_out = write_oof(run / "predictions" / "valid.csv", table[40:])
    assert "predictions for training rows cannot show wrong labels" in refuse(capsys, "--run", "plain")
    path = write_oof(run / "predictions" / "train.csv", table[:40])
    assert "for the training rows of runs/plain" in refuse(capsys, "--predictions", path.relative_to(in_tmp))
    path = write_oof(run / "predictions" / "all.csv", table)
    assert "was trained on id 'r00'" in refuse(capsys, "--predictions", path)
    path = write_oof(run / "predictions" / "train-excluded.csv", table[30:40])  # left out of training
    assert find_label_issues.main(["--predictions", str(path)]) == 0
    path = write_oof(run / "predictions" / "last.csv", table[45:])
    assert find_label_issues.main(["--predictions", str(path)]) == 0
    assert find_label_issues.main(["--predictions", str(held_out)]) == 0


def test_bad_input_is_refused(in_tmp, capsys):
    table = rows()
    data = write_dataset(in_tmp / "data", table)
    good = write_oof(in_tmp / "good.csv", table)
    assert "gnad10 cannot be fetched" in refuse(capsys)  # no run has out-of-fold predictions: it would make them
    assert "no run 'nowhere'" in refuse(capsys, "--run", "nowhere")
    assert "no prediction file no.csv" in refuse(capsys, "--predictions", "no.csv", "--data", data)
    assert "good.csv is not in a run folder; give its dataset" in refuse(capsys, "--predictions", good)
    assert "--text-column needs --data" in refuse(capsys, "--predictions", good, "--text-column", "body")
    assert "not allowed with" in refuse(capsys, "--predictions", good, "--run", "x")
    assert "--model chooses the newest run" in refuse(capsys, "--run", "x", "--model", "x")
    assert "--export has no place" in refuse(capsys, "--export", "doccano", "--corrections", "x.csv")
    assert "invalid choice: 'excel'" in refuse(capsys, "--predictions", good, "--data", data, "--export", "excel")

    without = write_oof(in_tmp / "without.csv", table, labels=False)
    assert "without.csv has no column 'label'" in refuse(capsys, "--predictions", without, "--data", data)
    changed = [*table[:8], ["r08", "", "Kultur"], *table[9:]]
    other = write_oof(in_tmp / "other.csv", changed)
    error = refuse(capsys, "--predictions", other, "--data", data)
    assert "id 'r08' has label 'Kultur'" in error and "train.csv has 'Sport'" in error
    assert "id 'r08' has label 'Kultur'" in refuse(capsys, "--predictions", good, other, "--data", data)
    strange = write_oof(in_tmp / "strange.csv", table, ids=[f"x{row[0]}" for row in table])
    assert "id 'xr00' is not in" in refuse(capsys, "--predictions", strange, "--data", data)
    part = write_oof(in_tmp / "part.csv", table[:30])
    assert "is missing (30 missing in all)" in refuse(capsys, "--predictions", good, part, "--data", data)
    single = write_oof(in_tmp / "single.csv", [table[0], table[3]])
    assert "all have the same label" in refuse(capsys, "--predictions", single, "--data", data)
    Path("occupied").write_text("")
    assert "cannot write occupied" in refuse(capsys, "--predictions", good, "--data", data, "--output", "occupied")
