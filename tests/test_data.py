"""Datasets: what a folder may hold, what is refused, and how rows are split."""

import csv
import hashlib
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common import data
from common.cli import UserError
from common.data import assign_folds, load_dataset, load_run_dataset, read_labels, split_validation

TRAIN = "id,text,label\na,Tor in Linz,Sport\nb,Neues Handy,Web\nc,Sieg in Graz,Sport\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Works in an empty folder, in which `make` puts the dataset `news`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(name="news", **files):
    """Write a dataset folder: keyword `valid` is valid.csv, a text as it is or rows for a csv.writer."""
    Path(name).mkdir(exist_ok=True)
    for stem, content in {"train": TRAIN, **files}.items():
        with open(f"{name}/{stem}.csv", "w", encoding="utf-8", newline="") as file:
            if isinstance(content, str):
                file.write(content)
            else:
                csv.writer(file).writerows(content)
    return name


def refusal(name="news", **columns):
    with pytest.raises(UserError) as caught:
        load_dataset(name, **columns)
    return str(caught.value)


# Reading


def test_all_files(folder):
    make(
        valid="label,text,id\nWeb,Ein Spiel,v1\n",
        test="text,id\nEin Tor,t1\nEin Netz,t2\n",
        sample_submission="id,label\nt1,Web\nt2,Web\n",
    )
    dataset = load_dataset("news")
    assert (dataset.name, dataset.folder, dataset.classes) == ("news", Path("news"), ["Sport", "Web"])
    assert dataset.train.to_dict("list") == {
        "id": ["a", "b", "c"],
        "label": ["Sport", "Web", "Sport"],
        "text": ["Tor in Linz", "Neues Handy", "Sieg in Graz"],
    }
    assert dataset.valid.to_dict("list") == {"id": ["v1"], "text": ["Ein Spiel"], "label": ["Web"]}
    assert dataset.test.to_dict("list") == {"id": ["t1", "t2"], "text": ["Ein Tor", "Ein Netz"]}
    assert sorted(dataset.fingerprint) == ["sample_submission.csv", "test.csv", "train.csv", "valid.csv"]
    assert dataset.fingerprint["train.csv"] == hashlib.sha256(TRAIN.encode()).hexdigest()


def test_train_csv_is_enough_and_row_numbers_are_ids(folder):
    make(train="text;label\neins;B\n\nzwei;A\ndrei;B\n")
    dataset = load_dataset("news")
    assert list(dataset.train["id"]) == ["1", "2", "3"]  # blank lines are no rows
    assert dataset.valid is None and dataset.test is None
    assert list(dataset.fingerprint) == ["train.csv"]


def test_other_column_names(folder):
    make(train="nr,body,text,team\n7,Frage,x,A\n8,Antwort,y,B\n", test="body,nr\nNoch eine,9\n")
    dataset = load_dataset("news", text_column="body", label_column="team", id_column="nr")
    assert dataset.train.to_dict("list") == {"id": ["7", "8"], "text": ["Frage", "Antwort"], "label": ["A", "B"]}
    assert dataset.test.to_dict("list") == {"id": ["9"], "text": ["Noch eine"]}


def test_classes_are_sorted_strings_and_any_text_may_be_one(folder):
    classes = [
        '"',
        "10",
        "9",
        "=SUMME(A1)",
        "@x",
        "A/B\\C",
        "Alltag",
        "Recht, Steuern",
        "alltag",
        "fold",
        "id",
        "label",
        "prob_id",
        "text",
        "zwei\nZeilen",
        "Ämter",
        "שלום",
        "🙂",
    ]
    make(train=[["id", "text", "label"], *([n, f"Text {n}", f" {name} "] for n, name in enumerate(reversed(classes)))])
    dataset = load_dataset("news")
    assert dataset.classes == classes == sorted(classes)
    assert list(dataset.train["label"]) == classes[::-1]


def test_equal_looking_labels_are_one_class(folder):
    make(train="text,label\na,Ämter\nb,A\u0308mter\nc, Web \nd,Web\n")
    assert load_dataset("news").classes == ["Web", "Ämter"]


