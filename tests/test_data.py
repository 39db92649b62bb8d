"""Datasets: what a folder may hold, what is refused, and how rows are split."""

import csv
import hashlib
import json
import re
import shutil
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import data
from common.cli import UserError, note
from common.data import load_dataset, load_run_dataset, read_labels
from common.reading import sources

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
        ({"train": "id,text,label\na,x,A\nb,y,B\na,z,B\n"}, "train.csv, row 3: duplicate id 'a', first in row 1"),
        ({"train": "id,text\na,x\n"}, "train.csv has no column 'label'; it has: id, text. Name it with --text-column"),
        ({"train": "id,body,label\na,x,A\n"}, "train.csv has no column 'text'; it has: id, body, label. Name it with"),
        ({"train": "id,text,label\na,x\n"}, "train.csv, row 1: expected 3 fields, found 2"),
        ({"train": "id,text,label\n"}, "train.csv has a header but no rows"),
        ({"valid": "id,text,label\na,x,Sport\nb,y,sport\n"}, "valid.csv, row 2: label 'sport' does not occur in train"),
        ({"valid": "id,text,label\na,x,\n"}, "valid.csv, row 1: the label is empty"),
        ({"valid": "id,text\na,x\n"}, "valid.csv has no column 'label'"),
        ({"test": "id,text,label\na,x,Kultur\n"}, "test.csv, row 1: label 'Kultur' does not occur in train.csv"),
        ({"test": "id,text,label\na,x,Sport\nb,y,\n"}, "test.csv, row 2: the label is empty"),
        ({"test": "id,text\na,x\na,y\n"}, "test.csv, row 2: duplicate id 'a', first in row 1"),
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
    assert (
        refusal("nws")
        == "no dataset 'nws'; expected sample, gnad10, kaggle, a folder, a file, or owner/name on the hub"
    )
    Path("empty").mkdir()
    assert refusal("empty") == "empty has no train.csv"
    assert "no dataset 'file.csv'" in refusal("file.csv")
    monkeypatch.setattr(data, "DATA_FOLDER", folder / "data")
    assert refusal("kaggle").endswith("is missing; get it with: python data/kaggle/prepare.py")
    Path("kaggle").mkdir()  # a short name is that dataset, whatever the working directory has
    assert "get it with" in refusal("kaggle")


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
    with pytest.raises(UserError, match=r"run run: its dataset .*news is missing; give it with --data"):
        load_run_dataset(run)
    monkeypatch.setattr(data, "DATA_FOLDER", folder)  # a short name is found wherever the run was trained
    make("kaggle")
    run = make_run({"data": {"name": "kaggle", "folder": "/another/machine/data/kaggle"}})
    assert load_run_dataset(run).folder == folder / "kaggle"
    for config in ({}, {"data": "news"}, {"data": {"name": "news"}}):
        with pytest.raises(UserError, match=r"run/config.json names no dataset; give it with --data"):
            load_run_dataset(make_run(config))


def test_the_readmes_example_loads(folder):
    readme = (data.DATA_FOLDER / "README.md").read_text(encoding="utf-8")
    make("my_tickets", train=re.search(r"```csv\n(.*?)```", readme, re.DOTALL)[1])
    options = dict(re.findall(r"--(\S+-column) (\S+)", re.search(r"python train.py (.*)", readme)[1]))
    dataset = load_dataset("my_tickets", **{name.replace("-", "_"): value for name, value in options.items()})
    assert dataset.classes == ["Abrechnung", "Technik", "Versand"]
    assert dataset.train["id"][0] == "T-4711"
    assert dataset.train["text"][2] == 'Wo bleibt mein Paket? Im Shop steht\nseit Tagen "unterwegs".'


# What users have


def said(capsys):
    """The notes on stdout, as one line."""
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture
def notes(capsys):
    """The notes that reading prints, as one line."""
    note.cache_clear()
    capsys.readouterr()
    return lambda: said(capsys)


