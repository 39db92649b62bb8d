"""One run: train a model and write all files of its run folder."""

import shutil
import textwrap
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel

from common.classes import most_probable
from common.files import write_json
from common.metrics import score_probabilities
from common.predictions import EXCLUDED, TEST, VALID, Predictions, write_predictions
from common.runs import append_metrics, cut_metrics, read_metrics
from common.saved.environment import environment
from common.training.compute.compiling import wants_compile
from common.training.compute.devices import Device
from common.training.compute.forward import compile_layers
from common.training.compute.memory import recompute_activations
from common.training.encoders.models import load_model
from common.training.encoders.trial import try_model
from common.training.inputs import Inputs, Part, fold_part
from common.training.loop import Diverged, fit
from common.training.plots import draw_learning_curves
from common.training.prediction import predict
from common.training.recipe import check_keep
from common.training.saved import save_trained
from common.training.step import Step
from common.training.teacher import Lesson, mix_labels
from common.training.tokens import Encoded, encode
from common.training.tracking import Tracker

PROBE = 8  # training texts that are predicted after each epoch where there are no validation rows
STUCK_SHARE = 0.95  # of the validation rows, predicted as one class
STUCK_EXCESS = 0.25  # of this share over the class's true share
STUCK_ROWS = 20  # validation rows at least: of a few, all may well be predicted as one class


def fine_tune(
    folder: Path,
    inputs: Inputs,
    seed: int,
    train_rows: np.ndarray,
    held_out: Part | None,
    device: Device,
    arguments: Namespace,
    print_line: Callable[[str], None],
    baseline: dict | None = None,
    runs: int = 1,
    lesson: Lesson | None = None,
) -> dict:
    """Train one model in an opened run folder and write all its files; returns results.json's content.

    `train_rows` are positions in train.csv. `held_out` are the rows to validate on, or None. `arguments` are those of
    add_training_options. `baseline` is written into results.json. A `lesson` adds soft labels. `runs` is the number of
    runs of this encoder in this process, which share compiled code. Every process of a torchrun calls this; the main
    process writes and prints.
    """
    started = time.monotonic()
    dataset, recipe = inputs.dataset, inputs.recipe
    check_keep(recipe, held_out is not None)
    texts, labels = inputs.encoded["train"].take(train_rows), inputs.train_labels[train_rows]
    if lesson:
        labels = mix_labels(labels, lesson.train[train_rows], recipe.teacher_share)
        if lesson.texts:
            texts = texts.followed_by(encode(inputs.tokenizer, lesson.texts, progress="tokenize unlabelled"))
            labels = np.concatenate([labels, lesson.shares])
    model = load_model(
        inputs.source,
        inputs.tokenizer,
        dataset.classes,
        seed=seed,
        pooling=recipe.pooling,
        dropout=recipe.dropout,
        attention_dropout=recipe.attention_dropout,
        print_line=print_line,
    )
    try_model(model, inputs.tokenizer, device)
    if arguments.gradient_checkpointing:
        recompute_activations(model)
    tokens = int(np.minimum(texts.lengths, recipe.max_length).sum()) * recipe.epochs
    compiled, failure = wants_compile(arguments.compile, device, model, tokens * runs)
    if failure:
        print_line(failure)
    if compiled:
        compile_layers(model)

    probabilities: np.ndarray | None = None  # of the held-out rows, by the newest evaluation

    def evaluate() -> dict:
        nonlocal probabilities
        if held_out is None:  # the losses are of the weights before each update, so the last update is not checked yet
            _predict(model, texts.take(np.arange(min(PROBE, len(labels)))), inputs, device, None)
            return {}
        frame, encoded = held_out
        probabilities = _predict(model, encoded, inputs, device, "validate")
        if line := _stuck_line(most_probable(probabilities, dataset.classes), frame["label"].to_numpy()):
            print_line(textwrap.fill(line, 76, subsequent_indent="  "))
        scores = score_probabilities(frame["label"], probabilities, dataset.classes)
        return {f"valid_{name}": scores[name] for name in ("loss", "accuracy", "macro_f1")}

    tracker = Tracker(arguments.track if device.main else None, folder, print_line)

    def log(record: dict) -> None:
        tracker.log(record)
        if device.main and record["event"] == "start":
            machine = _machine(device, compiled) | {"precision": record["precision"], "options": arguments.changed}
            write_json(folder / "environment.json", environment() | machine)
            cut_metrics(folder, record["step"])
        elif device.main:
            append_metrics(folder, record)
            if record["event"] == "epoch":
                print_line(_epoch_line(record, recipe.epochs))

    with closing(tracker):
        step = Step(model, texts, labels, recipe, seed, device, arguments.microbatch_tokens, print_line)
        outcome = fit(
            step, folder / "checkpoints", evaluate=evaluate, log=log, checkpoint_minutes=arguments.checkpoint_minutes
        )

        results: dict[str, Any] = {"evaluated_on": None, "accuracy": None, "macro_f1": None}
        if held_out is not None:
            known = probabilities if outcome.kept_last else None
            results |= {"evaluated_on": "valid"} | _predict_file(
                folder / VALID, model, *held_out, inputs, device, known
            )
        if dataset.test is not None:
            test = _predict_file(folder / TEST, model, dataset.test, inputs.encoded["test"], inputs, device)
            results["test"] = test or None
        excluded = np.flatnonzero(inputs.train_labels < 0)
        if len(excluded):
            _predict_file(folder / EXCLUDED, model, *fold_part(inputs, excluded), inputs, device)
        results |= {
            "baseline": baseline,
            "train_rows": len(train_rows),
            "unlabelled_texts": len(lesson.texts) if lesson else 0,
            "kept_epoch": outcome.kept_epoch,
            "selected_on_validation": recipe.keep == "best",
            "steps": outcome.steps,
            "seconds": round(outcome.seconds, 3),
            "tokens_per_second": round(outcome.tokens / outcome.seconds, 1),
            "microbatch_tokens": outcome.microbatch_tokens,
            "total_seconds": round(time.monotonic() - started, 3),
        }
        if device.main:
            save_trained(folder, model, inputs.tokenizer, results)
            draw_learning_curves(folder / "learning_curves.png", {folder.name: read_metrics(folder)})
            tracker.finish(results)
            write_json(folder / "results.json", results)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return results


