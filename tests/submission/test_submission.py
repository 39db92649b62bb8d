"""create_ensemble_submission.py: what it combines, what it writes, what it refuses."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.files import sha256
from common.predictions import Predictions, write_predictions
from common.submission import combining
from common.submission.files import unexpected_counts
from create_ensemble_submission import main

SCRIPT = Path(__file__).parents[2] / "create_ensemble_submission.py"
CLASSES = ["Kultur", "Sport", "Web"]
IDS = ["a", "b", "c", "d"]
FIRST = [[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.5, 0.3, 0.2]]
SECOND = [[0.3, 0.5, 0.2], [0.2, 0.7, 0.1], [0.7, 0.1, 0.2], [0.1, 0.2, 0.7]]
THIRD = [[0.2, 0.7, 0.1], [0.3, 0.4, 0.3], [0.6, 0.1, 0.3], [0.1, 0.6, 0.3]]
TRUTH = ["Sport", "Sport", "Kultur", "Web"]
OLD = "id,label\nold,Web\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own, with the dataset `data` in it."""
    monkeypatch.chdir(tmp_path)
    make_dataset("data")
    return tmp_path


def make_dataset(folder, test_labels=False, sample=True, ids=IDS, texts=None):
    folder = Path(folder)
    folder.mkdir(parents=True)
    rows = [f"{n},Text {n},{CLASSES[n % 3]}" for n in range(12)]
    (folder / "train.csv").write_text("\n".join(["id,text,label", *rows]) + "\n")
    texts = texts or [f"Artikel {key}" for key in ids]
    test = [
        f"{key},{text}" + (f",{label}" if test_labels else "")
        for key, text, label in zip(ids, texts, TRUTH, strict=True)
    ]
    (folder / "test.csv").write_text("\n".join(["id,text" + ",label" * test_labels, *test]) + "\n")
    if sample:
        make_sample(folder, ids)


def make_sample(folder, ids):
    """A sample in another order than test.csv."""
    rows = "".join(f"{key},Web\n" for key in reversed(ids))
    Path(folder, "sample_submission.csv").write_text("id,label\n" + rows)


def make_predictions(file, probabilities, ids=IDS, classes=CLASSES, labels=None):
    labels = None if labels is None else np.array(labels, dtype=object)
    table = Predictions(np.array(ids, dtype=object), list(classes), np.array(probabilities, dtype=np.float32), labels)
    write_predictions(file, table)
    return str(file)


def make_run(folder, probabilities, data="data", held_out=None, name="valid.csv", **options):
    folder = Path(folder)
    make_predictions(folder / "predictions/test.csv", probabilities, **options)
    config = {"name": "data", "folder": str(data), "text_column": "text", "label_column": "label", "id_column": "id"}
    (folder / "config.json").write_text(json.dumps({"script": "train.py", "data": config, "classes": CLASSES}))
    (folder / "results.json").write_text("{}")
    if held_out is not None:
        given, labels = held_out
        make_predictions(folder / "predictions" / name, given, [f"v{n}" for n in range(len(labels))], labels=labels)
    return str(folder)


def make_submission(file, labels, ids=IDS, header="id,label"):
    Path(file).write_text(
        "\n".join([header, *(f"{key},{label}" for key, label in zip(ids, labels, strict=True))]) + "\n"
    )
    return str(file)


def submission(file="submission.csv"):
    header, *rows = Path(file).read_text().splitlines()
    assert header == "id,label"
    return dict(row.split(",") for row in rows)


def record(file="submission.json"):
    return json.loads(Path(file).read_text())


def fails(capsys, *arguments):
    """The message of a call that must fail: one line, exit code 2, and an old submission that stays as it was."""
    Path("submission.csv").write_text(OLD)
    before = sorted(Path().rglob("*"))
    assert main([str(argument) for argument in arguments]) == 2
    assert Path("submission.csv").read_text() == OLD
    assert sorted(Path().rglob("*")) == before
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


# What it combines


def test_mean_of_files_made_by_hand(folder):
    files = [make_predictions("1.csv", FIRST), make_predictions("2.csv", SECOND), make_predictions("3.csv", THIRD)]
    assert main(files) == 0
    # sums: a 1.1 1.5 .4, b .6 1.9 .5, c 1.5 .4 1.1, d .7 1.1 1.2
    assert submission() == {"a": "Sport", "b": "Sport", "c": "Kultur", "d": "Web"}
    assert record()["method"] == "mean"


