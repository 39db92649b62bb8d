"""One run: what it is trained on, its identity, and its folder from config.json to results.json."""

import os
import shutil
import time
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import save_file

from common.batching import Encoded, encode
from common.corrections import apply_corrections, flagged_ids
from common.data import Dataset, load_dataset, split_validation
from common.devices import Device, wants_compile
from common.files import sha256, write_json
from common.metrics import cross_entropy, score
from common.models import Source, describe_source, find_source, load_model, load_tokenizer
from common.options import check_keep, resolve_recipe
from common.plots import draw_learning_curves
from common.predictions import Predictions, write_predictions
from common.runs import append_metrics, cut_metrics, environment, read_metrics
from common.training import fit, predict


@dataclass(frozen=True)
class Inputs:
    """What all members of an ensemble share: the dataset, tokenized once, and the encoder's identity."""

    dataset: Dataset
    source: Source
    tokenizer: object
    train_labels: np.ndarray  # [rows of train.csv] class numbers to train on, corrected; -1: left out of training
    encoded: dict[str, Encoded]  # "train", and "valid", "test" where the dataset has them; rows as in its frames
    recipe: dict
    config: dict  # config.json but for the seed and the rows


def prepare_inputs(arguments, say):
    """Read the dataset, find the encoder, resolve the recipe, tokenize. Raises UserError for what users can mend."""
    columns = {key: getattr(arguments, key) for key in ("text_column", "label_column", "id_column")}
    dataset = load_dataset(arguments.data, **columns)
    source = find_source(arguments.model)
    tokenizer, warnings = load_tokenizer(source, dataset.train["text"])
    for warning in warnings:
        say(f"warning: {warning}")
    identity = describe_source(source)
    recipe = resolve_recipe(arguments, identity)
    recipe["max_length"] = min(recipe["max_length"], tokenizer.model_max_length)
    frames = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    encoded = {
        name: encode(tokenizer, frame["text"], recipe["max_length"], f"tokenize {name}")
        for name, frame in frames.items()
        if frame is not None
    }
    cut = float((encoded["train"].lengths == recipe["max_length"]).mean())
    say(
        f"{dataset.name}: {len(dataset.train):,} training rows, {len(dataset.classes)} classes, "
        f"{encoded['train'].lengths.mean():.0f} tokens each, {cut:.0%} of them at the limit of {recipe['max_length']}"
    )
    train_labels, changes = corrected_labels(dataset, arguments)
    if changes:
        say(f"{changes['file']}: " + ", ".join(f"{n} {what}" for what, n in changes["counts"].items()))
    config = {
        "model": {"name": arguments.model, "location": source.location, "revision": identity["revision"]},
        "data": {
            "name": dataset.name,
            "folder": arguments.data,
            **columns,
            "fingerprint": dataset.fingerprint,
            "corrections": changes,
        },
        "classes": dataset.classes,
        "recipe": recipe,
    }
    return Inputs(dataset, source, tokenizer, train_labels, encoded, recipe, config)


def corrected_labels(dataset, arguments):
    """The class number that each row of train.csv trains with, -1 for none; and what changed them, for config.json.

    Corrections touch the training side alone: rows that validate keep the labels that they were given.
    """
    number_of = {name: number for number, name in enumerate(dataset.classes)}
    label_of = dict(zip(dataset.train["id"], dataset.train["label"], strict=True))
    changes = None
    if arguments.corrections:
        corrected, counts = apply_corrections(dataset.train, arguments.corrections, dataset.classes)
        label_of = dict(zip(corrected["id"], corrected["label"], strict=True))
        changes = {"file": arguments.corrections, "sha256": sha256(arguments.corrections), "counts": counts}
    if arguments.auto_exclude:
        excluded = flagged_ids(arguments.auto_exclude, label_of)
        label_of = {row_id: label for row_id, label in label_of.items() if row_id not in excluded}
        changes = {"file": arguments.auto_exclude, "sha256": sha256(arguments.auto_exclude),
                   "counts": {"excluded": len(excluded)}}  # fmt: skip
    numbers = [number_of[label_of[row_id]] if row_id in label_of else -1 for row_id in dataset.train["id"]]
    return np.array(numbers, dtype=np.int64), changes


def choose_rows(dataset, recipe):
    """The positions in train.csv that train and that validate: a seeded split, thinned by max_train_rows."""
    fraction = 0 if dataset.valid is not None else recipe["valid_fraction"]
    train_rows, valid_rows = split_validation(dataset.train, fraction, recipe["split_seed"])
    return thin(train_rows, recipe), valid_rows


def thin(rows, recipe):
    """A random part of `rows`, in order, where the recipe limits them."""
    if not recipe["max_train_rows"] or recipe["max_train_rows"] >= len(rows):
        return rows
    order = np.random.default_rng(recipe["split_seed"]).permutation(len(rows))
    return np.sort(rows[order[: recipe["max_train_rows"]]])


def validation_part(inputs, valid_rows):
    """What `fine_tune` validates on: valid.csv where there is one, else the given rows of train.csv, else None."""
    if inputs.dataset.valid is not None:
        return "valid", inputs.dataset.valid, inputs.encoded["valid"]
    return fold_part(inputs, valid_rows) if len(valid_rows) else None


def fold_part(inputs, rows):
    """The given rows of train.csv, held out."""
    return "valid", inputs.dataset.train.iloc[rows], inputs.encoded["train"].take(rows)


