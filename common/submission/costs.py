"""Which members earn their place: what leaving each one out costs, on rows that none of them was trained on."""

import numpy as np

from common.submission.combining import combine, normalised

Z = 1.959964  # of the 95 % interval


def costs_of_leaving_out(
    method: str, probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> list[dict | None]:
    """For each member the accuracy of all of them less that of the others; None where nobody else has a weight.

    `probabilities` [members, rows, classes] and `labels` [rows] are of held-out rows. The others keep their weights'
    proportions. The interval is that of a mean of paired differences, over the rows (normal approximation); a member
    earns its place where it lies above 0. Weights that were fitted on these rows make the costs a little too high.
    """
    members, rows, _ = probabilities.shape
    votes, known = probabilities.argmax(axis=2), np.ones(members, dtype=bool)
    right = combine(method, probabilities, votes, weights, known)[0] == labels
    costs = []
    for member in range(members):
        others = np.arange(members) != member
        if not weights[others].any():
            costs.append(None)
            continue
        rest = normalised(weights[others])
        right_without = combine(method, probabilities[others], votes[others], rest, known[others])[0] == labels
        differences = right.astype(float) - right_without
        spread = Z * differences.std(ddof=1) / np.sqrt(rows) if rows > 1 else 0.0
        cost = differences.mean()
        interval = [float(cost - spread), float(cost + spread)]
        costs.append({"rows": rows, "cost": float(cost), "interval": interval, "earns_its_place": interval[0] > 0})
    return costs