def test_an_empty_label_column_of_the_test_rows_is_none(folder):
    make(test="id,text,label\nt1,Ein Tor,\nt2,Ein Netz, \n")
    assert "label" not in load_dataset("news").test
    make(test="id,text,label\nt1,Ein Tor,Sport\nt2,Ein Netz,Web\n")
    assert list(load_dataset("news").test["label"]) == ["Sport", "Web"]


def test_the_fingerprint_follows_the_content_of_each_file(folder):
    make(test="id,text\nt1,Ein Tor\n")
    before = load_dataset("news").fingerprint
    assert load_dataset("news").fingerprint == before
    make(test="id,text\nt1,Ein Tor!\n")
    after = load_dataset("news").fingerprint
    assert after["train.csv"] == before["train.csv"] and after["test.csv"] != before["test.csv"]


def test_a_folder_has_a_name_however_it_is_given(folder, monkeypatch):
    make()
    assert load_dataset(folder / "news").name == load_dataset("./news/").name == "news"
    monkeypatch.chdir("news")
    assert load_dataset(".").name == load_dataset("../news").name == "news"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train": "id,text,label\na,x,Web\nb,y, Web\n"}, "train.csv: only one class, 'Web'; a classifier needs two"),
        ({"train": "id,text,label\na,x,A\nb, \t,B\n"}, "train.csv, row 2: the text is empty"),
        ({"train": "id,text,label\na,x,A\nb,y,B\nc,z,\n"}, "train.csv, row 3: the label is empty"),
        ({"train": "id,text,label\na,x,A\n,y,B\n"}, "train.csv, row 2: the id is empty"),
        ({"train": "id,text,label\na,x,A\nb,y,B\na,z,B\n"}, "train.csv, row 3: id 'a' stands already in row 1"),
        ({"train": "id,text\na,x\n"}, "train.csv has no column 'label'; it has: id, text. Name it with --text-column"),
        ({"train": "id,body,label\na,x,A\n"}, "train.csv has no column 'text'; it has: id, body, label. Name it with"),
        ({"train": "id,text,label\na,x\n"}, "train.csv, row 1: 2 fields where the header has 3"),
        ({"train": "id,text,label\n"}, "train.csv has a header but no rows"),
        ({"valid": "id,text,label\na,x,Sport\nb,y,sport\n"}, "valid.csv, row 2: label 'sport' does not occur in train"),
        ({"valid": "id,text,label\na,x,\n"}, "valid.csv, row 1: the label is empty"),
        ({"valid": "id,text\na,x\n"}, "valid.csv has no column 'label'"),
        ({"test": "id,text,label\na,x,Kultur\n"}, "test.csv, row 1: label 'Kultur' does not occur in train.csv"),
        ({"test": "id,text,label\na,x,Sport\nb,y,\n"}, "test.csv, row 2: the label is empty"),
        ({"test": "id,text\na,x\na,y\n"}, "test.csv, row 2: id 'a' stands already in row 1"),
        ({"test": "id,text\na,\n"}, "test.csv, row 1: the text is empty"),
        ({"test": ""}, "test.csv is empty"),
    ],
)
def test_what_would_train_or_score_wrongly_is_refused(folder, files, message):
    make(**files)
    assert refusal().startswith(f"news/{message}")


def test_an_id_column_that_was_named_must_be_there(folder):
    make(test="text\nx\n")
    assert list(load_dataset("news").test["id"]) == ["1"]
    make(train="nr,text,label\n1,x,A\n2,y,B\n", test="text\nx\n")
    message = refusal(id_column="nr")
    assert message == "news/test.csv has no column 'nr' (--id-column); it has: text"


def test_what_is_no_dataset_is_refused(folder, monkeypatch):
    assert refusal("nws") == "no dataset 'nws': neither one of sample, gnad10, kaggle nor a folder"
    Path("empty").mkdir()
    assert refusal("empty") == "empty has no train.csv"
    Path("file.csv").write_text(TRAIN)
    assert "no dataset 'file.csv'" in refusal("file.csv")
    monkeypatch.setattr(data, "DATA_FOLDER", folder / "data")
    assert refusal("kaggle").endswith("is not there yet; fill it with: python data/kaggle/prepare.py")
    Path("kaggle").mkdir()  # a short name is that dataset, whatever the working directory has
    assert "fill it with" in refusal("kaggle")


