"""Coverage: the share of rows above a confidence threshold, and their accuracy."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.confidence.temperature import PARTS
from common.metrics import wilson_interval
from common.predictions import Predictions

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
TARGETS = (0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Coverage:
    """The labelled rows above a threshold. `accuracy` and its 95 % interval are None without such rows."""

    rows: int  # above the threshold
    share: float  # of all rows
    accuracy: float | None
    accuracy_interval: list[float] | None


def coverage_at(predictions: Predictions, min_probability: float) -> Coverage:
    """The Coverage of the rows whose highest probability is at least `min_probability`."""
    return _coverage(_confidence(predictions) >= min_probability, predictions)


def coverage_curve(predictions: Predictions, chosen: np.ndarray | slice = slice(None)) -> pd.DataFrame:
    """Rows and accuracy at each distinct threshold, highest first: min_probability, rows, accuracy.

    `chosen` selects some of the rows; the default is all.
    """
    confidence = _confidence(predictions)[chosen]
    order = np.argsort(-confidence, kind="stable")
    confidence = confidence[order]
    rows = np.arange(1, len(order) + 1)
    accuracy = np.cumsum(_right(predictions)[chosen][order]) / rows
    last = np.append(confidence[:-1] != confidence[1:], True)  # rows with equal confidence share a threshold
    return pd.DataFrame({"min_probability": confidence[last], "rows": rows[last], "accuracy": accuracy[last]})


def choose_threshold(predictions: Predictions, target: float, seed: int = 0) -> tuple[float, Coverage] | None:
    """The lowest threshold at which the rows reach the accuracy `target`, and its cross-validated Coverage.

    In the Coverage, each tenth of the rows uses the threshold from the other nine. Returns None if no threshold
    reaches the target, and for a single row.
    """
    threshold = _lowest(predictions, target)
    if threshold is None or len(predictions.ids) < 2:  # one row cannot be checked by others
        return None
    part = np.random.default_rng(seed).permutation(len(predictions.ids)) % PARTS
    kept = np.zeros(len(predictions.ids), dtype=bool)
    for here in (part == number for number in range(min(PARTS, len(part)))):
        elsewhere = _lowest(predictions, target, ~here)
        kept[here] = elsewhere is not None and _confidence(predictions)[here] >= elsewhere
    return threshold, _coverage(kept, predictions)


def show_threshold(threshold: float) -> str:
    """A threshold in figures: rounded down, so that no row falls below, with two digits of its distance to 1."""
    digits = 3 if threshold >= 1 else max(3, math.ceil(-math.log10(1 - threshold)) + 1)
    return f"{math.floor(threshold * 10**digits) / 10**digits:.{digits}f}"


def coverage_figures(predictions: Predictions) -> dict:
    """The coverage at THRESHOLDS, and the thresholds for the accuracies TARGETS, as a JSON object."""
    thresholds = [{"min_probability": each, **vars(coverage_at(predictions, each))} for each in THRESHOLDS]
    chosen = [(target, choose_threshold(predictions, target)) for target in TARGETS]
    targets = [
        {"target_accuracy": target, "min_probability": found[0], "cross_checked": vars(found[1])}
        for target, found in chosen
        if found
    ]
    return {"thresholds": thresholds, "targets": targets}


def _lowest(predictions, target, chosen=slice(None)):
    """The lowest threshold at which the chosen rows reach the accuracy `target`, or None."""
    curve = coverage_curve(predictions, chosen)
    reached = curve.loc[curve["accuracy"] >= target, "min_probability"]
    return float(reached.iloc[-1]) if len(reached) else None


def _coverage(kept, predictions):
    rows = int(kept.sum())
    if not rows:
        return Coverage(0, 0.0, None, None)
    accuracy = float(_right(predictions)[kept].mean())
    return Coverage(rows, rows / len(kept), accuracy, wilson_interval(accuracy, rows))


def _confidence(predictions):
    return predictions.probabilities.max(axis=1).astype(np.float64)


def _right(predictions):
    return predictions.predicted == predictions.labels