def test_majority_of_files_made_by_hand(capsys):
    files = [make_predictions("1.csv", FIRST), make_predictions("2.csv", SECOND), make_predictions("3.csv", THIRD)]
    assert main([*files, "--method", "vote"]) == 0
    # votes: a K S S, b S S S, c W K K, d K W S: tied, and Web has the highest mean
    assert submission() == {"a": "Sport", "b": "Sport", "c": "Kultur", "d": "Web"}
    assert record()["ties"] == 1 and "ties: 1" in capsys.readouterr().out
    assert record()["agreement"] == {"unanimous": 0.25, "mean_pairwise": pytest.approx((1 / 3 + 1 + 1 / 3 + 0) / 4)}


def test_a_tied_vote_goes_to_the_higher_mean_probability_not_to_the_earlier_argument():
    one = make_predictions("1.csv", [[0.4, 0.35, 0.25]] * 4)
    two = make_predictions("2.csv", [[0.1, 0.8, 0.1]] * 4)
    assert main([one, two, "--method", "vote"]) == 0
    assert set(submission().values()) == {"Sport"} and record()["ties"] == 4


def test_a_tie_between_plain_submissions_goes_to_the_earlier_argument():
    one, two = make_submission("1.csv", ["Web"] * 4), make_submission("2.csv", ["Kultur"] * 4)
    three, four = make_submission("3.csv", ["Kultur"] * 4), make_submission("4.csv", ["Web"] * 4)
    assert main([one, two, three, four]) == 0
    assert set(submission().values()) == {"Web"}
    assert main([two, one, three, four]) == 0
    assert set(submission().values()) == {"Kultur"}
    assert record()["method"] == "vote" and record()["ties"] == 4


def test_in_a_mixture_the_members_with_probabilities_break_ties():
    plain, probable = make_submission("1.csv", ["Web"] * 4), make_predictions("2.csv", SECOND)
    assert main([plain, probable]) == 0
    # where the prediction file's own choice is another class, the tie is its to break
    assert submission() == {"a": "Sport", "b": "Sport", "c": "Kultur", "d": "Web"}
    assert [member["kind"] for member in record()["members"]] == ["labels", "probabilities"]


def test_weights_decide_the_vote_and_the_mean():
    files = [make_submission(f"{n}.csv", [label] * 4) for n, label in enumerate(["Web", "Kultur", "Sport"])]
    assert main([*files, "--weights", "1,1,3"]) == 0
    assert set(submission().values()) == {"Sport"} and record()["weights"]["from"] == "given"
    assert main([files[0], files[0], files[2], "--weights", "0.1,0.2,0.3"]) == 0
    assert record()["ties"] == 4  # although 0.1 + 0.2 is more than 0.3 in floating point
    assert set(submission().values()) == {"Web"}
    first, second = make_predictions("p.csv", FIRST), make_predictions("q.csv", SECOND)
    assert main([first, second, "--weights", "0,7"]) == 0
    assert list(submission().values()) == ["Sport", "Sport", "Kultur", "Web"]


def test_rows_and_classes_are_matched_by_name_never_by_position():
    order, columns = [2, 0, 3, 1], [2, 0, 1]
    first = make_predictions("1.csv", FIRST)
    shuffled = make_predictions(
        "2.csv", np.array(SECOND)[order][:, columns], [IDS[n] for n in order], [CLASSES[n] for n in columns]
    )
    assert main([first, shuffled]) == 0
    mixed = submission()
    assert main([first, make_predictions("3.csv", SECOND)]) == 0
    assert mixed == submission() and list(mixed) == IDS


def test_two_hundred_members():
    rng = np.random.default_rng(0)
    ids = [f"id{n}" for n in range(40)]
    files = [make_predictions(f"{n}.csv", rng.dirichlet(np.ones(9), 40), ids, list("ABCDEFGHI")) for n in range(200)]
    assert main(files) == 0
    assert main([*files, "--method", "vote", "--weights", ",".join(["2"] * 200)]) == 0
    assert len(submission()) == 40 and len(record()["members"]) == 200


# Properties

