"""Calibration of probabilities, and the temperature that improves it."""

from dataclasses import replace

import numpy as np
import pandas as pd

from common.classes import class_numbers
from common.predictions import Predictions

BINS = 15  # of the calibration error, by default
PARTS = 10  # of the rows: each part gets the temperature fitted on the others
FEWEST_ROWS = 50  # for fitting a temperature


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T at which probabilities^(1/T), normalised, have the lowest log loss (Guo et al. 2017).

    `probabilities` is [rows, classes], `labels` [rows] class numbers. The search covers 1/20 to 20.
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
    """Probabilities [rows, classes] flattened (temperature above 1) or sharpened (below 1), in float64."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)) / temperature
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def recalibrate(
    predictions: Predictions, bins: int = BINS, seed: int = 0
) -> tuple[dict, Predictions] | tuple[None, None]:
    """Fit a temperature, and test it by cross-fitting: each tenth of the rows gets the one fitted on the other nine.

    Returns the figures as a JSON object, and the recalibrated Predictions. Returns (None, None) with fewer than 50
    rows, or if the log loss does not fall by more than the standard error of the difference.
    """
    rows = len(predictions.ids)
    if rows < FEWEST_ROWS:
        return None, None
    labels = class_numbers(predictions.given, predictions.classes)
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
    """The expected calibration error, and its table with low, high, rows, confidence and accuracy of each bin.

    Confidence is the highest probability. Bins have equal width and include their upper edge; the table omits empty
    ones. The error is the mean gap between accuracy and confidence, weighted by rows (Guo et al. 2017).
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
