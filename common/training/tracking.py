"""Log a run to an installed experiment tracker: MLflow, Weights & Biases or TensorBoard.

The tracker gets the content of metrics.jsonl and results.json, and the pictures. Its own environment variables
(MLFLOW_TRACKING_URI, WANDB_MODE, ...) set the server and the account. TensorBoard writes to the run's folder.
"""

import contextlib
import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common.cli import UserError
from common.files import read_json, write_json

TRACKERS = ("mlflow", "wandb", "tensorboard")
IDENTITY = "tracking.json"  # in the run folder, so that an interrupted run continues as the same run of the tracker


def tracker_name(text: str) -> str:
    """The type of --track, an installed tracker. Raises UserError if it is not installed."""
    if text not in TRACKERS:
        raise UserError(f"--track {text}: expected one of {', '.join(TRACKERS)}")
    spec = find_spec(text)
    if spec is None or spec.origin is None:  # only a folder of that name, such as wandb creates
        raise UserError(f"--track {text}: it is not installed: python -m pip install {text}")
    return text


class Tracker:
    """One run's connection to a tracker (None: no tracker). If it fails, it prints a warning and training continues.

    Close it (`contextlib.closing`), whatever happens: wandb would log the process's next run into an open one.
    """

    def __init__(self, name: str | None, folder: Path, print_line: Callable[[str], None] = print):
        self.name, self.folder, self.print_line = name, Path(folder), print_line
        self.connection: Any = None  # of the tracker in use; opened with the first record
        self.step = 0

    def log(self, record: dict) -> None:
        """Log a record of metrics.jsonl, as step/train_loss, epoch/valid_accuracy and so on."""
        self.step = record["step"]
        figures = {f"{record['event']}/{key}": value for key, value in _numbers(record).items() if key != "step"}
        self._do(lambda: figures and self.connection.log(self.step, figures))

    def finish(self, results: dict) -> None:
        """Log the content of results.json and the pictures in the folder, and end the tracker's run."""
        figures = _numbers(results)
        for part in ("test", "baseline"):
            figures |= {f"{part}/{key}": value for key, value in _numbers(results.get(part) or {}).items()}
        pictures = sorted(self.folder.glob("*.png"))
        self._do(lambda: self.connection.finish(self.step, results, figures, pictures))
        self.connection = None

    def close(self) -> None:
        """End the tracker's run as a failed one, unless `finish` has ended it."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # as in _do; the run's own error says more
                connection.fail()

    def _do(self, action):
        if not self.name:
            return
        try:
            if self.connection is None:
                self.connection = self._connect()
            action()
        except Exception as error:  # each tracker has its own exceptions
            reason = " ".join(str(error).split())[:300]
            self.print_line(
                f"warning: {self.name} failed, the run goes on without it: {type(error).__name__}: {reason}"
            )
            self.close()
            self.name = None

    def _connect(self):
        kind = {"mlflow": _MLflow, "wandb": _WandB, "tensorboard": _TensorBoard}[self.name]
        config = read_json(self.folder / "config.json")
        file = self.folder / IDENTITY
        known = read_json(file) if file.exists() else {}
        connection = kind(self.folder, config, self.step, known.get(self.name))
        write_json(file, known | {self.name: connection.identity})
        return connection


class _MLflow:
    """A run in the experiment MLFLOW_EXPERIMENT_NAME, or the one named after the dataset."""

    def __init__(self, folder, config, step, identity):
        from mlflow import MlflowClient

        self.client, self.identity = MlflowClient(), identity
        if identity is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or config["data"]["name"]
            found = self.client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self.client.create_experiment(name)
            self.identity = self.client.create_run(experiment, run_name=_run_title(folder)).info.run_id
            for key, value in _flatten(config).items():
                self.client.log_param(self.identity, key, value[:500])

    def log(self, step, figures):
        for key, value in figures.items():
            self.client.log_metric(self.identity, key, value, step=step)

    def finish(self, step, results, figures, pictures):
        self.log(step, figures)
        self.client.log_dict(self.identity, results, "results.json")
        for picture in pictures:
            self.client.log_artifact(self.identity, str(picture))
        self.client.set_terminated(self.identity)

    def fail(self):
        self.client.set_terminated(self.identity, "FAILED")


class _WandB:
    """A run in the project WANDB_PROJECT."""

    def __init__(self, folder, config, step, identity):
        import wandb

        self.run = wandb.init(id=identity, resume="allow", name=_run_title(folder), config=config, dir=str(folder))
        self.identity = self.run.id

    def log(self, step, figures):
        self.run.log(figures, step=step)

    def finish(self, step, results, figures, pictures):
        import wandb

        self.run.log({picture.stem: wandb.Image(str(picture)) for picture in pictures}, step=step)
        self.run.summary.update(results | figures)
        self.run.finish()

    def fail(self):
        self.run.finish(exit_code=1)


class _TensorBoard:
    """Event files in the run's folder tensorboard/: tensorboard --logdir runs shows them all."""

    def __init__(self, folder, config, step, identity):
        from torch.utils.tensorboard import SummaryWriter

        self.identity = "tensorboard"
        # steps after the last checkpoint are logged again
        self.writer = SummaryWriter(str(folder / self.identity), purge_step=step + 1 if step else None)
        self.writer.add_text("config", _as_text(config))

    def log(self, step, figures):
        for key, value in figures.items():
            self.writer.add_scalar(key, value, step)
        self.writer.flush()

    def finish(self, step, results, figures, pictures):
        from matplotlib.image import imread

        self.log(step, {f"results/{key}": value for key, value in figures.items()})
        self.writer.add_text("results", _as_text(results), step)
        for picture in pictures:
            self.writer.add_image(picture.stem, imread(picture)[..., :3], step, dataformats="HWC")
        self.writer.close()

    def fail(self):
        self.writer.close()


def _numbers(record):
    return {key: value for key, value in record.items() if isinstance(value, (int, float))}


def _flatten(config, prefix=""):
    """`{"recipe": {"epochs": 4}}` -> `{"recipe.epochs": "4"}`."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat


def _run_title(folder):
    """`sample-starter-seed0`; of a member `ensemble/starter-seed0`."""
    whole = Path(folder).resolve()
    return f"{whole.parent.parent.name}/{whole.name}" if whole.parent.name == "members" else whole.name


def _as_text(value):
    """JSON as Markdown shows it as it is: each line indented."""
    return "".join(f"    {line}\n" for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines())