COUNTS = st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any)  # few values: ties are the rule
MEMBER = st.lists(COUNTS, min_size=4, max_size=4)
MEMBERS = st.lists(MEMBER, min_size=1, max_size=6)


def combine(method, given, weights):
    probabilities = (np.array(given) / np.array(given).sum(axis=2, keepdims=True)).astype(np.float32)
    has_probabilities = np.ones(len(given), dtype=bool)
    weights = combining.as_shares(weights)
    return combining.combine(method, probabilities, probabilities.argmax(axis=2), weights, has_probabilities)


@settings(max_examples=150, deadline=None)
@given(MEMBERS, st.sampled_from(["mean", "vote"]), st.randoms(use_true_random=False), st.data())
def test_order_of_members_and_rows_and_scale_of_weights_do_not_matter(given, method, random, data):
    weights = data.draw(st.lists(st.integers(1, 4), min_size=len(given), max_size=len(given)))
    chosen, tied = combine(method, given, weights)

    order = random.sample(range(len(given)), len(given))
    again, tied_again = combine(method, [given[n] for n in order], [weights[n] for n in order])
    assert (chosen == again).all() and (tied == tied_again).all()

    rows = random.sample(range(4), 4)
    again, tied_again = combine(method, np.array(given)[:, rows], weights)
    assert (chosen[rows] == again).all() and (tied[rows] == tied_again).all()

    again, tied_again = combine(method, given, [weight * 0.1 for weight in weights])
    assert (chosen == again).all() and (tied == tied_again).all()

    without = [*given, [[0, 0, 1]] * 4]  # a member without weight has no say
    assert (combine(method, without, [*weights, 0])[0] == chosen).all()


@settings(max_examples=100, deadline=None)
@given(MEMBER, st.sampled_from(["mean", "vote"]), st.floats(1e-300, 1e300))
def test_one_member_is_the_identity(given, method, weight):
    chosen, _ = combine(method, [given], [weight])
    shares = (np.array(given) / np.array(given).sum(axis=1, keepdims=True)).astype(np.float32)
    assert (chosen == shares.argmax(axis=1)).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=5, max_size=5), min_size=1, max_size=6), st.randoms())
def test_plain_votes_depend_on_their_order_only_where_they_tie(votes, random):
    votes = np.array(votes)
    weights = combining.as_shares(np.ones(len(votes)))
    chosen, tied = combining.majority(votes, weights)
    order = random.sample(range(len(votes)), len(votes))
    again, tied_again = combining.majority(votes[order], weights)
    assert (tied == tied_again).all() and (chosen == again)[~tied].all()
    for row in np.flatnonzero(tied):  # the first vote for one of the leading classes
        counts = np.bincount(votes[:, row], minlength=3)
        assert chosen[row] == next(vote for vote in votes[:, row] if counts[vote] == counts.max())


# Weights that are fitted


def held_out(seed, skill, rows=300):
    """Predictions for `rows` rows that are right more often the higher `skill`."""
    labels = np.random.default_rng(99).integers(0, 3, rows)
    scores = np.random.default_rng(seed).normal(0, 1, (rows, 3)) + skill * np.eye(3)[labels]
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), [CLASSES[label] for label in labels]


def test_weights_that_prove_better_are_used(capsys):
    good = make_run("runs/good", FIRST, held_out=held_out(1, 4.0))
    bad = [make_run(f"runs/bad{n}", SECOND, held_out=held_out(2, 0.0)) for n in range(3)]  # three copies of noise
    assert main([good, *bad, "--weights", "auto"]) == 0
    weights = record()["weights"]
    assert weights["from"] == "auto" and weights["values"][0] > 0.7
    assert weights["search"]["difference"] > weights["search"]["standard_error"] > 0
    assert ": used" in capsys.readouterr().out
    assert list(submission()) == IDS[::-1] and submission()["d"] == "Kultur"  # the good one's choice


def test_weights_that_do_not_prove_better_are_not_used(capsys):
    runs = [make_run(f"runs/{n}", FIRST, held_out=held_out(n, 2.0), name="oof.csv") for n in range(3)]
    assert main([*runs, "--weights", "auto"]) == 0
    weights = record()["weights"]
    assert weights["from"] == "equal" and weights["values"] == pytest.approx([1 / 3] * 3)
    assert weights["search"]["file"] == "oof.csv" and "not used" in capsys.readouterr().out
    assert weights["search"]["difference"] <= weights["search"]["standard_error"]


