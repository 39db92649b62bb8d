"""The loop: schedule, optimizer, microbatches, interruption and resumption, failures."""

import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

import common.training.loop
import common.training.prediction
import common.training.step
from common.cli import UserError
from common.data import load_dataset
from common.interrupts import Interrupted, StopSignals
from common.training.checkpoints import load_checkpoint
from common.training.compute.devices import Device
from common.training.compute.forward import compile_layers
from common.training.compute.memory import recompute_activations
from common.training.encoders.models import load_model
from common.training.encoders.sources import find_source
from common.training.encoders.tokenizer import load_tokenizer
from common.training.loop import fit
from common.training.optimizer import class_weights, learning_rate_factor, make_optimizer
from common.training.prediction import predict
from common.training.recipe import Recipe
from common.training.step import Step
from common.training.tokens import Encoded, encode

CPU = Device(torch.device("cpu"), "fp32")
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=1e-3, head_factor=2.0, pooling="mean")


@pytest.fixture(scope="module")
def task(small_data):
    dataset = load_dataset(small_data)
    source = find_source("tiny")
    tokenizer, _ = load_tokenizer(source, dataset.train["text"])
    labels = dataset.train["label"].map(dataset.classes.index).to_numpy(dtype=np.int64)
    return source, tokenizer, dataset.classes, encode(tokenizer, dataset.train["text"], 32), labels


def run(
    task,
    folder,
    recipe=RECIPE,
    dropout=None,
    log=lambda record: None,
    budget=None,
    print_line=lambda line: None,
    prepare=lambda model: None,
    **settings,
):
    source, tokenizer, classes, texts, labels = task
    model = load_model(source, tokenizer, classes, seed=0, pooling="mean", dropout=dropout)
    prepare(model)

    def record(entry):
        if entry["event"] != "start":
            log(entry)

    outcome = fit(Step(model, texts, labels, recipe, 0, CPU, budget, print_line), folder, log=record, **settings)
    return outcome, model, predict(model, texts, CPU)


def test_learning_rate_rises_and_falls():
    factors = [learning_rate_factor(step, 10, 0.2) for step in range(10)]
    assert factors == pytest.approx([1 / 2, 1, 8 / 9, 7 / 9, 6 / 9, 5 / 9, 4 / 9, 3 / 9, 2 / 9, 1 / 9])
    assert [learning_rate_factor(step, 3, 0.0) for step in range(3)] == pytest.approx([1, 2 / 3, 1 / 3])
    assert learning_rate_factor(0, 1, 0.1) == 1


def test_optimizer_groups(task):
    source, tokenizer, classes, *_ = task
    model = load_model(source, tokenizer, classes, seed=0, pooling="mean")
    groups = {
        (group["peak"], group["weight_decay"]): len(group["params"])
        for group in make_optimizer(model, RECIPE).param_groups
    }
    # two layers of 6 matrices, 6 biases, 2 norms of 2; 3 tables and a norm of 2; the head's pooler and classifier
    assert groups == {(1e-3, 0.01): 2 * 6 + 3, (1e-3, 0.0): 2 * (6 + 4) + 2, (2e-3, 0.01): 2, (2e-3, 0.0): 2}


def test_class_weights():
    labels = np.array([0, 0, 0, 1])
    assert class_weights(labels, 2, "none").tolist() == [1, 1]
    assert class_weights(labels, 2, "balanced") == pytest.approx([4 / 6, 4 / 2])


def test_microbatches_change_nothing(task, tmp_path):
    """The sum of the microbatches' gradients is the batch's: same losses whatever the budget, dropout off."""
    curves = []
    for budget in (16, 10_000):
        records = []
        run(task, tmp_path / str(budget), dropout=0.0, log=records.append, budget=budget)
        curves.append([record["train_loss"] for record in records])
    assert len(curves[0]) == 5  # 12 steps: records after 6, 10 and 12, and one for each epoch
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


def test_it_learns(task, tmp_path):
    _, _, probabilities = run(task, tmp_path, replace(RECIPE, epochs=12))
    assert (probabilities.argmax(1) == task[4]).mean() > 0.9
    assert probabilities.sum(1) == pytest.approx(np.ones(len(probabilities)), abs=1e-5)


