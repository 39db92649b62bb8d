"""Tables from anywhere: each is read right, or refused in one line that names file and row; and large ones."""

import csv
import hashlib
import json
import os
import re
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import create_confusion_matrix
import create_ensemble_submission
import find_label_issues
import predict
import train
import train_ensemble
from common.cli import UserError
from common.data import load_dataset
from common.predictions import align, read_predictions, write_predictions
from common.reading.corrections import read_corrections
from common.splitting.splits import assign_folds, split_validation
from common.submission.files import read_submission
from tests.conftest import write_csv
from tests.test_predictions import assert_same, make, predictions
from tests.training.test_train import QUICK

LABELS = [
    "id",
    "label",
    "text",
    "fold",
    "prob_id",
    "=1+1",
    "-1",
    "@x",
    "a/b",
    "..\\c",
    'Recht, "Steuern"',
    "it's; so",
    "zwei\nZeilen",
    "tab\tulator",
    "👩‍👩‍👧",
    "🇦🇹",
    "שלום",
    "\u202everkehrt\u202c",
    "U\u0308ber",
    "Ämter",
    "\ufeffBOM",
    "NaN",
    "null",
    "1.0",
    "x" * 300,
]
TEXTS = [
    "Gru\u0308\u00dfe aus O\u0308sterreich",
    "مرحبا بالعالم שלום",
    "🙂🙂🙂",
    "\u200b",
    "\u0308",
    "=CMD()",
    '"',
    "'",
    "Wort" * 9_000,
    "kurz " * 9_000,
    "ein\x1bZeichen\x08zu viel",
    "a\rb\r\nc\u2028d\x85e",
]


