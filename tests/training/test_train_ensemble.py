"""train_ensemble.py as its users run it: members, folds, resumption, processes; and the curve by hand."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import train_ensemble
from common.predictions import read_predictions
from common.training.ensemble import accuracy_curve
from tests.training.test_train import FILES, QUICK, ROOT, files, read_json

OWN = {
    "config.json",
    "environment.json",
    "results.json",
    "learning_curves.png",
    "ensemble_curve.png",
    "predictions/test.csv",
}


def member_files(names):
    return {f"members/{name}/{file}" for name in names for file in FILES}


def model_files(names):
    """What is written of each encoder where there are several."""
    parts = ("config.json", "results.json", "predictions/valid.csv", "predictions/test.csv")
    return {f"models/{name}/{file}" for name in names for file in parts}


def test_seeds_share_the_validation_rows(small_data, in_tmp, capsys):
    arguments = [*QUICK, "--data", str(small_data), "--seeds", "3", "--valid-fraction", "0.3", "--run", "e"]
    assert train_ensemble.main(arguments) == 0
    run = Path("runs/e")
    names = [f"tiny-seed{seed}" for seed in range(3)]
    assert files(run) == OWN | {"predictions/valid.csv"} | member_files(names)

    members = [read_predictions(run / f"members/{name}/predictions/valid.csv") for name in names]
    whole = read_predictions(run / "predictions/valid.csv")
    assert all((member.ids == whole.ids).all() for member in members)
    mean = np.mean([member.probabilities for member in members], axis=0)
    assert whole.probabilities == pytest.approx(mean, abs=1e-6)
    results = read_json(run / "results.json")
    accuracies = [(member.predicted == member.labels).mean() for member in members]
    assert [voter["accuracy"] for voter in results["voters"]] == accuracies
    assert results["voter_mean"] == pytest.approx(np.mean(accuracies))
    assert results["voter_deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    assert results["accuracy"] == (whole.predicted == whole.labels).mean()
    assert results["gain"] == pytest.approx(results["accuracy"] - results["voter_mean"])
    differ = [(a.predicted != b.predicted).mean() for a, b in zip(members, [*members[1:], members[0]], strict=True)]
    assert results["disagreement"] == pytest.approx(np.mean(differ))
    assert [point["size"] for point in results["curve"]] == [1, 2, 3]
    assert results["curve"][0]["accuracy"] == pytest.approx(results["voter_mean"])
    assert results["curve"][2]["accuracy"] == pytest.approx(results["accuracy"])
    output = capsys.readouterr().out
    assert "3 models" in output
    assert max(len(line) for line in output.splitlines() if str(run) not in line) <= 80  # columns of a terminal

    # A member lost, then the same command: it alone is trained again, to the same files
    before = {name: Path(run, name).read_bytes() for name in ("predictions/valid.csv", "predictions/test.csv")}
    shutil.rmtree(run / "members/tiny-seed1")
    (run / "results.json").unlink()
    assert train_ensemble.main(arguments) == 0
    output = capsys.readouterr().out
    assert output.count("already complete") == 2 and output.count("  epoch 1/2") == 1
    assert {name: Path(run, name).read_bytes() for name in before} == before
    assert train_ensemble.main(arguments) == 0
    assert "is complete" in capsys.readouterr().out


def test_folds_predict_every_row_once_by_models_that_did_not_see_it(small_data, in_tmp):
    arguments = [*QUICK, "--data", str(small_data), "--seeds", "3,8", "--folds", "3", "--run", "f"]
    assert train_ensemble.main(arguments) == 0
    run = Path("runs/f")
    names = [f"tiny-seed{seed}-fold{fold}" for seed in (3, 8) for fold in range(3)]
    assert files(run) == OWN | {"predictions/oof.csv"} | member_files(names)
    whole = read_predictions(run / "predictions/oof.csv")
    assert len(whole.ids) == len(set(whole.ids)) == 45
    rows = {row_id: number for number, row_id in enumerate(whole.ids)}
    expected = np.zeros((2, 45, 3))
    for seed, name in [(seed, f"tiny-seed{seed}-fold{fold}") for seed in (3, 8) for fold in range(3)]:
        part = read_predictions(run / f"members/{name}/predictions/valid.csv")
        places = [rows[row_id] for row_id in part.ids]
        assert (whole.folds[places] == int(name[-1])).all()
        assert read_json(run / f"members/{name}/results.json")["train_rows"] == 45 - len(part.ids)
        expected[(3, 8).index(seed), places] = part.probabilities
    assert whole.probabilities == pytest.approx(expected.mean(axis=0), abs=1e-6)
    results = read_json(run / "results.json")
    assert results["evaluated_on"] == "oof" and results["rows"] == 45 and len(results["voters"]) == 2


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])  # two start torch thrice
def test_two_encoders_and_two_processes(processes, small_data, in_tmp):
    """Members are dealt to the processes of a torchrun; a second encoder is a local folder."""
    import train

    assert train.main([*QUICK, "--data", str(small_data), "--run", "first"]) == 0
    arguments = [
        *QUICK[2:],
        "--data",
        str(small_data),
        "--models",
        "tiny,runs/first/model",
        "--seeds",
        "1",
        "--precision",
        "fp32",
    ]
    assert train_ensemble.main([*arguments, "--run", "one"]) == 0
    members, models = ["tiny-seed0", "model-seed0"], ["tiny", "model"]
    assert files("runs/one") == OWN | {"predictions/valid.csv"} | member_files(members) | model_files(models)
    config = read_json("runs/one/members/model-seed0/model/config.json")
    assert config["num_hidden_layers"] == 3  # the pooling layer that it came with, and no second one
    if processes == 1:
        return
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(ROOT / "train_ensemble.py"), *arguments, "--run-name", "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert files("runs/two") == files("runs/one")
    one, two = (read_predictions(f"runs/{name}/predictions/test.csv").probabilities for name in ("one", "two"))
    assert two == pytest.approx(one, abs=1e-6)


def test_a_failing_member_costs_only_itself(small_data, in_tmp, monkeypatch, capsys):
    import common.training.members

    train_one = common.training.members.fine_tune

    def fail_once(folder, *arguments, **settings):
        if folder.name == "tiny-seed0":
            raise RuntimeError("the GPU fell off the bus")
        return train_one(folder, *arguments, **settings)

    arguments = [*QUICK, "--data", str(small_data), "--seeds", "2", "--run", "e"]
    monkeypatch.setattr(common.training.members, "fine_tune", fail_once)
    assert train_ensemble.main(arguments) == 1
    assert "1 of 2 members failed (tiny-seed0: RuntimeError); the same command finishes them" in capsys.readouterr().out
    assert Path("runs/e/members/tiny-seed1/results.json").exists() and not Path("runs/e/results.json").exists()
    monkeypatch.undo()
    os.chdir(in_tmp)
    assert train_ensemble.main(arguments) == 0
    assert Path("runs/e/results.json").exists()


def test_a_member_whose_loss_is_not_finite_costs_only_itself(small_data, in_tmp, monkeypatch, capsys):
    import common.training.step

    compute = common.training.step.compute_logits
    monkeypatch.setattr(
        common.training.step,
        "compute_logits",
        lambda model, *batch: compute(model, *batch) * (float("nan") if torch.initial_seed() < 10**9 else 1),
    )
    arguments = [*QUICK, "--data", str(small_data), "--seeds", "2", "--run", "e"]
    assert train_ensemble.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: 1 of 2 members failed (tiny-seed0: the loss is not finite at step 3; lower")
    assert Path("runs/e/members/tiny-seed1/results.json").exists() and not Path("runs/e/results.json").exists()


@pytest.mark.parametrize("more", [["--valid-fraction", "0"], []])
def test_a_last_update_that_ruins_the_model_is_a_divergence(small_data, in_tmp, capsys, more):
    """The loss of a step is of the weights before its update."""
    arguments = [*QUICK, "--data", str(small_data), "--max-steps", "1", "--learning-rate", "1e30", *more, "--run", "e"]
    assert train_ensemble.main([*arguments, "--seeds", "2"]) == 2
    error = capsys.readouterr().err
    reason = "the model's predictions are not finite; lower --learning-rate"
    assert error == f"error: 2 of 2 members failed (tiny-seed0: {reason}; tiny-seed1: {reason})\n"
    assert not any("results" in name or "predictions" in name for name in files("runs/e"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "at least 1"),
        (["--seeds", "1,1"], "distinct"),
        (["--seeds", "a"], "--seeds"),
        (["--folds", "1"], "at least 2"),
        (["--folds", "16"], "too few for 16 folds"),
        (["--models", "tiny,nonsense"], "no model 'nonsense'"),
    ],
)
def test_impossible_options_are_one_line(small_data, in_tmp, capsys, arguments, message):
    assert train_ensemble.main([*QUICK, "--data", str(small_data), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_accuracy_curve_by_hand():
    """Three voters, two rows of class 0: right and right, right and wrong, surely wrong and wrong."""
    voters = np.array([[[0.9, 0.1], [0.6, 0.4]], [[0.6, 0.4], [0.3, 0.7]], [[0.2, 0.8], [0.4, 0.6]]])
    curve = accuracy_curve(voters, np.array([0, 0]))
    assert [point["subsets"] for point in curve] == [3, 3, 1]
    assert [point["accuracy"] for point in curve] == pytest.approx([(1 + 0.5 + 0) / 3, (0.5 + 1 + 0) / 3, 0.5])


def test_members_are_dealt_to_jobs_that_share_a_run(small_data, in_tmp, capsys):
    arguments = [*QUICK, "--data", str(small_data), "--seeds", "3", "--max-steps", "1", "--run"]
    assert train_ensemble.main([*arguments, "whole"]) == 0
    assert re.search(r"\n  2 members to go, about \d+ s at this rate\n", capsys.readouterr().out)
    for part, trained in (("2/2", ["seed1"]), ("1/2", ["seed0", "seed2"])):
        assert train_ensemble.main([*arguments, "shared", "--members", part]) == 0
        output = capsys.readouterr().out
        assert re.findall(r"\[./3\] tiny-(\w+): 40 rows", output) == trained
        assert "the same command without --members combines them" in output.replace("\n", " ")
    assert not Path("runs/shared/results.json").exists()
    assert train_ensemble.main([*arguments, "shared"]) == 0
    assert capsys.readouterr().out.count("already complete") == 3
    assert Path("runs/shared/predictions/test.csv").read_bytes() == Path("runs/whole/predictions/test.csv").read_bytes()


def test_complete_members_do_not_count_as_time_left(small_data, in_tmp, capsys):
    arguments = [*QUICK, "--data", str(small_data), "--seeds", "3", "--max-steps", "1", "--run", "r"]
    assert train_ensemble.main([*arguments, "--members", "2/2"]) == 0  # seed1
    capsys.readouterr()
    assert train_ensemble.main(arguments) == 0
    assert re.findall(r"\d members? to go", capsys.readouterr().out) == ["1 member to go"]


@pytest.mark.parametrize("members", ["0/2", "3/2", "1", "a/b", "1/"])
def test_parts_that_cannot_be(members, capsys):
    assert train_ensemble.main(["--members", members]) == 2
    assert f"--members {members}: expected a part and the number of parts" in capsys.readouterr().err
    assert train_ensemble.main(["--members", "1/2", "--overwrite"]) == 2


def test_scores_on_rows_that_chose_the_epoch_are_marked(small_data, in_tmp, capsys):
    """In the ensemble's results, by create_ensemble_submission.py and by predict.py."""
    import create_ensemble_submission
    import predict

    arguments = [*QUICK, "--data", str(small_data), "--seeds", "2", "--valid-fraction", "0.3", "--max-steps", "1"]
    for keep, count in (("best", 1), ("last", 0)):
        assert train_ensemble.main([*arguments, "--keep", keep, "--run", keep]) == 0
        assert read_json(f"runs/{keep}/results.json")["selected_on_validation"] is bool(count)
        assert capsys.readouterr().out.count("epochs were selected on these valid rows: their scores are too") == count
        parts = [f"runs/{keep}/members/tiny-seed{seed}" for seed in range(2)]
        assert create_ensemble_submission.main([*parts, "--weights", "auto", "--output", f"{keep}.csv"]) == 0
        assert " ".join(capsys.readouterr().out.split()).count("epochs were selected on these rows") == 2 * count
        assert predict.main([keep, str(small_data / "test.csv"), "--min-probability", "0.1", "--output", "p.csv"]) == 0
        assert " ".join(capsys.readouterr().out.split()).count("epochs were selected on them, --keep best") == count