def fine_tune(folder, inputs, seed, train_rows, held_out, device: Device, arguments, say):
    """Train one model in an opened run folder and write all its files; returns results.json's content.

    `train_rows` are positions in train.csv. `held_out` is (name of the prediction file, frame, Encoded) of the rows
    to validate on, or None. Every process of a torchrun calls this; the main one writes and speaks.
    """
    started = time.monotonic()
    dataset, recipe = inputs.dataset, inputs.recipe
    check_keep(recipe, held_out is not None)
    train_rows = train_rows[inputs.train_labels[train_rows] >= 0]
    labels = inputs.train_labels[train_rows]
    model = load_model(inputs.source, inputs.tokenizer, dataset.classes, seed=seed, pooling=recipe["pooling"],
                       dropout=recipe["dropout"], attention_dropout=recipe["attention_dropout"])  # fmt: skip
    if arguments.gradient_checkpointing:
        model.activation_checkpointing_enable()
    texts = inputs.encoded["train"].take(train_rows)
    compiled = wants_compile(arguments.compile, device, model, int(texts.lengths.sum()) * recipe["epochs"])
    if device.main:
        write_json(folder / "environment.json", environment() | {
            "device": device.name, "precision": device.precision, "compiled": compiled, "processes": device.processes,
            "threads": torch.get_num_threads()})  # fmt: skip

    def evaluate():
        if held_out is None:
            return {}
        _, frame, encoded = held_out
        probabilities = predict(model, encoded, device, "validate")
        scores = score(frame["label"].to_numpy(), _names(probabilities, dataset.classes), dataset.classes)
        return {"valid_loss": cross_entropy(frame["label"], probabilities, dataset.classes),
                "valid_accuracy": scores["accuracy"], "valid_macro_f1": scores["macro_f1"]}  # fmt: skip

    def log(record):
        if device.main and record["event"] == "start":
            cut_metrics(folder, record["step"])
        elif device.main:
            append_metrics(folder, record)
            if record["event"] == "epoch":
                say(_epoch_line(record, recipe["epochs"]))

    outcome = fit(model, texts, labels, recipe, seed, device, evaluate=evaluate, log=log,
                  folder=folder / "checkpoints", microbatch_tokens=arguments.microbatch_tokens, compiled=compiled,
                  checkpoint_minutes=arguments.checkpoint_minutes, say=say)  # fmt: skip

    results = {"evaluated_on": None, "accuracy": None, "macro_f1": None}
    if held_out is not None:
        name, frame, encoded = held_out
        results |= {"evaluated_on": name} | _predict_file(folder, name, model, frame, encoded, dataset, device)
    if dataset.test is not None:
        test = _predict_file(folder, "test", model, dataset.test, inputs.encoded["test"], dataset, device)
        results["test"] = test or None
    results |= {
        "train_rows": len(train_rows),
        "kept_epoch": outcome.kept_epoch,
        "selected_on_validation": recipe["keep"] == "best",
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 3),
        "tokens_per_second": round(outcome.tokens / outcome.seconds, 1),
        "microbatch_tokens": outcome.microbatch_tokens,
        "total_seconds": round(time.monotonic() - started, 3),
    }
    if device.main:
        _save_model(folder / "model", model, inputs.tokenizer)
        draw_learning_curves(folder / "learning_curves.png", {folder.name: read_metrics(folder)})
        write_json(folder / "results.json", results)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return results


def _predict_file(folder, name, model, frame, encoded, dataset, device):
    """Write predictions/<name>.csv; returns the scores where the frame has labels, else an empty dict."""
    probabilities = predict(model, encoded, device, f"predict {name}")
    labels = frame["label"].to_numpy() if "label" in frame else None
    if device.main:
        write_predictions(folder / "predictions" / f"{name}.csv",
                          Predictions(frame["id"].to_numpy(), dataset.classes, probabilities, labels))  # fmt: skip
    if labels is None:
        return {}
    scores = score(labels, _names(probabilities, dataset.classes), dataset.classes)
    return scores | {"loss": cross_entropy(labels, probabilities, dataset.classes)}


def _save_model(folder, model, tokenizer):
    """Write a folder that `from_pretrained` and `pipeline` load: to a temporary name, renamed when whole.

    Not by save_pretrained, which under torchrun writes on the first process alone: here each may have a member to save.
    """
    model.to("cpu")
    model.config.architectures = [type(model).__name__]
    temporary = folder.with_name(".model.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def _names(probabilities, classes):
    return np.array(classes, dtype=object)[probabilities.argmax(axis=1)]


def _epoch_line(record, epochs):
    line = f"epoch {record['epoch']:.3g}/{epochs}  train loss {record['train_loss']:.4f}"
    if "valid_loss" in record:
        line += (f"  valid loss {record['valid_loss']:.4f}  accuracy {record['valid_accuracy']:.2%}"
                 f"  macro-F1 {record['valid_macro_f1']:.2%}")  # fmt: skip
    return line + f"  {record['seconds']:.0f} s"


def summary_lines(folder, results):
    """The lines that a script ends with: scores with intervals, and where the files are."""
    lines = []
    for name, scores in ((results["evaluated_on"], results), ("test", results.get("test"))):
        if name and scores:
            low, high = scores["accuracy_interval"]
            lines.append(f"{name:<6} accuracy {scores['accuracy']:.2%} (95 % interval {low:.1%} to {high:.1%}, "
                         f"{scores['rows']:,} rows)  macro-F1 {scores['macro_f1']:.2%}")  # fmt: skip
    if results["selected_on_validation"]:
        lines.append(f"       epoch {results['kept_epoch']} was chosen on the validation rows: expect less elsewhere")
    lines.append(f"speed  {results['tokens_per_second']:,.0f} tokens/s, {results['seconds']:.0f} s of training")
    lines.append(f"files  {folder}: results.json, learning_curves.png, predictions/, model/")
    return lines