def test_an_id_column_in_another_case(folder):
    make(train="ID;Text;Label\nT1;x;a\nT2;y;b\n", test="ID;Text\n901;Das Paket kam nicht an\n")
    dataset = load_dataset("news")
    assert list(dataset.train["id"]) == ["T1", "T2"] and list(dataset.test["id"]) == ["901"]
    assert list(load_dataset("news", id_column="Id").test["id"]) == ["901"]


def test_row_numbers_as_ids_are_announced(folder, notes):
    make(train="text,label\nx,a\ny,b\n", test="text\nz\n")
    load_dataset("news")
    assert "note: news/train.csv, news/test.csv: no column 'id', so row numbers are the ids" in notes()


def test_a_named_id_column_may_be_missing_in_train(folder, notes):
    make(train="text,label\nx,a\ny,b\n", test="Nr,text\n901,z\n")
    dataset = load_dataset("news", id_column="Nr")
    assert list(dataset.train["id"]) == ["1", "2"] and list(dataset.test["id"]) == ["901"]
    assert "news/train.csv: no column 'Nr', so row numbers are the ids" in notes()


def test_labels_that_are_probably_mistakes_are_named(folder, notes):
    rows = [["text", "label"], *([f"Text {n}", "Sport"] for n in range(9)), ["t", "Spotr"], ["text", "label"]]
    rows += [["x", "sport"], ["y", "Spo\u200brt"], *([f"W {n}", "Web"] for n in range(4)), ["z", "WEB"], ["zz", "WEB"]]
    make(train=rows)
    load_dataset("news")
    assert notes() == (
        "note: news/train.csv: no column 'id', so row numbers are the ids "
        "note: news/train.csv: 4 classes have a single row, perhaps by mistake: "
        "'Spotr' (row 10), 'Spo\\u200brt' (row 13), 'label' (row 11), 'sport' (row 12) "
        "note: news/train.csv: labels that differ only in case or invisible characters: "
        "'Sport' and 'Spo\\u200brt' and 'sport'; 'WEB' and 'Web'"
    )


def test_blank_cells_are_counted(folder, notes):
    rows = [
        ["id", "text", "label"],
        *([n, "" if n % 2 else "x", "AB"[n % 3 > 0]] for n in range(1, 21)),
        [21, "x", " "],
    ]
    make(train=rows)
    assert refusal() == (
        "news/train.csv, rows 1, 3, 5, 7, 9, ...: the text is empty (10 rows); row 21: the label is empty; "
        "--drop-blank leaves such rows out"
    )
    assert list(load_dataset("news", drop_blank=True).train["id"]) == [str(n) for n in range(2, 21, 2)]
    assert "11 rows without a text or a label are left out (--drop-blank)" in notes()
    make(train="text,label\nx,a\n,b\nz,b\n")
    assert list(load_dataset("news", drop_blank=True).train["id"]) == ["1", "3"]  # rows keep their numbers


def test_blank_test_texts_stay(folder):
    make(test="id,text\nt1,\nt2,x\n")
    assert load_dataset("news").test.to_dict("list") == {"id": ["t1", "t2"], "text": ["", "x"]}


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("id,text,label\nt1,x,?\nt2,y,?\n", "news/test.csv, row 1: label '?' does not occur in train.csv (2 rows have"),
        ("id,text,label\nt1,x,-1\n", "news/test.csv, row 1: label '-1' does not occur in train.csv; --ignore-test"),
        ("id,text,label\nt1,x,Web\nt2,y,\n", "news/test.csv, row 2: the label is empty; --ignore-test-labels"),
        ("id,text,label\nt1,x,Kultur\n", "news/test.csv, row 1: label 'Kultur' does not occur in train.csv; --ignore"),
    ],
)
def test_test_labels_that_cannot_be_scored(folder, test, message):
    make(test=test)
    assert refusal().startswith(message) and "--ignore-test-labels" in refusal()
    assert "label" not in load_dataset("news", ignore_test_labels=True).test


def test_unknown_test_labels_may_count_as_wrong(folder):
    make(test="id,text,label\nt1,x,Kultur\nt2,y,Web\n")
    dataset = load_dataset("news", allow_unknown_test_labels=True)
    assert list(dataset.test["label"]) == ["Kultur", "Web"] and dataset.classes == ["Sport", "Web"]


