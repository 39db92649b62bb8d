"""Scores of predictions as scikit-learn defines them, and their uncertainty."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from common.classes import class_numbers, most_probable

Labels = Sequence[str] | np.ndarray  # [rows] str


def score(labels: Labels, predicted: Labels, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy with its 95 % interval, macro-F1, and precision, recall, F1 and support per class, as a JSON object.

    Macro-F1 is the mean over all of `classes`. As in scikit-learn, a class without support and predictions counts as 0.
    """
    figures = headline(labels, predicted, classes)
    return {
        "rows": len(labels),
        "accuracy": figures["accuracy"],
        "accuracy_interval": wilson_interval(figures["accuracy"], len(labels)),
        "macro_f1": figures["macro_f1"],
        "per_class": per_class(labels, predicted, classes),
    }


def headline(labels: Labels, predicted: Labels, classes: Sequence[str]) -> dict[str, float]:
    """Accuracy, macro-F1 and weighted F1 as a JSON object; F1 as in `score`."""
    macro, weighted = (
        float(f1_score(labels, predicted, labels=classes, average=average, zero_division=0))
        for average in ("macro", "weighted")
    )
    return {"accuracy": float(accuracy_score(labels, predicted)), "macro_f1": macro, "weighted_f1": weighted}


def per_class(labels: Labels, predicted: Labels, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Precision, recall, F1 and support of each class: {class: {"precision": ..., ...}}."""
    columns = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    return {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for name, p, r, f, s in zip(classes, *columns, strict=True)
    }


def wilson_interval(share: float, rows: int) -> list[float]:
    """The 95 % score interval (Wilson 1927) of a share of `rows` rows: [low, high]."""
    interval = binomtest(round(share * rows), rows).proportion_ci(0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def score_probabilities(labels: Labels, probabilities: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """The `score` of the most probable classes, plus "loss", the cross-entropy; probabilities [rows, classes]."""
    scores = score(labels, most_probable(probabilities, classes), classes)
    return scores | {"loss": cross_entropy(labels, probabilities, classes)}


def cross_entropy(labels: Labels, probabilities: np.ndarray, classes: Sequence[str]) -> float:
    """The mean negative log probability of the given labels; probabilities [rows, classes].

    A label that is not a class (--allow-unknown-test-labels) gets the smallest normal float32 as its probability.
    """
    known = np.isin(np.asarray(labels, dtype=object), list(classes))
    picked = np.zeros(len(labels))
    picked[known] = probabilities[known, class_numbers(np.asarray(labels, dtype=object)[known], classes)]
    return float(-np.log(np.maximum(picked, np.finfo(np.float32).tiny)).mean())