def test_adversarial_steps_add_the_gradient_at_moved_embeddings(task, tmp_path):
    source, tokenizer, classes, texts, labels = task
    rows = np.arange(8)

    def step_of(recipe):
        model = load_model(source, tokenizer, classes, seed=0, pooling="mean", dropout=0.0)
        step = Step(model, texts, labels, recipe, 0, CPU, 10**6)
        step.begin_epoch(0)
        step.optimizer.zero_grad = lambda: None  # to look at the gradients after the step
        return step, model.get_input_embeddings().weight

    def gradient(move):
        step, table = step_of(RECIPE)
        with torch.no_grad():
            table += move
        step._accumulate(0, rows)
        return table.grad

    plain = gradient(0)
    expected = plain + gradient(0.5 * plain / plain.norm())
    step, table = step_of(replace(RECIPE, adversarial=0.5, max_grad_norm=1e9))
    before = table.detach().clone()
    step(0, rows, 0.0)  # at a rate of 0 the weights stay
    assert step.budget == 10**6
    assert torch.allclose(table.grad, expected, atol=1e-6) and not torch.allclose(expected, 2 * plain, atol=1e-6)
    assert torch.equal(table, before)
    assert len(step.losses) == 1


def test_label_smoothing_and_class_weights_act(task, tmp_path):
    losses = {}
    for name, change in {
        "plain": {},
        "smooth": {"label_smoothing": 0.2},
        "weights": {"class_weights": "balanced"},
    }.items():
        records = []
        run(task, tmp_path / name, replace(RECIPE, max_steps=3, **change), dropout=0.0, log=records.append)
        losses[name] = records[-1]["train_loss"]
    assert losses["smooth"] != losses["plain"]
    assert losses["weights"] == pytest.approx(losses["plain"], rel=1e-5)  # fifteen rows of each class: weights are 1


@pytest.mark.parametrize("max_length", [512, 12])  # whole texts, and windows that differ by epoch
@pytest.mark.parametrize("at", [1, 5, 6, 9])
def test_an_interrupted_run_goes_on_to_the_same_weights(task, tmp_path, monkeypatch, at, max_length):
    """Interrupted in the first epoch, before, at and after its end; dropout on."""
    records, again, recipe = [], [], replace(RECIPE, max_length=max_length)
    outcome, model, _ = run(task, tmp_path / "whole", recipe, log=records.append)

    class StopAt(StopSignals):
        def __enter__(self):
            self.steps = 0
            return super().__enter__()

        @property
        def requested(self):
            return self.steps >= at

        @requested.setter
        def requested(self, value):
            pass

    stop = StopAt()
    monkeypatch.setattr(common.training.loop, "StopSignals", lambda: stop)
    step = Step.__call__

    def counted(self, *arguments):
        stop.steps += 1
        return step(self, *arguments)

    monkeypatch.setattr(Step, "__call__", counted)
    with pytest.raises(Interrupted):
        run(task, tmp_path / "cut", recipe, log=again.append)
    monkeypatch.undo()
    resumed, second, _ = run(task, tmp_path / "cut", recipe, log=again.append)
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, second.state_dict()[name]), name
    assert (resumed.steps, resumed.tokens) == (outcome.steps, outcome.tokens)

    def losses(entries):
        return [(r["event"], r["step"], r["train_loss"]) for r in entries]

    assert losses(again) == losses(records)


def test_a_signal_while_the_losses_are_read_is_not_lost(task, tmp_path, monkeypatch):
    """On a GPU that is where the host waits, so that is when most signals arrive."""
    read = Step.read_losses

    def interrupted_read(step):
        losses = read(step)
        if len(losses) == 6:  # the first record, after the first epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    monkeypatch.setattr(Step, "read_losses", interrupted_read)
    with pytest.raises(Interrupted):
        run(task, tmp_path)
    assert [path.stem for path in tmp_path.glob("step-*")] == ["step-00000006"]