def test_mild_members_are_not_mistaken_for_bad_ones():
    """Members that are too unsure: plain log loss would take the sharpest alone, which is right far less often."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, 800)
    scores = np.array([rng.normal(0, 1, (800, 9)) + skill * np.eye(9)[labels] for skill in (2.0, 2.3, 2.6)])
    probabilities = (np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)).astype(np.float32)
    weights = combining.fit_weights(probabilities, labels)
    assert weights.sum() == pytest.approx(1) and weights.min() > 0.15
    assert weights[0] < weights[1] < weights[2]
    order = [2, 0, 1]
    assert combining.fit_weights(probabilities[order], labels) == pytest.approx(weights[order], abs=0.01)


def test_one_better_row_is_no_proof():
    labels = np.zeros(20, dtype=int)
    right, wrong = np.tile([0.9, 0.1], (20, 1)), np.tile([0.8, 0.2], (20, 1))
    wrong[0] = [0.05, 0.95]
    found = combining.search_weights("mean", np.array([right, wrong, wrong]), labels)
    assert found.rows == 20 and not found.used


def test_auto_needs_runs_with_the_same_held_out_rows(capsys):
    one = make_run("runs/one", FIRST, held_out=held_out(1, 1.0))
    assert "1.csv is not a run" in fails(capsys, one, make_predictions("1.csv", FIRST), "--weights", "auto")
    two = make_run("runs/two", SECOND, held_out=held_out(2, 1.0, rows=200))
    assert "id 'v200' is missing" in fails(capsys, one, two, "--weights", "auto")
    other = make_run("runs/other", SECOND, held_out=held_out(2, 1.0), name="oof.csv")
    assert "in every run, or" in fails(capsys, one, other, "--weights", "auto")
    given, labels = held_out(2, 1.0)
    swapped = make_run("runs/swapped", SECOND, held_out=(given, [*labels[1:], labels[0]]))
    assert "different labels" in fails(capsys, one, swapped, "--weights", "auto")


# What it checks against, and writes


def test_a_run_brings_its_dataset_and_the_newest_run_is_taken(capsys):
    make_run("runs/old", SECOND)
    os.utime("runs/old/results.json", (1, 1))
    new = make_run("runs/new", FIRST)
    (Path(new) / "results.json").touch()
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "runs/new" in out and "checked against data" in out
    assert list(submission().items()) == [("d", "Kultur"), ("c", "Web"), ("b", "Sport"), ("a", "Kultur")]
    assert main(["old", "--output", "deep/er/by_name.csv"]) == 0
    assert submission("deep/er/by_name.csv")["d"] == "Web"


def test_a_run_may_be_named_like_a_file(capsys):
    make_run("runs/v1.csv", FIRST)
    for name in ("v1.csv", "runs/v1.csv"):
        assert main([name]) == 0
        assert submission() == {"d": "Kultur", "c": "Web", "b": "Sport", "a": "Kultur"}
    make_submission("v1.csv", ["Web"] * 4)  # a file of that name is meant first, as before
    assert main(["v1.csv"]) == 0
    assert set(submission().values()) == {"Web"}
    assert main(["runs/v1.csv"]) == 0
    assert submission()["a"] == "Kultur"


def test_without_a_sample_the_order_is_that_of_test_csv():
    make_dataset("plain", sample=False)
    file = make_predictions("1.csv", FIRST[::-1], IDS[::-1])
    assert main([file, "--data", "plain"]) == 0
    assert list(submission()) == IDS
    assert main([file]) == 0
    assert list(submission()) == IDS[::-1]


def test_exactly_two_files_are_written_and_an_old_submission_is_replaced(folder):
    file = make_predictions("1.csv", FIRST)
    Path("submission.csv").write_text(OLD)
    before = {path for path in folder.rglob("*") if path.is_file()}
    assert main([file, "--data", "data"]) == 0
    assert {path for path in folder.rglob("*") if path.is_file()} - before == {folder / "submission.json"}
    assert Path("submission.csv").read_bytes() == b"id,label\nd,Kultur\nc,Web\nb,Sport\na,Kultur\n"
    written = record()
    assert written["file"] == "submission.csv" and written["sha256"] == sha256("submission.csv")
    assert written["members"][0]["sha256"] == sha256(file) and written["dataset"]["name"] == "data"
    assert written["counts"] == {"Kultur": 2, "Sport": 1, "Web": 1} and "score" not in written


def test_labels_and_ids_with_commas_and_quotes_survive():
    text = 'id,label\n"a,1","Kunst, ""Musik"""\n2,Web\n'
    Path("1.csv").write_text(text)
    assert main(["1.csv"]) == 0
    assert Path("submission.csv").read_text() == text


