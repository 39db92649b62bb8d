"""Options of the training scripts: defined once; `resolve_recipe` fills in what depends on the encoder's size."""

from argparse import ArgumentParser, BooleanOptionalAction, Namespace

from common.cli import number
from common.training.recipe import SIZE_DEFAULTS, Recipe
from common.training.tracking import TRACKERS, tracker_name

# Options that config.json has under names of its own, or that do not concern the model
UNCHANGING = {"model", "models", "data", "seed", "seeds", "folds", "members", "run", "overwrite", "track"}


def add_training_options(parser: ArgumentParser) -> None:
    """Add what train.py and train_ensemble.py share. A default of None is resolved by `resolve_recipe`."""
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
        help="the new head learns X times as fast as the encoder (default: 10; tiny: 1)",
    )
    group.add_argument(
        "--weight-decay",
        type=number(float, 0),
        default=Recipe.weight_decay,
        metavar="W",
        help="AdamW's decay; biases and norms are left out",
    )
    group.add_argument(
        "--warmup",
        type=number(float, 0, 1),
        default=Recipe.warmup,
        metavar="SHARE",
        help="share of the steps over which the rate rises; it then falls linearly to 0",
    )
    group.add_argument(
        "--max-grad-norm",
        type=number(float, 0, low_open=True),
        default=Recipe.max_grad_norm,
        metavar="NORM",
        help="gradients are clipped to this norm",
    )
    group.add_argument(
        "--max-length",
        type=number(int, 8),
        default=Recipe.max_length,
        metavar="TOKENS",
        help="most tokens read at once",
    )
    group.add_argument(
        "--long-texts",
        choices=["windows", "head"],
        default=Recipe.long_texts,
        help="beyond --max-length: windows trains on another part each epoch and predicts by the mean over all parts; "
        "head reads the beginning alone",
    )
    group.add_argument(
        "--pooling",
        choices=["auto", "mean", "first"],
        default="auto",
        help="how the last layer becomes one vector; auto: mean where the architecture has it",
    )
    group.add_argument(
        "--dropout",
        type=number(float, 0, 0.9),
        metavar="P",
        help="dropout of hidden states (default: as the checkpoint has it)",
    )
    group.add_argument(
        "--attention-dropout",
        type=_attention_dropout,
        default=Recipe.attention_dropout,
        metavar="P",
        help="dropout of attention weights, or 'checkpoint' for the checkpoint's value; "
        "anything but 0 forgoes fused attention and takes 2 to 3 times as long",
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
        help="each step learns also from word embeddings moved by E, 1 say, against the loss (FGM): twice the time; "
        "what it gave: README",
    )
    group.add_argument(
        "--class-weights",
        choices=["none", "balanced"],
        default=Recipe.class_weights,
        help="balanced: rare classes count more, all classes alike in sum",
    )
    group.add_argument(
        "--keep",
        choices=["last", "best"],
        default=Recipe.keep,
        help="which epoch's weights to keep; best selects on the validation rows, whose score is then "
        "too good, and results.json says so",
    )

    group = parser.add_argument_group("rows")
    group.add_argument(
        "--valid-fraction",
        type=number(float, 0, 0.9),
        default=Recipe.valid_fraction,
        metavar="SHARE",
        help="share of train.csv that validates, where there is no valid.csv; 0 trains on everything",
    )
    group.add_argument(
        "--split-seed",
        type=number(int, 0),
        default=Recipe.split_seed,
        metavar="N",
        help="draws the validation rows and the folds; --seed leaves them as they are",
    )
    group.add_argument("--max-train-rows", type=number(int, 1), metavar="N", help="a random part, for quick runs")
    group.add_argument("--max-steps", type=number(int, 1), metavar="N", help="stop after N steps, for quick runs")

    group.add_argument(
        "--teacher",
        metavar="RUN",
        help="learn also the probabilities that the models of this run give: for training rows that they never saw, "
        "and for unlabelled.csv in the data folder, or else the texts of test.csv (tfidf does without)",
    )
    group.add_argument(
        "--teacher-share",
        type=number(float, 0, 1),
        default=Recipe.teacher_share,
        metavar="SHARE",
        help="share of the teacher's probabilities in a training row's label; unlabelled texts have them alone",
    )

    changes = group.add_mutually_exclusive_group()
    changes.add_argument(
        "--corrections",
        metavar="CSV",
        help="corrections.csv of the review page, applied to training rows only",
    )
    changes.add_argument(
        "--auto-exclude",
        metavar="CSV",
        help="label_issues.csv of find_label_issues.py: rows flagged for their label do not train",
    )

    group = parser.add_argument_group("machine")
    group.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="where to compute")
    group.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        help="auto: bf16 on GPUs and CPUs that have it natively, else fp16 on GPUs and fp32 on CPUs; "
        "CPUs predict in fp32 always; fp32 on CUDA multiplies matrices in TF32",
    )
    group.add_argument(
        "--compile",
        choices=["auto", "on", "off"],
        default="auto",
        help="compile the encoder layers; auto: on CUDA where the runs are long enough to earn it back",
    )
    group.add_argument(
        "--gradient-checkpointing",
        action=BooleanOptionalAction,
        default=False,
        help="recompute activations: about a third slower, for models that do not fit otherwise",
    )
    group.add_argument(
        "--microbatch-tokens",
        type=number(int, 1),
        metavar="N",
        help="most tokens computed at once; halved by itself when memory runs out (default: by memory)",
    )
    group.add_argument(
        "--checkpoint-minutes",
        type=number(float, 0),
        default=10.0,
        metavar="M",
        help="save a checkpoint after this much training, and on Ctrl-C and SIGTERM",
    )
    group.add_argument(
        "--track",
        type=tracker_name,
        metavar="TRACKER",
        help=f"also send the figures to a tracker that is installed: {', '.join(TRACKERS)}",
    )


def changed_options(parser: ArgumentParser, arguments: Namespace) -> dict:
    """The options whose values are not their defaults, for environment.json; names and places of the run excepted."""
    return {
        name: value
        for name, value in vars(arguments).items()
        if name not in UNCHANGING and value != parser.get_default(name)
    }


def _describe_sizes():
    """SIZE_DEFAULTS in a sentence."""
    parts = []
    for limit, values in SIZE_DEFAULTS:
        size = "larger ones" if limit == float("inf") else f"up to {limit / 1e6:.0f} M weights" if limit else "tiny"
        parts.append(f"{size} {values['epochs']} epochs at {values['learning_rate']:g}, batch {values['batch_size']}")
    return f"By the encoder's size: {'; '.join(parts)}."


def _attention_dropout(text):
    return None if text == "checkpoint" else number(float, 0, 0.9)(text)
