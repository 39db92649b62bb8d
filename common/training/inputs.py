"""What a run is trained on: dataset, tokens, recipe, corrected labels; and which rows train and which validate."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from common.classes import class_numbers
from common.corrections import apply_corrections, flagged_ids
from common.data import Dataset, load_dataset, split_validation
from common.files import sha256
from common.hub import pin_commit
from common.training.configs import describe_source
from common.training.recipe import Recipe, resolve_recipe
from common.training.sources import Source, find_source
from common.training.tokenizer import load_tokenizer
from common.training.tokens import Encoded, encode


@dataclass(frozen=True)
class Inputs:
    """What all members of an ensemble share: the dataset, tokenized once, and the encoder's identity."""

    dataset: Dataset
    source: Source
    tokenizer: PreTrainedTokenizerBase
    train_labels: np.ndarray  # [rows of train.csv] class numbers to train on, corrected; -1: left out of training
    encoded: dict[str, Encoded]  # "train", and "valid", "test" where the dataset has them; rows as in its frames
    recipe: Recipe
    config: dict  # config.json but for the seed and the rows


def prepare_inputs(arguments: Namespace, print_line: Callable[[str], None]) -> Inputs:
    """Read the dataset, find the encoder, resolve the recipe, tokenize. Raises UserError for what users can mend."""
    columns = {key: getattr(arguments, key) for key in ("text_column", "label_column", "id_column")}
    dataset = load_dataset(arguments.data, **columns)
    source = pin_commit(find_source(arguments.model))
    tokenizer, warnings = load_tokenizer(source, dataset.train["text"])
    for warning in warnings:
        print_line(f"warning: {warning}")
    identity = describe_source(source)
    recipe = resolve_recipe(arguments, identity)
    if identity["weights"] == "pickle":
        print_line(
            f"model {source.name}: no .safetensors file; pytorch_model.bin is read, tensors only, no code is run"
        )
    if recipe.max_length > tokenizer.model_max_length:
        print_line(
            f"model {source.name} reads {tokenizer.model_max_length} tokens at most: --max-length is lowered to that"
        )
        recipe = replace(recipe, max_length=tokenizer.model_max_length)
    frames = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    encoded = {
        name: encode(tokenizer, frame["text"], progress=f"tokenize {name}")
        for name, frame in frames.items()
        if frame is not None
    }
    lengths = encoded["train"].lengths
    longer = float((lengths > recipe.max_length).mean())
    reading = "read in windows of" if recipe.long_texts == "windows" else "cut at"
    print_line(
        f"{dataset.name}: {len(dataset.train):,} training rows, {len(dataset.classes)} classes, "
        f"{lengths.mean():.0f} tokens each" + (f", {longer:.0%} {reading} {recipe.max_length}" if longer else "")
    )
    train_labels, changes = corrected_labels(dataset, arguments)
    if changes:
        print_line(f"{changes['file']}: " + ", ".join(f"{n} {what}" for what, n in changes["counts"].items()))
    config = {
        "model": {
            "name": arguments.model,
            "location": source.location,
            "revision": identity["revision"],
            "weights": identity["weights"],
        },
        "data": {
            "name": dataset.name,
            "folder": str(dataset.folder.resolve()),
            **columns,
            "fingerprint": dataset.fingerprint,
            "corrections": changes,
        },
        "classes": dataset.classes,
        "recipe": asdict(recipe),
    }
    return Inputs(dataset, source, tokenizer, train_labels, encoded, recipe, config)


def corrected_labels(dataset: Dataset, arguments: Namespace) -> tuple[np.ndarray, dict | None]:
    """The class number that each row of train.csv trains with, -1 for none; and what changed them, for config.json.

    Corrections touch the training side alone: rows that validate keep the labels that they were given.
    """
    label_of = dict(zip(dataset.train["id"], dataset.train["label"], strict=True))
    changes = None
    if arguments.corrections:
        corrected, counts = apply_corrections(dataset.train, arguments.corrections, dataset.classes)
        label_of = dict(zip(corrected["id"], corrected["label"], strict=True))
        changes = {"file": Path(arguments.corrections).name, "sha256": sha256(arguments.corrections), "counts": counts}
    if arguments.auto_exclude:
        excluded = flagged_ids(arguments.auto_exclude, label_of)
        label_of = {row_id: label for row_id, label in label_of.items() if row_id not in excluded}
        changes = {
            "file": Path(arguments.auto_exclude).name,
            "sha256": sha256(arguments.auto_exclude),
            "counts": {"excluded": len(excluded)},
        }
    ids = dataset.train["id"]
    trains = ids.isin(label_of.keys()).to_numpy()
    numbers = np.full(len(ids), -1, dtype=np.int64)
    numbers[trains] = class_numbers((label_of[row_id] for row_id in ids[trains]), dataset.classes)
    return numbers, changes


def choose_rows(dataset: Dataset, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """The positions in train.csv that train and that validate: a seeded split, thinned by max_train_rows."""
    fraction = 0 if dataset.valid is not None else recipe.valid_fraction
    train_rows, valid_rows = split_validation(dataset.train, fraction, recipe.split_seed)
    return thin(train_rows, recipe), valid_rows


def thin(rows: np.ndarray, recipe: Recipe) -> np.ndarray:
    """A random part of `rows`, in order, where the recipe limits them."""
    if not recipe.max_train_rows or recipe.max_train_rows >= len(rows):
        return rows
    order = np.random.default_rng(recipe.split_seed).permutation(len(rows))
    return np.sort(rows[order[: recipe.max_train_rows]])


def validation_part(inputs: Inputs, valid_rows: np.ndarray) -> tuple[pd.DataFrame, Encoded] | None:
    """The frame and tokens to validate on: those of valid.csv, else of the given rows of train.csv, else None."""
    if inputs.dataset.valid is not None:
        return inputs.dataset.valid, inputs.encoded["valid"]
    return fold_part(inputs, valid_rows) if len(valid_rows) else None


def fold_part(inputs: Inputs, rows: np.ndarray) -> tuple[pd.DataFrame, Encoded]:
    """The frame and the tokens of the given rows of train.csv."""
    return inputs.dataset.train.iloc[rows], inputs.encoded["train"].take(rows)