def test_labels_without_texts(folder):
    Path("labels.csv").write_text("key;class\nx; Web\ny;Sport\n")
    labels = read_labels("labels.csv", label_column="class", id_column="key")
    assert labels.to_dict("list") == {"id": ["x", "y"], "label": ["Web", "Sport"]}
    with pytest.raises(UserError, match=r"labels.csv has no column 'label'; it has: key, class\. Name it with --label"):
        read_labels("labels.csv")
    Path("labels.csv").write_text("id,label\nx,Web\ny,\n")
    with pytest.raises(UserError, match=r"labels.csv, row 2: the label is empty"):
        read_labels("labels.csv")


def make_run(config):
    Path("run").mkdir(exist_ok=True)
    Path("run/config.json").write_text(json.dumps(config))
    return Path("run")


def test_the_dataset_of_a_run(folder, monkeypatch):
    make(train="nr,body,team\n7,Frage,A\n8,Antwort,B\n")
    columns = {"text_column": "body", "label_column": "team", "id_column": "nr"}
    run = make_run({"data": {"name": "elsewhere", "folder": str(folder / "news"), **columns}})
    assert list(load_run_dataset(run).train["id"]) == ["7", "8"]

    shutil.rmtree("news")
    with pytest.raises(UserError, match=r"run run: its dataset .*news is not there; name it with --data"):
        load_run_dataset(run)
    monkeypatch.setattr(data, "DATA_FOLDER", folder)  # a short name is found wherever the run was trained
    make("kaggle")
    run = make_run({"data": {"name": "kaggle", "folder": "/another/machine/data/kaggle"}})
    assert load_run_dataset(run).folder == folder / "kaggle"
    for config in ({}, {"data": "news"}, {"data": {"name": "news"}}):
        with pytest.raises(UserError, match=r"run/config.json names no dataset; name it with --data"):
            load_run_dataset(make_run(config))


def test_the_readmes_example_loads(folder):
    readme = (data.DATA_FOLDER / "README.md").read_text(encoding="utf-8")
    make("my_tickets", train=re.search(r"```csv\n(.*?)```", readme, re.DOTALL)[1])
    options = dict(re.findall(r"--(\S+-column) (\S+)", re.search(r"python train.py (.*)", readme)[1]))
    dataset = load_dataset("my_tickets", **{name.replace("-", "_"): value for name, value in options.items()})
    assert dataset.classes == ["Abrechnung", "Technik", "Versand"]
    assert dataset.train["id"][0] == "T-4711"
    assert dataset.train["text"][2] == 'Wo bleibt mein Paket? Im Shop steht\nseit Tagen "unterwegs".'


# Splitting

rows = st.lists(st.tuples(st.sampled_from("abcdefghijklmno"), st.sampled_from("XYZ")), min_size=1, max_size=40)


def frame_of(pairs):
    """A frame of (text, label) pairs, with an index that is not the row number."""
    frame = pd.DataFrame(pairs, columns=["text", "label"], dtype="object")
    return frame.set_index(pd.Index(range(100, 100 + len(frame))))


def own_texts(pairs):
    """How many distinct texts each class has, and the class of each text: that of its first row."""
    label_of = dict(reversed(pairs))
    return Counter(label_of.values()), label_of


def hundred(repeat=1):
    """100 distinct texts of three classes, 50, 30 and 20, in no order; each `repeat` times."""
    pairs = [(f"Text {n}", "A" if n < 50 else "B" if n < 80 else "C") for n in range(100)] * repeat
    return frame_of([pairs[position] for position in np.random.default_rng(0).permutation(len(pairs))])


