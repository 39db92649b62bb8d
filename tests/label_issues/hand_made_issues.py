"""A small dataset with planted errors, and predictions for it, for the tests of label issues and of the review page."""

import csv
import json
import random
from pathlib import Path

import numpy as np

import find_label_issues
from common.files import sha256
from common.predictions import Predictions, write_predictions

CLASSES = ["=Wirtschaft", "Kultur", "Sport"]  # a spreadsheet would run the first one
WRONG = {"r05": 0.01, "r16": 0.02, "r27": 0.03, "r38": 0.04}  # ids with a wrong label -> probability of that label
FILES = {"label_issues.html", "label_issues.csv", "summary.json", "label_joint.png", "label_quality.png"}
HOSTILE = "</script><script>document.title = 'hacked'</script> \"Zitat\" & 'mehr' \u2028 \u202eRTL\u202c <b>fett</b>"


def words(seed, count=25):
    """Some German-like words of their own for each seed, so that no two texts are near each other by accident."""
    rng = random.Random(seed)
    return " ".join("".join(rng.choice("bdfgklmnprst") + rng.choice("aeiouäöü") for _ in "1234") for _ in range(count))


def rows(count=60):
    """[(id, text, label)]: classes in turn, those of `WRONG` labelled with the next class."""
    made = []
    for number in range(count):
        row_id = f"r{number:02d}"
        label = CLASSES[(number + (row_id in WRONG)) % 3]
        made.append([row_id, f"{words(number)} Zwölf Wörter über {label.strip('=')}.", label])
    return made


def probabilities(table, sharpness=0.9):
    """A model that knows the right class; of the wrong labels it believes as much as `WRONG` says."""
    made = np.full((len(table), 3), (1 - sharpness) / 2)
    for position, (row_id, _, label) in enumerate(table):
        number = int(row_id[1:])
        made[position, number % 3] = sharpness
        if row_id in WRONG:
            made[position] = 0.01
            made[position, CLASSES.index(label)] = WRONG[row_id]
            made[position, number % 3] = 0.99 - WRONG[row_id]
    return made.astype(np.float32)


def write_dataset(folder, train, ids=True, **others):
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in {"train": train, **others}.items():
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "text", "label"] if ids else ["text", "label"])
            writer.writerows(table if ids else [row[1:] for row in table])
    return folder


def write_run(folder, data):
    """A complete run trained on the dataset folder `data`, without predictions yet."""
    (folder / "predictions").mkdir(parents=True)
    columns = {"text_column": "text", "label_column": "label", "id_column": "id"}
    fingerprint = {path.name: sha256(path) for path in data.glob("*.csv")}
    data = {"name": data.name, "folder": str(data), **columns, "fingerprint": fingerprint}
    config = {"script": "train_ensemble.py", "data": data, "classes": CLASSES}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "results.json").write_text("{}", encoding="utf-8")
    return folder


def write_oof(path, table, made=None, ids=None, labels=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.array(ids or [row[0] for row in table], dtype=object)
    given = np.array([row[2] for row in table], dtype=object) if labels else None
    made = probabilities(table) if made is None else made
    write_predictions(path, Predictions(ids, CLASSES, made.astype(np.float32), given))
    return path


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def refuse(capsys, *arguments):
    """Run with bad input; returns the one line on stderr."""
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    assert find_label_issues.main([str(argument) for argument in arguments]) == 2
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before, "something was written"
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error
