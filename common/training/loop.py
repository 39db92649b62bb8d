"""The training loop: shuffled batches, a log, scores after every epoch, checkpoints.

An interrupted and resumed run ends with the same weights and the same log as an uninterrupted one.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.cli import UserError
from common.interrupts import Interrupted, StopSignals
from common.training.checkpoints import load_checkpoint, load_weights, save_checkpoint, save_weights
from common.training.compute.devices import Device
from common.training.compute.processes import agree, copy_from_main, gather
from common.training.optimizer import learning_rate_factor
from common.training.progress import progress_bar
from common.training.step import Step
from common.training.tokens import deal_batches

LOG_EVERY = 10  # steps between loss records; losses are read from the device only then
WORTH_SAVING = 60  # seconds of training; repeating less is faster than writing a large checkpoint
BEST_WEIGHTS = "best.safetensors"


class Diverged(UserError):
    """The loss or the predictions are not finite. This run fails; other members of an ensemble continue."""

    def __init__(self, what: str, device: Device):
        hint = " or use --precision fp32" if device.precision == "fp16" else ""
        super().__init__(f"{what}; lower --learning-rate{hint}")


@dataclass
class Progress:
    """The progress of a run: the part of a checkpoint besides weights and optimizer state, as JSON."""

    step: int = 0
    tokens: int = 0  # real tokens trained on, over all processes
    seconds: float = 0.0  # of training: without validation, checkpoints and the time between two starts
    elapsed: float = 0.0  # since the start, without the time between two starts
    losses: list[float] = field(default_factory=list)  # of the steps since the last record
    epoch_loss: float = 0.0  # the sum over the epoch's recorded steps
    best: list | None = None  # with --keep best: [validation accuracy, epoch]
    precisions: list[str] = field(default_factory=list)  # in which it was computed, first to last


@dataclass(frozen=True)
class Fit:
    """The results of training besides the weights."""

    seconds: float  # of training, as in Progress
    tokens: int  # real tokens trained on, over all processes
    steps: int
    microbatch_tokens: int  # at the end; smaller than at the start if memory ran out
    kept_epoch: int
    kept_last: bool  # the kept weights are those of the last epoch


def fit(
    step: Step,
    folder: Path,
    *,
    evaluate: Callable[[], dict] = dict,
    log: Callable[[dict], None] = lambda record: None,
    checkpoint_minutes: float | None = 10.0,
) -> Fit:
    """Train according to the step's recipe. Under torchrun every process calls this.

    After each epoch `evaluate()` returns a dict with valid_loss, valid_accuracy and valid_macro_f1, or an empty one.
    `log(record)` gets every record of metrics.jsonl, and first {"event": "start", "step", "precision"}: later steps
    will be logged again. Checkpoints are in `folder`; training continues from an existing one. A checkpoint is saved
    every `checkpoint_minutes` of training and at the end, or only on a signal if this is None.
    Raises Diverged for a loss that is not finite, Interrupted after SIGINT or SIGTERM (a checkpoint is saved first).
    """
    recipe, device, rows = step.recipe, step.device, len(step.texts.lengths)
    epoch_steps = math.ceil(rows / recipe.batch_size)
    total_steps = min(recipe.epochs * epoch_steps, recipe.max_steps or recipe.epochs * epoch_steps)
    progress = _resume(step, folder, total_steps)
    log({"event": "start", "step": progress.step, "precision": ", then ".join(progress.precisions)})
    clock, saved = Clock(progress), progress.seconds

    with progress_bar(total_steps, "train", "step", progress.step, device.main) as bar, StopSignals() as stop:
        for epoch, position, batch in _schedule(progress.step, total_steps, rows, recipe.batch_size, step.seed):
            step.begin_epoch(epoch)
            rate = learning_rate_factor(progress.step, total_steps, recipe.warmup)
            step(progress.step, batch, rate)
            progress.step += 1
            progress.tokens += int(step.store.lengths[batch].sum())
            bar.update()

            now = {"step": progress.step, "epoch": progress.step / epoch_steps}
            ends = progress.step == total_steps
            epoch_ends = ends or position + 1 == epoch_steps
            logs = epoch_ends or progress.step % LOG_EVERY == 0
            if logs:
                log({"event": "step", **now, **_loss_record(step, progress, rate)})
            clock.count_training()
            if epoch_ends:
                scores = evaluate()
                clock.count_pause()
                epoch_loss, progress.epoch_loss = progress.epoch_loss / (position + 1), 0.0
                log({"event": "epoch", **now, "train_loss": epoch_loss, **scores, "seconds": progress.elapsed})
            best = recipe.keep == "best" and epoch_ends and _keep_best(step, progress, scores, epoch + 1, folder)

            if logs or device.processes == 1:  # several processes agree only when they wait for one another anyway
                due = best or progress.seconds - saved > _longest_unsaved(checkpoint_minutes, ends)
                stops, due = agree(device, stop.requested, due)
                if stops or due:
                    _save(step, progress, folder)
                    clock.count_pause()
                    saved = progress.seconds
                if stops:
                    raise Interrupted(
                        "a checkpoint is saved; the same command continues from it (with --overwrite it starts again)"
                    )

    if progress.best:
        if device.main:
            load_weights(folder / BEST_WEIGHTS, step.model)
        copy_from_main(device, step.model)
    last_epoch = math.ceil(total_steps / epoch_steps)
    kept_epoch = progress.best[1] if progress.best else last_epoch
    return Fit(progress.seconds, progress.tokens, total_steps, step.budget, kept_epoch, kept_epoch == last_epoch)


def _longest_unsaved(checkpoint_minutes: float | None, ends: bool) -> float:
    """The seconds of training allowed without a checkpoint; fewer at the end, where predictions follow."""
    if checkpoint_minutes is None:
        return math.inf
    return min(60 * checkpoint_minutes, WORTH_SAVING) if ends else 60 * checkpoint_minutes


class Clock:
    """Adds the time since the last call to the progress, as training or as a pause."""

    def __init__(self, progress: Progress):
        self.progress, self.last = progress, time.monotonic()

    def count_pause(self) -> float:
        """Count the time since the last call as a pause; returns it in seconds."""
        now = time.monotonic()
        passed, self.last = now - self.last, now
        self.progress.elapsed += passed
        return passed

    def count_training(self) -> None:
        """Count the time since the last call as training."""
        self.progress.seconds += self.count_pause()


def _resume(step: Step, folder: Path, total_steps: int) -> Progress:
    """Load the newest checkpoint and return its progress; without one, the progress of a new run.

    Raises UserError if the processes find different checkpoints.
    """
    stored = load_checkpoint(folder, step.model, step.optimizer, step.scaler, step.print_line) or {}
    progress = Progress(**{name: value for name, value in stored.items() if name in vars(Progress())})
    found = gather(step.device, progress.step)
    if len(set(found)) > 1:
        raise UserError(
            f"the processes find checkpoints of different steps in {folder} ({', '.join(map(str, found))}): "
            "name a run folder on a disk that all nodes share, with --run-name"
        )
    if stored:
        step.print_line(f"resumed at step {progress.step} of {total_steps}")
    before, now = progress.precisions[-1:], step.device.precision
    if not before or (before != [now] and progress.step < total_steps):
        progress.precisions.append(now)
        for other in before:
            step.print_line(f"note: the steps until here were computed in {other}, the next ones in {now}")
    return progress


def _loss_record(step: Step, progress: Progress, rate: float) -> dict:
    """The mean loss since the last record; adds to the epoch's loss. Raises Diverged if a loss is not finite."""
    losses = progress.losses + step.read_losses()
    if not all(map(math.isfinite, losses)):
        raise Diverged(f"the loss is not finite at step {progress.step}", step.device)
    progress.losses = []
    progress.epoch_loss += sum(losses)
    return {"train_loss": float(np.mean(losses)), "learning_rate": rate * step.recipe.learning_rate}


def _save(step: Step, progress: Progress, folder: Path) -> None:
    """Save a checkpoint. Every process waits for it, so that no process exits while others still work."""
    progress.losses += step.read_losses()
    if step.device.main:
        save_checkpoint(folder, step.model, step.optimizer, vars(progress), step.scaler)
    gather(step.device, None)


def _keep_best(step: Step, progress: Progress, scores: dict, epoch: int, folder: Path) -> bool:
    """Save the weights if the validation accuracy is the highest so far; returns whether it is."""
    if progress.best and scores["valid_accuracy"] <= progress.best[0]:
        return False
    progress.best = [scores["valid_accuracy"], epoch]
    if step.device.main:
        save_weights(folder / BEST_WEIGHTS, step.model)
    return True


def _schedule(start: int, stop: int, rows: int, batch_size: int, seed: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (epoch, position in the epoch, row numbers) of every optimizer step from `start` to before `stop`."""
    epoch_steps = math.ceil(rows / batch_size)
    batches = None
    for step in range(start, stop):
        epoch, position = divmod(step, epoch_steps)
        if batches is None or position == 0:
            batches = deal_batches(rows, batch_size, seed, epoch)
        yield epoch, position, batches[position]
