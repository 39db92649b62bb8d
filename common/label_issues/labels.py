"""Find wrong labels: cleanlab on out-of-fold probabilities.

This module chooses among cleanlab's methods, gives the reasons, and silences its output.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.cli import UserError

# Filter and score are the defaults of cleanlab and Datalab, after a comparison. `prune_by_noise_rate` flags, for each
# pair of classes, as many rows as the estimated joint counts. It finds more wrong labels than `confident_learning` or
# `low_self_confidence`; a person reviews the list, so a missed row costs more than a false alarm. `self_confidence`,
# the probability of the given label, ranks the flagged rows.
# https://docs.cleanlab.ai/stable/cleanlab/filter.html, https://docs.cleanlab.ai/stable/cleanlab/rank.html
# TF-IDF and logistic regression on the 822 German articles of data/kaggle, 10 % of the labels flipped at random, means
# of 4 seeds, precision / recall of the flagged: prune_by_noise_rate 0.49 / 0.81, prune_by_class 0.49 / 0.90, both
# 0.59 / 0.77, low_self_confidence 0.70 / 0.79, confident_learning 0.54 / 0.62; first 30 of the ranking: 0.92 right
# with self_confidence, 0.74 with normalized_margin. Flipped to the likeliest other class instead of a random one:
# 0.39 / 0.68, 0.38 / 0.69, 0.44 / 0.62, 0.35 / 0.42, 0.49 / 0.57; first 30: 0.62 and 0.72.
FILTER = "prune_by_noise_rate"
SCORE = "self_confidence"
RARE = 0.1  # of the share that each of equally frequent classes has, Datalab's default
ENSEMBLE_WEIGHTS = "accuracy"  # cleanlab's default: a member's weight is its agreement with the given labels


@dataclass(frozen=True)
class LabelIssues:
    """For each row: whether its label is probably wrong, the label quality, and the most likely class."""

    is_issue: np.ndarray  # [rows] bool
    quality: np.ndarray  # [rows] float in [0, 1], low is bad
    suggested: np.ndarray  # [rows] int, the most likely class
    probabilities: np.ndarray  # [rows, classes] float64, the weighted mean of several members


@dataclass(frozen=True)
class LabelNoise:
    """cleanlab's estimate of the wrong labels, and the classes that overlap."""

    joint: np.ndarray  # [given, likely], sums to 1
    wrong_share: float  # off the joint's diagonal: includes classes that the model cannot tell apart
    confident_share: float  # only confident disagreement: cleanlab's "most accurate" count of issues
    per_class: pd.DataFrame  # class, wrong_share (given, but another is likely), missed_share (likely, another given)
    overlapping: pd.DataFrame  # class_a, class_b, rows, share: rows labelled as one class and likely the other


def find_label_issues(given: np.ndarray, members: np.ndarray) -> LabelIssues:
    """Flag and score labels, `given` [rows] int, by out-of-fold probabilities, `members` [members, rows, classes].

    The scores of several members are averaged with their accuracies as weights, as in cleanlab's
    get_label_quality_ensemble_scores (Kuan and Mueller 2022). The flags use the probabilities averaged in the same
    way. Raises UserError if all rows have one class.
    """
    if len(np.unique(given)) < 2:
        raise UserError("the rows with predictions all have the same label; label issues need two or more classes")
    with quiet():
        from cleanlab import filter as cleanlab_filter
        from cleanlab import rank

        opinions = [np.asarray(member, dtype=np.float64) for member in members]
        accuracies = [float((opinion.argmax(axis=1) == given).mean()) for opinion in opinions]
        if len(opinions) == 1:
            probabilities = opinions[0]
            quality = rank.get_label_quality_scores(given, probabilities, method=SCORE)
        else:
            weighting = ENSEMBLE_WEIGHTS if any(accuracies) else "uniform"
            probabilities = np.average(opinions, axis=0, weights=accuracies if any(accuracies) else None)
            quality = rank.get_label_quality_ensemble_scores(
                given, opinions, method=SCORE, weight_ensemble_members_by=weighting, verbose=False
            )
        is_issue = cleanlab_filter.find_label_issues(given, probabilities, filter_by=FILTER, n_jobs=1)
    return LabelIssues(is_issue, quality, probabilities.argmax(axis=1), probabilities)


def estimate_noise(given: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> LabelNoise:
    """Estimate how many given labels, [rows] int, are wrong, in total and per class, and which classes overlap."""
    with quiet():
        from cleanlab import count, dataset

        joint = count.estimate_joint(given, probabilities)
        estimate = {"joint": joint, "num_examples": len(given), "class_names": classes}
        by_class = dataset.rank_classes_by_label_quality(**estimate)
        pairs = dataset.find_overlapping_classes(**estimate)
        confident = count.num_label_issues(given, probabilities)
    per_class = pd.DataFrame(
        {
            "class": by_class["Class Name"],
            "wrong_share": by_class["Label Noise"],
            "missed_share": by_class["Inverse Label Noise"],
        }
    )
    per_class = per_class.fillna(0.0).set_index("class").loc[list(classes)].reset_index()  # NaN: a class without rows
    overlapping = pd.DataFrame(
        {
            "class_a": pairs["Class Name A"],
            "class_b": pairs["Class Name B"],
            "rows": pairs["Num Overlapping Examples"].astype(int),
            "share": pairs["Joint Probability"],
        }
    )
    overlapping = overlapping[overlapping["rows"] > 0].reset_index(drop=True)
    return LabelNoise(joint, float(1 - joint.trace()), float(confident / len(given)), per_class, overlapping)


def find_rarest_class(labels: pd.Series) -> str | None:
    """The rarest class, if it has less than a tenth of the mean number of rows per class, else None.

    This is the rule of Datalab's class imbalance check; labels [rows] str.
    """
    counts = pd.Series(labels).value_counts()
    return str(counts.idxmin()) if counts.min() < RARE * counts.sum() / len(counts) else None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the output, warnings and logs of cleanlab and datasets. Exceptions pass."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    nowhere = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
