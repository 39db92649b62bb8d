"""Options of the training scripts. `resolve_recipe` sets the defaults that depend on the encoder's size."""

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from common.cli import number
from common.runs import run_folder
from common.training.recipe import SIZE_DEFAULTS, Recipe, TfidfRecipe
from common.training.tracking import TRACKERS, tracker_name

# Options that config.json has under names of its own, or that do not concern the model
UNCHANGING = {"model", "models", "data", "seed", "seeds", "folds", "members", "run", "overwrite", "track"}
# The options in the group "machine" that `tfidf` does not use
FOR_ENCODERS = {"device", "precision", "compile", "gradient_checkpointing", "microbatch_tokens", "checkpoint_minutes"}


def add_training_options(parser: ArgumentParser) -> None:
    """Add the options that train.py and train_ensemble.py share. `resolve_recipe` replaces defaults of None."""
    group = parser.add_argument_group("recipe", f"{_describe_sizes()} Some encoders have their own.")
    group.add_argument(
        "--epochs", type=number(int, 1), metavar="N", help="passes over the training rows (default: by size)"
    )
    group.add_argument(
        "--batch-size",
        type=number(int, 1),
        metavar="N",
        help="texts per optimizer step, over all processes; memory does not limit it (default: by size)",
    )
    group.add_argument(
        "--learning-rate",
        type=number(float, 0, low_open=True),
        metavar="LR",
        help="peak learning rate of the encoder (default: by size)",
    )
    group.add_argument(
        "--head-factor",
        type=number(float, 0, low_open=True),
        metavar="X",
        help="learning rate of the classification head, as a multiple of the encoder's (default: 10; tiny: 1)",
    )
    group.add_argument(
        "--weight-decay",
        type=number(float, 0),
        default=Recipe.weight_decay,
        metavar="W",
        help="AdamW's weight decay, except for biases and norms",
    )
    group.add_argument(
        "--warmup",
        type=number(float, 0, 1),
        default=Recipe.warmup,
        metavar="SHARE",
        help="share of the steps for linear warm-up; then the learning rate decays linearly to 0",
    )
    group.add_argument(
        "--max-grad-norm",
        type=number(float, 0, low_open=True),
        default=Recipe.max_grad_norm,
        metavar="NORM",
        help="clip gradients to this norm",
    )
    group.add_argument(
        "--max-length",
        type=number(int, 8),
        default=Recipe.max_length,
        metavar="TOKENS",
        help="maximum tokens read at once",
    )
    group.add_argument(
        "--long-texts",
        choices=["windows", "head"],
        default=Recipe.long_texts,
        help="texts longer than --max-length: windows trains on a random part in each epoch and predicts the mean over "
        "all parts; head reads only the beginning",
    )
    group.add_argument(
        "--pooling",
        choices=["auto", "mean", "first"],
        default="auto",
        help="pooling of the last layer; auto: mean if the architecture supports it",
    )
    group.add_argument(
        "--dropout",
        type=number(float, 0, 0.9),
        metavar="P",
        help="dropout of hidden states (default: the checkpoint's)",
    )
    group.add_argument(
        "--attention-dropout",
        type=_attention_dropout,
        default=Recipe.attention_dropout,
        metavar="P",
        help="dropout of attention weights, or 'checkpoint' for the checkpoint's value; "
        "values other than 0 disable fused attention, which takes 2 to 3 times as long",
    )
    group.add_argument(
        "--label-smoothing",
        type=number(float, 0, 0.5),
        default=Recipe.label_smoothing,
        metavar="E",
        help="share of the target spread over all classes",
    )
    group.add_argument(
        "--adversarial",
        type=number(float, 0),
        default=Recipe.adversarial,
        metavar="E",
        help="FGM adversarial training with step size E (try 1); doubles the time; see docs/accuracy.md",
    )
    group.add_argument(
        "--class-weights",
        choices=["none", "balanced"],
        default=Recipe.class_weights,
        help="balanced: weight classes inversely to their frequency",
    )
    group.add_argument(
        "--keep",
        choices=["last", "best"],
        default=Recipe.keep,
        help="which epoch's weights to keep; best selects on the validation rows, so their score is too high "
        "(noted in results.json)",
    )

    group = parser.add_argument_group("rows")
    group.add_argument(
        "--valid-fraction",
        type=number(float, 0, 0.9),
        default=Recipe.valid_fraction,
        metavar="SHARE",
        help="share of train.csv to validate on if there is no valid.csv; 0 trains on all rows",
    )
    group.add_argument(
        "--split-seed",
        type=number(int, 0, 2**32 - 1),  # as far as scikit-learn's seeds go
        default=Recipe.split_seed,
        metavar="N",
        help="random seed of the validation rows and folds; --seed does not change them",
    )
    group.add_argument("--max-train-rows", type=number(int, 1), metavar="N", help="train on N random rows only")
    group.add_argument("--max-steps", type=number(int, 1), metavar="N", help="stop after N steps")

    group.add_argument(
        "--teacher",
        metavar="RUN",
        help="also learn the probabilities of this run's models: for training rows that they never saw, and for "
        "unlabelled.csv in the data folder, or else the texts of test.csv (not with tfidf)",
    )
    group.add_argument(
        "--teacher-share",
        type=number(float, 0, 1),
        default=Recipe.teacher_share,
        metavar="SHARE",
        help="weight of the teacher's probabilities in a training row's label; unlabelled texts have only these",
    )

    changes = group.add_mutually_exclusive_group()
    changes.add_argument(
        "--corrections",
        metavar="CSV",
        help="corrections.csv of the review page, applied only to training rows",
    )
    changes.add_argument(
        "--auto-exclude",
        metavar="CSV",
        help="label_issues.csv of find_label_issues.py: exclude rows with a flagged label from training",
    )

    group = parser.add_argument_group("machine")
    group.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="device to compute on")
    group.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        help="auto: bf16 on GPUs and CPUs with native support, else fp16 on GPUs and fp32 on CPUs; CPUs always predict "
        "in fp32; fp32 on CUDA uses TF32 for matrix products",
    )
    group.add_argument(
        "--compile",
        choices=["auto", "on", "off"],
        default="auto",
        help="compile the encoder layers; auto: on CUDA if training is long enough to save time",
    )
    group.add_argument(
        "--gradient-checkpointing",
        action=BooleanOptionalAction,
        default=False,
        help="save memory by recomputing activations; about a third slower",
    )
    group.add_argument(
        "--microbatch-tokens",
        type=number(int, 1),
        metavar="N",
        help="maximum tokens computed at once; halved automatically if memory runs out (default: by memory)",
    )
    group.add_argument(
        "--checkpoint-minutes",
        type=number(float, 0),
        default=10.0,
        metavar="M",
        help="minutes of training between checkpoints; one is also saved on Ctrl-C and SIGTERM",
    )
    group.add_argument(
        "--track",
        type=tracker_name,
        metavar="TRACKER",
        help=f"also log to an installed experiment tracker: {', '.join(TRACKERS)}",
    )


