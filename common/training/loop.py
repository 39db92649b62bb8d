"""The loop: fit() trains a classifier, predict() gives probabilities.

Batches are drawn at random and computed in microbatches of similar length, whose gradients are summed: memory and
padding are then questions of speed alone, never of what is learnt. All randomness of a step comes from (seed, step),
so that a resumed run needs no random state and ends with the same weights.
"""

import contextlib
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from common.cli import UserError
from common.interrupts import Interrupted, StopSignals
from common.training.checkpoints import load_checkpoint, load_weights, save_checkpoint, save_weights
from common.training.devices import microbatch_budget, sum_over_processes
from common.training.dropout import use_word_dropout
from common.training.forward import choose_mode, compile_layers, compute_logits
from common.training.models import head_parameters
from common.training.tokens import (
    TokenStore,
    cover_with_windows,
    cut_heads,
    deal_batches,
    draw_windows,
    split_by_length,
)

LOG_EVERY = 10  # steps between two loss records: only then are losses read from the device


@dataclass(frozen=True)
class Fit:
    """What training leaves besides the weights."""

    seconds: float
    tokens: int  # real tokens trained on, over all processes
    steps: int
    microbatch_tokens: int  # the budget in the end; smaller than at the start where memory ran out
    kept_epoch: int


def fit(
    model,
    texts,
    labels,
    recipe,
    seed,
    device,
    *,
    evaluate,
    log,
    folder,
    microbatch_tokens=None,
    compiled=False,
    checkpoint_minutes=10.0,
    say=print,
    step_type=None,
):
    """Train `model` in place on `texts` (Encoded, whole) with class numbers `labels` [texts] (a NumPy int array).

    `recipe` is that of common/training/options.py. After each epoch `evaluate()` returns a dict with valid_loss,
    valid_accuracy and valid_macro_f1, or an empty one; `log(record)` takes every record of metrics.jsonl, and
    first {"event": "start", "step"}: what was logged after that step will come again.
    Checkpoints are kept in `folder`, an existing one is continued. Under torchrun every process calls this alike.
    `step_type` replaces Step where benchmarks/quality/recipes.py tries another kind of step.
    Raises UserError for a loss that is not finite, Interrupted after SIGINT or SIGTERM (a checkpoint is saved first).
    """
    model.to(device.device)
    if compiled:
        compile_layers(model)
    steps_per_epoch = math.ceil(len(labels) / recipe["batch_size"])
    total_steps = min(recipe["epochs"] * steps_per_epoch, recipe["max_steps"] or recipe["epochs"] * steps_per_epoch)
    step = (step_type or Step)(model, texts, labels, recipe, seed, device, say)
    best_weights = folder / "best.safetensors"
    state = {
        "step": 0,
        "tokens": 0,
        "seconds": 0.0,
        "losses": [],
        "epoch_loss": 0.0,
        "best": None,
        "budget": microbatch_tokens or microbatch_budget(model, device),
    }
    resumed = load_checkpoint(folder, model, step.optimizer, step.scaler, say)
    state = resumed or state
    log({"event": "start", "step": state["step"]})
    if resumed:
        say(f"resumed at step {state['step']} of {total_steps}")
    begin = time.monotonic() - state["seconds"]
    saved = time.monotonic()

    bar = tqdm(
        total=total_steps,
        initial=state["step"],
        desc="train",
        unit="step",
        leave=False,
        disable=None if device.main else True,
    )
    with bar, StopSignals() as stop:
        for epoch, position, rows in _schedule(state["step"], total_steps, len(labels), recipe["batch_size"], seed):
            step.begin_epoch(epoch)
            rate = learning_rate_factor(state["step"], total_steps, recipe["warmup"])
            state["budget"] = step(state["step"], rows, rate, state["budget"])
            state["step"] += 1
            state["tokens"] += int(step.store.lengths[rows].sum())
            bar.update()

            now = {"step": state["step"], "epoch": state["step"] / steps_per_epoch}
            epoch_ends = position + 1 == steps_per_epoch or state["step"] == total_steps
            if epoch_ends or state["step"] % LOG_EVERY == 0:
                state["losses"] += step.read_losses(stop)
                if not all(map(math.isfinite, state["losses"])):
                    hint = " or use --precision fp32" if device.precision == "fp16" else ""
                    raise UserError(f"the loss is not finite at step {state['step']}; lower --learning-rate{hint}")
                log(
                    {
                        "event": "step",
                        **now,
                        "train_loss": float(np.mean(state["losses"])),
                        "learning_rate": rate * recipe["learning_rate"],
                    }
                )
                state["epoch_loss"] += sum(state["losses"])
                state["losses"] = []
            if epoch_ends:
                scores = evaluate()
                log(
                    {
                        "event": "epoch",
                        **now,
                        "train_loss": state["epoch_loss"] / (position + 1),
                        **scores,
                        "seconds": time.monotonic() - begin,
                    }
                )
                state["epoch_loss"] = 0.0
                if recipe["keep"] == "best" and (not state["best"] or scores["valid_accuracy"] > state["best"][0]):
                    state["best"] = [scores["valid_accuracy"], epoch + 1]
                    if device.main:
                        save_weights(best_weights, model)
            state["seconds"] = time.monotonic() - begin
            stops = stop.requested and (device.processes == 1 or epoch_ends or state["step"] % LOG_EVERY == 0)
            due = time.monotonic() - saved > 60 * checkpoint_minutes
            if stops or (state["step"] < total_steps and (epoch_ends or due)):
                state["losses"] += step.read_losses(stop) if device.processes == 1 else []
                if device.main:
                    save_checkpoint(folder, model, step.optimizer, state, step.scaler)
                saved = time.monotonic()
                if stops:
                    raise Interrupted("a checkpoint is saved; the same command goes on from there")
    if state["best"]:
        load_weights(best_weights, model)
    kept = state["best"][1] if state["best"] else math.ceil(total_steps / steps_per_epoch)
    return Fit(state["seconds"], state["tokens"], total_steps, state["budget"], kept)


