"""How many rows stay where the unsure ones are left out: by hand, and as properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.confidence.coverage import choose_threshold, coverage_at, coverage_curve, coverage_figures
from common.metrics import wilson_interval
from common.predictions import Predictions


def two_classes(confidence, right):
    """Predictions of `a` with these probabilities, whose given label is `a` where they are right."""
    shares = np.column_stack([confidence, 1 - np.array(confidence)])
    labels = np.where(right, "a", "b").astype(object)
    ids = np.array([str(number) for number in range(len(right))], dtype=object)
    return Predictions(ids, ["a", "b"], shares, labels)


BY_HAND = two_classes([0.95, 0.6, 0.9, 0.9, 0.7], [True, False, True, False, True])


def test_coverage_by_hand():
    kept = coverage_at(BY_HAND, 0.9)
    assert (kept.rows, kept.share, kept.accuracy) == (3, 0.6, pytest.approx(2 / 3))
    assert kept.accuracy_interval == wilson_interval(2 / 3, 3)
    assert vars(coverage_at(BY_HAND, 0.99)) == {"rows": 0, "share": 0, "accuracy": None, "accuracy_interval": None}
    curve = coverage_curve(BY_HAND)  # the two rows of 0.9 stay or go together
    assert curve["min_probability"].tolist() == [0.95, 0.9, 0.7, 0.6]
    assert curve["rows"].tolist() == [1, 3, 4, 5]
    assert curve["accuracy"].to_numpy() == pytest.approx(np.array([1, 2 / 3, 3 / 4, 3 / 5]))


def test_the_threshold_is_the_lowest_that_reaches_the_target():
    assert choose_threshold(BY_HAND, 0.75)[0] == 0.7  # not 0.95, which reaches it too
    assert choose_threshold(BY_HAND, 0.6)[0] == 0.6
    assert choose_threshold(two_classes([0.9, 0.8], [False, True]), 0.9) is None


def test_the_cross_check_sees_through_a_lucky_row():
    """One row decides: chosen on all rows it looks perfect; the other rows would have chosen another threshold."""
    rows = two_classes([0.9, *np.linspace(0.5, 0.8, 39)], [True] + [False] * 39)
    threshold, checked = choose_threshold(rows, 1.0)
    assert threshold == 0.9 and coverage_at(rows, threshold).accuracy == 1
    assert checked.rows == 0  # without the lucky row nothing reaches the target


@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=60), st.floats(0.01, 1))
def test_thresholds_keep_what_they_promise(rows, target):
    predictions = two_classes(*(np.array(column) for column in zip(*rows, strict=True)))
    accuracy = float((predictions.predicted == predictions.labels).mean())
    assert coverage_at(predictions, 0).accuracy == coverage_curve(predictions)["accuracy"].iloc[-1] == accuracy
    found = choose_threshold(predictions, target)
    if found is None and len(rows) > 1:  # one row cannot be checked by others
        assert (coverage_curve(predictions)["accuracy"] < target).all()
    elif found:
        assert coverage_at(predictions, found[0]).accuracy >= target
        assert 0 <= found[1].share <= 1
    shares = [each["share"] for each in coverage_figures(predictions)["thresholds"]]
    assert shares == sorted(shares, reverse=True)