def test_ids_labels_and_names_are_written_as_the_competition_writes_them():
    """Kaggle compares code points: macOS decomposes umlauts, and all members are read in NFC."""
    words = ["Schlüssel", "Größe", "Bühne", "Öl", "ä1", "ä2"]
    key, size, stage, oil, *ids = (unicodedata.normalize("NFD", word) for word in words)
    Path("kit").mkdir()
    rows = "".join(f"Text {n},{(stage, oil, 'Web')[n % 3]}\n" for n in range(9))
    Path("kit/train.csv").write_text("text,label\n" + rows)
    Path("kit/test.csv").write_text(f"{key},text\n{ids[0]},a\n{ids[1]},b\n")
    file = make_predictions("1.csv", [[0.7, 0.2, 0.1], [0.2, 0.1, 0.7]], words[4:], ["Bühne", "Web", "Öl"])
    expected = f"{ids[1]},{oil}\n{ids[0]},{stage}\n"
    Path("kit/sample_submission.csv").write_text(f"{key},{size}\n{ids[1]},Web\n{ids[0]},Web\n")
    assert main([file, "--data", "kit"]) == 0
    assert Path("submission.csv").read_text() == f"{key},{size}\n" + expected
    assert record()["counts"] == {"Bühne": 1, "Web": 0, "Öl": 1}
    assert main(["submission.csv", file, "--output", "alone.csv"]) == 0  # without a dataset: as the submission has it
    assert Path("alone.csv").read_text().splitlines()[1:] == expected.splitlines()
    Path("kit/sample_submission.csv").write_text(f"{oil},{key},Web,{stage}\n0,{ids[0]},1,0\n0,{ids[1]},1,0\n")
    assert main([file, "--data", "kit", "--output", "shares.csv"]) == 0
    assert Path("shares.csv").read_text().splitlines()[0] == f"{oil},{key},Web,{stage}"
    assert main(["shares.csv", "--data", "kit", "--output", "again.csv"]) == 0
    assert Path("again.csv").read_text() == Path("shares.csv").read_text()
    Path("kit/sample_submission.csv").unlink()
    assert main([file, "--data", "kit", "--id-column", "Schlüssel", "--output", "plain.csv"]) == 0
    assert Path("plain.csv").read_text() == f"id,label\n{ids[0]},{stage}\n{ids[1]},{oil}\n"


def test_the_score_is_printed_where_test_labels_are_known(capsys):
    make_dataset("labelled", test_labels=True)
    assert main([make_predictions("1.csv", FIRST), "--data", "labelled"]) == 0
    assert record()["score"]["accuracy"] == 0.25 and record()["members"][0]["accuracy"] == 0.25
    assert "accuracy 25.00 %" in capsys.readouterr().out.replace("%", " %")
    assert main([make_predictions("2.csv", FIRST, labels=TRUTH)]) == 0  # labels in the prediction file
    assert record()["score"]["accuracy"] == 0.25


def test_a_shifted_class_distribution_is_warned_about(capsys):
    train = {"Kultur": 500, "Sport": 500, "Web": 1000}
    assert unexpected_counts({"Kultur": 52, "Sport": 45, "Web": 103}, train) == {}
    found = unexpected_counts({"Kultur": 90, "Sport": 10, "Web": 100}, train)
    assert set(found) == {"Kultur", "Sport"} and found["Kultur"][0] == 50
    assert found["Kultur"][1] > 5 and found["Sport"][1] < -5
    ids = [f"t{n}" for n in range(60)]
    rows = "".join(f"{n},Text {n},{CLASSES[n % 3]}\n" for n in range(300))
    Path("shift").mkdir()
    Path("shift/train.csv").write_text("id,text,label\n" + rows)
    Path("shift/test.csv").write_text("id,text\n" + "".join(f"{key},Text\n" for key in ids))
    assert main([make_submission("1.csv", ["Web"] * 60, ids), "--data", "shift"]) == 0
    assert "warning: 60 rows are Web, expected from training: 20" in capsys.readouterr().out