def test_a_single_file(folder):
    Path("file.csv").write_text(TRAIN)
    dataset = load_dataset("file.csv")
    assert (dataset.name, dataset.location) == ("file", str(folder / "file.csv")) and len(dataset.train) == 3
    assert dataset.valid is None and dataset.test is None and list(dataset.fingerprint) == ["file.csv"]
    run = make_run({"data": {"name": "file", "folder": dataset.location}})
    assert list(load_run_dataset(run).train["id"]) == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "tsv"])
def test_other_formats_as_file_and_in_a_folder(folder, kind):
    frame = pd.DataFrame({"id": ["a", "b"], "text": ["x", "y"], "label": [0, 1]})
    Path("news").mkdir()
    for path in (f"one.{kind}", f"news/train.{kind}", f"news/test.{kind}"):
        if kind == "parquet":
            frame.to_parquet(path)
        elif kind == "tsv":
            frame.to_csv(path, sep="\t", index=False)
        else:
            frame.to_json(path, orient="records", lines=kind == "jsonl")
    for dataset in (load_dataset(f"one.{kind}"), load_dataset("news")):
        assert dataset.train.to_dict("list") == {"id": ["a", "b"], "text": ["x", "y"], "label": ["0", "1"]}
    assert list(load_dataset("news").test["label"]) == ["0", "1"]


def test_several_text_columns(folder):
    make(train="Betreff,Text,label\nHallo,Welt,a\n,nur Text,b\n", test="Text,Betreff\nWelt,Na\n")
    dataset = load_dataset("news", text_column="Betreff,Text")
    assert list(dataset.train["text"]) == ["Hallo\n\nWelt", "nur Text"] and list(dataset.test["text"]) == ["Na\n\nWelt"]


def test_files_without_a_header(folder):
    make(train="Ein Tor;Sport\nEin Netz;Web\n", test="Noch ein Tor\n")
    message = refusal()
    assert "has no column 'label'; it has: Ein Tor, Sport" in message and "--columns text,label" in message
    dataset = load_dataset("news", columns="text,label")
    assert dataset.classes == ["Sport", "Web"] and list(dataset.test["text"]) == ["Noch ein Tor"]
    assert list(dataset.train["text"]) == ["Ein Tor", "Ein Netz"]


def test_an_encoding(folder):
    Path("news").mkdir()
    Path("news/train.csv").write_bytes("text,label\nGrüße,a\nÖl,b\n".encode("cp1252"))
    assert "save it as UTF-8 (in Excel: 'CSV UTF-8')" in refusal() and "--encoding cp1252" in refusal()
    assert list(load_dataset("news", encoding="cp1252").train["text"]) == ["Grüße", "Öl"]
    Path("news/train.csv").write_bytes("Nr;text;label\n1;Tor;Größe\n2;Netz;b\n".encode("cp1252"))
    Path("news/test.csv").write_bytes("Schlüssel;text\nö;Grüße\n".encode("cp1252"))
    Path("news/sample_submission.csv").write_bytes("Schlüssel,Größe\nö,b\n".encode("cp1252"))
    dataset = load_dataset("news", encoding="cp1252")
    assert (dataset.sample.header, dataset.sample.ids) == (["Schlüssel", "Größe"], ["ö"])
    assert list(dataset.test["id"]) == ["ö"]


def test_the_options_of_a_run_are_used_again(folder):
    make(train="Ein Tor;Sport\nEin Netz;Web\n;Web\n")
    options = {"columns": "text,label", "drop_blank": True}
    run = make_run({"data": {"name": "news", "folder": str(folder / "news"), "options": options}})
    assert list(load_run_dataset(run).train["text"]) == ["Ein Tor", "Ein Netz"]


