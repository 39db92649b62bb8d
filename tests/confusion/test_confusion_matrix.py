"""create_confusion_matrix.py: figures are scikit-learn's, files are all there or none, refusals are one line."""

import csv
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

import create_confusion_matrix
from common.cli import note
from common.confidence import coverage, temperature
from common.confusion import statistics
from common.confusion.sources import has_comparison
from common.predictions import Predictions, align, read_predictions, write_predictions

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "confusion_matrix.png",
    "per_class_metrics.png",
    "reliability.png",
    "coverage.png",
    "confusion_matrix.csv",
    "per_class_metrics.csv",
    "top_confusions.csv",
    "metrics.json",
}
TOPICS = ["Etat", "Inland", "International", "Kultur", "Panorama", "Sport", "Web", "Wirtschaft", "Wissenschaft"]


def make(labels, classes, seed=0, skill=1.5):
    """Predictions that are right more often than not, for the given labels."""
    labels = np.array(labels, dtype=object)
    logits = np.random.default_rng(seed).normal(size=(len(labels), len(classes)))
    logits += skill * (labels[:, None] == np.array(classes, dtype=object)[None, :])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = np.array([f"row{number}" for number in range(len(labels))], dtype=object)
    return Predictions(ids, list(classes), shares.astype(np.float32), labels)


def certain(labels, predicted, classes, confidence=0.9):
    """Predictions of exactly the given classes, all with the same confidence."""
    shares = np.full((len(labels), len(classes)), (1 - confidence) / (len(classes) - 1))
    shares[np.arange(len(labels)), [classes.index(name) for name in predicted]] = confidence
    ids = np.array([f"r{number}" for number in range(len(labels))], dtype=object)
    return Predictions(ids, list(classes), shares.astype(np.float32), np.array(labels, dtype=object))


def shuffled(predictions, seed=1):
    order = np.random.default_rng(seed).permutation(len(predictions.ids))
    return align(predictions, predictions.ids[order], predictions.classes)


def without_labels(predictions):
    return Predictions(predictions.ids, predictions.classes, predictions.probabilities)


def run_script(*arguments):
    return create_confusion_matrix.main([str(argument) for argument in arguments])