def test_help_names_every_option_and_starts_without_torch():
    code = "import sys, create_ensemble_submission as s; s.parse_options([]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent, text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "False"
    done = subprocess.run([sys.executable, str(SCRIPT), "--help"], text=True, capture_output=True, check=True)
    for word in ("--data", "--method", "--weights", "--output", "--upload", "examples:", "submission.csv"):
        assert word in done.stdout


# Submissions of other forms


def make_kit(sample, test_id="Id", train_labels=("0", "1", "2")):
    """A competition whose columns are not id,text,label; classes 0, 1, 2."""
    folder = Path("kit")
    folder.mkdir(exist_ok=True)
    rows = [f"Text {n},{train_labels[n % 3]}" for n in range(12)]
    (folder / "train.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (folder / "test.csv").write_text(f"{test_id},text\n" + "".join(f"{key},Artikel {key}\n" for key in IDS))
    (folder / "sample_submission.csv").write_text(sample)
    return "kit"


NUMBERED = {"classes": ["0", "1", "2"]}


@pytest.mark.parametrize(("header", "test_id"), [("Id,Category", "Id"), ("comment_id,Sub1_Toxic", "comment_id")])
def test_the_samples_header_is_written(header, test_id):
    kit = make_kit(header + "\n" + "".join(f"{key},0\n" for key in reversed(IDS)), test_id)
    assert main([make_predictions("1.csv", FIRST, **NUMBERED), "--data", kit]) == 0
    assert Path("submission.csv").read_text() == f"{header}\nd,0\nc,2\nb,1\na,0\n"
    assert main(["submission.csv", "--data", kit, "--output", "again.csv"]) == 0  # as a member, too
    assert Path("again.csv").read_text() == Path("submission.csv").read_text()
    assert main([make_submission("plain.csv", "0210"), "--data", kit, "--output", "plain_out.csv"]) == 0
    assert Path("plain_out.csv").read_text() == f"{header}\nd,0\nc,1\nb,2\na,0\n"
    assert main(["submission.csv", "--output", "alone.csv"]) == 0  # without a dataset: as the file has it
    assert Path("alone.csv").read_text() == Path("submission.csv").read_text()


def test_a_sample_with_one_column_a_class_gets_probabilities():
    kit = make_kit("id,2,0,1\n" + "".join(f"{key},0,0,1\n" for key in IDS), "id")
    files = [make_predictions(f"{n}.csv", each, **NUMBERED) for n, each in enumerate((FIRST, SECOND))]
    assert main([*files, "--data", kit]) == 0
    header, *rows = [line.split(",") for line in Path("submission.csv").read_text().splitlines()]
    assert header == ["id", "2", "0", "1"] and [row[0] for row in rows] == IDS
    written = np.array([row[1:] for row in rows], dtype=float)
    assert written == pytest.approx(((np.array(FIRST) + SECOND) / 2)[:, [2, 0, 1]], abs=1e-6)
    assert main([files[0], "submission.csv", "--data", kit, "--output", "again.csv"]) == 0  # class columns as they are


# What it refuses


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,prob_Kultur,prob_Sport,prob_Web\na,nan,0.5,0.5\n", "row 1: prob_Kultur is nan"),
        ("id,prob_Kultur,prob_Sport,prob_Web\na,,0.5,0.5\n", "row 1: prob_Kultur is ''"),
        ("id,prob_Kultur,prob_Sport,prob_Web\na,0.2,0.5,0.5\n", "row 1: the probabilities sum to 1.2"),
        ("id,prob_Kultur,prob_Sport,prob_Web\na,0,0,1\na,0,0,1\n", "row 2: duplicate id 'a', first in row 1"),
        ("id,prob_Kultur,prob_Sport\n" + "".join(f"{key},0.5,0.5\n" for key in IDS), "class 'Web' is missing"),
        ("id,prob_Kultur,prob_Sport,prob_Web,prob_X\n" + "".join(f"{key},0,0,1,0\n" for key in IDS), "'X' is unknown"),
        ("id,label\na,Web\nb,Web\nc,Web\n", "id 'd' is missing (1 missing in all)"),
        ("id,label\na,Web\nb,Web\nc,Web\nd,Web\ne,Web\n", "id 'e' is unknown"),
        ("id,label\na,Web\nb,Web\nc,Web\nc,Web\n", "row 4: duplicate id 'c', first in row 3"),
        ("id,label\na,Web\nb,Wetter\nc,Web\nd,Web\n", "row 2: unknown label 'Wetter'"),
        ("id,label\na,Web\nb,\nc,Web\nd,Web\n", "row 2: the label is empty"),
        ("label,id\nWeb,a\n", "id 'd' is missing (3 missing in all)"),
        ("id,label,note\na,Web,x\n", "the header is id, label, note; expected id,label, or id and prob_<class>"),
        ("Id,Label\na,Web\n", "id 'd' is missing"),
        ("id,label\n", "has a header but no rows"),
        ("", "is empty"),
        ("id,label\na,Web\nb\n", "row 2: expected 2 fields, found 1"),
    ],
)
def test_bad_members_are_refused(capsys, text, message):
    Path("bad.csv").write_text(text)
    good = make_predictions("good.csv", FIRST)
    error = fails(capsys, good, "bad.csv", "--data", "data", "--method", "vote")
    assert message in error and "bad.csv" in error
    assert "bad.csv" in fails(capsys, good, "bad.csv")  # against each other, too