def _schedule(start, stop, rows, batch_size, seed):
    """Yield (epoch, position in the epoch, row numbers) of every optimizer step from `start` to before `stop`."""
    steps_per_epoch = math.ceil(rows / batch_size)
    batches = None
    for step in range(start, stop):
        epoch, position = divmod(step, steps_per_epoch)
        if batches is None or position == 0:
            batches = deal_batches(rows, batch_size, seed, epoch)
        yield epoch, position, batches[position]


class Step:
    """One optimizer step: forward and backward in microbatches, clip, update; and what these need again and again."""

    def __init__(self, model, texts, labels, recipe, seed, device, say):
        self.model, self.recipe, self.seed, self.device, self.say = model, recipe, seed, device, say
        self.texts, self.store, self.epoch = texts, None, None
        self.mode = choose_mode(model, device)
        if device.device.type == "cpu":
            use_word_dropout(model)
        self.optimizer = make_optimizer(model, recipe)
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.scaler = torch.amp.GradScaler("cuda") if device.precision == "fp16" else None
        weights = class_weights(labels, model.config.num_labels, recipe["class_weights"])
        self.row_weights = weights[labels]
        self.class_weights = torch.from_numpy(weights).float().to(device.device)
        self.labels = torch.tensor(labels, device=device.device)
        self.losses = []

    def begin_epoch(self, epoch):
        """Choose what of each text this epoch reads: it depends on (seed, epoch) alone. Cheap within an epoch."""
        if epoch == self.epoch:
            return
        max_length, windows = self.recipe["max_length"], self.recipe["long_texts"] == "windows"
        if self.store is None or (windows and self.texts.lengths.max() > max_length):
            read = draw_windows(self.texts, max_length, self.seed, epoch) if windows else None
            self.store = TokenStore(read or cut_heads(self.texts, max_length), self.device.device)
        self.epoch = epoch

    def __call__(self, step, rows, rate, budget):
        """Train on the texts `rows` at `rate` times the peak learning rates; returns the microbatch budget.

        The budget comes back halved (again and again) where GPU memory ran out.
        """
        direction = None
        while True:
            try:
                loss = self._accumulate(step, rows, budget)
                if self.recipe["adversarial"]:
                    direction = self._direction() if direction is None else direction  # processes agree on it once
                    with self._moved_embeddings(direction):
                        self._accumulate(step, rows, budget)
                break
            except torch.OutOfMemoryError:
                if budget <= self.store.lengths[rows].max():
                    raise UserError(
                        "GPU memory is too small for a single text; lower --max-length, add --gradient-checkpointing, "
                        "or take a smaller model"
                    ) from None
            # Outside the handler: the exception would keep the failed step's tensors alive.
            self.optimizer.zero_grad()
            torch.cuda.empty_cache()
            budget = max(budget // 2, 1)
            self.say(f"GPU memory is full: going on with microbatches of {budget} tokens (same batches, same result)")
        self.losses.append(loss)
        if self.device.processes > 1:
            sum_over_processes([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe["max_grad_norm"])
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad()
        return budget

    def _accumulate(self, step, rows, budget):
        """Add up the gradients of the batch's mean loss, of this process' share of the rows; returns that share."""
        self.model.train()
        torch.manual_seed((self.seed * 1_000_003 + step) * 1009 + self.device.rank)
        normaliser = float(self.row_weights[rows].sum())
        share = rows[self.device.rank :: self.device.processes]
        scale = 1.0 if len(share) else 0.0  # fewer rows than processes: take part, without weight
        total = torch.zeros((), device=self.device.device)
        lengths, padded = self.store.lengths, self.mode == "padded"
        for micro in split_by_length(share if len(share) else rows[:1], lengths, budget, padded):
            loss = self.loss(micro) * (scale / normaliser)
            (self.scaler.scale(loss) if self.scaler else loss).backward()
            total += loss.detach()
        return total

    def _direction(self):
        """The gradient of the batch, over all processes, on the word embeddings, [pieces, width], of length 1."""
        direction = self.model.get_input_embeddings().weight.grad.clone()
        if self.device.processes > 1:
            sum_over_processes([direction])
        return direction / direction.norm().clamp_min(1e-12)

    @contextlib.contextmanager
    def _moved_embeddings(self, direction):
        """While entered, the word embeddings stand the recipe's `adversarial` away in this direction.

        Adversarial training on word embeddings, one step of the fast gradient method (Miyato, Dai, Goodfellow 2017).
        """
        table = self.model.get_input_embeddings().weight
        before = table.detach().clone()
        with torch.no_grad():
            table.add_(direction, alpha=self.recipe["adversarial"])
        try:
            yield
        finally:
            with torch.no_grad():
                table.copy_(before)

    def loss(self, rows):
        """The summed loss of a microbatch."""
        logits = self.logits(rows)
        return F.cross_entropy(
            logits,
            self.labels[rows],
            self.class_weights,
            reduction="sum",
            label_smoothing=self.recipe["label_smoothing"],
        )

    def logits(self, rows):
        """Logits of the texts `rows`, [texts, classes] float32."""
        with self.device.autocast():
            return compute_logits(self.model, self.store.gather(rows), self.mode).float()

    def read_losses(self, stop):
        """The batch losses since the last call, as floats; the processes also agree here on whether to stop."""
        values = torch.stack([*self.losses, torch.tensor(float(stop.requested), device=self.device.device)])
        if self.device.processes > 1:
            sum_over_processes([values])
        *losses, requested = values.tolist()
        stop.requested = requested > 0
        self.losses = []
        return losses


@torch.inference_mode()
def predict(model, texts, device, recipe=None, progress="predict"):
    """Class probabilities of `texts` (Encoded), [texts, classes] float32, in their order.

    `recipe` says how long texts are read (its max_length and long_texts): cut, or in windows whose probabilities are
    averaged; without it they are taken as they are. Computed from long to short, in microbatches; under torchrun
    every process computes a share and gets all.
    """
    device = device.predicting()
    model.to(device.device).eval()
    owner = np.arange(len(texts.lengths))
    if recipe and recipe["long_texts"] == "windows":
        texts, owner = cover_with_windows(texts, recipe["max_length"])
    elif recipe:
        texts = cut_heads(texts, recipe["max_length"])
    store = TokenStore(texts, device.device)
    mode = choose_mode(model, device)
    parts = np.arange(len(owner))[device.rank :: device.processes]
    budget = microbatch_budget(model, device, training=False)
    counts = torch.from_numpy(np.bincount(owner)).to(device.device)
    probabilities = torch.zeros(len(counts), model.config.num_labels, device=device.device)
    bar = tqdm(total=len(parts), desc=progress, unit="text", leave=False, disable=None if device.main else True)
    with bar, device.autocast():
        for micro in split_by_length(parts, store.lengths, budget, mode == "padded"):
            logits = compute_logits(model, store.gather(micro), mode)
            rows = torch.from_numpy(owner[micro]).to(device.device)
            probabilities.index_add_(0, rows, logits.float().softmax(dim=-1))
            bar.update(len(micro))
    if device.processes > 1:
        sum_over_processes([probabilities])
    return (probabilities / counts[:, None]).cpu().numpy()


def make_optimizer(model, recipe):
    """AdamW, fused; biases and norms without decay, the head at its own rate; "peak" holds each group's peak rate."""
    head = head_parameters(model)
    groups = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name in head, parameter.ndim >= 2), []).append(parameter)
    base = recipe["learning_rate"]
    settings = [
        {
            "params": members,
            "peak": base * (recipe["head_factor"] if is_head else 1),
            "weight_decay": recipe["weight_decay"] if decays else 0.0,
        }
        for (is_head, decays), members in groups.items()
    ]
    return torch.optim.AdamW(settings, lr=base, betas=(0.9, 0.999), eps=1e-8, fused=True)


def learning_rate_factor(step, total_steps, warmup):
    """Linear rise over the first `warmup` share of the steps, then linear fall to 0 after the last; in (0, 1]."""
    rise = max(1, round(total_steps * warmup))
    return min((step + 1) / rise, (total_steps - step) / max(1, total_steps - rise + 1), 1.0)


def class_weights(labels, classes, choice):
    """The weight of each class in the loss, [classes] float64: all 1, or inversely to its share ("balanced")."""
    if choice == "none":
        return np.ones(classes)
    counts = np.bincount(labels, minlength=classes)
    return len(labels) / (classes * np.maximum(counts, 1))
