"""--teacher: soft labels without a leak, by hand and by whole scripts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import train
import train_ensemble
from common.cli import UserError
from common.data import load_dataset
from common.files import write_json
from common.predictions import read_predictions
from common.tfidf.run import predict_tfidf
from common.training.compute.devices import open_device
from common.training.optimizer import class_weights
from common.training.saved import predict_texts
from common.training.teacher import choose_teachers, find_teachers, mix_labels, prepare_lesson
from tests.conftest import write_csv
from tests.training.test_train import QUICK, read_json

COLOURS = ("blau", "gelb", "rot")


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    """120 texts of words of their own with labels drawn at random: who knows a label has seen it.

    test.csv has the same texts again, unlabelled, so that a teacher that saw a row tells its label there.
    """
    draw = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("memory")
    words = ["".join(draw.choice(list("abcdefghijklmnopqrstuvwxyz"), 8)) for _ in range(360)]
    rows = [[f"r{row}", " ".join(words[row::120]), draw.choice(COLOURS)] for row in range(120)]
    write_csv(folder / "train.csv", ["id", "text", "label"], rows)
    write_csv(folder / "test.csv", ["id", "text"], [row[:2] for row in rows])
    return folder


@pytest.fixture(scope="module")
def taught(memory, tmp_path_factory):
    """The run folder of a teacher of three folds, `tfidf`."""
    run = tmp_path_factory.mktemp("teacher") / "folds"
    assert train_ensemble.main(["--models", "tfidf", "--data", str(memory), "--folds", "3", "--run", str(run)]) == 0
    return run


def right(lesson, dataset, rows):
    """The share of `rows` whose unlabelled copies have their own label as the most probable one."""
    labels = dataset.train["label"].to_numpy()
    return (np.array(dataset.classes)[lesson.shares.argmax(axis=1)] == labels)[rows].mean()


def test_a_students_teachers_never_saw_what_it_validates_on(memory, taught):
    dataset = load_dataset(memory)
    teachers = find_teachers(str(taught), dataset)
    assert len(teachers) == 3
    oof = read_predictions(taught / "predictions/oof.csv")
    known = []
    for fold in range(3):
        rows = np.flatnonzero(oof.folds == fold)
        chosen = choose_teachers(teachers, dataset, dataset.train.iloc[rows])
        assert [teacher.folder.name for teacher in chosen] == [f"tfidf-seed0-fold{fold}"]
        lesson = prepare_lesson(chosen, dataset, None)
        known.append(right(lesson, dataset, rows))
        assert right(lesson, dataset, oof.folds != fold) == 1
        # training rows get no opinion of a model that was trained on them
        assert np.isnan(lesson.train[oof.folds != fold]).all() and not np.isnan(lesson.train[rows]).any()

        # The leak that this keeps out: another fold's teacher knows the labels of these rows
        leaky = prepare_lesson([teachers[(fold + 1) % 3]], dataset, None)
        assert right(leaky, dataset, rows) == 1
    assert np.mean(known) < 0.5  # a third by chance


def test_without_validation_rows_the_soft_labels_are_out_of_fold(memory, taught):
    dataset = load_dataset(memory)
    lesson = prepare_lesson(choose_teachers(find_teachers(str(taught), dataset), dataset, None), dataset, None)
    assert np.array_equal(lesson.train, read_predictions(taught / "predictions/oof.csv").probabilities)
    assert lesson.shares == pytest.approx(read_predictions(taught / "predictions/test.csv").probabilities, abs=1e-6)
    assert lesson.texts == dataset.test["text"].tolist()


def test_unlabelled_csv_comes_before_test_csv(memory, taught, tmp_path):
    for file in ("train.csv", "test.csv"):
        (tmp_path / file).write_bytes((memory / file).read_bytes())
    write_csv(tmp_path / "unlabelled.csv", ["text"], [["alt und neu"], ["neu"]])
    dataset = load_dataset(tmp_path)
    teachers = find_teachers(str(taught), dataset)
    lesson = prepare_lesson(teachers, dataset, predict_tfidf)
    assert lesson.texts == ["alt und neu", "neu"]
    expected = np.mean([predict_tfidf(teacher.folder, lesson.texts) for teacher in teachers], axis=0)
    assert lesson.shares == pytest.approx(expected, abs=1e-6)


def test_unlabelled_csv_without_a_header_has_the_columns_of_the_others(in_tmp):
    columns = ["--columns", "text,label"]
    write_csv(Path("d/train.csv"), ["das erste Tor", "Sport"], [["die Aktie", "Geld"], ["das Tor", "Sport"]] * 9)
    write_csv(Path("d/unlabelled.csv"), ["ein Tor"], [["eine Aktie"]])
    assert train.main(["--model", "tfidf", "--data", "d", *columns, "--valid-fraction", "0", "--run", "teacher"]) == 0
    dataset = load_dataset("d", columns="text,label")
    assert prepare_lesson(find_teachers("teacher", dataset), dataset, predict_tfidf).texts == ["ein Tor", "eine Aktie"]


def test_an_unlabelled_csv_that_cannot_be_read_is_refused_before_there_is_a_run(memory, taught, in_tmp, capsys):
    Path("d").mkdir()
    for file in ("train.csv", "test.csv"):
        Path("d", file).write_bytes((memory / file).read_bytes())
    write_csv(Path("d/unlabelled.csv"), ["Inhalt"], [["neu"]])
    assert train.main([*QUICK, "--data", "d", "--valid-fraction", "0", "--teacher", str(taught), "--run", "x"]) == 2
    assert "d/unlabelled.csv has no column 'text'; it has: Inhalt" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_mixed_labels_by_hand():
    soft = np.array([[0.5, 0.5, 0], [np.nan, np.nan, np.nan]], dtype=np.float32)
    mixed = mix_labels(np.array([2, 1]), soft, 0.4)
    assert mixed == pytest.approx(np.array([[0.2, 0.2, 0.6], [0, 1, 0]]))


@pytest.mark.parametrize("choice", ["none", "balanced"])
def test_certain_soft_labels_are_given_labels(choice):
    """The loss of class numbers and of their one-hot rows, weights and normaliser included."""
    numbers = np.array([0, 2, 2, 1, 2])
    rows = np.eye(3, dtype=np.float32)[numbers]
    hard, soft = class_weights(numbers, 3, choice), class_weights(rows, 3, choice)
    assert hard == pytest.approx(soft) and rows @ soft == pytest.approx(hard[numbers])
    logits, weights = torch.randn(5, 3), torch.tensor(hard).float()
    losses = [
        functional.cross_entropy(logits, torch.tensor(labels), weights, reduction="sum", label_smoothing=0.1)
        for labels in (numbers, rows)
    ]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)


def test_students_of_folds_and_one_for_use(small_data, in_tmp, capsys):
    folds = ["--data", str(small_data), "--folds", "3", "--split-seed", "1"]
    assert train_ensemble.main(["--models", "tfidf", *folds, "--run", "teacher"]) == 0
    students = [*QUICK, *folds, "--seeds", "7,", "--teacher", "teacher"]
    assert train_ensemble.main([*students, "--run", "students"]) == 0
    assert read_json("runs/students/config.json")["teacher"]["name"] == "teacher"
    member = Path("runs/students/members/tiny-seed7-fold1")
    assert read_json(member / "results.json")["unlabelled_texts"] == 12
    assert read_json(member / "config.json")["teacher"]["members"] == 3
    final = [*QUICK, "--data", str(small_data), "--teacher", "teacher"]
    assert train.main([*final, "--valid-fraction", "0", "--run", "final"]) == 0
    assert read_json("runs/final/results.json")["unlabelled_texts"] == 12
    # other labels: the same recipe without the teacher ends elsewhere
    assert train.main([*final[:-2], "--valid-fraction", "0", "--run", "alone"]) == 0
    one, other = (read_predictions(f"runs/{name}/predictions/test.csv") for name in ("final", "alone"))
    assert not np.allclose(one.probabilities, other.probabilities, atol=1e-3)

    # Refused before anything is written: the teachers saw these rows
    capsys.readouterr()
    for arguments in ([*final, "--run", "leaky"], [*final, "--run", "leaky", "--split-seed", "1"]):
        assert train.main(arguments) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "each of its 3 models saw some of the 5 rows" in error
    assert (
        train_ensemble.main([*students[:-4], "7,", "--teacher", "teacher", "--split-seed", "2", "--run", "leaky"]) == 2
    )
    assert train.main(["--model", "tfidf", "--data", str(small_data), "--teacher", "teacher"]) == 2
    assert "only from given labels" in capsys.readouterr().err
    assert not Path("runs/leaky").exists()


def test_a_saved_teacher_says_again_what_it_said(small_data, in_tmp):
    assert train.main([*QUICK, "--data", str(small_data), "--max-length", "16", "--run", "x"]) == 0
    device = open_device("cpu", distributed=False)
    test = load_dataset(small_data).test
    again = predict_texts(Path("runs/x"), test["text"].tolist(), device)
    assert again == pytest.approx(read_predictions("runs/x/predictions/test.csv").probabilities, abs=1e-5)


def test_a_teacher_of_another_dataset_is_refused(small_data, memory, taught):
    with pytest.raises(UserError, match="trained on other rows than"):
        find_teachers(str(taught), load_dataset(small_data))


def test_a_part_of_an_ensemble_is_no_teacher(memory, taught, tmp_path):
    """models/<name> has combined predictions alone, and does not say whether --keep best chose the epochs."""
    dataset = load_dataset(memory)
    part = tmp_path / "models" / "tfidf"
    config = {"script": "train_ensemble.py", "models": {"tfidf": {"recipe": {"keep": "best"}}}}
    for name, content in {"config.json": config, "results.json": {}}.items():
        write_json(part / name, read_json(taught / name) | content)
    with pytest.raises(UserError, match=r"tfidf has no trained models, only .*; name the whole ensemble$"):
        find_teachers(str(part), dataset)


def test_a_teacher_that_chose_its_epoch_on_these_rows_is_refused(memory, taught):
    dataset = load_dataset(memory)
    chose = [replace(teacher, held_out=None, saw_valid=True) for teacher in find_teachers(str(taught), dataset)]
    with_valid = replace(dataset, valid=dataset.train.head(5))
    with pytest.raises(UserError, match="saw some of the 5 rows"):
        choose_teachers(chose, with_valid, with_valid.valid)
    assert choose_teachers(chose, dataset, None) == chose