def refusal(capsys, *arguments):
    """The one line with which the script refuses the arguments."""
    capsys.readouterr()
    assert run_script(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def files_in(folder):
    return {path.name for path in folder.iterdir()}


def make_run(folder, complete=True, **predictions):
    for name, rows in predictions.items():
        write_predictions(folder / "predictions" / f"{name}.csv", rows)
    (folder / "config.json").write_text('{"script": "train.py"}')
    if complete:
        (folder / "results.json").write_text("{}")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


labelled_rows = st.integers(1, 6).flatmap(
    lambda classes: st.lists(
        st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=40
    ).map(lambda rows: (classes, rows))
)


# Figures


@settings(max_examples=30, deadline=None)
@given(labelled_rows, st.randoms(use_true_random=False))
def test_figures_are_scikit_learns_in_any_order_of_rows(case, random):
    count, rows = case
    classes = [f"k{number}" for number in range(count + 1)]  # one of them without rows
    predictions = certain([classes[a] for a, _ in rows], [classes[b] for _, b in rows], classes)
    labels, predicted = predictions.labels, predictions.predicted
    scores = statistics.evaluate(predictions, bins=15, resamples=100, seed=0)
    assert scores["accuracy"] == accuracy_score(labels, predicted)
    for kind in ("macro", "weighted"):
        expected = f1_score(labels, predicted, labels=classes, average=kind, zero_division=0)
        assert scores[f"{kind}_f1"] == pytest.approx(expected, abs=1e-12)
    table = statistics.per_class_table(labels, predicted, classes)
    expected = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    assert np.array_equal(table[["precision", "recall", "f1", "support"]].to_numpy().T, expected)
    pairs = statistics.top_confusions(predictions)
    counts = confusion_matrix(labels, predicted, labels=classes)
    assert pairs["count"].sum() == counts.sum() - np.trace(counts)
    for pair in pairs.itertuples():
        assert pair.count == counts[classes.index(pair.given), classes.index(pair.predicted)]
        assert pair.share == pair.count / (labels == pair.given).sum()
    assert sorted(statistics.similarity_order(counts)) == list(range(len(classes)))

    order = random.sample(range(len(rows)), len(rows))
    moved = align(predictions, predictions.ids[order], predictions.classes)
    moved_scores = statistics.evaluate(moved, bins=15, resamples=100, seed=0)
    error, moved_error = (each.pop("expected_calibration_error") for each in (scores, moved_scores))
    assert moved_scores == scores and moved_error == pytest.approx(error)
    assert statistics.top_confusions(moved).equals(pairs)
    itself = statistics.compare(predictions, predictions, resamples=100, seed=0)
    assert itself["mcnemar"]["p_value"] == 1
    assert all(not np.any(value) for value in itself["this_minus_other"].values())


def test_bootstrap_is_resampling_of_rows():
    rng = np.random.default_rng(0)
    labels = np.array(TOPICS, dtype=object)[rng.integers(0, 9, 400)]
    first, second = (make(labels, TOPICS, seed).predicted for seed in (1, 2))
    drawn = statistics.bootstrap(labels, [first, second], TOPICS, 2000, seed=0)
    assert drawn.shape == (2, 2000, 3)
    plain = []
    for _ in range(200):
        rows = rng.integers(0, 400, 400)
        plain.append(
            [
                [accuracy_score(labels[rows], member[rows])]
                + [f1_score(labels[rows], member[rows], average=kind) for kind in ("macro", "weighted")]
                for member in (first, second)
            ]
        )
    plain = np.array(plain).transpose(1, 0, 2)
    for ours, theirs in ((drawn, plain), (drawn[0] - drawn[1], plain[0] - plain[1])):
        assert ours.mean(axis=-2) == pytest.approx(theirs.mean(axis=-2), abs=0.006)
        assert ours.std(axis=-2) == pytest.approx(theirs.std(axis=-2), rel=0.2)


def test_bootstrap_in_parts_draws_the_same(monkeypatch):
    predictions = make(TOPICS * 5, TOPICS)
    whole = statistics.bootstrap(predictions.labels, [predictions.predicted], TOPICS, 100, seed=3)
    monkeypatch.setattr(statistics, "CELLS_AT_ONCE", 200)
    assert (whole == statistics.bootstrap(predictions.labels, [predictions.predicted], TOPICS, 100, seed=3)).all()


def test_rare_classes_do_not_pull_the_interval_off_the_score():
    classes = [f"k{number:02}" for number in range(40)]
    predictions = certain(classes, classes, classes)  # one row a class, all right
    scores = statistics.evaluate(predictions, bins=15, resamples=200, seed=0)
    assert scores["macro_f1"] == 1 and scores["macro_f1_interval"] == [1, 1]


def test_temperature_by_hand():
    sure = np.array([[0.9, 0.1]] * 4)  # right three times of four: 0.75 is honest, and logit(0.9) / logit(0.75) = 2
    labels = np.array([0, 0, 0, 1])
    fitted = temperature.fit_temperature(sure, labels)
    assert fitted == pytest.approx(2, rel=1e-3)
    assert temperature.at_temperature(sure, fitted) == pytest.approx(np.array([[0.75, 0.25]] * 4), abs=1e-3)
    assert temperature.at_temperature(np.array([[1.0, 0.0]]), 5.0).sum() == pytest.approx(1)


def test_recalibration_is_offered_only_where_it_proves_itself():
    labels, predicted = list("ab" * 100), list("ab" * 75 + "ba" * 25)
    scaling, recalibrated = temperature.recalibrate(certain(labels, predicted, ["a", "b"], confidence=0.99), bins=10)
    assert scaling["log_loss"] < scaling["log_loss_without"]
    assert scaling["expected_calibration_error"] < 0.05  # 0.24 without
    assert (recalibrated.predicted == np.array(predicted)).all()
    honest = certain(labels, predicted, ["a", "b"], confidence=0.75)
    assert temperature.recalibrate(honest, bins=10) == (None, None)
    assert temperature.recalibrate(certain(list("ab"), list("ab"), ["a", "b"], 0.6), bins=10) == (None, None)


def test_calibration_by_hand_and_by_scikit_learn():
    predictions = certain(list("aabb"), list("abbb"), ["a", "b"], confidence=0.9)  # three of four right
    error, table = temperature.calibration(predictions, bins=10)
    assert error == pytest.approx(0.15, abs=1e-6)
    assert len(table) == 1 and table["rows"][0] == 4
    predictions = make(TOPICS * 60, TOPICS)
    error, table = temperature.calibration(predictions, bins=15)
    right = predictions.predicted == predictions.labels
    accuracy, confidence = calibration_curve(right, predictions.probabilities.max(axis=1).astype(float), n_bins=15)
    assert table["accuracy"].to_numpy() == pytest.approx(accuracy)
    assert table["confidence"].to_numpy() == pytest.approx(confidence)
    assert error == pytest.approx(np.average(np.abs(accuracy - confidence), weights=table["rows"]))


def test_comparison_by_hand():
    labels = list("aaaaabbbbb")
    this = certain(labels, list("aaaaabbbba"), ["a", "b"])  # 9 right
    other = certain(labels, list("bbbbabbbbb"), ["a", "b"])  # 6 right, one of them alone
    result = statistics.compare(this, other, resamples=500, seed=0)
    assert result["this_minus_other"]["accuracy"] == pytest.approx(0.3)
    assert result["mcnemar"] == {
        "only_this_right": 4,
        "only_other_right": 1,
        "p_value": pytest.approx(binomtest(4, 5).pvalue),
    }
    low, high = result["this_minus_other"]["accuracy_interval"]
    assert low <= 0.3 <= high
    back = statistics.compare(other, this, resamples=500, seed=0)
    assert back["this_minus_other"]["macro_f1"] == pytest.approx(-result["this_minus_other"]["macro_f1"])


def test_confused_classes_stand_together():
    counts = 50 * np.eye(6, dtype=int)
    for one, another in ((0, 5), (1, 4), (2, 3)):
        counts[one, another] = counts[another, one] = 20
    order = statistics.similarity_order(counts)
    for one, another in ((0, 5), (1, 4), (2, 3)):
        assert abs(order.index(one) - order.index(another)) == 1
    assert statistics.similarity_order(np.eye(6, dtype=int)) == list(range(6))


# The whole script


def test_run_gives_its_files_and_figures(here, capsys):
    predictions = make(TOPICS * 12, TOPICS)
    make_run(here / "runs" / "old", valid=make(TOPICS, TOPICS))
    run = make_run(here / "runs" / "new", oof=predictions, valid=make(TOPICS, TOPICS))
    make_run(here / "runs" / "unlabelled", test=without_labels(predictions))
    make_run(here / "runs" / "unfinished", complete=False, oof=make(TOPICS, TOPICS))
    for age, name in enumerate(("unlabelled", "new", "old")):
        os.utime(here / "runs" / name / "results.json", (10**9 - age, 10**9 - age))
    assert run_script() == 0
    out = capsys.readouterr().out
    assert "runs/new/predictions/oof.csv (the newest run with labels)" in out and "runs/new/confusion_matrix" in out
    folder = run / "confusion_matrix"
    assert files_in(folder) == FILES
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["predictions"] == "runs/new/predictions/oof.csv"
    assert metrics["rows"] == 108 and metrics["classes"] == TOPICS
    labels, predicted = predictions.labels, predictions.predicted
    assert metrics["accuracy"] == accuracy_score(labels, predicted)
    assert metrics["macro_f1"] == f1_score(labels, predicted, average="macro")
    assert metrics["weighted_f1"] == f1_score(labels, predicted, average="weighted")
    for name in ("accuracy", "macro_f1", "weighted_f1"):
        low, high = metrics[f"{name}_interval"]
        assert low < metrics[name] < high
    matrix = pd.read_csv(folder / "confusion_matrix.csv", index_col=0)
    assert list(matrix.index) == list(matrix.columns) == TOPICS
    assert (matrix.to_numpy() == confusion_matrix(labels, predicted, labels=TOPICS)).all()
    table = pd.read_csv(folder / "per_class_metrics.csv")
    assert list(table.columns) == ["class", "support", "precision", "recall", "f1"] and list(table["class"]) == TOPICS
    expected = precision_recall_fscore_support(labels, predicted, labels=TOPICS)
    assert np.array_equal(table[["precision", "recall", "f1", "support"]].to_numpy().T, expected)
    pairs = pd.read_csv(folder / "top_confusions.csv")
    assert list(pairs.columns) == ["given", "predicted", "count", "share", "example_ids"]
    example = list(predictions.ids).index(pairs["example_ids"][0].split("; ")[0])
    assert (labels[example], predicted[example]) == (pairs["given"][0], pairs["predicted"][0])

    again = {path.name: path.read_bytes() for path in folder.iterdir()}  # a second time: the same to the byte
    assert run_script("--run", "new") == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == again


def test_split_chooses_the_rows(here, capsys):
    parts = {"oof": 36, "valid": 9, "test": 27, "train-excluded": 18}
    made = {name: make((TOPICS * 4)[:rows], TOPICS, seed=rows) for name, rows in parts.items()}
    run = make_run(here / "runs" / "r", **made)
    (run / "config.json").write_text('{"script": "x", "data": {"name": "sample"}}')
    words = ("out-of-fold rows", "validation rows", "test rows", "left-out training rows")
    for (split, rows), word in zip(parts.items(), words, strict=True):
        assert run_script("--run", "r", "--split", split) == 0
        out = capsys.readouterr().out
        assert f"{split}.csv\n" in out and f"\nr: {rows} {word} of sample, 95 % intervals" in out
        assert json.loads((run / "confusion_matrix" / "metrics.json").read_text())["rows"] == rows
    make_run(here / "runs" / "unlabelled", valid=made["valid"], test=without_labels(made["test"]))
    assert "no predictions with labels for test rows" in refusal(capsys, "--run", "unlabelled", "--split", "test")
    write_predictions(here / "p.csv", made["valid"])
    assert "--split selects rows of a run" in refusal(capsys, "--predictions", "p.csv", "--split", "test")


def test_a_run_named_like_a_file_is_compared(here):
    rows = make(["A", "B"] * 10, ["A", "B"])
    make_run(here / "runs" / "v1.csv", test=rows)
    for name in ("v1.csv", "runs/v1.csv"):
        assert run_script("--run", "v1.csv", "--compare", name, "--output", "out", "--resamples", "100") == 0
        assert (
            json.loads(Path("out/metrics.json").read_text())["comparison"]["other"]
            == "runs/v1.csv/predictions/test.csv"
        )


def test_a_run_is_compared_on_the_rows_of_the_same_name(here):
    """Row numbers serve as ids: those of oof.csv and test.csv are the same, and mean other rows."""
    oof, test, other = (make(TOPICS * 2, TOPICS, seed=seed) for seed in (1, 2, 3))
    make_run(here / "runs" / "a", oof=oof, test=test)
    make_run(here / "runs" / "b", oof=oof, test=other)
    assert run_script("--run", "a", "--split", "test", "--compare", "b", "--output", "out") == 0
    comparison = json.loads((here / "out" / "metrics.json").read_text())["comparison"]
    assert comparison["other"] == "runs/b/predictions/test.csv"
    assert comparison["accuracy"] == (other.predicted == other.labels).mean()


def test_coverage_is_that_of_the_recalibrated_rows(here):
    labels, predicted = list("ab" * 100), list("ab" * 75 + "ba" * 25)
    rows = certain(labels, predicted, ["a", "b"], confidence=0.99)
    write_predictions(here / "p.csv", rows)
    assert run_script("--predictions", "p.csv") == 0
    metrics = json.loads((here / "confusion_matrix" / "metrics.json").read_text())
    _, recalibrated = temperature.recalibrate(rows)
    assert metrics["coverage"] == json.loads(json.dumps(coverage.coverage_figures(recalibrated)))
    by_threshold = {each["min_probability"]: each["share"] for each in metrics["coverage"]["thresholds"]}
    assert by_threshold[0.5] == 1 and by_threshold[0.9] == 0  # 0.99 means 0.75 here
    assert metrics["coverage"]["targets"] == []


def test_labels_from_another_file(here, capsys):
    predictions = make(["ja", "nein", "nein"] * 20, ["ja", "nein"])
    write_predictions(here / "inside.csv", predictions)
    write_predictions(here / "outside.csv", without_labels(predictions))
    gold = shuffled(predictions)
    pd.DataFrame({"nr": gold.ids, "sentiment": gold.labels}).to_csv(here / "gold.csv", sep=";", index=False)
    assert "--labels" in refusal(capsys, "--predictions", "outside.csv")
    columns = ("--id-column", "nr", "--label-column", "sentiment")
    assert run_script("--predictions", "outside.csv", "--labels", "gold.csv", *columns) == 0
    assert run_script("--predictions", "inside.csv", "--output", "other/folder") == 0
    assert files_in(here / "confusion_matrix") == files_in(here / "other" / "folder") == FILES
    for name in FILES - {"metrics.json"} - {name for name in FILES if name.endswith(".png")}:  # titles differ
        assert (here / "confusion_matrix" / name).read_bytes() == (here / "other" / "folder" / name).read_bytes()
    one, another = (
        json.loads((here / name / "metrics.json").read_text()) for name in ("confusion_matrix", "other/folder")
    )
    assert one["labels"] == "gold.csv"
    assert {key: one[key] for key in one if "f1" in key or "acc" in key} == {
        key: another[key] for key in another if "f1" in key or "acc" in key
    }


def test_labels_without_ids_go_by_row_number(here):
    predictions = make(["ja", "nein", "nein"] * 5, ["ja", "nein"])
    numbered = Predictions(
        np.array([str(n) for n in range(1, 16)], dtype=object), *list(vars(predictions).values())[1:3]
    )
    write_predictions(here / "p.csv", numbered)
    pd.DataFrame({"label": predictions.labels}).to_csv(here / "gold.csv", index=False)
    assert run_script("--predictions", "p.csv", "--labels", "gold.csv") == 0
    metrics = json.loads((here / "confusion_matrix" / "metrics.json").read_text())
    assert metrics["accuracy"] == accuracy_score(predictions.labels, predictions.predicted)


def test_rows_whose_label_is_no_class_are_left_out_of_a_runs_figures(here, capsys):
    """--allow-unknown-test-labels lets a run have such test rows."""
    note.cache_clear()
    rows = certain(["a", "new", "b", "b", "new"], ["a", "a", "b", "a", "b"], ["a", "b"])
    other = certain(["a", "new", "b", "b", "new"], ["a", "a", "b", "b", "b"], ["a", "b"])
    make_run(here / "runs" / "un", test=rows)
    make_run(here / "runs" / "other", test=other)
    write_predictions("plain.csv", without_labels(shuffled(other)))
    for name in ("other", "plain.csv"):
        assert run_script("--run", "un", "--compare", name, "--resamples", "100", "--output", "out") == 0
        metrics = json.loads(Path("out/metrics.json").read_text())
        assert (metrics["rows"], metrics["accuracy"], metrics["comparison"]["accuracy"]) == (3, 2 / 3, 1)
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "2 of 5 rows are left out, since their label is no class (id 'r1': 'new'). All figures are of the other 3"
        in told
    )
    assert "3 test rows" in told
    # Of another tool's file, or with --labels, it may be a mistake
    assert "no prob_ column" in refusal(
        capsys, "--predictions", "runs/un/predictions/test.csv", "--labels", labels_csv()
    )
    write_predictions("foreign.csv", rows)
    assert "label 'new' has no prob_ column" in refusal(capsys, "--predictions", "foreign.csv")
    make_run(here / "runs" / "all", test=certain(["x", "y"], ["a", "b"], ["a", "b"]))
    assert "no label is one of the classes a, b" in refusal(capsys, "--run", "all")