def _predict(
    model: PreTrainedModel, encoded: Encoded, inputs: Inputs, device: Device, progress: str | None
) -> np.ndarray:
    """Class probabilities, [texts, classes] float32. Raises Diverged if one is not finite."""
    probabilities = predict(model, encoded, device.predicting(), inputs.recipe, progress)
    if not np.isfinite(probabilities).all():
        raise Diverged("the model's predictions are not finite", device)
    return probabilities


def _machine(device: Device, compiled: bool) -> dict:
    """The device and its settings, for environment.json."""
    return {
        "device": device.name,
        "compiled": compiled,
        "processes": device.processes,
        "threads": torch.get_num_threads(),
    }


def _predict_file(
    path: Path,
    model: PreTrainedModel,
    frame: pd.DataFrame,
    encoded: Encoded,
    inputs: Inputs,
    device: Device,
    probabilities: np.ndarray | None = None,
) -> dict:
    """Write a prediction file; returns the scores where the frame has labels, else an empty dict.

    `probabilities` are those of the rows, [rows, classes], if they are already known.
    """
    classes = inputs.dataset.classes
    if probabilities is None:
        probabilities = _predict(model, encoded, inputs, device, f"predict {path.stem}")
    labels = frame["label"].to_numpy() if "label" in frame else None
    if device.main:
        write_predictions(path, Predictions(frame["id"].to_numpy(), classes, probabilities, labels))
    return {} if labels is None else score_probabilities(labels, probabilities, classes)


def _stuck_line(predicted: np.ndarray, labels: np.ndarray) -> str | None:
    """A warning if the model predicts one class for nearly all rows, but far fewer rows have it; else None.

    ELECTRA and large models can get stuck like this and do not recover.
    """
    if len(labels) < STUCK_ROWS:
        return None
    classes, counts = np.unique(predicted.astype(str), return_counts=True)
    name, share = classes[counts.argmax()], counts.max() / counts.sum()
    if share < STUCK_SHARE or share - (labels.astype(str) == name).mean() < STUCK_EXCESS:
        return None
    return (
        f"warning: {share:.0%} of the validation rows are predicted as {name}; the model may be stuck. "
        "If the next epochs do not change this, start again with half the --learning-rate, or --warmup 0.2, "
        "or another --seed"
    )


def _epoch_line(record: dict, epochs: int) -> str:
    """The line that is printed after an epoch."""
    line = f"epoch {record['epoch']:>{len(str(epochs))}.3g}/{epochs}  loss {record['train_loss']:.3f}"
    if "valid_loss" in record:
        line += (
            f"  valid {record['valid_loss']:.3f}  accuracy {record['valid_accuracy']:.2%}"
            f"  macro-F1 {record['valid_macro_f1']:.2%}"
        )
    return line + f"  {record['seconds']:.0f} s"
