"""What leaving a member out costs: by hand, and in the record of a submission."""

import numpy as np
import pytest

import create_ensemble_submission
from common.submission.combining import combine
from common.submission.costs import costs_of_leaving_out
from tests.submission.test_submission import FIRST, held_out, make_dataset, make_run, record


def one_hot(votes):
    return np.eye(3, dtype=np.float32)[np.array(votes)]


def test_costs_by_hand():
    """Class 0 is right everywhere. The first member is always right, the second and third never."""
    probabilities = one_hot([[0, 0, 0, 0], [1, 1, 1, 1], [1, 2, 1, 2]])
    costs = costs_of_leaving_out("mean", probabilities, np.zeros(4, dtype=int), np.array([0.4, 0.3, 0.3]))
    # together: 0.4 against 0.6, wrong, in rows 0 and 2; 0.4 against 0.3 and 0.3, right, in rows 1 and 3
    assert costs[0]["cost"] == 0.5 and costs[1]["cost"] == costs[2]["cost"] == -0.5  # 0.4 against 0.3: all right
    deviation = np.std([0, 1, 0, 1], ddof=1)
    assert costs[0]["interval"] == pytest.approx([0.5 - 1.96 * deviation / 2, 0.5 + 1.96 * deviation / 2], abs=1e-4)
    assert not any(cost["earns_its_place"] for cost in costs)


def test_a_member_that_alone_has_a_weight_cannot_be_left_out():
    probabilities = one_hot([[0, 0], [1, 1]])
    costs = costs_of_leaving_out("vote", probabilities, np.zeros(2, dtype=int), np.array([1.0, 0.0]))
    assert costs[0] is None and costs[1]["cost"] == 0 and costs[1]["interval"] == [0, 0]


@pytest.mark.parametrize("method", ["mean", "vote"])
def test_costs_are_those_of_a_second_submission_without_the_member(method):
    draw = np.random.default_rng(1)
    probabilities = draw.dirichlet(np.ones(3), (4, 50)).astype(np.float32)
    labels, weights = draw.integers(0, 3, 50), np.array([0.1, 0.2, 0.3, 0.4])

    def accuracy(members):
        part = probabilities[members]
        shares = weights[members] / weights[members].sum()
        return (combine(method, part, part.argmax(axis=2), shares, np.ones(len(part), bool))[0] == labels).mean()

    for member, cost in enumerate(costs_of_leaving_out(method, probabilities, labels, weights)):
        others = [other for other in range(4) if other != member]
        assert cost["cost"] == pytest.approx(accuracy([0, 1, 2, 3]) - accuracy(others))


def test_the_record_says_what_each_member_is_worth(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "data")
    for name, skill in (("good", 3.0), ("bad", 0.0)):
        make_run(tmp_path / name, FIRST, held_out=held_out(1, skill))
    assert create_ensemble_submission.main(["./good", "./bad"]) == 0
    good, bad = (member["leaving_out"] for member in record()["members"])
    assert good["earns_its_place"] and good["cost"] > 0.1 and not bad["earns_its_place"] and bad["rows"] == 300
    assert "leaving it out costs" in capsys.readouterr().out