@pytest.fixture
def slow_clock(monkeypatch):
    """Time passes by `sleep(seconds)` alone; a step takes 31 seconds."""
    now = [1000.0]
    monkeypatch.setattr(common.training.loop.time, "monotonic", lambda: now[0])
    call = Step.__call__

    def sleep(seconds):
        now[0] += seconds

    def slow_step(*arguments):
        sleep(31)
        return call(*arguments)

    monkeypatch.setattr(Step, "__call__", slow_step)
    return sleep


@pytest.mark.parametrize(("minutes", "expected"), [(2, [4, 8, 12]), (5, [10, 12]), (60, [12]), (None, [])])
def test_checkpoints_are_saved_when_they_are_worth_it(task, tmp_path, monkeypatch, slow_clock, minutes, expected):
    """After that many minutes of training, and in the end where more than a minute would be lost: gigabytes each."""
    saved = []
    monkeypatch.setattr(common.training.loop, "save_checkpoint", lambda *given: saved.append(given[3]["step"]))
    run(task, tmp_path, checkpoint_minutes=minutes)
    assert saved == expected


def test_a_run_of_seconds_saves_no_checkpoint(task, tmp_path):
    run(task, tmp_path)
    assert not list(tmp_path.glob("step-*"))


def test_seconds_of_training_are_those_of_the_steps(task, tmp_path, monkeypatch, slow_clock):
    """Neither validation nor checkpoints count, so that tokens per second compare."""
    records = []
    monkeypatch.setattr(common.training.loop, "save_checkpoint", lambda *_: slow_clock(7))
    outcome, _, _ = run(
        task, tmp_path, log=records.append, evaluate=lambda: slow_clock(1000) or {}, checkpoint_minutes=2
    )
    assert outcome.seconds == 12 * 31
    assert [r["seconds"] for r in records if r["event"] == "epoch"] == [6 * 31 + 1000 + 7, 12 * 31 + 2000 + 14]


def test_a_checkpoint_of_another_gpu_is_continued(task, tmp_path):
    """bf16 has no scaler, fp16 has one: it begins anew. And the budget is that of the GPU that goes on."""
    source, tokenizer, classes, texts, labels = task

    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(task, tmp_path, checkpoint_minutes=0, budget=40, log=stop)
    model = load_model(source, tokenizer, classes, seed=0, pooling="mean")
    step = Step(model, texts, labels, RECIPE, 0, CPU, budget=4000)
    scaler = torch.amp.GradScaler("cpu")
    assert load_checkpoint(tmp_path, model, step.optimizer, scaler)["step"] == 5
    assert scaler.state_dict() == torch.amp.GradScaler("cpu").state_dict()
    assert fit(step, tmp_path).microbatch_tokens == 4000


def test_a_damaged_checkpoint_falls_back_to_the_one_before(task, tmp_path):
    def stop_late(record):
        if record["step"] == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(task, tmp_path, checkpoint_minutes=0, log=stop_late)
    checkpoints = sorted(tmp_path.glob("step-*.safetensors"))
    assert [path.stem for path in checkpoints] == ["step-00000010", "step-00000011"]
    checkpoints[-1].write_bytes(checkpoints[-1].read_bytes()[:-100])
    lines = []
    _, model, _ = run(task, tmp_path, print_line=lines.append)
    assert len(lines) == 2 and "damaged" in lines[0] and lines[1] == "resumed at step 10 of 12"
    _, whole, _ = run(task, tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), whole.state_dict().values(), strict=True))


def test_keep_best_restores_the_best_epoch(task, tmp_path):
    scores = iter([0.5, 0.9, 0.9, 0.7])
    snapshots = []
    source, tokenizer, classes, texts, labels = task
    model = load_model(source, tokenizer, classes, seed=0, pooling="mean")

    def evaluate():
        snapshots.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"valid_accuracy": next(scores), "valid_loss": 1.0, "valid_macro_f1": 0.5}

    step = Step(model, texts, labels, replace(RECIPE, epochs=4, keep="best"), 0, CPU)
    outcome = fit(step, tmp_path, evaluate=evaluate)
    assert outcome.kept_epoch == 2
    assert all(torch.equal(tensor, snapshots[1][name]) for name, tensor in model.state_dict().items())
    assert any(not torch.equal(tensor, snapshots[3][name]) for name, tensor in model.state_dict().items())


