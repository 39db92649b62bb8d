"""Scores: the definitions written out, figures computed by hand, and scikit-learn's report."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import classification_report, log_loss

from common.metrics import cross_entropy, per_class, score, wilson_interval

CLASSES = ["A", "B", "C"]
pairs = st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=30)


def share(part, whole):
    return part / whole if whole else 0.0


@given(pairs)
def test_scores_are_their_definitions(pairs):
    labels, predicted = (np.array(column, dtype=object) for column in zip(*pairs, strict=True))
    scores = score(labels, predicted, CLASSES)
    assert scores["rows"] == len(pairs)
    assert scores["accuracy"] == pytest.approx(share(sum(a == b for a, b in pairs), len(pairs)))
    f1 = []
    for name in CLASSES:
        hits = pairs.count((name, name))
        precision = share(hits, sum(b == name for _, b in pairs))
        recall = share(hits, sum(a == name for a, _ in pairs))
        f1.append(share(2 * precision * recall, precision + recall))
        expected = {"precision": precision, "recall": recall, "f1": f1[-1], "support": sum(a == name for a, _ in pairs)}
        assert scores["per_class"][name] == pytest.approx(expected)
    assert scores["macro_f1"] == pytest.approx(sum(f1) / 3)  # absent classes count as 0
    low, high = scores["accuracy_interval"]
    assert 0 <= low <= scores["accuracy"] <= high <= 1


def test_scores_are_scikit_learns():
    generator = np.random.default_rng(0)
    labels, predicted = generator.choice(CLASSES, 200), generator.choice(CLASSES, 200, p=[0.6, 0.3, 0.1])
    report = classification_report(labels, predicted, output_dict=True)
    scores = score(labels, predicted, CLASSES)
    assert scores["accuracy"] == pytest.approx(report["accuracy"])
    assert scores["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    for name in CLASSES:
        assert list(scores["per_class"][name].values()) == pytest.approx(list(report[name].values()))


def test_per_class_by_hand():
    scores = per_class(["A", "A", "A", "B"], ["A", "A", "B", "B"], ["A", "B", "C"])
    assert scores["A"] == pytest.approx({"precision": 1, "recall": 2 / 3, "f1": 0.8, "support": 3})
    assert scores["B"] == pytest.approx({"precision": 0.5, "recall": 1, "f1": 2 / 3, "support": 1})
    assert scores["C"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert list(scores) == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("hits", "rows", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (1, 1, 0.2065, 1), (163, 206, 0.7307, 0.8412)],
)
def test_wilson_interval_by_hand(hits, rows, low, high):
    assert wilson_interval(hits / rows, rows) == pytest.approx([low, high], abs=5e-5)


@given(st.integers(1, 2000).flatmap(lambda rows: st.tuples(st.integers(0, rows), st.just(rows))))
def test_wilson_interval_holds_the_share_and_mirrors(case):
    hits, rows = case
    low, high = wilson_interval(hits / rows, rows)
    assert 0 <= low <= hits / rows <= high <= 1
    assert wilson_interval(1 - hits / rows, rows) == pytest.approx([1 - high, 1 - low], abs=1e-9)


def test_cross_entropy_by_hand():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]], dtype=np.float32)
    assert cross_entropy(["A", "C"], probabilities, CLASSES) == pytest.approx((math.log(2) + math.log(8)) / 2)
    assert cross_entropy(["B", "B"], probabilities[:, [1, 0, 2]], ["B", "A", "C"]) == pytest.approx(
        (math.log(4) - math.log(0.75)) / 2
    )


def test_cross_entropy_is_scikit_learns_and_finite():
    generator = np.random.default_rng(0)
    labels, probabilities = generator.choice(CLASSES, 50), generator.dirichlet([1, 1, 1], 50).astype(np.float32)
    assert cross_entropy(labels, probabilities, CLASSES) == pytest.approx(log_loss(labels, probabilities), rel=1e-5)
    certain = np.array([[0, 1, 0]], dtype=np.float32)
    assert cross_entropy(["A"], certain, CLASSES) == pytest.approx(87.34, abs=0.01)  # -log of the least normal float32
    assert cross_entropy(["B"], certain, CLASSES) == 0


def test_a_label_of_an_unknown_class_counts_as_wrong():
    probabilities = np.array([[0.5, 0.5], [0.5, 0.5]], dtype=np.float32)
    tiny = float(np.finfo(np.float32).tiny)
    assert cross_entropy(["A", "C"], probabilities, ["A", "B"]) == pytest.approx(-(np.log(0.5) + np.log(tiny)) / 2)
    assert score(["A", "C"], ["A", "A"], ["A", "B"])["accuracy"] == 0.5