@pytest.mark.parametrize("option", ["text_column", "label_column", "id_column"])
@pytest.mark.parametrize("empty", ["", " ", "\ufeff"])
def test_an_empty_column_name_is_refused(folder, option, empty):
    make(train=",text,label\n0,Tor,a\n1,Netz,b\n")  # pandas writes its index without a name
    with pytest.raises(UserError) as caught:
        load_dataset("news", **{option: empty})
    assert str(caught.value) == f"--{option.replace('_', '-')} is empty; give it the name of a column"


# The form of submissions


def test_the_samples_columns(folder):
    make(train="text,label\nx,0\ny,1\n", test="Id,text\n7,z\n8,z\n", sample_submission="Id,Category\n8,0\n7,0\n")
    dataset = load_dataset("news")
    assert (dataset.sample.header, dataset.sample.id_column, dataset.sample.ids) == (
        ["Id", "Category"],
        "Id",
        ["8", "7"],
    )
    make(train="text,label\nx,0\ny,1\n", test="comment_id,text\n7,z\n", sample_submission="comment_id,Sub1\n7,0\n")
    assert list(load_dataset("news").test["id"]) == ["7"]  # the sample's first column, though nobody named it
    make(test="id,text\n7,z\n", sample_submission="prob_Web,id,sport\n0.5,7,0.5\n")
    sample = load_dataset("news").sample
    assert (sample.id_column, sample.classes) == ("id", ["Web", "Sport"])


DOCS = "id,doc,text,label\n1,a,x,Web\n2,b,y,Sport\n"


@pytest.mark.parametrize(
    ("train", "test", "sample", "header"),
    [
        (DOCS, "doc,text\nc,x\nd,y\n", "doc,label\nd,Web\nc,Web\n", ["doc", "label"]),
        (DOCS, "text,Doc\nx,c\ny,d\n", "label,doc\nWeb,d\nWeb,c\n", ["label", "doc"]),
        ("Web," + DOCS.replace("\n", "\nz,")[:-2], "doc,text\nc,x\nd,y\n", "Web,Sport,doc\n1,0,d\n1,0,c\n", None),
        (DOCS, "doc,text,label\nc,x,Web\nd,y,Web\n", "Text,Label,doc\n,Web,d\n,Web,c\n", False),
    ],
)
def test_the_samples_id_column_is_one_of_the_test_rows(folder, train, test, sample, header):
    make(train=train, test=test, sample_submission=sample)
    if header is False:
        assert "has the columns Text, Label, doc; expected an id and a label" in refusal()
        return
    dataset = load_dataset("news")
    assert (dataset.sample.id_column, dataset.sample.ids) == ("doc", ["d", "c"])
    assert dataset.sample.header == (header or ["Web", "Sport", "doc"])
    assert list(dataset.test["id"]) == ["c", "d"] and list(dataset.train["id"]) == ["a", "b"]


def test_a_label_column_of_the_test_rows_holds_no_ids(folder):
    make(
        test="id,text,Category\nc,x,Web\nd,y,Web\n",
        sample_submission="Nr,Category\nc,Web\nd,Web\n",
    )
    assert load_dataset("news").sample.id_column == "Nr"


def test_a_sample_without_ids_is_refused(folder):
    make(test="text,label\nx,Web\ny,Web\n", sample_submission="text,label\nx,Web\ny,Web\n")
    assert "sample_submission.csv lacks id '1' of news/test.csv" in refusal()


def test_class_names_do_not_decide_on_the_samples_delimiter(folder):
    names = ["Alle; auch Kunst; Musik; Film", "Bild|Ton|Text|Film", "Sport"]
    rows = [["id", "text", "label"], *([str(n), f"Text {n}", names[n % 3]] for n in range(6))]
    sample = [["Nr", *names], ["t1", "1", "0", "0"]]
    make(train=rows, test="Nr,text\nt1,z\n", sample_submission=sample)
    assert load_dataset("news").sample.header == sample[0]
    for header in (["Nr", *(f"prob_{name}" for name in names)], ["Nr", names[0]]):  # one column: any name for labels
        make(train=rows, test="Nr,text\nt1,z\n", sample_submission=[header, ["t1", *"100"[: len(header) - 1]]])
        assert load_dataset("news").sample.header == header