def nfc(text):
    return unicodedata.normalize("NFC", text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder, whose files every hypothesis example writes anew."""
    return tmp_path_factory.mktemp("inputs")


# Datasets

cells = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from([*LABELS, *TEXTS[:8], "", " ", "\0"])


@given(
    rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
)
def test_a_dataset_is_read_right_or_refused_by_file_and_row(folder, rows, delimiter, end, bom):
    with open(folder / "train.csv", "w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerows([("text", "label"), *rows])
    if delimiter == "\t":  # a field with tab and line break may be several unquoted rows
        assume(not any("\t" in cell and ("\n" in cell or "\r" in cell) for row in rows for cell in row))
    nul = any("\0" in cell for row in rows for cell in row)
    rows = [row for row in rows if any(cell.strip() for cell in row)]  # empty rows are none
    texts, labels = [nfc(text) for text, _ in rows], [nfc(label).strip() for _, label in rows]
    ids = [str(number) for number in range(1, len(rows) + 1)]
    blank = {
        column: [row for row, cell in zip(ids, cells, strict=True) if not cell.strip()]
        for column, cells in (("text", texts), ("label", labels))
    }
    try:
        dataset = load_dataset(folder)
    except UserError as error:
        place = str(error).removeprefix(str(folder / "train.csv"))
        if nul:
            assert place.startswith(", line ") and place.endswith(": a NUL byte; the file is damaged or not a CSV")
        elif not rows:
            assert place == " has a header but no rows"
        elif any(blank.values()):
            for column, found in blank.items():
                assert (f"{', '.join(found[:5])}{', ...' * (len(found) > 5)}: the {column} is empty" in place) == bool(
                    found
                )
        else:
            assert len(set(labels)) == 1 and place.startswith(f": only one class, {labels[0]!r}")
        return
    assert dataset.train.to_dict("list") == {"id": ids, "text": texts, "label": labels}
    assert dataset.classes == sorted(set(labels)) and not any(blank.values())


def test_columns_may_have_each_others_names(folder):
    write_csv(folder / "train.csv", ["label", "id", "text"], [["Ein Tor", "Sport", "7"], ["Ein Netz", "Web", "8"]])
    train_rows = load_dataset(folder, text_column="label", label_column="id", id_column="text").train
    assert train_rows.to_dict("list") == {"id": ["7", "8"], "text": ["Ein Tor", "Ein Netz"], "label": ["Sport", "Web"]}


def test_awkward_labels_and_texts_go_through_all_scripts(tmp_path, in_tmp, capsys):
    data = tmp_path / "data"
    data.mkdir()
    rows = [
        [f"{'=+-@'[n % 4]}{n}", f"{TEXTS[n % len(TEXTS)]} {n} {LABELS[n % len(LABELS)]}", LABELS[n % len(LABELS)]]
        for n in range(4 * len(LABELS))
    ]
    write_csv(data / "train.csv", ["id", "text", "label"], rows)
    write_csv(data / "test.csv", ["id", "text", "label"], [[f"t{row[0]}", f"{row[1]}!", row[2]] for row in rows[::2]])
    arguments = [*QUICK, "--data", str(data), "--seeds", "1", "--folds", "2", "--max-steps", "2", "--run", "r"]
    assert train_ensemble.main(arguments) == 0
    assert create_confusion_matrix.main(["--run", "r", "--output", "matrix"]) == 0
    assert find_label_issues.main(["--run", "r", "--output", "issues"]) == 0
    assert create_ensemble_submission.main(["r", "--output", "submission.csv"]) == 0
    assert capsys.readouterr().err == ""

    classes = sorted(nfc(name) for name in LABELS)
    oof = read_predictions("runs/r/predictions/oof.csv")
    assert oof.classes == classes and list(oof.ids) == [row[0] for row in rows]
    assert list(oof.labels) == [nfc(row[2]) for row in rows]
    ids, labels, header, _ = read_submission("submission.csv")
    assert header == ["id", "label"]
    test = read_predictions("runs/r/predictions/test.csv")
    assert list(ids) == [f"t{row[0]}" for row in rows[::2]] and list(labels) == list(test.predicted)


# Prediction files, submissions, corrections


@given(
    table=predictions(),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    data=st.data(),
)
def test_predictions_however_they_are_written(folder, table, delimiter, end, bom, data):
    """Other delimiters, quotes, line ends and orders of columns and rows, a column more: the same predictions."""
    file = folder / "other.csv"
    columns = {"id": table.ids, "Bemerkung": ["x"] * len(table.ids)}
    columns |= {} if table.labels is None else {"label": table.labels}
    columns |= {} if table.folds is None else {"fold": table.folds}
    columns |= {f"prob_{name}": table.probabilities[:, n].tolist() for n, name in enumerate(table.classes)}
    order = data.draw(st.permutations(list(columns)))
    rows = data.draw(st.permutations(range(len(table.ids))))
    with open(file, "w", encoding="utf-8-sig" if bom else "utf-8", newline="") as out:
        writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerow(order)
        writer.writerows([[columns[name][row] for name in order] for row in rows])
    assert_same(align(read_predictions(file), table.ids, table.classes), table)


@pytest.mark.parametrize(
    ("read", "header"),
    [
        (read_predictions, b"id,label,fold,prob_A,prob_B\n1,A,0,1,0\n"),
        (read_submission, b"id,label\n1,A\n"),
        (read_corrections, b"id,given_label,new_label,action\n1,A,,keep\n"),
    ],
)
@given(content=st.binary(max_size=60) | st.text(st.sampled_from('12,A"\n\r0.5;=e-'), max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(folder, read, header, content):
    file = folder / "any.csv"
    file.write_bytes(header + content)
    try:
        read(file)
    except UserError as error:
        assert str(error).startswith(str(file))


@pytest.mark.parametrize("read", [read_predictions, read_submission, read_corrections])
def test_nul_bytes_are_refused_by_line(folder, read):
    (folder / "nul.csv").write_bytes(b"id,label,prob_A\n1,A,1\n2,A\0,1\n")
    with pytest.raises(UserError, match=r"nul\.csv, line 3: a NUL byte; the file is damaged or not a CSV$"):
        read(folder / "nul.csv")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="their file names are Unicode")
def test_names_that_are_not_utf_8_are_one_line(small_data, in_tmp, capsys):
    """As in a zip file that Windows packed: M\\xfcller. No script writes half of its files."""
    name = os.fsdecode(b"M\xfcller")
    shutil.copytree(small_data, name)
    words = ["--model", "tfidf", "--data"]
    assert train.main([*words, str(small_data), "--run", "r"]) == 0
    shutil.copy("runs/r/predictions/test.csv", f"{name}.csv")
    capsys.readouterr()
    for script, *arguments in (
        (train, *words, name, "--run", "data"),
        (train, *words, str(small_data), "--run", name),
        (train_ensemble, *words, name, "--seeds", "1", "--run", "ensemble"),
        (create_confusion_matrix, "--predictions", f"{name}.csv"),
        (create_confusion_matrix, "--run", "r", "--compare", f"{name}.csv", "--output", "matrix"),
        (create_ensemble_submission, f"{name}.csv"),
        (predict, "r", str(small_data / "test.csv"), "--output", f"{name}.csv"),
    ):
        assert script.main(arguments) == 2
        error = capsys.readouterr().err
        assert re.fullmatch(r"error: the name \S*M\?ller\S* is not UTF-8; rename the file, folder or run\n", error)
    assert {path.name for path in in_tmp.iterdir()} == {name, f"{name}.csv", "runs"}


def test_annotations_are_read_like_other_json(folder):
    """What a CSV file cannot hold is replaced in the dataset, too, and both are in NFC: labels and ids still match."""
    file = folder / "answers.jsonl"
    answers = [{"row_id": "a\0", "given_label": "Gru\u0308n \ud83d", "label": ["Web\udc00"]}, {"row_id": 7}]
    answers[1] |= {"given_label": "Web", "label": []}
    file.write_text("".join(json.dumps(each) + "\n" for each in answers))
    assert read_corrections(file).to_numpy().tolist() == [["a\ufffd", "Grün \ufffd", "Web\ufffd", "relabel"]]
    file.write_text(json.dumps({"row_id": "a", "given_label": "Web", "label": [["Web", "Sport"]]}))
    with pytest.raises(UserError, match=r"answers\.jsonl, row 1: expected an export"):
        read_corrections(file)


def test_what_is_no_table_is_one_short_line(tmp_path, in_tmp, capsys):
    """Another format in one long line: the message does not repeat it."""
    Path("scores.csv").write_text("[" + ", ".join(f'{{"score{n}": {n}}}' for n in range(100_000)) + "]\n1\n")
    assert create_ensemble_submission.main(["scores.csv"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: scores.csv has no column 'id'; it has: [{") and line.count("\n") == 1
    assert len(line) < 1000


# Large ones: 100,000 rows, 1,000 classes


@pytest.mark.slow  # 20 s
def test_a_hundred_thousand_rows_and_a_thousand_classes(folder):
    classes = [f"Klasse {n:03d}" for n in range(1000)]
    texts = [f"Der Artikel {hashlib.sha1(str(n).encode()).hexdigest()}; mit Umlauten: äöüß" for n in range(100_000)]
    lines = [f'{n};"{text}";{classes[n % 1000]}' for n, text in enumerate(texts)]
    for name in ("train", "test"):
        (folder / f"{name}.csv").write_text("id;text;label\n" + "\n".join(lines), encoding="utf-8")
    dataset = load_dataset(folder)
    (folder / "test.csv").unlink()
    assert dataset.classes == classes and len(dataset.train) == len(dataset.test) == 100_000
    assert dataset.train.iloc[-1].tolist() == ["99999", texts[-1], "Klasse 999"]
    train_rows, valid_rows = split_validation(dataset.train, 0.1, seed=0)
    assert (len(train_rows), len(valid_rows)) == (90_000, 10_000)
    valid_labels = dataset.train["label"].to_numpy()[valid_rows]
    assert set(np.unique(valid_labels, return_counts=True)[1]) == {10}
    assert np.bincount(assign_folds(dataset.train, 5, seed=0)).tolist() == [20_000] * 5


@pytest.mark.parametrize(("rows", "classes"), [(100_000, 2), (500, 1000)])
def test_large_prediction_files(folder, rows, classes):
    values = np.random.default_rng(0).dirichlet(np.ones(classes), rows).astype(np.float32)
    names = [f"K{n:04d}" for n in range(classes)]
    table = make([str(n) for n in range(rows)], names, values, [names[n % classes] for n in range(rows)])
    write_predictions(folder / "large.csv", table)
    assert_same(read_predictions(folder / "large.csv"), table)


def test_a_hundred_thousand_columns(folder):
    (folder / "wide.csv").write_text(
        "id," + ",".join(f"prob_{n}" for n in range(100_000)) + "\na,1" + 99_999 * ",0" + "\n"
    )
    assert read_predictions(folder / "wide.csv").predicted.tolist() == ["0"]


@pytest.mark.slow  # 10 s
def test_a_thousand_classes_train(tmp_path, in_tmp):
    data = tmp_path / "data"
    data.mkdir()
    write_csv(data / "train.csv", ["text", "label"], [[f"Text {n} {n % 7}", f"K{n % 1000}"] for n in range(3000)])
    assert train.main([*QUICK, "--data", str(data), "--max-steps", "2", "--valid-fraction", "0.4", "--run", "x"]) == 0
    valid = read_predictions("runs/x/predictions/valid.csv")
    assert len(valid.classes) == 1000 and len(valid.ids) == 1200