def changed_options(parser: ArgumentParser, arguments: Namespace) -> dict:
    """The options that differ from their defaults, for environment.json, except names and folders of the run."""
    return {
        name: value
        for name, value in vars(arguments).items()
        if name not in UNCHANGING and value != parser.get_default(name)
    }


def unused_by_tfidf(names: Iterable[str]) -> list[str]:
    """Those of the options (`max_length`) that are for encoders only, as on the command line (`--max-length`)."""
    unused = {field.name for field in fields(Recipe)} - {field.name for field in fields(TfidfRecipe)}
    return ["--" + name.replace("_", "-") for name in names if name in unused | FOR_ENCODERS]


def input_paths(arguments: Namespace) -> list[Path]:
    """What a training reads from disk: data, local encoders, the teacher's run, corrections."""
    models = arguments.models if "models" in arguments else [arguments.model]
    teacher = [run_folder(arguments.teacher)] if arguments.teacher else []
    given = [arguments.data, *models, *teacher, arguments.corrections, arguments.auto_exclude]
    return [Path(each) for each in given if each and Path(each).exists()]


def _describe_sizes() -> str:
    """SIZE_DEFAULTS in a sentence."""
    parts = []
    for limit, values in SIZE_DEFAULTS:
        size = "larger ones" if limit == float("inf") else f"up to {limit / 1e6:.0f} M weights" if limit else "tiny"
        parts.append(f"{size} {values['epochs']} epochs at {values['learning_rate']:g}, batch {values['batch_size']}")
    return f"By the encoder's size: {'; '.join(parts)}."


def _attention_dropout(text: str) -> float | None:
    """The type of --attention-dropout; None: the checkpoint's."""
    return None if text == "checkpoint" else number(float, 0, 0.9)(text)