def test_bad_calls_are_refused(capsys):
    good, plain = make_predictions("good.csv", FIRST), make_submission("plain.csv", TRUTH)
    assert "plain.csv has only labels" in fails(capsys, good, plain, "--method", "mean")
    for weights in ("1", "1,2,3"):
        assert "for 2 members" in fails(capsys, good, plain, "--weights", weights)
    for weights in ("0,0", "1,-1", "nan,1", "inf,1", "a,b", "1,,2", ""):
        assert "--weights" in fails(capsys, good, plain, "--weights", weights)
    assert "no complete run" in fails(capsys)
    assert "no run 'none'" in fails(capsys, "none")
    assert "cannot read none.csv" in fails(capsys, "none.csv")
    assert "no dataset 'nowhere'" in fails(capsys, good, "--data", "nowhere")
    assert "--data" in fails(capsys, good, "--text-column", "body")
    assert "invalid choice" in fails(capsys, good, "--method", "median")
    assert "--upload needs a message" in fails(capsys, good, "--upload", " ")
    assert "is a folder" in fails(capsys, good, "--output", "data")
    assert "the JSON record needs this name" in fails(capsys, good, "--output", "s.json")
    assert "is an input; write" in fails(capsys, good, "--output", "good.csv")
    assert "is an input; write" in fails(capsys, good, "--data", "data", "--output", "data/sample_submission.csv")


def test_the_record_replaces_only_an_earlier_record(capsys):
    good = make_predictions("good.csv", FIRST)
    Path("data/test.csv").rename("test.csv")
    rows = [{"id": key, "text": f"Artikel {key}"} for key in IDS]
    Path("data/test.json").write_text(json.dumps(rows))
    run = make_run("runs/r", SECOND)
    other = {"damaged": "{", "list": "[]", "settings": '{"file": "x", "sha256": "y"}'}
    for name, text in other.items():
        Path(f"{name}.json").write_text(text)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    error = fails(capsys, good, "--data", "data", "--output", "data/test.csv")
    assert "data/test.json is an input; write" in error
    for name in (f"{run}/results", f"{run}/config", *other):
        error = fails(capsys, run, "--output", f"{name}.csv")
        assert error.endswith(f"{name}.json exists and is no record of a submission; choose another name")
    os.mkfifo("pipe")
    Path("link.json").symlink_to("pipe")
    assert "link.json: it is a device or a pipe" in fails(capsys, good, "--output", "link.csv")
    Path("submission.csv").unlink()
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before

    # An earlier record of this script is replaced, whatever the submission's name was then
    assert main([good, "--output", "a.csv"]) == 0
    Path("a.json").rename("b.json")
    assert main([run, "--output", "b.csv"]) == 0
    assert record("b.json")["file"] == "b.csv"


