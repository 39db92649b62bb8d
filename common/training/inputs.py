"""What an encoder is trained on: dataset, tokens, recipe; and the tokens of the validation rows."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from common.data import Dataset
from common.hub import pin_commit
from common.training.encoders.configs import describe_source
from common.training.encoders.registry import TFIDF
from common.training.encoders.sources import Source, find_source
from common.training.encoders.tokenizer import load_tokenizer
from common.training.recipe import Recipe, resolve_recipe
from common.training.rows import Task, TfidfInputs, load_task, prepare_tfidf
from common.training.teacher import Teacher, find_teachers, identify_teacher
from common.training.tokens import Encoded, encode

Part = tuple[pd.DataFrame, Encoded]  # rows and their tokens


@dataclass(frozen=True, eq=False)
class Inputs:
    """What all members of an ensemble with one encoder share: the dataset, tokenized, and the encoder's identity."""

    dataset: Dataset
    source: Source
    tokenizer: PreTrainedTokenizerBase
    train_labels: np.ndarray  # [rows of train.csv] class numbers, corrected; -1: excluded from training
    encoded: dict[str, Encoded]  # "train", and "valid", "test" if the dataset has them; rows as in its frames
    recipe: Recipe
    teachers: Sequence[Teacher]  # all models of the teaching run; empty without one
    config: dict  # config.json without the seed and the rows

    @property
    def name(self) -> str:
        """The encoder's name, for run folders."""
        return self.source.name.replace("/", "-")


AnyInputs = Inputs | TfidfInputs


def prepare_models(arguments: Namespace, print_line: Callable[[str], None]) -> dict[str, AnyInputs]:
    """The inputs of each model in `arguments.models`. Raises UserError for bad input."""
    task = load_task(arguments, print_line)
    inputs: dict[str, AnyInputs] = {}
    for model in arguments.models:
        one = Namespace(**vars(arguments) | {"model": model})
        inputs[model] = (prepare_tfidf if model == TFIDF else prepare_inputs)(one, print_line, task)
    return inputs


def prepare_inputs(arguments: Namespace, print_line: Callable[[str], None], task: Task | None = None) -> Inputs:
    """Find the encoder, resolve the recipe, tokenize; read the dataset unless its `task` is given.

    Raises UserError for bad input.
    """
    task = task or load_task(arguments, print_line)
    dataset = task.dataset
    source = find_source(arguments.model)
    source = replace(source, revision=pin_commit(source.location, source.revision))
    tokenizer, warnings = load_tokenizer(source, dataset.train["text"])
    for warning in warnings:
        print_line(f"warning: {warning}")
    identity = describe_source(source)
    recipe = resolve_recipe(arguments, identity)
    if identity["weights"] == "pickle":
        print_line(
            f"model {source.name}: no .safetensors file; reading only the tensors of pytorch_model.bin, no code is run"
        )
    if recipe.max_length > tokenizer.model_max_length:
        print_line(
            f"model {source.name} reads at most {tokenizer.model_max_length} tokens: --max-length is lowered to that"
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
    config = {
        "model": {
            "name": arguments.model,
            "location": source.location,
            "revision": identity["revision"],
            "weights": identity["weights"],
        },
        **task.config,
        "recipe": asdict(recipe),
    }
    teachers = find_teachers(arguments.teacher, dataset) if arguments.teacher else []
    if teachers:
        config["teacher"] = identify_teacher(arguments.teacher, teachers, dataset)
    return Inputs(dataset, source, tokenizer, task.train_labels, encoded, recipe, teachers, config)


def validation_part(inputs: Inputs, valid_rows: np.ndarray) -> Part | None:
    """The rows to validate on: those of valid.csv, else the given rows of train.csv, else None."""
    if inputs.dataset.valid is not None:
        return inputs.dataset.valid, inputs.encoded["valid"]
    return fold_part(inputs, valid_rows) if len(valid_rows) else None


def fold_part(inputs: Inputs, rows: np.ndarray) -> Part:
    """The given rows of train.csv with their tokens."""
    return inputs.dataset.train.iloc[rows], inputs.encoded["train"].take(rows)