def test_classes_in_a_sample_may_differ_only_in_case(folder):
    train = "text,label\nx,web\ny,Web\nz,Sport\n"
    make(train=train, test="id,text\n1,z\n", sample_submission="id,Web,SPORT,web\n1,0,1,0\n")
    assert load_dataset("news").sample.classes == ["Web", "Sport", "web"]
    make(train=train, test="id,text\n1,z\n", sample_submission="id,WEB,Sport,web\n1,0,1,0\n")
    assert "has the columns id, WEB, Sport, web; expected" in refusal()


def test_the_spelling_of_ids_and_labels_is_kept_for_submissions(folder):
    """Everything is NFC; `written` has what the files write otherwise, labels by majority."""
    big, sour, id_, name = (unicodedata.normalize("NFD", word) for word in ("Größe", "säuerlich", "ü1", "Schlüssel"))
    rows = [("x", big), ("y", big), ("z", "Größe"), ("x", "säuerlich"), ("y", sour), ("z", "säuerlich")]
    make(train=[["text", "label"], *rows], test=[["id", "text"], [id_, big], ["ö2", sour]])
    dataset = load_dataset("news")
    assert dataset.classes == ["Größe", "säuerlich"] and list(dataset.test["id"]) == ["ü1", "ö2"]
    assert list(dataset.test["text"]) == ["Größe", "säuerlich"]
    assert dataset.written == {"ü1": id_, "Größe": big}
    make(train=[["text", "label"], *rows], test="id,text\nü1,a\n", sample_submission=[[name, "label"], [id_, big]])
    dataset = load_dataset("news")
    assert (dataset.sample.header, dataset.sample.ids) == (["Schlüssel", "label"], ["ü1"])
    assert dataset.written == {"ü1": id_, "Größe": big, "Schlüssel": name}


def test_integers_with_a_gap_are_the_same_from_the_hub_and_from_parquet(folder, monkeypatch):
    datasets = pytest.importorskip("datasets")
    ids = [2**53, 2**53 + 1, 7]
    columns = {"id": [*ids, 8], "text": ["x", "y", "z", "z"], "label": [0, 1, 0, None]}
    test = {"id": [1, 2], "text": ["x", "y"], "label": [None, None], "score": [1.5, None]}
    parts = {"train": datasets.Dataset.from_dict(columns), "test": datasets.Dataset.from_dict(test)}
    monkeypatch.setattr(sources, "fetch_from_hub", lambda *_: datasets.DatasetDict(parts))
    Path("files").mkdir()
    for split, rows in parts.items():
        rows.to_parquet(f"files/{split}.parquet")
    from_hub, from_files = (load_dataset(name, drop_blank=True) for name in ("some/news", "files"))
    assert list(from_hub.train["id"]) == list(map(str, ids)) and from_hub.classes == ["0", "1"]
    for split, frame in from_files.frames.items():
        assert from_hub.frames[split].to_dict("list") == frame.to_dict("list")


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("id,label\nx,Web\n", "news/sample_submission.csv lacks id 't1' of news/test.csv; their ids must be the same"),
        ("id,label\nt1,Web\nt2,Web\n", "news/sample_submission.csv has id 't2', which is not in news/test.csv"),
        ("id,a,b\nt1,0,1\n", "has the columns id, a, b; expected an id and a label, or an id and one column per class"),
        (
            "id,label\nt1,3\nt2,4\n",
            "the column 'label' has 3, 4; the classes of the training rows are Sport, Web",
        ),
    ],
)
def test_a_sample_that_does_not_fit_is_refused_before_training(folder, sample, message):
    make(test="id,text\nt1,z\n", sample_submission=sample)
    assert message in refusal()


# Anything