def test_only_a_submission_is_replaced(capsys):
    run = make_run("runs/r", FIRST)
    good = make_predictions("good.csv", SECOND)
    other = make_run("runs/other", SECOND)
    for name, text in {"notes.csv": "id,label,note\na,Web,x\n", "broken.csv": '"', "lines.csv": "a\n"}.items():
        Path(name).write_text(text)
        assert f"--output {name}: it exists, and neither its header" in fails(capsys, good, "--output", name)
        assert Path(name).read_text() == text
    precious = Path(other, "predictions/test.csv").read_text()
    target = f"{other}/predictions/test.csv"
    assert "it exists, and neither" in fails(capsys, run, "--output", target)
    shares = "id," + ",".join(f"prob_{name}" for name in CLASSES) + "\n" + "".join(f"{key},0,0,1\n" for key in IDS)
    Path("data/sample_submission.csv").write_text(shares)  # submissions then have the header of prediction files
    assert "it exists, and neither" in fails(capsys, run, "--output", target)
    assert Path(target).read_text() == precious
    for _ in range(2):  # the second time, its record shows that it is one
        assert main([run, "--output", "shares.csv"]) == 0
    assert Path("shares.csv").read_text().startswith("id,prob_Kultur,")
    make_sample("data", IDS)

    Path("empty.csv").touch()
    make_submission("earlier.csv", ["Web"] * 4, header="ID;Label".replace(";", ","))
    for name in ("empty.csv", "earlier.csv"):
        assert main([run, "--output", name]) == 0 and list(submission(name)) == IDS[::-1]
    # With its record, a submission of another form is one, too
    kit = make_kit("Key,Class\n" + "".join(f"{key},0\n" for key in IDS), "Key")
    assert main([make_predictions("1.csv", FIRST, **NUMBERED), "--data", kit]) == 0
    assert Path("submission.csv").read_text().startswith("Key,Class\n")
    assert main([run]) == 0 and list(submission()) == IDS[::-1]


def test_prediction_files_with_other_labels_are_refused(capsys):
    one, two = make_predictions("1.csv", FIRST, labels=TRUTH), make_predictions("2.csv", SECOND)
    other = make_predictions("3.csv", THIRD, labels=["Sport", "Sport", "Web", "Web"])
    error = fails(capsys, one, two, other)
    assert "3.csv, id 'c': expected label 'Kultur', as in 1.csv, found 'Web'; are these other rows?" in error
    same = make_predictions("4.csv", THIRD[::-1], ids=IDS[::-1], labels=TRUTH[::-1])
    assert main([two, one, same]) == 0 and record()["score"]["accuracy"] == 1
    make_dataset("labelled", test_labels=True)  # its labels count
    assert main([one, other, "--data", "labelled"]) == 0


def test_an_incomplete_run_and_runs_for_other_test_rows_are_refused(capsys):
    run = make_run("runs/one", FIRST)
    make_dataset("elsewhere", texts=[f"Anderer Artikel {key}" for key in IDS])
    other = make_run("runs/two", SECOND, data="elsewhere")
    assert "different test rows" in fails(capsys, run, other)
    assert main([run, other, "--data", "data"]) == 0
    (Path(other) / "results.json").unlink()
    assert "is not complete" in fails(capsys, other)
    (Path(run) / "config.json").write_text("{}")
    assert "names no dataset" in fails(capsys, run)
    gone = make_run("runs/gone", FIRST, data="gone")
    assert "its dataset gone is missing; give it with --data" in fails(capsys, gone)


def test_a_sample_that_does_not_fit_test_csv_is_refused(capsys):
    good = make_predictions("good.csv", FIRST)
    sample = Path("data/sample_submission.csv")
    for text, message in (
        ("id,label\na,Web\nb,Web\nc,Web\n", "lacks id 'd'"),
        ("id,label\na,Web\nb,Web\nc,Web\nd,Web\nx,Web\n", "has id 'x'"),
        ("id,label\na,Web\nb,Web\nc,Web\nd,Web\nd,Web\n", "duplicate id 'd', first in row 4"),
        ("id,class,note\na,Web,x\n", "has the columns id, class, note; expected an id and a label, or an id and one"),
        ("id,label\n" + "".join(f"{key},{n}\n" for n, key in enumerate(IDS)), "has 0, 1, 2, 3; the classes"),
    ):
        sample.write_text(text)
        assert message in fails(capsys, good, "--data", "data")
