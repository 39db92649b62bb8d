"""Intervals of scores, paired comparison of two models, and the confused classes."""

from collections import Counter, defaultdict

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from common.classes import class_numbers
from common.confidence.temperature import calibration
from common.metrics import headline, per_class, wilson_interval
from common.predictions import Predictions

FIGURES = ("accuracy", "macro_f1", "weighted_f1")
CELLS_AT_ONCE = 4_000_000  # resamples x cells in memory: 32 MB
EXAMPLES = 5


def bootstrap(
    labels: np.ndarray, members: list[np.ndarray], classes: list[str], resamples: int, seed: int
) -> np.ndarray:
    """The three FIGURES of each member on resampled rows: [members, resamples, 3].

    `members` are one or more predictions [rows] of str for the rows of `labels`. All use the same resamples, so
    differences are paired. A resample draws from a multinomial how often each combination of given and predicted
    classes occurs: the cost depends on the number of combinations, and the order of rows does not matter. If a
    resample lacks a class of the sample (not given, not predicted), its macro-F1 leaves the class out; a zero would
    bias rare classes down.
    """
    codes = np.array([class_numbers(names, classes) for names in (labels, *members)])
    cells, counts = np.unique(codes, axis=1, return_counts=True)  # [1 + members, cells], [cells]
    one_hot = np.eye(len(classes))
    generator = np.random.default_rng(seed)
    at_once = max(1, CELLS_AT_ONCE // len(counts))
    parts = []
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = generator.multinomial(counts.sum(), counts / counts.sum(), size=size).astype(float)  # [size, cells]
        given = drawn @ one_hot[cells[0]]
        part = []
        for cell in cells[1:]:
            right = drawn @ (one_hot[cell] * (cells[0] == cell)[:, None])  # [size, classes]
            occurs = np.isin(np.arange(len(classes)), [*cells[0], *cell])
            part.append(_figures(right, given, drawn @ one_hot[cell], occurs))
        parts.append(part)
    return np.concatenate(parts, axis=1)


def interval(values: np.ndarray) -> list[float]:
    """The 95 % percentile interval of bootstrapped values: [low, high]."""
    return [float(bound) for bound in np.quantile(values, [0.025, 0.975])]


def evaluate(predictions: Predictions, bins: int, resamples: int, seed: int) -> dict:
    """The FIGURES with bootstrap intervals, and the calibration error, as a JSON object.

    An accuracy of 0 or 1 has Wilson's interval: bootstrapped, it would have no width.
    """
    labels, predicted, classes = predictions.given, predictions.predicted, predictions.classes
    drawn = bootstrap(labels, [predicted], classes, resamples, seed)[0]
    scores = _with_intervals(headline(labels, predicted, classes), drawn)
    if scores["accuracy"] in (0, 1):
        scores["accuracy_interval"] = wilson_interval(scores["accuracy"], len(labels))
    return scores | {"expected_calibration_error": calibration(predictions, bins)[0]}


def compare(predictions: Predictions, other: Predictions, resamples: int, seed: int) -> dict:
    """The FIGURES of `predictions` minus those of `other`, with paired intervals, and McNemar's exact test.

    Both are aligned and have the same labels. The test looks at the rows that only one of the two predicts correctly,
    and asks whether chance alone would split them so unevenly (two-sided binomial; McNemar 1947).
    """
    from scipy.stats import binomtest  # late: half a second, for comparisons only

    labels, classes = predictions.given, predictions.classes
    members = [predictions.predicted, other.predicted]
    this, baseline = (headline(labels, member, classes) for member in members)
    this_drawn, baseline_drawn = bootstrap(labels, members, classes, resamples, seed)
    this_right, other_right = (member == labels for member in members)
    only_this, only_other = int((this_right & ~other_right).sum()), int((other_right & ~this_right).sum())
    decided = only_this + only_other
    return {
        "this_minus_other": _with_intervals(
            {name: this[name] - baseline[name] for name in FIGURES}, this_drawn - baseline_drawn
        ),
        "mcnemar": {
            "only_this_right": only_this,
            "only_other_right": only_other,
            "p_value": float(binomtest(only_this, decided, 0.5).pvalue) if decided else 1.0,
        },
    }


def per_class_table(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """A row per class, in class order: class, support, precision, recall, f1."""
    rows = [{"class": name, **values} for name, values in per_class(labels, predicted, classes).items()]
    return pd.DataFrame(rows, columns=["class", "support", "precision", "recall", "f1"])


def top_confusions(predictions: Predictions) -> pd.DataFrame:
    """All confused pairs, most frequent first: given, predicted, count, share of the given class, example ids.

    The examples are the most confident mistakes, at most five, separated by "; ".
    """
    place = {name: position for position, name in enumerate(predictions.classes)}
    support = Counter(predictions.given)
    mistakes = defaultdict(list)  # (given, predicted) -> [(-confidence, id)]
    confidence = predictions.probabilities.max(axis=1).tolist()
    for given, predicted, row_id, sure in zip(
        predictions.given, predictions.predicted, predictions.ids, confidence, strict=True
    ):
        if given != predicted:
            mistakes[given, predicted].append((-sure, row_id))
    pairs = [
        {
            "given": given,
            "predicted": predicted,
            "count": len(rows),
            "share": len(rows) / support[given],
            "example_ids": "; ".join(row_id for _, row_id in sorted(rows)[:EXAMPLES]),
        }
        for (given, predicted), rows in mistakes.items()
    ]
    pairs.sort(key=lambda pair: (-pair["count"], -pair["share"], place[pair["given"]], place[pair["predicted"]]))
    return pd.DataFrame(pairs, columns=["given", "predicted", "count", "share", "example_ids"])


def row_shares(counts: np.ndarray) -> np.ndarray:
    """Counts as shares of their row's sum, [classes, classes]; NaN for a class that was never given."""
    support = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, support, out=np.full(counts.shape, np.nan), where=support > 0)


def similarity_order(counts: np.ndarray) -> list[int]:
    """Class positions ordered so that confused classes are neighbours.

    Optimal leaf ordering (Bar-Joseph et al. 2001) of the average-linkage tree over the symmetrised shares.
    """
    shares = np.nan_to_num(row_shares(counts))
    similarity = (shares + shares.T) / 2
    np.fill_diagonal(similarity, 0)
    if len(counts) < 3 or not similarity.any():
        return list(range(len(counts)))
    distance = similarity.max() - similarity
    np.fill_diagonal(distance, 0)
    order = leaves_list(linkage(squareform(distance), method="average", optimal_ordering=True)).tolist()
    return order if order.index(0) < len(order) / 2 else order[::-1]  # both directions are equally good


def _figures(right, given, predicted, occurs):
    """FIGURES from counts [resamples, classes] of right, given and predicted rows per class -> [resamples, 3]."""
    rows = given.sum(axis=1)
    f1 = np.divide(2 * right, given + predicted, out=np.zeros_like(right), where=given + predicted > 0)
    counted = (given + predicted > 0) | ~occurs
    return np.column_stack(
        [right.sum(axis=1) / rows, f1.sum(axis=1) / counted.sum(axis=1), (f1 * given).sum(axis=1) / rows]
    )


def _with_intervals(figures, drawn):
    """{"accuracy": value, "accuracy_interval": [low, high], ...} from values and draws [resamples, 3]."""
    result = {}
    for position, name in enumerate(FIGURES):
        result[name] = figures[name]
        result[f"{name}_interval"] = interval(drawn[:, position])
    return result