def labels_csv():
    Path("gold.csv").write_text("id,label\n" + "".join(f"r{n},typo\n" for n in range(5)))
    return "gold.csv"


def test_only_its_own_earlier_comparison_is_deleted(here):
    predictions = make(["a", "b"] * 10, ["a", "b"])
    write_predictions("p.csv", predictions)
    Path("comparison.png").write_bytes(b"mine")
    arguments = ["--predictions", "p.csv", "--output", ".", "--resamples", "100"]
    assert not has_comparison(here)
    Path("metrics.json").write_text('["comparison"]')
    assert run_script(*arguments) == 0 and Path("comparison.png").read_bytes() == b"mine"
    assert run_script(*arguments, "--compare", "p.csv") == 0 and Path("comparison.png").read_bytes() != b"mine"
    assert run_script(*arguments) == 0 and not Path("comparison.png").exists()


def test_comparison_of_run_and_csv(here, capsys):
    this, other = make(TOPICS * 20, TOPICS, seed=1, skill=3), make(TOPICS * 20, TOPICS, seed=2, skill=1)
    make_run(here / "runs" / "a", valid=this)
    make_run(here / "runs" / "b", oof=make(TOPICS, TOPICS), valid=other)  # its valid.csv has the same rows
    turned = align(shuffled(without_labels(other)), shuffled(other).ids, TOPICS[::-1])
    write_predictions(here / "b.csv", turned)
    results = []
    for name in ("b.csv", "runs/b"):
        assert run_script("--run", "a", "--compare", name, "--output", "out") == 0
        results.append(json.loads((here / "out" / "metrics.json").read_text())["comparison"])
        results[-1].pop("other")
    assert results[0] == results[1]
    assert files_in(here / "out") == FILES | {"comparison.png"}
    out = capsys.readouterr().out
    assert "McNemar" in out
    right, other_right = this.predicted == this.labels, other.predicted == other.labels
    assert results[0]["accuracy"] == accuracy_score(other.labels, other.predicted)
    difference = results[0]["this_minus_other"]
    assert difference["accuracy"] == pytest.approx(right.mean() - other_right.mean())
    assert 0 < difference["accuracy_interval"][0] < difference["accuracy"] < difference["accuracy_interval"][1]
    b, c = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    assert results[0]["mcnemar"]["p_value"] == binomtest(b, b + c, 0.5).pvalue


