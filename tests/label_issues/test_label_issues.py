"""find_label_issues.py on hand-made data with planted errors: flags, ranks, files, refusals, exports, corrections."""

import csv
import json
import os
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import find_label_issues
from common.cli import UserError
from common.label_issues import texts
from common.label_issues.review import COLUMNS as TABLE_COLUMNS
from common.label_issues.texts import what_is_broken
from common.reading.corrections import COLUMNS, apply_corrections
from common.reading.spreadsheets import FORMULA_STARTS, guard, restore
from tests.label_issues.hand_made_issues import (
    CLASSES,
    FILES,
    HOSTILE,
    WRONG,
    probabilities,
    read_csv,
    rows,
    words,
    write_dataset,
    write_oof,
    write_run,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- What is found


def test_planted_errors_are_flagged_in_order(folder, capsys):
    table = rows()
    run = write_run(folder / "runs" / "folds", write_dataset(folder / "data", table))
    write_oof(run / "predictions" / "oof.csv", table[::-1])  # readers align by id
    assert find_label_issues.main([]) == 0

    output = run / "label_issues"
    assert {path.name for path in output.iterdir()} == FILES
    found = read_csv(output / "label_issues.csv")
    assert list(found[0]) == list(TABLE_COLUMNS)
    assert [row["id"] for row in found] == list(WRONG)
    assert [row["rank"] for row in found] == ["1", "2", "3", "4"]
    assert [float(row["label_quality"]) for row in found] == pytest.approx(list(WRONG.values()))
    assert [float(row["given_probability"]) for row in found] == pytest.approx(list(WRONG.values()))
    assert [float(row["suggested_probability"]) for row in found] == pytest.approx([0.98, 0.97, 0.96, 0.95])
    assert {row["issue"] for row in found} == {"label"}
    text_of = {row_id: text for row_id, text, _ in table}
    right = [CLASSES[int(row_id[1:]) % 3] for row_id in WRONG]
    assert [restore(row["suggested_label"]) for row in found] == right
    assert [restore(row["text"]) for row in found] == [text_of[row_id] for row_id in WRONG]

    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert summary["agreement"] == 56 / 60 and summary["rows"] == 60
    assert summary["label_issues"] == 4 and summary["issues"] == {"label": 4}
    assert summary["estimated_wrong_share"] == pytest.approx({"confident": 4 / 60, "joint": 4 / 60})
    assert {row["class"]: row["label_issues"] for row in summary["per_class"]} == {
        name: sum(row[0] in WRONG and row[2] == name for row in table) for name in CLASSES
    }
    assert sum(pair["rows"] for pair in summary["overlapping_classes"]) == 4
    assert summary["class_imbalance"] is None and summary["near_duplicates"] == [] and summary["outliers"] == []

    said = capsys.readouterr()
    assert f"run {Path('runs/folds')} (the newest with out-of-fold predictions)" in said.out
    assert str(Path("runs/folds/label_issues")) in said.out and said.err == ""


def test_members_are_weighted_by_their_accuracy(folder):
    table = rows()
    data = write_dataset(folder / "data", table)
    sharp, weak = probabilities(table), probabilities(table, sharpness=0.6)
    weak[:12] = weak[:12, [1, 2, 0]]  # wrong on these: a less accurate member
    write_oof(folder / "a.csv", table, sharp)
    write_oof(folder / "b.csv", table[::-1], weak[::-1])
    assert find_label_issues.main(["--predictions", "a.csv", "b.csv", "--data", str(data), "--output", "out"]) == 0
    labels = [CLASSES.index(row[2]) for row in table]
    accuracies = [(member.argmax(axis=1) == labels).mean() for member in (sharp, weak)]
    mean = np.average([sharp, weak], axis=0, weights=accuracies)
    for row in read_csv(folder / "out" / "label_issues.csv"):
        position = int(row["id"][1:])
        assert float(row["label_quality"]) == pytest.approx(mean[position, labels[position]], abs=2e-6)
        assert float(row["suggested_probability"]) == pytest.approx(mean[position].max(), abs=2e-6)
    summary = json.loads((folder / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["method"]["ensemble_weights"] == "accuracy" and summary["predictions"] == ["a.csv", "b.csv"]


def test_duplicates_outliers_and_broken_texts(folder):
    vocabulary = words("common", 60).split()
    table = rows(90)
    for number, row in enumerate(table):  # one world of words, in which an outlier can be told
        rng = np.random.default_rng(number)
        row[1] = " ".join(rng.choice(vocabulary, 25))
    table[3][1] = table[4][1]  # with another label
    table[7][1] = table[10][1].upper() + "!"  # with the same label
    table[50][1] = words("another world", 40)
    table[60][1] = "Die StÃ¤dte und ihre BÃ¼rger " + table[60][1]
    table[61][1] = "Kurz!"
    table[62][1] = table[62][1] + " \ufffd"
    test = [["t1", table[20][1], "Sport"], ["t2", " ".join(vocabulary[:20]), "Sport"]]
    data = write_dataset(folder / "data", table, test=test)
    write_oof(folder / "oof.csv", table)
    assert find_label_issues.main(["--predictions", "oof.csv", "--data", str(data)]) == 0

    found = read_csv(folder / "label_issues" / "label_issues.csv")
    issues = {row["id"]: row["issue"].split() for row in found}
    assert [row["id"] for row in found[:4]] == list(WRONG), "label issues come first"
    assert issues["r03"] == issues["r04"] == ["duplicate_other_label"]
    assert issues["r07"] == issues["r10"] == ["duplicate"]
    assert issues["r20"][-1] == "duplicate_other_file"
    assert "outlier" in issues["r50"]
    assert {row_id for row_id, kinds in issues.items() if "broken_text" in kinds} == {"r60", "r61", "r62"}

    summary = json.loads((folder / "label_issues" / "summary.json").read_text(encoding="utf-8"))
    sets = [{(row["file"], row["id"]) for row in rows} for rows in summary["near_duplicates"]]
    assert {("train.csv", "r20"), ("test.csv", "t1")} in sets and len(sets) == 3
    reasons = {row["id"]: row["reason"] for row in summary["broken_texts"]}
    assert "mojibake (Ã¤)" in reasons["r60"] and "fewer than 3 words" in reasons["r61"]
    assert "replacement character" in reasons["r62"]


def test_a_rare_class_is_reported(folder, capsys):
    table = [row for number, row in enumerate(rows(99)) if number % 3 != 2 or number in (5, 50)]
    data = write_dataset(folder / "data", table)
    write_oof(folder / "oof.csv", table)
    assert find_label_issues.main(["--predictions", "oof.csv", "--data", str(data)]) == 0
    summary = json.loads((folder / "label_issues" / "summary.json").read_text(encoding="utf-8"))
    assert summary["class_imbalance"] == {"rarest_class": "Sport"}
    assert "class 'Sport' is under-represented" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, broken",
    [
        ("Größe, Öl und ÄRGER sind drei Wörter", False),
        ("São Paulo und SÃO PAULO liegen in Brasilien", False),
        ("Â§ 5 des Gesetzes gilt", True),
        ("Er sagte: â€žJaâ€œ und ging", True),
        ("1234 5678 ...", True),
        ("eins zwei", True),
        ("ein\x00 Zeichen zu viel", True),
        ("Zeile eins\nZeile\tzwei", False),
    ],
)
def test_broken_texts(text, broken):
    assert bool(what_is_broken(text)) is broken


def test_tiny_and_wordless_data(folder):
    table = [["1", "!!!", "Sport"], ["2", "???", "Kultur"], ["3", "...", "=Wirtschaft"]]
    data = write_dataset(folder / "data", table)
    write_oof(folder / "oof.csv", table, np.eye(3)[[2, 1, 0]])
    assert find_label_issues.main(["--predictions", "oof.csv", "--data", str(data)]) == 0
    assert [row["issue"] for row in read_csv("label_issues/label_issues.csv")] == ["broken_text"] * 3


def test_help_and_a_full_run_without_torch(folder):
    table = rows()
    data = write_dataset(folder / "data", table)
    write_oof(folder / "oof.csv", table)
    code = (
        "import sys, find_label_issues as script\n"
        f"assert script.main(['--predictions', 'oof.csv', '--data', {str(data)!r}]) == 0\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
        "script.main(['--help'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("python find_label_issues.py --") == 2


# ---- Spreadsheets


@given(st.text() | st.builds(lambda a, b: a + b, st.sampled_from([*FORMULA_STARTS, "'", "''", "'="]), st.text()))
def test_guarded_cells_start_harmlessly_and_come_back(cell):
    assert not guard(cell).startswith(FORMULA_STARTS)
    assert restore(guard(cell)) == cell
    if not cell.startswith((*FORMULA_STARTS, "'")):
        assert guard(cell) == cell


def test_review_table_is_guarded_and_data_are_not(folder):
    table = rows()
    by_id = {row[0]: row for row in table}
    by_id["r05"][1] = '=HYPERLINK("http://example.org"; "klick") ' + words("x")
    by_id["r16"][1] = "\t@SUM(1+1)\n" + words("y")
    by_id["r27"][1] = "-2+3 " + words("z")
    data = write_dataset(folder / "data", table)
    write_oof(folder / "oof.csv", table)
    for kind in ("doccano", "label-studio"):
        assert find_label_issues.main(["--predictions", "oof.csv", "--data", str(data), "--export", kind]) == 0
    found = read_csv("label_issues/label_issues.csv")
    assert all(not value.startswith(FORMULA_STARTS) for row in found for value in row.values())
    assert found[0]["text"].startswith("'=HYPERLINK") and found[1]["text"].startswith("'\t@SUM")
    assert [restore(row["text"]) for row in found] == [by_id[row_id][1] for row_id in WRONG]
    exported = [json.loads(line) for line in Path("label_issues/doccano.jsonl").read_text().splitlines()]
    assert exported[0]["text"].startswith("=HYPERLINK")


# ---- Exports


def check(value, schema, place="$"):
    """A schema is a type, a set of values, [schema of every item] or {key: schema}, which allows no other keys."""
    if isinstance(schema, dict):
        assert isinstance(value, dict) and set(value) == set(schema), place
        for key, part in schema.items():
            check(value[key], part, f"{place}.{key}")
    elif isinstance(schema, list):
        assert isinstance(value, list), place
        for number, item in enumerate(value):
            check(item, schema[0], f"{place}[{number}]")
    elif isinstance(schema, set):
        assert value in schema, place
    else:
        assert isinstance(value, schema) and value is not True, place


def export(folder, kind):
    table = rows()
    table[5][1] = HOSTILE + words("hostile")
    data = write_dataset(folder / "data", table)
    write_oof(folder / "oof.csv", table)
    assert find_label_issues.main(["--predictions", "oof.csv", "--data", str(data), "--export", kind]) == 0
    names = {path.name for path in Path("label_issues").iterdir()} - FILES
    return {name: Path("label_issues", name).read_text(encoding="utf-8") for name in names}, table


def test_label_studio_export(folder):
    # https://labelstud.io/guide/predictions#JSON-format-for-pre-annotations, https://labelstud.io/tags/choices
    files, table = export(folder, "label-studio")
    assert set(files) == {"label_studio_tasks.json", "label_studio_config.xml"}
    tasks = json.loads(files["label_studio_tasks.json"])
    result = {"from_name": {"label"}, "to_name": {"text"}, "type": {"choices"}, "value": {"choices": [set(CLASSES)]}}
    data = {
        "text": str,
        "row_id": str,
        "rank": int,
        "given_label": set(CLASSES),
        "label_quality": float,
        "suggested_probability": float,
        "issue": str,
    }
    check(tasks, [{"data": data, "predictions": [{"model_version": str, "score": float, "result": [result]}]}])
    assert [task["data"]["row_id"] for task in tasks] == list(WRONG)
    assert tasks[0]["data"]["text"] == table[5][1]
    assert tasks[0]["predictions"][0]["result"][0]["value"]["choices"] == [CLASSES[5 % 3]]
    assert tasks[0]["predictions"][0]["score"] == pytest.approx(0.98)

    config = ET.fromstring(files["label_studio_config.xml"])
    objects = {tag.get("name"): tag.get("value") for tag in config.iter("Text")}
    assert objects["text"] == "$text" and all(value[1:] in data for value in objects.values())
    choices = config.find("Choices")
    assert (choices.get("name"), choices.get("toName"), choices.get("choice")) == ("label", "text", "single")
    assert [choice.get("value") for choice in choices] == CLASSES


def test_argilla_export(folder):
    # https://docs.argilla.io/latest/how_to_guides/record: a record's id, fields, metadata, suggestions, responses,
    # vectors, as Dataset.records.to_json writes and from_json reads them; rg.Settings.from_json
    files, table = export(folder, "argilla")
    assert set(files) == {"argilla_records.json", "argilla_settings.json"}
    assert all(text.isascii() for text in files.values())  # Argilla reads them in the encoding of the system
    records, settings = json.loads(files["argilla_records.json"]), json.loads(files["argilla_settings.json"])
    suggestion = {"value": set(CLASSES), "score": float, "agent": str}
    metadata = {"rank": int, "label_quality": float, "issue": [str]}
    fields = {"text": str, "given_label": str}
    check(
        records,
        [
            {
                "id": str,
                "fields": fields,
                "metadata": metadata,
                "suggestions": {"label": suggestion},
                "responses": {},
                "vectors": {},
            }
        ],
    )
    assert [record["id"] for record in records] == list(WRONG) and records[0]["fields"]["text"] == table[5][1]
    assert {field["name"] for field in settings["fields"]} == set(fields)
    assert {field["name"]: field["settings"]["type"] for field in settings["metadata"]} == {
        "rank": "integer",
        "label_quality": "float",
        "issue": "terms",
    }
    (question,) = settings["questions"]
    assert question["name"] == "label" and question["settings"]["type"] == "label_selection"
    assert [option["value"] for option in question["settings"]["options"]] == CLASSES


def test_doccano_export(folder):
    # https://github.com/doccano/doccano: a JSON object a line, text and a list of labels; all else is metadata, but for
    # the names that doccano 1.8 keeps for itself
    files, table = export(folder, "doccano")
    assert set(files) == {"doccano.jsonl"}
    lines = [json.loads(line) for line in files["doccano.jsonl"].splitlines()]  # also where a text has U+2028
    check(
        lines,
        [
            {
                "text": str,
                "label": [None],  # empty: a label would come back as an answer
                "suggested_label": set(CLASSES),
                "row_id": str,
                "rank": int,
                "given_label": str,
                "label_quality": float,
                "suggested_probability": float,
                "issue": str,
            }
        ],
    )
    assert [line["row_id"] for line in lines] == list(WRONG) and lines[0]["text"] == table[5][1]
    assert not {"filename", "upload_name", "example_uuid", "meta", "#line_number"} & set(lines[0])


# ---- Corrections


def write_corrections(path, decisions, guarded=True):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([[guard(cell) if guarded else cell for cell in row] for row in decisions])
    return path


def frame_of(table):
    return pd.DataFrame(table, columns=["id", "text", "label"])


def test_corrections_are_applied(tmp_path):
    frame = frame_of(
        [
            ["1", "a", "excluded"],
            ["=2", "b", "=Wirtschaft"],
            ["'3", "c", "keep"],
            ["4", "d", "keep"],
            ["5", "e", "excluded"],
        ]
    )
    classes = ["=Wirtschaft", "excluded", "keep"]
    decisions = [
        ["=2", "=Wirtschaft", "excluded", "relabel"],
        ["'3", "keep", "=Wirtschaft", "relabel"],
        ["1", "excluded", "", "exclude"],
        ["4", "keep", "", "keep"],
    ]
    for guarded in (True, False):
        path = write_corrections(tmp_path / "corrections.csv", decisions, guarded)
        corrected, counts = apply_corrections(frame, path, classes)
        assert corrected.values.tolist() == [
            ["=2", "b", "excluded"],
            ["'3", "c", "=Wirtschaft"],
            ["4", "d", "keep"],
            ["5", "e", "excluded"],
        ]
        assert corrected.index.tolist() == [0, 1, 2, 3]
        assert counts == {"rows": 4, "kept": 1, "relabelled": 2, "excluded": 1}
    assert frame["label"].tolist() == ["excluded", "=Wirtschaft", "keep", "keep", "excluded"], "the input is untouched"


@pytest.mark.parametrize(
    "decisions, complaint",
    [
        ([["9", "A", "", "keep"]], "row 1: id '9' is not among the training rows"),
        ([["1", "A", "", "keep"], ["2", "A", "", "keep"]], "row 2: id '2' has the label 'B' now, not 'A'"),
        ([["1", "A", "C", "relabel"]], "row 1: new_label 'C' is not a class; the classes are A, B"),
        ([["1", "A", "", "relabel"]], "row 1: new_label '' is not a class"),
        ([["1", "A", "B", "exclude"]], "row 1: exclude contradicts new_label 'B'"),
        ([["1", "A", "B", "keep"]], "row 1: keep contradicts new_label 'B'"),
        ([["1", "A", "", "excluded"]], "row 1: action 'excluded'; expected keep, relabel, exclude"),
        ([["1", "A", "", "keep"], ["1", "A", "", "exclude"]], "row 2: duplicate id '1', first in row 1"),
        ([["2", "B", "", "exclude"]], "no row of class 'B' would be left"),
    ],
)
def test_wrong_corrections_are_refused(tmp_path, decisions, complaint):
    frame = frame_of([["1", "a", "A"], ["2", "b", "B"], ["3", "c", "A"]])
    path = write_corrections(tmp_path / "corrections.csv", decisions)
    with pytest.raises(UserError, match=r"corrections\.csv") as error:
        apply_corrections(frame, path, ["A", "B"])
    assert complaint in str(error.value)


@pytest.mark.parametrize("action", ["Relabel", "RELABEL", "Accept", " accept "])
def test_corrections_saved_by_excel(tmp_path, action):
    """Semicolons, padded columns, empty rows, actions in any case."""
    path = tmp_path / "corrections.csv"
    path.write_text(f"ID;Given_Label;New_Label;Action;;\n1;A;B;{action};;\n;;;;;\n2;B;;KEEP;;\n\n;;;;;\n", "utf-8-sig")
    corrected, counts = apply_corrections(
        frame_of([["1", "a", "A"], ["2", "b", "B"], ["3", "c", "A"]]), path, ["A", "B"]
    )
    assert corrected["label"].tolist() == ["B", "B", "A"]
    assert counts == {"rows": 2, "kept": 1, "relabelled": 1, "excluded": 0}


def label_studio(row):
    answer = {"type": "choices", "from_name": "label", "value": {"choices": [row["new"]]}}
    skipped = {"was_cancelled": True, "result": []}
    return {"id": 7, "data": row["facts"], "annotations": [skipped, {"was_cancelled": False, "result": [answer]}]}


def argilla(row):
    answers = [{"value": row["new"], "user_id": "u", "status": "submitted"}, {"value": "x", "status": "draft"}]
    fields = {"text": "t", "given_label": row["facts"]["given_label"]}
    return {"id": row["facts"]["row_id"], "fields": fields, "responses": {"label": answers}, "suggestions": {}}


EXPORTS = {  # tool -> what it makes of a row
    "label-studio": label_studio,
    "label-studio-min": lambda row: {"id": 7, **row["facts"], "label": row["new"], "annotator": 1},
    "argilla": argilla,
    "doccano": lambda row: {"id": 7, "text": "t", "label": [row["new"]], **row["facts"], "Comments": []},
    "doccano-1.5": lambda row: {"id": 7, "data": "t", "label": [row["new"]], "meta": row["facts"]},
}


@pytest.mark.parametrize("tool", EXPORTS)
def test_exports_of_annotation_tools_come_back(tmp_path, tool):
    decisions = [["1", "A", "B"], ["2", "B", "B"]]
    rows = [{"facts": {"row_id": key, "given_label": old, "rank": 1}, "new": new} for key, old, new in decisions]
    records = [EXPORTS[tool](row) for row in rows]
    unanswered = {"annotations": [], "responses": {}, "label": []}
    records.append({**records[0], **{key: value for key, value in unanswered.items() if key in records[0]}})
    path = tmp_path / ("export.jsonl" if tool.startswith("doccano") else "export.json")
    text = "\n".join(map(json.dumps, records)) if path.suffix == ".jsonl" else json.dumps(records)
    path.write_text(text, encoding="utf-8")
    frame = frame_of([["1", "a", "A"], ["2", "b", "B"], ["3", "c", "A"]])
    corrected, counts = apply_corrections(frame, path, ["A", "B"])
    assert corrected["label"].tolist() == ["B", "B", "A"]
    assert counts == {"rows": 2, "kept": 1, "relabelled": 1, "excluded": 0}


@pytest.mark.parametrize("kind", ["label-studio", "argilla", "doccano"])
def test_our_own_exports_answered_by_the_suggestion(folder, kind):
    """The exported files themselves as the tools return them: without answers, then answered by the suggestion."""
    files, table = export(folder, kind)
    text = next(text for name, text in files.items() if name.endswith((".jsonl", "tasks.json", "records.json")))
    records = [json.loads(line) for line in text.splitlines()] if kind == "doccano" else json.loads(text)
    untouched = [record | {"annotations": []} for record in records] if kind == "label-studio" else records
    Path("untouched.json").write_text(json.dumps(untouched))
    assert apply_corrections(frame_of(table), "untouched.json", CLASSES)[1]["rows"] == 0
    for record in records:
        if kind == "label-studio":
            record["annotations"] = [{"result": record["predictions"][0]["result"]}]
        elif kind == "argilla":
            record["responses"] = {"label": [{"value": record["suggestions"]["label"]["value"], "user_id": "u"}]}
        else:
            record["label"] = [record["suggested_label"]]
    Path("answers.json").write_text(json.dumps(records))
    corrected, counts = apply_corrections(frame_of(table), "answers.json", CLASSES)
    right = {row_id: CLASSES[int(row_id[1:]) % 3] for row_id in WRONG}
    assert counts == {"rows": 4, "kept": 0, "relabelled": 4, "excluded": 0}
    assert {row.id: row.label for row in corrected.itertuples() if row.id in WRONG} == right


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not valid JSON"),
        ('[{"text": "a"}]', "row 1: expected an export from Label Studio, Argilla, doccano"),
        ('{"row_id": "1", "given_label": "A", "label": ["A", "B"]}', "row 1: id '1' has the answers A, B"),
        ('{"row_id": "9", "given_label": "A", "label": ["A"]}', "row 1: id '9' is not among the training rows"),
    ],
)
def test_exports_that_are_none(tmp_path, text, complaint):
    path = tmp_path / "export.json"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        apply_corrections(frame_of([["1", "a", "A"], ["2", "b", "B"]]), path, ["A", "B"])
    assert complaint in str(error.value)


def test_other_files_are_no_corrections(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,label\n1,A\n")
    with pytest.raises(UserError, match="has no column 'given_label'"):
        apply_corrections(frame_of([["1", "a", "A"]]), path, ["A"])


# Tables are NFC-normalised and their labels stripped when they are read, here as in datasets
CELLS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=8)
NAMES = CELLS.map(lambda cell: unicodedata.normalize("NFC", cell).strip()).filter(bool)


@given(
    st.lists(NAMES, min_size=2, max_size=4, unique=True),
    st.lists(NAMES, min_size=3, max_size=8, unique=True),
    st.data(),
)
def test_any_ids_and_labels_survive_the_round_trip(tmp_path_factory, classes, ids, data):
    labels = [data.draw(st.sampled_from(classes)) for _ in ids]
    frame = frame_of([[row_id, "text", label] for row_id, label in zip(ids, labels, strict=True)])
    new = [data.draw(st.sampled_from(classes)) for _ in ids]
    decisions = [[row_id, old, label, "relabel"] for row_id, old, label in zip(ids, labels, new, strict=True)]
    if set(labels) - set(new):
        return  # a class would vanish: refused, see above
    path = write_corrections(tmp_path_factory.mktemp("corrections") / "corrections.csv", decisions)
    corrected, counts = apply_corrections(frame, path, classes)
    assert corrected["label"].tolist() == new and corrected["id"].tolist() == ids
    assert counts["relabelled"] == sum(a != b for a, b in zip(labels, new, strict=True))


@pytest.mark.parametrize("searched", [1000, 25])
def test_nearest_neighbours_are_those_of_all_cosine_distances(monkeypatch, searched):
    monkeypatch.setattr(texts, "SEARCHED", searched)
    features = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    features[[3, 9]] = 0  # texts without a known word
    graph = texts._neighbours(features, 4)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    distances = 1 - unit @ unit.T
    np.fill_diagonal(distances, np.inf)
    sample = np.unique(graph.indices) if searched < 40 else np.arange(40)
    assert len(sample) <= searched
    np.testing.assert_allclose(graph.data.reshape(40, 4), np.sort(distances[:, sample], axis=1)[:, :4], atol=1e-6)
    assert (graph.data.reshape(40, 4)[[3, 9]] == 1).all()
    assert (graph.indices.reshape(40, 4) != np.arange(40)[:, None]).all()