@given(pairs=rows, fraction=st.sampled_from([0.1, 0.25, 0.5]), seed=st.integers(0, 2**31))
def test_validation_rows_are_a_clean_cut(pairs, fraction, seed):
    frame = frame_of(pairs)
    try:
        train, valid = split_validation(frame, fraction, seed)
    except UserError as error:
        assert f"{len(pairs)} rows with a validation share of {fraction} leave" in str(error)
        assume(False)
    assert sorted([*train, *valid]) == list(range(len(pairs)))
    assert list(train) == sorted(train) and list(valid) == sorted(valid) and len(valid) > 0
    assert not {pairs[row][0] for row in train} & {pairs[row][0] for row in valid}
    texts, label_of = own_texts(pairs)
    assert {label_of[pairs[row][0]] for row in train} == set(label_of.values())  # every class is still learned
    lonely = {label for label, count in texts.items() if count == 1}
    assert not lonely & {label_of[pairs[row][0]] for row in valid}
    again, _ = split_validation(frame, fraction, seed)
    assert list(again) == list(train)


@pytest.mark.parametrize("repeat", [1, 3])
def test_validation_rows_are_stratified_and_seeded(repeat):
    frame = hundred(repeat)
    train, valid = split_validation(frame, 0.2, seed=0)
    labels = frame["label"].to_numpy()
    assert Counter(labels[valid]) == {"A": 10 * repeat, "B": 6 * repeat, "C": 4 * repeat}
    assert len(train) == 80 * repeat
    _, other = split_validation(frame, 0.2, seed=1)
    assert list(other) != list(valid)


def test_validation_share_of_zero():
    train, valid = split_validation(frame_of([("a", "X"), ("b", "Y")]), 0, seed=0)
    assert list(train) == [0, 1] and list(valid) == []


@pytest.mark.parametrize("pairs", [[("a", "X"), ("b", "Y")], [("a", "X"), ("b", "X"), ("c", "Y"), ("d", "Y")]])
def test_too_few_rows_to_validate(pairs):
    with pytest.raises(UserError, match=rf"^{len(pairs)} rows with a validation share of 0\.1 leave "):
        split_validation(frame_of(pairs), 0.1, seed=0)


@given(pairs=rows, folds=st.integers(2, 5), seed=st.integers(0, 2**31))
def test_folds_are_a_clean_cut(pairs, folds, seed):
    frame = frame_of(pairs)
    texts, label_of = own_texts(pairs)
    counts = {label: texts[label] for _, label in pairs}
    if min(counts.values()) < folds:
        with pytest.raises(UserError, match=rf"{min(counts.values())} distinct texts are too few for {folds} folds"):
            assign_folds(frame, folds, seed)
        return
    fold = assign_folds(frame, folds, seed)
    assert len(fold) == len(pairs) and set(fold) == set(range(folds))
    assert len({(text, number) for (text, _), number in zip(pairs, fold, strict=True)}) == len(label_of)
    fold_of = {text: number for (text, _), number in zip(pairs, fold, strict=True)}
    for label in counts:  # stratified: the folds' shares of a class differ by one text at most
        sizes = Counter(fold_of[text] for text in fold_of if label_of[text] == label)
        assert max(sizes.values()) - min(sizes[number] for number in range(folds)) <= 1
    assert list(assign_folds(frame, folds, seed)) == list(fold)


def test_folds_are_seeded():
    frame = hundred()
    first, second = assign_folds(frame, 5, seed=0), assign_folds(frame, 5, seed=1)
    assert list(first) != list(second)
    assert Counter(zip(frame["label"], first, strict=True)) == {
        (label, fold): count for label, count in (("A", 10), ("B", 6), ("C", 4)) for fold in range(5)
    }


def test_more_folds_than_texts_of_the_rarest_class():
    frame = frame_of([("a", "X"), ("b", "X"), ("c", "X"), ("d", "Y"), ("e", "Y"), ("e", "Y")])
    with pytest.raises(UserError, match=r"^class 'Y': 2 distinct texts are too few for 3 folds; use fewer folds$"):
        assign_folds(frame, 3, seed=0)
    # the only text of Z counts as Y's: in one fold or another no model would have seen Z
    frame = frame_of([("a", "X"), ("b", "X"), ("c", "Y"), ("d", "Y"), ("d", "Z")])
    with pytest.raises(UserError, match=r"^class 'Z': 0 distinct texts are too few for 2 folds"):
        assign_folds(frame, 2, seed=0)
