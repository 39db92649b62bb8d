"""The GPU benchmark in its smallest form, on a CPU."""

import json

import numpy as np
import pytest

from benchmarks.gpu.__main__ import SMALLEST, main
from benchmarks.gpu.sections import SECTIONS, Size, write_articles
from benchmarks.workload import Workload


def run(path, *more):
    assert main(["--device", "cpu", "--precision", "fp32", "--smallest", "--json", str(path), *more]) == 0
    return json.loads(path.read_text(encoding="utf-8"))


def test_training_sections(tmp_path, capsys):
    path = tmp_path / "gpu.json"
    record = run(path, "--sections", "base")
    base = record["sections"]["base"]
    assert [seed["steps"] for seed in base["runs"]] == [6, 6]  # two seeds of 24 articles, four a step
    assert base["seconds_of_all_seeds"] == pytest.approx(sum(seed["seconds"] for seed in base["runs"]))
    assert base["steps_per_second"] * base["seconds_per_epoch"] == pytest.approx(6)
    assert 0 < base["share_of_matmul_rate"] < 1
    assert base["first_step_seconds"] < base["seconds"]
    table = path.with_suffix(".md").read_text(encoding="utf-8")
    assert table.startswith(f"# {record['device']}, fp32") and "| base, all seeds, s |" in table
    assert "say nothing about speed" in table and "large" not in table
    again = run(path, "--sections", "base")  # what is recorded is not measured again
    assert again["sections"] == record["sections"]
    assert main(["--device", "cpu", "--precision", "bf16", "--smallest", "--json", str(path)]) == 2
    assert "another device, precision or size" in capsys.readouterr().err


def test_articles_are_as_long_as_those_of_10kgnad(tmp_path):
    """48 % are longer than 512 tokens, and the mean after the cut is 407."""
    folder = write_articles(tmp_path / "articles", "sample", Size(articles=600))
    lengths = Workload("tiny", None, folder, 512, 600).encoded.lengths
    assert (lengths == 512).mean() == pytest.approx(0.48, abs=0.07)
    assert lengths.mean() == pytest.approx(407, abs=20)
    assert len(np.unique(lengths)) > 200


@pytest.mark.slow  # the GPU's tests, both rivals, the ladder, train.py three times
def test_all_sections(tmp_path):
    path = tmp_path / "gpu.json"
    sections = run(path)["sections"]
    assert list(sections) == list(SECTIONS)
    assert sections["tests"]["failed"] == 0 and sections["tests"]["passed"] >= 2
    assert sections["rival"]["speedup_over_fair_trainer"] > 0
    assert len(sections["ladder"]["tokens_per_second"]) >= 8
    assert sections["resume"]["largest_difference"] == 0
    assert SMALLEST.articles < 100
