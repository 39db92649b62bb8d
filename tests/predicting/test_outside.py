"""predict.py with other people's habits: two at once, no ids, cp1252 on standard input, an output that is something."""

import io
import json
from pathlib import Path

import pytest

import create_confusion_matrix
import predict
import train
from common.predicting.parts import open_parts
from common.runs import LOCK, complete_runs
from tests.conftest import write_csv


@pytest.fixture(scope="module")
def small_run(small_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ids")
    rows = [line.split(",", 1) for line in (small_data / "train.csv").read_text(encoding="utf-8").splitlines()]
    (folder / "train.csv").write_text("\n".join(f"nr{row[0]},{row[1]}" for row in rows).replace("nrid", "nr", 1))
    run = folder / "run"
    assert train.main(["--model", "tfidf", "--data", str(folder), "--id-column", "nr", "--run", str(run)]) == 0
    return run


def refused(capsys, *arguments):
    capsys.readouterr()
    assert predict.main([*map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_an_output_belongs_to_one_process(small_run, in_tmp, capsys):
    write_csv(Path("new.csv"), ["text"], [["Das Tor fiel spät."]])
    holder = open_parts(Path("out.csv.parts"), {"of": "another process"})
    from common import runs

    lock, held = runs._held.popitem()  # as the other process: its lock is not ours
    assert "is being written by another process" in refused(capsys, small_run, "new.csv", "--output", "out.csv")
    assert json.loads(Path("out.csv.parts/plan.json").read_text()) == {"of": "another process"}
    runs._held[lock] = held
    holder.remove()
    assert not Path("out.csv.parts").exists()
    assert predict.main([str(small_run), "new.csv", "--output", "out.csv"]) == 0
    assert not Path("out.csv.parts").exists() and not list(Path().rglob(LOCK))


def test_new_texts_without_the_ids_of_training(small_run, in_tmp, capsys):
    write_csv(Path("texte.csv"), ["text", "a", "a"], [["Das Tor fiel spät.", "1", "2"]])
    assert predict.main([str(small_run), "texte.csv", "--output", "out.csv"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "texte.csv has no column 'nr', which had the ids in training: row numbers are the ids" in told
    assert "columns of the same name are left out: a" in told
    assert Path("out.csv").read_text().startswith("id,text,label,probability\n1,Das Tor")
    assert "has no column 'nr' (--id-column)" in refused(capsys, small_run, "texte.csv", "--id-column", "nr")


def test_standard_input_in_another_encoding(small_run, in_tmp, monkeypatch, capsys):
    class Stdin:
        buffer = io.BytesIO("Süß".encode("cp1252"))

    monkeypatch.setattr("sys.stdin", Stdin)
    assert predict.main([str(small_run), "-", "--encoding", "cp1252"]) == 0
    assert "Süß" in capsys.readouterr().out


def test_outputs_that_would_ruin_something(small_run, in_tmp, capsys):
    write_csv(Path("new.csv"), ["text"], [["Das Tor fiel spät."]])
    before = (small_run / "model/predicting.json").read_bytes()
    for output in (small_run / "model/predicting.json", small_run / "predictions/valid.csv", "out.xlsx"):
        assert "--output" in refused(capsys, small_run, "new.csv", "--output", output)
    assert (small_run / "model/predicting.json").read_bytes() == before and not Path("out.xlsx").exists()


def test_other_peoples_folders_below_runs(small_run, in_tmp):
    for name, config in (("a", "{}"), ("b", "no JSON"), ("c", '{"model": "bert"}'), ("d", None)):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "results.json").write_text("{}")
        if config:
            Path("runs", name, "config.json").write_text(config)
    assert complete_runs() == []
    Path("runs/mine").symlink_to(small_run)
    assert complete_runs() == [Path("runs/mine")]


def test_few_rows_all_right(in_tmp, capsys):
    """An interval has a width, one row does not check itself, and an earlier picture does not stay."""
    write_csv(Path("p.csv"), ["id", "label", "prob_a", "prob_b"], [["1", "a", "0.9", "0.1"]])
    Path("confusion_matrix").mkdir()
    Path("confusion_matrix/comparison.png").touch()
    assert create_confusion_matrix.main(["--predictions", "p.csv"]) == 0
    metrics = json.loads(Path("confusion_matrix/metrics.json").read_text())
    assert metrics["accuracy_interval"] == pytest.approx([0.2065, 1], abs=1e-4)  # Wilson: 1 / (1 + 1.96 ** 2)
    assert metrics["coverage"]["targets"] == []
    assert not Path("confusion_matrix/comparison.png").exists()
    assert "cross-checked" not in capsys.readouterr().out