def test_full_memory_halves_the_microbatches(task, tmp_path, monkeypatch):
    """As on a GPU: too many tokens at once raise; the batch is computed in smaller parts, with the same result."""
    compute = common.training.step.compute_logits
    seen = []

    def limited(model, batch, mode):
        if model.training:
            seen.append(len(batch.ids))
            if len(batch.ids) > 100:
                raise torch.OutOfMemoryError
        return compute(model, batch, mode)

    monkeypatch.setattr(common.training.step, "compute_logits", limited)
    lines, records, plain = [], [], []
    outcome, _, _ = run(task, tmp_path / "a", dropout=0.0, log=records.append, budget=400, print_line=lines.append)
    monkeypatch.undo()
    run(task, tmp_path / "b", dropout=0.0, log=plain.append)
    assert outcome.microbatch_tokens == 100
    assert len(lines) == 2 and "microbatches of 200 tokens" in lines[0] and "100 tokens" in lines[1]
    assert [r["train_loss"] for r in records] == pytest.approx([r["train_loss"] for r in plain], rel=1e-4)
    assert max(seen) > 100


def test_memory_that_is_full_in_the_adversarial_pass_changes_nothing(task, tmp_path, monkeypatch):
    """The step begins anew, its direction stays: other processes have agreed on it."""
    compute, direction = common.training.step.compute_logits, Step._direction
    calls, directions, lines = [], [], []

    def limited(model, batch, mode):
        calls.append(mode)
        if len(calls) == 2:
            raise torch.OutOfMemoryError
        return compute(model, batch, mode)

    def counted(step):
        directions.append(step)
        return direction(step)

    recipe = replace(RECIPE, adversarial=0.5, max_steps=3)
    _, _, plain = run(task, tmp_path / "plain", recipe, dropout=0.0)
    monkeypatch.setattr(common.training.step, "compute_logits", limited)
    monkeypatch.setattr(Step, "_direction", counted)
    _, _, cut = run(task, tmp_path / "cut", recipe, dropout=0.0, print_line=lines.append)
    assert len(lines) == 1 and "GPU memory is full" in lines[0]
    assert len(directions) == 3
    assert cut == pytest.approx(plain, abs=1e-4)


