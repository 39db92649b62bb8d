"""Combining the members of an ensemble: mean of probabilities, majority vote, and weights that are worth having."""

from dataclasses import dataclass

import numpy as np

EQUAL = 1e-12  # scores closer than this are equal: more than float64's rounding, less than any real difference
FOLDS = 5
STEPS = 200  # at most, of the search for weights
EXPONENTS = (0.1, 10.0)  # how far the search may flatten or sharpen the mean


def normalised(weights):
    """Weights as shares of their sum, [members]; their scale has no meaning."""
    weights = np.asarray(weights, dtype=np.float64)
    weights = weights / weights.max()  # first, so that the sum of huge weights stays finite
    return weights / weights.sum()


def combine(method, probabilities, votes, weights, has_probabilities):
    """Combine members by `method`, 'mean' or 'vote': the class of each row, [rows] int, and the ties, [rows] bool.

    `probabilities` is [members, rows, classes], `votes` [members, rows] int; a member without probabilities
    (`has_probabilities` false) has no say where a vote is tied. `weights` are shares that sum to 1, [members].
    """
    if method == "mean":
        return best_class(np.average(probabilities.astype(np.float64), axis=0, weights=weights))
    known = np.flatnonzero(has_probabilities & (weights > 0))
    mean = None
    if len(known):
        mean = np.average(probabilities[known].astype(np.float64), axis=0, weights=weights[known])
    return majority(votes, weights, mean)


def best_class(scores):
    """The class with the highest score, of equal ones the first, [rows] int, and the ties; scores [rows, classes]."""
    highest = scores >= scores.max(axis=1, keepdims=True) - EQUAL
    return highest.argmax(axis=1), highest.sum(axis=1) > 1


def majority(votes, weights, mean=None):
    """The class with the most votes; [rows] int, and where several had as many, [rows] bool.

    Ties go to the tied class with the highest `mean` probability, [rows, classes], of equal ones the first in class
    order; where `mean` is None, to the vote of the earliest member that voted for one of them.
    """
    members, rows = votes.shape
    everyone = np.arange(rows)
    tally = np.zeros((rows, votes.max() + 1 if mean is None else mean.shape[1]))
    earliest = np.zeros_like(tally)  # the earlier a class's first voter, the higher
    for member in reversed(range(members)):
        if weights[member] > 0:
            tally[everyone, votes[member]] += weights[member]
            earliest[everyone, votes[member]] = members - member
    leading = tally >= tally.max(axis=1, keepdims=True) - EQUAL
    chosen, _ = best_class(np.where(leading, earliest if mean is None else mean, -1.0))
    return chosen, leading.sum(axis=1) > 1


def agreement(votes, classes):
    """The share of rows on which all members agree, and the mean share on which two of them do (None for one)."""
    members, rows = votes.shape
    counts = np.zeros((rows, classes))
    for vote in votes:
        counts[np.arange(rows), vote] += 1
    pairs = members * (members - 1)
    return {
        "unanimous": float((counts.max(axis=1) == members).mean()),
        "mean_pairwise": float((counts * (counts - 1)).sum(axis=1).mean() / pairs) if pairs else None,
    }


@dataclass(frozen=True)
class Search:
    """What the search for weights found; scores are cross-fitted: each row's weights come from the other folds."""

    rows: int
    accuracy: float  # with the fitted weights
    equal_accuracy: float
    difference: float
    standard_error: float  # of the difference, over the rows
    used: bool
    weights: np.ndarray  # [members], equal ones unless used


def search_weights(method, probabilities, labels, seed=0):
    """Fit weights on rows that no member was trained on, and keep them only if they prove better than equal ones.

    `probabilities` is [members, rows, classes], `labels` [rows] int. They must raise the accuracy over equal weights
    by more than the standard error of that difference, on rows left out of the fit.
    """
    members, rows, _ = probabilities.shape
    equal = np.full(members, 1 / members)
    votes = probabilities.argmax(axis=2)
    known = np.ones(members, dtype=bool)
    right_equal = combine(method, probabilities, votes, equal, known)[0] == labels
    right = right_equal.copy()
    if members > 1 and rows >= 2 * FOLDS:
        fold = np.random.default_rng(seed).permutation(rows) % FOLDS
        for held_out in range(FOLDS):
            here = fold == held_out
            weights = fit_weights(probabilities[:, ~here], labels[~here])
            right[here] = combine(method, probabilities[:, here], votes[:, here], weights, known)[0] == labels[here]
    gains = right.astype(float) - right_equal  # [rows], -1, 0 or 1
    error = float(gains.std(ddof=1) / np.sqrt(rows)) if rows > 1 else 0.0
    difference = float(gains.mean())
    used = difference > error * (1 + 1e-9)  # a single better row equals its error exactly: not enough
    return Search(
        rows,
        float(right.mean()),
        float(right_equal.mean()),
        difference,
        error,
        used,
        fit_weights(probabilities, labels) if used else equal,
    )


def fit_weights(probabilities, labels):
    """The weights with which the mean of the members predicts `labels` best, as shares, [members].

    Best is the lowest log loss once the mean is sharpened by one exponent, fitted along: how sure the mean is does not
    matter to a submission, and plain log loss would prefer one confident member to a better, but milder mean.
    Exponentiated gradient descent from equal weights; a step that does not lower the loss is taken back and shortened.
    """
    members, rows, classes = probabilities.shape
    flat = np.maximum(probabilities, np.finfo(np.float32).tiny).reshape(members, -1)
    given = np.eye(classes)[labels]  # [rows, classes]

    def evaluate(weights, exponent):
        mean = (weights.astype(flat.dtype) @ flat).reshape(rows, classes).astype(np.float64)
        scores = exponent * np.log(mean)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        loss = -np.log(np.maximum((shares * given).sum(axis=1), 1e-300)).mean()
        return loss, mean, shares

    weights, exponent, step = np.full(members, 1 / members), 1.0, 1.0
    loss, mean, shares = evaluate(weights, exponent)
    for _ in range(STEPS):
        error = (shares - given) / rows
        slope = flat @ (exponent * error / mean).astype(flat.dtype).ravel()  # [members], of the loss by the weight
        moved = weights * np.exp(-step * (slope - slope.min()))
        exponent_slope = (error * np.log(mean)).sum() * exponent  # by the exponent's logarithm
        try_weights = moved / moved.sum()
        try_exponent = float(np.clip(exponent * np.exp(-step * exponent_slope), *EXPONENTS))
        trial = evaluate(try_weights, try_exponent)
        if trial[0] >= loss:
            step /= 4
            continue
        gain, (loss, mean, shares) = loss - trial[0], trial
        weights, exponent, step = try_weights, try_exponent, step * 1.5
        if gain < 1e-6:
            break
    return weights