@pytest.mark.parametrize("count", [2, 100])
def test_few_and_many_classes(here, count, capsys):
    name = "Land- und Forstwirtschaft, Ernährung & Verbraucherschutz"
    classes = [f"{name} $x_{number:03}$" for number in range(count)]
    rows = [name for name in classes[: count - 1] for _ in range(3)]  # the last class is never given
    write_predictions(here / "p.csv", make(rows, classes, skill=4))
    write_predictions(here / "q.csv", make(rows, classes, seed=1, skill=4))
    assert run_script("--predictions", "p.csv", "--compare", "q.csv", "--resamples", "200") == 0
    folder = here / "confusion_matrix"
    assert files_in(folder) == FILES | {"comparison.png"}
    assert len(pd.read_csv(folder / "per_class_metrics.csv")) == count
    for picture in folder.glob("*.png"):
        with Image.open(picture) as image:
            assert 600 < image.width < 4000 and image.height < 4000
    captured = capsys.readouterr()
    assert captured.err == "" and captured.out.count("\n") < 40


def test_columns_of_other_names(here, capsys):
    right = make(TOPICS * 4, TOPICS)
    write_predictions(here / "p.csv", right)
    table = pd.read_csv(here / "p.csv")
    table["gold"] = table["label"].tolist()[::-1]
    table.rename(columns={"id": "doc"}).to_csv(here / "renamed.csv", index=False)
    assert run_script("--predictions", "renamed.csv", "--id-column", "doc", "--label-column", "gold") == 0
    found = json.loads((here / "confusion_matrix/metrics.json").read_text())["accuracy"]
    assert found == accuracy_score(table["gold"], right.predicted) != accuracy_score(table["label"], right.predicted)
    for options in (
        ["--predictions", "renamed.csv", "--id-column", "doc", "--label-column", "no"],
        ["--label-column", "no"],
    ):
        assert run_script(*options) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "renamed.csv has no column 'no'" in errors[0] and "not of a run" in errors[1]

    named = ["--predictions", "renamed.csv", "--id-column", "doc"]
    for compared in ("renamed.csv", "p.csv"):
        assert run_script(*named, "--compare", compared) == 0
    table[["id", "label"]].rename(columns={"id": "doc"}).to_csv(here / "gold.csv", index=False)
    for file in ("renamed.csv", "p.csv"):
        assert run_script("--predictions", file, "--labels", "gold.csv", "--id-column", "doc") == 0


