"""--track: what a tracker gets, and that it costs no run."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import train
import train_ensemble
from common.runs import read_metrics
from common.training import tracking
from common.training.tracking import Tracker

TINY = ["--model", "tiny", "--epochs", "2", "--max-length", "32", "--long-texts", "head", "--device", "cpu"]


@pytest.fixture
def connections(monkeypatch):
    """Stands in for MLflow; the connections that were made."""
    made = []

    class Connection:
        def __init__(self, folder, config, step, identity):
            self.folder, self.config, self.step = folder, config, step
            self.identity = identity or f"id{len(made)}"
            self.logged, self.end = [], None
            made.append(self)

        def log(self, step, figures):
            self.logged.append((step, figures))

        def finish(self, step, results, figures, pictures):
            self.end = (step, results, figures, [path.name for path in pictures])

        def fail(self):
            self.end = "failed"

    monkeypatch.setattr(tracking, "_MLflow", Connection)
    monkeypatch.setattr(tracking, "find_spec", lambda name: SimpleNamespace(origin="somewhere"))
    return made


def test_a_tracker_gets_the_records_of_the_run(in_tmp, small_data, connections):
    assert train.main([*TINY, "--data", str(small_data), "--run", "one", "--track", "mlflow"]) == 0
    (connection,) = connections
    run = Path("runs/one")
    assert connection.config == json.loads((run / "config.json").read_text())
    records = [record for record in read_metrics(run) if record["event"] in ("step", "epoch")]
    assert len(records) >= 4
    assert connection.logged == [
        (r["step"], {f"{r['event']}/{key}": value for key, value in r.items() if key not in ("event", "step")})
        for r in records
    ]
    results = json.loads((run / "results.json").read_text())
    step, sent, figures, pictures = connection.end
    assert (step, sent, pictures) == (results["steps"], results, ["learning_curves.png"])
    assert figures["accuracy"] == results["accuracy"] and figures["test/macro_f1"] == results["test"]["macro_f1"]
    assert json.loads((run / "tracking.json").read_text()) == {"mlflow": "id0"}
    # the same run without a tracker is the same run
    assert train.main([*TINY, "--data", str(small_data), "--run", "one"]) == 0
    assert len(connections) == 1


def test_every_member_and_the_ensemble_are_runs_of_the_tracker(in_tmp, small_data, connections):
    options = ["--models", "tiny,tfidf", "--seeds", "1", *TINY[2:], "--data", str(small_data), "--run", "e"]
    assert train_ensemble.main([*options, "--track", "mlflow"]) == 0
    assert [connection.folder.name for connection in connections] == ["tiny-seed0", "tfidf-seed0", "e"]
    assert [bool(connection.logged) for connection in connections] == [True, False, False]
    assert all(connection.end[2]["accuracy"] > 0 for connection in connections)
    assert tracking._run_title("runs/e/members/tiny-seed0") == "e/tiny-seed0"


def test_an_interrupted_run_goes_on_as_the_same_one(tmp_path, connections):
    (tmp_path / "config.json").write_text("{}")
    Tracker("mlflow", tmp_path).log({"event": "start", "step": 0})
    Tracker("mlflow", tmp_path).log({"event": "start", "step": 20})
    assert [(each.identity, each.step) for each in connections] == [("id0", 0), ("id0", 20)]


def test_a_tracker_that_fails_costs_a_line(in_tmp, small_data, connections, monkeypatch, capsys):
    def fail(*_):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(tracking._MLflow, "log", fail)
    assert train.main([*TINY, "--data", str(small_data), "--run", "one", "--track", "mlflow"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("mlflow failed, the run goes on without it: ConnectionError: no route") == 1


def test_no_member_logs_into_the_run_of_one_that_failed(in_tmp, small_data, connections, monkeypatch):
    """Whatever made it fail: its own divergence, or the tracker."""
    options = ["--seeds", "2", *TINY, "--data", str(small_data), "--max-steps", "1", "--track", "mlflow", "--run"]
    assert train_ensemble.main([*options, "diverged", "--learning-rate", "1e30"]) == 2
    assert [(each.folder.name, each.end) for each in connections] == [
        ("tiny-seed0", "failed"),
        ("tiny-seed1", "failed"),
    ]
    connections.clear()
    monkeypatch.setattr(tracking._MLflow, "log", lambda *_: 1 / 0)
    assert train_ensemble.main([*options, "offline"]) == 0
    assert [each.end for each in connections[:2]] == ["failed", "failed"]


def test_a_tracker_that_is_not_there_is_refused(in_tmp, monkeypatch, capsys):
    Path("wandb").mkdir()  # wandb's own folder of results is no package
    monkeypatch.syspath_prepend(".")
    monkeypatch.setattr(tracking, "find_spec", lambda name: SimpleNamespace(origin=None) if name == "wandb" else None)
    for name in ("wandb", "mlflow"):
        assert train.main(["--model", "tiny", "--track", name]) == 2
        assert f"--track {name}: it is not installed: python -m pip install {name}" in capsys.readouterr().err
    assert train.main(["--model", "tiny", "--track", "neptune"]) == 2
    assert "expected one of mlflow, wandb, tensorboard" in capsys.readouterr().err


# The trackers themselves, where they are installed


def test_mlflow_with_a_local_store(in_tmp, small_data, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (in_tmp / "mlruns").as_uri())
    mlflow.set_tracking_uri(None)
    assert train.main([*TINY, "--data", str(small_data), "--run", "one", "--track", "mlflow"]) == 0
    results = json.loads(Path("runs/one/results.json").read_text())
    client = mlflow.MlflowClient()
    identity = json.loads(Path("runs/one/tracking.json").read_text())["mlflow"]
    run = client.get_run(identity)
    assert (run.info.run_name, run.info.status) == ("one", "FINISHED")
    assert run.data.params["recipe.epochs"] == "2" and run.data.params["model.name"] == "tiny"
    assert run.data.metrics["accuracy"] == results["accuracy"]
    history = [(each.step, each.value) for each in client.get_metric_history(identity, "epoch/valid_accuracy")]
    expected = [(r["step"], r["valid_accuracy"]) for r in read_metrics("runs/one") if r["event"] == "epoch"]
    assert sorted(history) == expected
    assert sorted(file.path for file in client.list_artifacts(identity)) == ["learning_curves.png", "results.json"]


def test_tensorboard(in_tmp, small_data):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert train.main([*TINY, "--data", str(small_data), "--run", "one", "--track", "tensorboard"]) == 0
    events = EventAccumulator("runs/one/tensorboard").Reload()
    found = [(each.step, each.value) for each in events.Scalars("epoch/valid_accuracy")]
    expected = [(r["step"], r["valid_accuracy"]) for r in read_metrics("runs/one") if r["event"] == "epoch"]
    assert found == [(step, pytest.approx(value)) for step, value in expected]
    assert events.Tags()["images"] == ["learning_curves"]


def test_wandb_offline(in_tmp, small_data, monkeypatch, capsys):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert train.main([*TINY, "--data", str(small_data), "--run", "one", "--track", "wandb"]) == 0
    assert "wandb failed" not in capsys.readouterr().out
    assert list(Path("runs/one/wandb").glob("offline-run-*/run-*.wandb"))
