"""benchmarks.quality.encoders: one JSON a run, nothing twice, and the table by hand."""

import json

from benchmarks.quality import encoders


def test_runs_are_recorded_once_and_make_a_page(small_data, in_tmp, capsys):
    arguments = ["--models", "tfidf", "--seeds", "1", "--data", str(small_data), "--results", "r", "--page", "p.md"]
    assert encoders.main(arguments) == 0
    assert len(list((in_tmp / "r").glob("*.json"))) == 1
    record = json.loads((in_tmp / "r" / f"{small_data.name}-tfidf-seed0.json").read_text())
    assert (
        record["scored_on"] == "test" and record["rows"] == 12 and record["seed"] == 0 and record["peak_memory"] > 1e7
    )
    assert not (in_tmp / "runs" / f"encoders-{small_data.name}-tfidf-seed0" / "model").exists()
    page = (in_tmp / "p.md").read_text()
    assert (
        f"## `{small_data.name}`: 12 test rows, cpu" in page and f"| tfidf | 1 | {100 * record['accuracy']:.2f}" in page
    )
    assert "[1/1]" in capsys.readouterr().out
    assert encoders.main(arguments) == 0
    assert "[1/1]" not in capsys.readouterr().out


def test_a_model_that_cannot_be_had_costs_only_itself(small_data, in_tmp, capfd):
    arguments = ["--models", "./nothing,tfidf", "--seeds", "1", "--data", str(small_data)]
    assert encoders.main([*arguments, "--results", "r", "--page", "p.md"]) == 1
    said = capfd.readouterr()
    assert "1 of 2 runs failed (./nothing)" in said.out and "no model './nothing'" in said.err
    assert encoders.main(["--table", "--results", "empty", "--page", "p.md"]) == 2


def test_the_table_by_hand():
    runs = [
        {"model": model, "accuracy": accuracy, "macro_f1": 0.5, "rows": 1028, "seconds": 60, "peak_memory": 2e9}
        for model, accuracy in (("gbert-base", 0.90), ("gbert-base", 0.92), ("other", 0.95))
    ]
    header, _, best, second, *rest = encoders.table(runs, published=True)
    assert header.count("|") == 8 and best.startswith("| other | 1 | 95.00 (93.5 to 96.2) | 50.00 | 60 | 2.0 |  |")
    assert (
        second == "| gbert-base | 2 | 91.00 ± 1.41 (89.0 to 92.6) | 50.00 ± 0.00 | 60 | 2.0 | 90.16 ± 0.47 (20 runs) |"
    )
    assert len(rest) == 4 and all("not measured" in line for line in rest)
    assert len(encoders.table(runs, published=False)) == 4