@pytest.mark.parametrize(
    ("threshold", "shown"),
    [(0.5, "0.500"), (0.98765, "0.987"), (0.999948, "0.999948"), (1.0, "1.000"), (0.1239, "0.123")],
)
def test_a_shown_threshold_keeps_its_rows(threshold, shown):
    assert coverage.show_threshold(threshold) == shown and float(shown) <= threshold


def test_a_carriage_return_in_a_class_is_no_line_of_the_matrix(here):
    classes = ["a", "b\rc"]
    write_predictions(here / "p.csv", make(classes * 6, classes))
    assert run_script("--predictions", "p.csv") == 0
    with open(here / "confusion_matrix/confusion_matrix.csv", newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["given", *classes]


def test_class_names_are_only_text(here):
    classes = sorted(["../../etc/passwd", "a/b", '"quoted", comma', "<b>&amp;</b>", "_unter$trich$", "🎉 Feste"])
    write_predictions(here / "p.csv", make(classes * 6, classes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of glyphs that the font lacks, say
        assert run_script("--predictions", "p.csv") == 0
    assert files_in(here / "confusion_matrix") == FILES
    assert {path.name for path in here.iterdir()} == {"p.csv", "confusion_matrix"}
    assert list(pd.read_csv(here / "confusion_matrix" / "per_class_metrics.csv")["class"]) == classes


# Refusals


def test_refusals_are_one_line_and_leave_old_files_alone(here, capsys):
    good = make(TOPICS * 4, TOPICS)
    write_predictions(here / "good.csv", good)
    assert run_script("--predictions", "good.csv") == 0
    before = {path.name: path.read_bytes() for path in (here / "confusion_matrix").iterdir()}
    text = (here / "good.csv").read_text()

    def written(name, content):
        (here / name).write_text(content)
        return name

    fewer = written("fewer.csv", "".join(text.splitlines(keepends=True)[:-1]))
    cases = [
        ("cannot read missing.csv", "--predictions", "missing.csv"),
        ("row35", "--predictions", "good.csv", "--compare", fewer),
        ("row35", "--predictions", fewer, "--compare", "good.csv"),
        ("missing.csv", "--predictions", "good.csv", "--compare", "missing.csv"),
        ("no run 'missing'", "--predictions", "good.csv", "--compare", "missing"),
        ("no run 'missing'", "--run", "missing"),
        ("no complete run below runs/",),
        ("--labels needs --predictions", "--labels", "good.csv"),
        ("not allowed with", "--run", "a", "--predictions", "good.csv"),
        ("row35", "--predictions", "good.csv", "--labels", fewer),
        ("row35", "--predictions", fewer, "--labels", "good.csv"),
        ("--label-column", "--predictions", "good.csv", "--labels", "good.csv", "--label-column", "topic"),
        ("at least 100", "--predictions", "good.csv", "--resamples", "5"),
        ("cannot write", "--predictions", "good.csv", "--output", "good.csv"),
        ("label 'Politik'", "--predictions", written("unknown.csv", text.replace("row3,Kultur", "row3,Politik"))),
        (
            "'row3'",
            "--predictions",
            "good.csv",
            "--compare",
            written("other.csv", text.replace("row3,Kultur", "row3,Web")),
        ),
        (
            "class 'Etat' is missing",
            "--predictions",
            "good.csv",
            "--compare",
            written("renamed.csv", text.replace("prob_Etat", "prob_Media")),
        ),
        ("duplicate id", "--predictions", written("twice.csv", text.replace("row3,", "row2,"))),
        ("not in [0, 1]", "--predictions", written("nan.csv", re.sub(r"(row3,Kultur),[^,]+", r"\1,nan", text))),
        ("only one class", "--predictions", written("one.csv", "id,label,prob_Etat\n1,Etat,1\n")),
        ("sum to", "--predictions", written("sum.csv", re.sub(r"(row3,Kultur),[^,]+", r"\1,1", text))),
    ]
    for message, *arguments in cases:
        assert message in refusal(capsys, *arguments), arguments
    make_run(here / "runs" / "unlabelled", test=without_labels(good))
    make_run(here / "runs" / "unfinished", complete=False, valid=good)
    assert "no predictions with labels" in refusal(capsys, "--run", "unlabelled")
    assert "not complete" in refusal(capsys, "--run", "unfinished")
    assert {path.name: path.read_bytes() for path in (here / "confusion_matrix").iterdir()} == before
    assert (here / "good.csv").read_text() == text


def test_a_failure_while_drawing_writes_nothing(here, monkeypatch):
    from common.confusion import confidence_plots

    write_predictions(here / "p.csv", make(TOPICS * 4, TOPICS))

    def fail(*arguments):
        raise RuntimeError("drawing")

    monkeypatch.setattr(confidence_plots, "draw_reliability", fail)
    with pytest.raises(RuntimeError):
        run_script("--predictions", "p.csv")
    assert not (here / "confusion_matrix").exists()


def test_starts_without_training_packages(here):
    code = (
        "import sys, create_confusion_matrix as script; script.main(['--run', 'none']);"
        "print([name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert result.stdout.strip() == "[]" and result.stderr.startswith("error: no run 'none'")


def test_help_groups_the_options(capsys):
    with pytest.raises(SystemExit) as exit_:
        run_script("--help")
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text and "(default: 2000)" in text and "statistics:" in text


def test_round_trip_of_predictions_keeps_the_figures(here):
    predictions = make(TOPICS * 30, TOPICS)
    write_predictions(here / "p.csv", predictions)
    assert (read_predictions(here / "p.csv").predicted == predictions.predicted).all()
