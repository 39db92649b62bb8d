"""The cost of leaving each member out, on rows that no member was trained on."""

from typing import Any

import numpy as np

from common.submission.combining import as_shares, combine

Z = 1.959964  # of the 95 % interval


def costs_of_leaving_out(
    method: str, probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> list[dict[str, Any] | None]:
    """For each member: the ensemble's accuracy minus that without the member. None if no other member has a weight.

    `probabilities` [members, rows, classes] and `labels` [rows] int belong to held-out rows. The other members keep
    the proportions of their weights. The interval is that of a mean of paired differences (normal approximation). A
    member earns its place if the interval is above 0. Weights fitted on the same rows make the costs slightly too high.
    """
    members, rows, _ = probabilities.shape
    votes, known = probabilities.argmax(axis=2), np.ones(members, dtype=bool)
    right = combine(method, probabilities, votes, weights, known)[0] == labels
    costs: list[dict[str, Any] | None] = []
    for member in range(members):
        others = np.arange(members) != member
        if not weights[others].any():
            costs.append(None)
            continue
        rest = as_shares(weights[others])
        right_without = combine(method, probabilities[others], votes[others], rest, known[others])[0] == labels
        differences = right.astype(float) - right_without
        spread = Z * differences.std(ddof=1) / np.sqrt(rows) if rows > 1 else 0.0
        cost = differences.mean()
        interval = [float(cost - spread), float(cost + spread)]
        costs.append({"rows": rows, "cost": float(cost), "interval": interval, "earns_its_place": interval[0] > 0})
    return costs
