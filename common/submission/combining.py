"""Combine the members of an ensemble: mean of probabilities, majority vote, fitted weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EQUAL = 1e-12  # scores closer than this are equal: above float64 rounding, below any real difference
FOLDS = 5
STEPS = 200  # at most, in the search for weights
EXPONENTS = (0.1, 10.0)  # limits of flattening and sharpening the mean


def as_shares(weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """Weights as shares of their sum, [members]."""
    shares = np.asarray(weights, dtype=np.float64)
    shares = shares / shares.max()  # first: the sum of huge weights would overflow
    return shares / shares.sum()


def combine(
    method: str, probabilities: np.ndarray, votes: np.ndarray, weights: np.ndarray, has_probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Combine members by `method`, 'mean' or 'vote': the class of each row, [rows] int, and the ties, [rows] bool.

    `probabilities` is [members, rows, classes], `votes` [members, rows] int. `weights` are shares that sum to 1,
    [members]. `has_probabilities` is [members] bool; members without probabilities do not help to break ties.
    """
    if method == "mean":
        return best_class(np.average(probabilities.astype(np.float64), axis=0, weights=weights))
    known = np.flatnonzero(has_probabilities & (weights > 0))
    mean = None
    if len(known):
        mean = np.average(probabilities[known].astype(np.float64), axis=0, weights=weights[known])
    return majority(votes, weights, mean)


def best_class(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class with the highest score, the first of equal ones, and the ties: [rows, classes] -> [rows], [rows]."""
    highest = scores >= scores.max(axis=1, keepdims=True) - EQUAL
    return highest.argmax(axis=1), highest.sum(axis=1) > 1


def majority(votes: np.ndarray, weights: np.ndarray, mean: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The class with the most votes, [rows] int, and whether several classes tied, [rows] bool.

    Ties: the tied class with the highest `mean` probability, [rows, classes], then class order. Without `mean`: the
    tied class of the earliest member that voted for one of them.
    """
    members, rows = votes.shape
    everyone = np.arange(rows)
    tally = np.zeros((rows, votes.max() + 1 if mean is None else mean.shape[1]))
    earliest = np.zeros_like(tally)  # higher for a class with an earlier first voter
    for member in reversed(range(members)):
        if weights[member] > 0:
            tally[everyone, votes[member]] += weights[member]
            earliest[everyone, votes[member]] = members - member
    leading = tally >= tally.max(axis=1, keepdims=True) - EQUAL
    chosen, _ = best_class(np.where(leading, earliest if mean is None else mean, -1.0))
    return chosen, leading.sum(axis=1) > 1


def agreement(votes: np.ndarray, classes: int) -> dict[str, float | None]:
    """The share of rows on which all members agree, and the mean share for pairs of members (None for one member)."""
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
    """Result of the search for weights. Scores are cross-fitted: each row uses weights from the other folds."""

    rows: int
    accuracy: float  # with the fitted weights
    equal_accuracy: float
    difference: float
    standard_error: float  # of the difference, over the rows
    used: bool
    weights: np.ndarray  # [members], equal unless used


def search_weights(method: str, probabilities: np.ndarray, labels: np.ndarray, seed: int = 0) -> Search:
    """Fit weights on rows that no member was trained on; use them only if they beat equal weights.

    `probabilities` is [members, rows, classes], `labels` [rows] int. On rows left out of the fit, the weights must gain
    more accuracy over equal weights than the standard error of the difference.
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
    used = difference > error * (1 + 1e-9)  # one better row gains exactly its standard error: not enough
    return Search(
        rows,
        float(right.mean()),
        float(right_equal.mean()),
        difference,
        error,
        used,
        fit_weights(probabilities, labels) if used else equal,
    )


def fit_weights(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The weights that minimise the log loss of the members' mean for `labels`, as shares, [members].

    The fit includes one exponent that sharpens the mean: a submission does not depend on confidence, and plain log loss
    would prefer one confident member to a better, less confident mean. The method is exponentiated gradient descent
    from equal weights; a step that does not lower the loss is undone, and the next is shorter.
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
        # [members], derivative of the loss by each weight
        slope = flat @ (exponent * error / mean).astype(flat.dtype).ravel()
        moved = weights * np.exp(-step * (slope - slope.min()))
        exponent_slope = (error * np.log(mean)).sum() * exponent  # derivative by the exponent's logarithm
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
