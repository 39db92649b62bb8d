"""Predictions belong to rows: other rows under the same name, other columns of the same file, rows without ids."""

from pathlib import Path

import numpy as np
import pytest

import create_ensemble_submission
import find_label_issues
import train
import train_ensemble
from common.cli import UserError
from common.data import load_dataset
from common.predictions import read_predictions
from common.reading.identity import hashes_by_split
from common.tfidf.run import predict_tfidf
from common.training.teacher import find_teachers, prepare_lesson
from tests.conftest import write_csv

WORDS = {"Sport": "Tor Spiel Sieg", "Kultur": "Oper Bild Lied", "Web": "Netz Seite App"}


@pytest.fixture
def rows():
    """36 rows of two columns: the first has words of the label, the second words of the next label."""
    names = list(WORDS)
    draw = np.random.default_rng(0)

    def some(label):
        return " ".join(draw.choice(WORDS[label].split(), 4)) + f" {draw.integers(1000)}"

    return [[some(names[n % 3]), some(names[(n + 1) % 3]), names[n % 3]] for n in range(36)]


def lines(path):
    return Path(path).read_text().splitlines()


def test_the_splits_of_a_fingerprint():
    kaggle = {"Train.csv": "a", "Dev_set.tsv": "b", "Test_data.csv": "c", "sampleSubmission.csv": "d"}
    assert hashes_by_split(kaggle) == {"train": "a", "valid": "b", "test": "c"}
    assert hashes_by_split({"train": "a", "validation": "b"}) == {"train": "a", "valid": "b"}  # on the hub
    assert hashes_by_split({"test.csv": "a"}) == {"train": "a"}  # a single file
    assert hashes_by_split({}) == {}


def test_predictions_of_other_test_rows_are_not_reused(rows, in_tmp):
    for folder, order in (("d1", 1), ("d2", -1)):
        write_csv(Path(folder, "train.csv"), ["text", "other", "label"], rows)
        write_csv(Path(folder, "Test_data.csv"), ["text", "other"], [row[:2] for row in rows[::order]])
    assert train.main(["--model", "tfidf", "--data", "d1", "--run", "r"]) == 0
    submit = create_ensemble_submission.main
    assert submit(["r", "--output", "one.csv"]) == 0
    assert submit(["r", "--data", "d2", "--output", "two.csv"]) == 0
    labels = [[line.split(",")[1] for line in lines(file)[1:]] for file in ("one.csv", "two.csv")]
    assert labels[0] == [row[2] for row in rows] == labels[1][::-1]
    # the same file, another column of it
    assert submit(["r", "--data", "d1", "--text-column", "other", "--output", "three.csv"]) == 0
    assert submit(["r", "--data", "d1", "--output", "four.csv"]) == 0
    assert lines("four.csv") == lines("one.csv") != lines("three.csv")
    assert len(list(Path("runs/r/predictions").glob("test*.csv"))) == 3


def test_a_teacher_with_files_of_other_names(rows, in_tmp):
    """Without ids, row 1 of dev.csv is not row 1 of train.csv."""
    write_csv(Path("d/Train.csv"), ["text", "other", "label"], rows[:24])
    write_csv(Path("d/dev.csv"), ["text", "other", "label"], rows[24:])
    write_csv(Path("d/unlabelled.csv"), ["other", "text"], [["Oper", "Tor"]])
    options = ["--model", "tfidf", "--data", "d", "--text-column", "text,other"]
    assert train.main([*options, "--run", "teacher"]) == 0
    dataset = load_dataset("d", text_column="text,other")
    lesson = prepare_lesson(find_teachers("teacher", dataset), dataset, predict_tfidf)
    assert np.isnan(lesson.train).all()
    assert lesson.texts == ["Tor\n\nOper"] and lesson.shares.shape == (1, 3)
    with pytest.raises(UserError, match=r"other rows than d/Train\.csv \(or on other columns of it: text,other, label"):
        find_teachers("teacher", load_dataset("d"))


def test_a_teacher_of_a_single_file_without_unlabelled_texts(rows, in_tmp):
    write_csv(Path("tickets.csv"), ["text", "other", "label"], rows)
    assert train_ensemble.main(["--models", "tfidf", "--data", "tickets.csv", "--folds", "2", "--run", "teacher"]) == 0
    dataset = load_dataset("tickets.csv")
    lesson = prepare_lesson(find_teachers("teacher", dataset), dataset, predict_tfidf)
    assert np.array_equal(lesson.train, read_predictions("runs/teacher/predictions/oof.csv").probabilities)
    assert lesson.texts == [] and lesson.shares.shape == (0, 3)


def test_each_file_gets_its_own_cross_validation(rows, in_tmp, capsys):
    """Files of one name in two folders, an edited one, another text column; the same one again trains nothing."""
    for folder in ("a", "b"):
        write_csv(Path(folder, "train.csv"), ["text", "other", "label"], rows[:30] if folder == "a" else rows)
    search = ["--model", "tfidf", "--data"]
    lacking = "no run of tfidf"
    for number, (path, *options) in enumerate((["a/train.csv"], ["b/train.csv"], ["b", "--text-column", "other"])):
        for again in (False, True):
            assert find_label_issues.main([*search, path, *options]) == 0
            assert (lacking in capsys.readouterr().out) is not again
        assert len(list(Path("runs").glob("*-tfidf-5folds*"))) == number + 1
    write_csv(Path("b/test.csv"), ["text", "other"], [["Tor", "Netz"]])  # out-of-fold rows stay the same
    assert find_label_issues.main([*search, "b"]) == 0 and lacking not in capsys.readouterr().out


@pytest.mark.parametrize("ids", [False, True])
def test_label_issues_of_moved_rows(ids, rows, in_tmp, capsys):
    """Row numbers would name other texts; ids of the file's own do not."""
    header = ["id", "text", "other", "label"] if ids else ["text", "other", "label"]
    rows = [[f"r{number}", *row] if ids else row for number, row in enumerate(rows)]
    write_csv(Path("d/train.csv"), header, rows)
    assert train_ensemble.main(["--models", "tfidf", "--data", "d", "--folds", "2", "--run", "r"]) == 0
    write_csv(Path("d/train.csv"), header, rows[3:] + rows[:3])  # each label stays where it was
    capsys.readouterr()
    assert find_label_issues.main(["--run", "r"]) == (0 if ids else 2)
    if not ids:
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "d/train.csv has changed since run runs/r was trained" in error
        assert not Path("runs/r/label_issues").exists()
