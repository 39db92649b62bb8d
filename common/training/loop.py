"""The loop: batches in an order drawn at random, a log, scores after every epoch, checkpoints.

Nothing depends on when a run was interrupted: a resumed one ends with the same weights and the same log.
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
from common.training.optimizer import learning_rate_factor
from common.training.processes import agree
from common.training.progress import progress_bar
from common.training.step import Step
from common.training.tokens import deal_batches

LOG_EVERY = 10  # steps between two loss records: only then are losses read from the device
BEST_WEIGHTS = "best.safetensors"


@dataclass
class Progress:
    """How far a run is: what a checkpoint holds beside the weights and the optimizer's state, as JSON."""

    step: int = 0
    tokens: int = 0  # real tokens trained on, over all processes
    seconds: float = 0.0  # since the start; the time between an interruption and the resumption is left out
    losses: list[float] = field(default_factory=list)  # of the steps since the last record
    epoch_loss: float = 0.0  # the sum over the epoch's recorded steps
    best: list | None = None  # with --keep best: [validation accuracy, epoch]


@dataclass(frozen=True)
class Fit:
    """What training leaves besides the weights."""

    seconds: float
    tokens: int  # real tokens trained on, over all processes
    steps: int
    microbatch_tokens: int  # the budget in the end; smaller than at the start where memory ran out
    kept_epoch: int


def fit(
    step: Step,
    folder: Path,
    *,
    evaluate: Callable[[], dict] = dict,
    log: Callable[[dict], None] = lambda record: None,
    checkpoint_minutes: float = 10.0,
) -> Fit:
    """Train as the step's recipe says. Under torchrun every process calls this alike.

    After each epoch `evaluate()` returns a dict with valid_loss, valid_accuracy and valid_macro_f1, or an empty one.
    `log(record)` takes every record of metrics.jsonl, and first {"event": "start", "step"}: what was logged after that
    step will come again. Checkpoints are kept in `folder`, an existing one is continued.
    Raises UserError for a loss that is not finite, Interrupted after SIGINT or SIGTERM (a checkpoint is saved first).
    """
    recipe, device, rows = step.recipe, step.device, len(step.texts.lengths)
    epoch_steps = math.ceil(rows / recipe.batch_size)
    total_steps = min(recipe.epochs * epoch_steps, recipe.max_steps or recipe.epochs * epoch_steps)
    progress = _resume(step, folder, total_steps)
    log({"event": "start", "step": progress.step})
    begin = time.monotonic() - progress.seconds
    saved = time.monotonic()

    with progress_bar(total_steps, "train", "step", progress.step, device.main) as bar, StopSignals() as stop:
        for epoch, position, batch in _schedule(progress.step, total_steps, rows, recipe.batch_size, step.seed):
            step.begin_epoch(epoch)
            rate = learning_rate_factor(progress.step, total_steps, recipe.warmup)
            step(progress.step, batch, rate)
            progress.step += 1
            progress.tokens += int(step.store.lengths[batch].sum())
            bar.update()

            now = {"step": progress.step, "epoch": progress.step / epoch_steps}
            epoch_ends = position + 1 == epoch_steps or progress.step == total_steps
            logs = epoch_ends or progress.step % LOG_EVERY == 0
            if logs:
                log({"event": "step", **now, **_loss_record(step, progress, rate)})
            if epoch_ends:
                scores = evaluate()
                epoch_loss, progress.epoch_loss = progress.epoch_loss / (position + 1), 0.0
                seconds = time.monotonic() - begin
                log({"event": "epoch", **now, "train_loss": epoch_loss, **scores, "seconds": seconds})
                if recipe.keep == "best":
                    _keep_best(step, progress, scores["valid_accuracy"], epoch + 1, folder)

            progress.seconds = time.monotonic() - begin
            if logs or device.processes == 1:  # several processes agree where they wait for one another anyway
                due = progress.step < total_steps and (epoch_ends or time.monotonic() - saved > 60 * checkpoint_minutes)
                stops, due = agree(device, stop.requested, due)
                if stops or due:
                    progress.losses += step.read_losses()
                    if device.main:
                        save_checkpoint(folder, step.model, step.optimizer, vars(progress), step.scaler)
                    saved = time.monotonic()
                if stops:
                    raise Interrupted("a checkpoint is saved; the same command goes on from there")

    if progress.best:
        load_weights(folder / BEST_WEIGHTS, step.model)
    kept_epoch = progress.best[1] if progress.best else math.ceil(total_steps / epoch_steps)
    return Fit(progress.seconds, progress.tokens, total_steps, step.budget, kept_epoch)


def _resume(step: Step, folder: Path, total_steps: int) -> Progress:
    """The progress of the newest checkpoint, whose weights the model then has; or of a run that begins."""
    stored = load_checkpoint(folder, step.model, step.optimizer, step.scaler, step.print_line)
    if stored is None:
        return Progress()
    step.print_line(f"resumed at step {stored['step']} of {total_steps}")
    return Progress(**{name: stored[name] for name in vars(Progress())})


def _loss_record(step: Step, progress: Progress, rate: float) -> dict:
    """The mean loss since the last record, which enters the epoch's. Raises UserError where one is not finite."""
    losses = progress.losses + step.read_losses()
    if not all(map(math.isfinite, losses)):
        hint = " or use --precision fp32" if step.device.precision == "fp16" else ""
        raise UserError(f"the loss is not finite at step {progress.step}; lower --learning-rate{hint}")
    progress.losses = []
    progress.epoch_loss += sum(losses)
    return {"train_loss": float(np.mean(losses)), "learning_rate": rate * step.recipe.learning_rate}


def _keep_best(step: Step, progress: Progress, accuracy: float, epoch: int, folder: Path) -> None:
    """Save the weights where this epoch's validation accuracy is the highest; of equal ones the first."""
    if progress.best and accuracy <= progress.best[0]:
        return
    progress.best = [accuracy, epoch]
    if step.device.main:
        save_weights(folder / BEST_WEIGHTS, step.model)


def _schedule(start: int, stop: int, rows: int, batch_size: int, seed: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (epoch, position in the epoch, row numbers) of every optimizer step from `start` to before `stop`."""
    epoch_steps = math.ceil(rows / batch_size)
    batches = None
    for step in range(start, stop):
        epoch, position = divmod(step, epoch_steps)
        if batches is None or position == 0:
            batches = deal_batches(rows, batch_size, seed, epoch)
        yield epoch, position, batches[position]
