"""All runs at a glance: one row a run, the best of a dataset first."""

import json
from pathlib import Path

import create_ensemble_submission
import train
import train_ensemble
from common.overview.__main__ import main


def make_run(name, accuracy, data="news", members=(), **config):
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    scores = {"accuracy": accuracy, "accuracy_interval": [accuracy - 0.1, accuracy + 0.1], "macro_f1": accuracy - 0.02}
    results = {"evaluated_on": "valid", "rows": 1000, "train_rows": 900, "seconds": 65.4, **scores}
    (folder / "config.json").write_text(json.dumps({"script": "x", "data": {"name": data}, **config}))
    (folder / "results.json").write_text(json.dumps(results))
    for member in members:
        (folder / "members" / member).mkdir(parents=True)
        (folder / "members" / member / "results.json").write_text(json.dumps({"train_rows": 800, "seconds": 100}))


def test_a_row_for_every_run(in_tmp, capsys):
    make_run("one", 0.8, seed=3, model={"name": "starter"})
    make_run("e", 0.9, members=["a", "b"], seeds=[0, 1], folds=2, models={"gbert-base": {}, "starter": {}})
    make_run("tweets", 0.5, data="tweets", seed=0, model={"name": "tiny"})
    Path("runs/unfinished").mkdir()
    assert main([]) == 0
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-4]] for line in printed.splitlines()]
    scores = ["valid (1,000)", "90.00% (80.0% to 100.0%)", "88.00%", "200"]
    assert rows[2] == ["e", "gbert-base, starter", "news", "800", "0,1", "2", *scores]
    assert rows[3][:6] == ["one", "starter", "news", "900", "3", ""] and rows[3][9] == "65"
    assert rows[4][0] == "tweets" and len(rows) == 5
    assert Path("runs/README.md").read_text() == "# Runs\n\n" + printed


def test_the_best_is_first_also_by_test_rows_and_seeds_are_those_trained(in_tmp, capsys):
    make_run("oof", 0.5, seed=0, model={"name": "tiny"})
    make_run("tested", 0, members=["a-seed0"], seeds=[0, 1], models={"tfidf": {}})
    results = json.loads(Path("runs/oof/results.json").read_text()) | {"accuracy": 0.6}
    Path("runs/tested/results.json").write_text(json.dumps({"evaluated_on": None, "test": results}))
    Path("runs/tested/members/a-seed0/config.json").write_text('{"seed": 0}')
    assert main([]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:]] for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[2:]] == ["tested", "oof"]
    assert rows[2][4] == "0" and rows[2][6] == "test (1,000)"


def test_a_bar_in_a_name_is_not_a_column(in_tmp, capsys):
    make_run("a|b", 0.8, seed=3, model={"name": "tiny"})
    assert main([]) == 0
    assert "| a\\|b " in capsys.readouterr().out


def test_filtered_by_data(in_tmp, capsys):
    assert main([]) == 2
    assert "no complete run below runs/ yet" in capsys.readouterr().err
    make_run("one", 0.8, seed=3, model={"name": "starter"})
    make_run("tweets", 0.5, data="tweets", seed=0, model={"name": "tiny"})
    assert main(["--data", "tweets"]) == 0
    assert capsys.readouterr().out.count("\n") == 3
    assert main(["--data", "twits"]) == 2
    assert "no run on 'twits'; there are: news, tweets" in capsys.readouterr().err


def test_options_and_submissions(in_tmp, capsys, small_data):
    options = ["--data", str(small_data), "--model", "tfidf"]
    assert train.main([*options, "--run", "weighted", "--class-weights", "balanced", "--valid-fraction", "0.2"]) == 0
    assert train.main([*options, "--run", "plain"]) == 0
    encoder = ["--model", "tiny", "--seeds", "1", "--max-steps", "1", "--max-length", "16", "--device", "cpu"]
    assert train_ensemble.main(["--data", str(small_data), *encoder, "--run", "e"]) == 0
    assert create_ensemble_submission.main(["weighted", "plain", "--output", "both.csv"]) == 0
    assert create_ensemble_submission.main(["plain", "--output", "one.csv"]) == 0
    uploaded = json.loads(Path("one.json").read_text()) | {"upload": {"public_score": "0.90679"}}
    Path("one.json").write_text(json.dumps(uploaded))
    Path("other.json").write_text("[1]")
    Path("broken.json").write_text("{")
    capsys.readouterr()
    assert main([]) == 0
    rows = [[cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines()]
    assert {row[1]: row[-3:-1] for row in rows[2:]} == {
        "weighted": ["--class-weights balanced --valid-fraction 0.2", "both.csv"],
        "plain": ["", "both.csv, one.csv (public score 0.90679)"],
        "e": ["--max-length 16 --max-steps 1 --device cpu", ""],
    }
