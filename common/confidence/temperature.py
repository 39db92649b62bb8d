"""Whether probabilities mean what they say: calibration, and the temperature that improves it."""

from dataclasses import replace

import numpy as np
import pandas as pd

from common.classes import class_numbers
from common.predictions import Predictions

BINS = 15  # of the calibration error, unless the user names another number
PARTS = 10  # of the rows: each gets the temperature that the others fit
FEWEST_ROWS = 50  # to fit a temperature on


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T at which probabilities^(1/T), normalised, have the lowest log loss (Guo et al. 2017).

    `probabilities` is [rows, classes], `labels` [rows] class numbers. Searched between 1/20 and 20.
    """
    from scipy.optimize import minimize_scalar  # late: half a second

    bound = np.log(20)
    best = minimize_scalar(
        lambda log: _log_losses(at_temperature(probabilities, np.exp(log)), labels).mean(),
        bounds=(-bound, bound),
        method="bounded",
    )
    return float(np.exp(best.x))


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [rows, classes] made milder (temperature above 1) or bolder (below), in float64."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)) / temperature
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def recalibrate(
    predictions: Predictions, bins: int = BINS, seed: int = 0
) -> tuple[dict, Predictions] | tuple[None, None]:
    """What a temperature would do for the calibration: its value, and the predictions with it, cross-fitted.

    Each tenth of the rows gets the temperature that fits the other nine. Returns a JSON object and the recalibrated
    Predictions; or (None, None) where that does not lower the log loss by more than the difference's standard error,
    or where rows are fewer than 50.
    """
    rows = len(predictions.labels)
    if rows < FEWEST_ROWS:
        return None, None
    labels = class_numbers(predictions.labels, predictions.classes)
    part = np.random.default_rng(seed).permutation(rows) % PARTS
    scaled = np.empty(predictions.probabilities.shape)
    for held_out in range(PARTS):
        here = part == held_out
        temperature = fit_temperature(predictions.probabilities[~here], labels[~here])
        scaled[here] = at_temperature(predictions.probabilities[here], temperature)
    before, after = _log_losses(predictions.probabilities, labels), _log_losses(scaled, labels)
    gain = before - after
    if gain.mean() <= gain.std(ddof=1) / np.sqrt(rows):
        return None, None
    recalibrated = replace(predictions, probabilities=scaled)
    return {
        "temperature": fit_temperature(predictions.probabilities, labels),
        "expected_calibration_error": calibration(recalibrated, bins)[0],
        "log_loss": float(after.mean()),
        "log_loss_without": float(before.mean()),
    }, recalibrated


def calibration(predictions: Predictions, bins: int = BINS) -> tuple[float, pd.DataFrame]:
    """The expected calibration error, and the table behind it: low, high, rows, confidence, accuracy of each bin.

    Bins are equally wide and include their upper edge, empty ones are left out; confidence is the highest
    probability. The error is the mean distance of accuracy from confidence, weighted by rows (Guo et al. 2017).
    """
    confidence = predictions.probabilities.max(axis=1).astype(np.float64)
    right = (predictions.predicted == predictions.labels).astype(np.float64)
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], confidence)
    rows = np.bincount(place, minlength=bins)
    filled = np.flatnonzero(rows)
    table = pd.DataFrame(
        {
            "low": edges[filled],
            "high": edges[filled + 1],
            "rows": rows[filled],
            "confidence": np.bincount(place, confidence, bins)[filled] / rows[filled],
            "accuracy": np.bincount(place, right, bins)[filled] / rows[filled],
        }
    )
    gap = (table["accuracy"] - table["confidence"]).abs()
    return float(np.average(gap, weights=table["rows"])), table


def _log_losses(probabilities, labels):
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(np.float32).tiny))