@given(
    rows=st.lists(st.tuples(*[st.sampled_from(["", " ", "x", "Tor;in,Linz", '"q"', "zwei\nZeilen"])] * 3), max_size=5),
    names=st.permutations(["ID", " Text", "label"]),
    padding=st.integers(0, 2),
    delimiter=st.sampled_from(",;|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
)
def test_padded_tables_in_any_dialect(tmp_path_factory, rows, names, padding, delimiter, encoding):
    """Other cases, orders and encodings, nameless columns, empty rows: the same frame, blank rows dropped."""
    rows = [("a", "x", "A"), ("b", "y", "B"), *((f"r{n}", *row[1:]) for n, row in enumerate(rows))]
    path = tmp_path_factory.getbasetemp() / "padded.csv"
    place = {"ID": 0, " Text": 1, "label": 2}
    with open(path, "w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow([*names, *[""] * padding])
        for row in rows:
            writer.writerow([*(row[place[name]] for name in names), *[""] * padding])
            writer.writerow([""] * (3 + padding))
    options = {"encoding": encoding} if encoding == "cp1252" else {}
    frame = load_dataset(path, drop_blank=True, **options).train
    filled = [row for row in rows if row[1].strip() and row[2].strip()]
    assert frame[["id", "text"]].to_numpy().tolist() == [list(row[:2]) for row in filled]
    assert frame["label"].tolist() == [row[2].strip() for row in filled]


# Kaggle's inputs: other names, folders below


def write(path, content):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content, encoding="utf-8")


def test_other_file_names_are_found_and_told(folder, notes):
    write("input/Train_Data.csv", TRAIN)
    write("input/dev.csv", "text,label\nEin Spiel,Web\n")
    write("input/test_set.csv", "id,text\nt1,Ein Tor\n")
    write("input/test_labels.csv", "id,label\nt1,Web\n")  # no test rows
    write("input/sampleSubmission.csv", "id,label\nt1,Web\n")
    dataset = load_dataset("input")
    assert [len(frame) for frame in (dataset.train, dataset.valid, dataset.test)] == [3, 1, 1]
    assert dataset.sample.ids == ["t1"]
    assert set(dataset.fingerprint) == {"Train_Data.csv", "dev.csv", "test_set.csv", "sampleSubmission.csv"}
    said = notes()
    assert "input/Train_Data.csv is taken as train.csv of input" in said and "input/dev.csv is taken as" in said


@pytest.mark.parametrize("places", [("deep/er", "deep/er"), ("train", "test"), ("train.csv", "test.csv")])
def test_files_in_folders_below(folder, notes, places):
    write(f"competition/{places[0]}/train.csv", TRAIN)
    write(f"competition/{places[1]}/test.csv", "id,text\nt1,Ein Tor\n")
    dataset = load_dataset("competition")
    assert (dataset.name, dataset.location) == ("competition", str(Path("competition").resolve()))
    assert dataset.places["train"] == str(Path("competition", places[0], "train.csv"))
    assert len(dataset.test) == 1
    assert f"{places[0]}/train.csv is taken as train.csv of competition" in notes()
    assert load_dataset(dataset.location).fingerprint == dataset.fingerprint  # a run finds it again


def test_the_folders_own_files_win(folder, notes):
    make(test="id,text\nt1,Ein Tor\n", training=TRAIN)
    write("news/below/train.csv", TRAIN)
    write("news/below/test.csv", "id,text\nt2,Ein Tor\n")
    assert list(load_dataset("news").test["id"]) == ["t1"]
    assert "is taken as" not in notes()


def test_two_files_that_may_be_meant_are_refused(folder):
    for name in ("a", "b"):
        write(f"all/{name}/train.csv", TRAIN)
    assert refusal("all") == ("all has no train.csv, but several folders below it have: all/a, all/b; give one of them")
    write("two/Train.csv", TRAIN)
    write("two/training.csv", TRAIN)
    assert refusal("two") == "two has Train.csv and training.csv; rename the right one to train.csv"
    write("c/x/train.csv", TRAIN)
    write("c/y/test.csv", "text\na\n")
    write("c/z/test.csv", "text\nb\n")
    assert refusal("c") == "c: c/y/test.csv and c/z/test.csv both fit; give the folder of one"
    write("far/1/2/3/4/5/train.csv", TRAIN)
    assert refusal("far") == "far has no train.csv"
