"""The recipe: all options that affect what a run learns, with defaults by the encoder's size."""

from argparse import Namespace
from dataclasses import dataclass, fields

from common.cli import UserError
from common.training.encoders.architectures import can_pool_by_mean
from common.training.encoders.registry import MODELS

# By number of weights. The first row is `tiny`, which is trained from scratch, so its head learns no faster. The values
# for larger encoders are not measured here; they follow Devlin et al. 2019, appendix A.3 (2e-5 to 5e-5, 2 to 4 epochs,
# batch 16 or 32).
SIZE_DEFAULTS = (
    (0, {"learning_rate": 1e-3, "epochs": 12, "batch_size": 16, "head_factor": 1.0}),
    (60e6, {"learning_rate": 1e-4, "epochs": 5, "batch_size": 16, "head_factor": 10.0}),
    (200e6, {"learning_rate": 3e-5, "epochs": 4, "batch_size": 16, "head_factor": 10.0}),
    (float("inf"), {"learning_rate": 1e-5, "epochs": 5, "batch_size": 16, "head_factor": 10.0}),
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The options that affect the result, besides data, encoder and seed; recorded in config.json."""

    epochs: int
    batch_size: int  # texts per optimizer step, over all processes
    learning_rate: float  # peak, of the encoder
    head_factor: float  # the head's learning rate, as a multiple
    weight_decay: float = 0.01
    warmup: float = 0.1  # share of the steps
    max_grad_norm: float = 1.0
    max_length: int = 512  # tokens
    long_texts: str = "windows"  # or "head"
    pooling: str  # "mean" or "first"
    dropout: float | None = None  # None: the checkpoint's
    attention_dropout: float | None = 0.0  # None: the checkpoint's
    label_smoothing: float = 0.0
    adversarial: float = 0.0
    class_weights: str = "none"  # or "balanced"
    teacher_share: float = 0.5  # of the soft label in a training row's target; measured in docs/accuracy.md
    keep: str = "last"  # or "best"
    valid_fraction: float = 0.1
    split_seed: int = 0
    max_train_rows: int | None = None
    max_steps: int | None = None


@dataclass(frozen=True)
class TfidfRecipe:
    """The options that affect the result of `tfidf`."""

    class_weights: str
    valid_fraction: float
    split_seed: int
    max_train_rows: int | None


def tfidf_recipe(arguments: Namespace) -> TfidfRecipe:
    """The recipe of `tfidf` from the options."""
    return TfidfRecipe(*(getattr(arguments, field.name) for field in fields(TfidfRecipe)))


def resolve_recipe(arguments: Namespace, identity: dict) -> Recipe:
    """The recipe from the options; unset options get the encoder's defaults or those of its size.

    `identity` is the encoder's (see `describe_source`).
    """
    defaults = dict(next(values for limit, values in SIZE_DEFAULTS if identity["parameters"] <= limit))
    if arguments.model in MODELS:
        defaults |= MODELS[arguments.model].defaults
    values = {field.name: getattr(arguments, field.name) for field in fields(Recipe)}
    values |= {name: value for name, value in defaults.items() if values[name] is None}
    if values["pooling"] == "auto":
        values["pooling"] = "mean" if can_pool_by_mean(identity["model_type"]) else "first"
    return Recipe(**values)


def check_keep(recipe: Recipe, has_validation: bool) -> None:
    """Raise UserError for --keep best without validation rows."""
    if recipe.keep == "best" and not has_validation:
        raise UserError("--keep best needs validation rows; raise --valid-fraction or use --keep last")