def test_a_single_text_that_does_not_fit_is_the_users_to_mend(task, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(common.training.step, "compute_logits", full)
    with pytest.raises(UserError, match="--gradient-checkpointing"):
        run(task, tmp_path)


def test_memory_that_is_too_small_for_the_optimizer_is_the_users_to_mend(task, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(UserError, match="optimizer's state"):
        run(task, tmp_path)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")]
)
def test_memory_that_is_full_in_prediction_halves_the_microbatch(task, monkeypatch, error):
    source, tokenizer, classes, texts, _ = task
    model = load_model(source, tokenizer, classes, seed=0, pooling="mean")
    plain = predict(model, texts, CPU)
    compute, refused = common.training.prediction.compute_logits, []

    def limited(model, batch, mode):
        if len(batch.ids) > 100:
            refused.append(len(batch.ids))
            raise error
        return compute(model, batch, mode)

    monkeypatch.setattr(common.training.prediction, "compute_logits", limited)
    assert predict(model, texts, CPU) == pytest.approx(plain, abs=1e-6)
    assert refused
    monkeypatch.setattr(common.training.prediction, "compute_logits", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(model, texts, CPU)

    def never(*_):
        raise error

    monkeypatch.setattr(common.training.prediction, "compute_logits", never)
    with pytest.raises(UserError, match="too small for a single text; lower"):
        predict(model, texts, CPU)


def test_a_loss_that_is_not_finite_stops_the_run(task, tmp_path, monkeypatch):
    compute = common.training.step.compute_logits
    monkeypatch.setattr(common.training.step, "compute_logits", lambda *arguments: compute(*arguments) * math.nan)
    with pytest.raises(UserError, match="not finite at step 6; lower --learning-rate"):
        run(task, tmp_path)
    assert not list(tmp_path.glob("step-*"))  # nothing broken is kept to resume from


def test_gradient_checkpointing_changes_nothing(task, tmp_path):
    models = []
    for name, prepare in (("plain", lambda model: None), ("saving", recompute_activations)):
        _, model, _ = run(task, tmp_path / name, replace(RECIPE, max_steps=3), prepare=prepare)
        models.append(model.state_dict())
    for name, tensor in models[0].items():
        torch.testing.assert_close(tensor, models[1][name], rtol=1e-4, atol=1e-6, msg=name)


def test_compiled_layers_compute_the_same(task, tmp_path, monkeypatch):
    """The layers are captured as graphs of dynamic size; generating code from them takes half a minute on a CPU."""
    compile_function = torch.compile
    captured = []

    def capture(function, **settings):
        captured.append(function.__name__)
        return compile_function(function, backend="eager", **settings)

    monkeypatch.setattr(torch, "compile", capture)
    _, _, plain = run(task, tmp_path / "plain", replace(RECIPE, max_steps=2), dropout=0.0)
    _, _, compiled = run(task, tmp_path / "compiled", replace(RECIPE, max_steps=2), dropout=0.0, prepare=compile_layers)
    assert compiled == pytest.approx(plain, abs=1e-4)
    assert captured == ["_project", "_finish"]


def test_predictions_do_not_depend_on_company(task):
    source, tokenizer, classes, texts, _ = task
    model = load_model(source, tokenizer, classes, seed=0, pooling="mean")
    together = predict(model, texts, CPU)
    rows = np.array([7, 3, 11])
    assert predict(model, texts.take(rows), CPU) == pytest.approx(together[rows], abs=1e-6)


def test_long_texts_are_predicted_by_the_mean_over_their_windows(task):
    source, tokenizer, classes, texts, _ = task
    model = load_model(source, tokenizer, classes, seed=0, pooling="mean")
    recipe = replace(RECIPE, max_length=12)
    ids = texts.tokens[texts.offsets[0] : texts.offsets[1]]
    assert len(ids) == 32  # 30 tokens between the special ones: three windows of ten
    windows = [np.concatenate([ids[:1], ids[begin : begin + 10], ids[-1:]]) for begin in (1, 11, 21)]
    parts = [predict(model, Encoded(window, np.array([0, 12])), CPU)[0] for window in windows]
    assert predict(model, texts.take([0]), CPU, recipe)[0] == pytest.approx(np.mean(parts, axis=0), abs=1e-6)
    head = predict(model, texts.take([0]), CPU, replace(recipe, long_texts="head"))[0]
    first = np.concatenate([ids[:11], ids[-1:]])
    assert head == pytest.approx(predict(model, Encoded(first, np.array([0, 12])), CPU)[0], abs=1e-6)
    assert predict(model, texts, CPU, replace(recipe, max_length=32)) == pytest.approx(
        predict(model, texts, CPU), abs=1e-6
    )


def test_no_checkpoint_is_no_resumption(task, tmp_path):
    source, tokenizer, classes, *_ = task
    model = load_model(source, tokenizer, classes, seed=0, pooling="mean")
    assert load_checkpoint(tmp_path / "none", model, make_optimizer(model, RECIPE)) is None


def test_a_run_without_a_step_left_stays_in_its_precision(task, tmp_path):
    """Killed in its last predictions, it goes on with these; no step is computed in the new precision."""
    source, tokenizer, classes, texts, labels = task
    told, starts = [], []
    run(task, tmp_path, checkpoint_minutes=0)
    model = load_model(source, tokenizer, classes, seed=0, pooling="mean")
    step = Step(model, texts, labels, RECIPE, 0, Device(torch.device("cpu"), "bf16"), None, told.append)
    assert fit(step, tmp_path, log=starts.append).steps == 12
    assert told == ["resumed at step 12 of 12"]
    assert starts == [{"event": "start", "step": 12, "precision": "fp32"}]
