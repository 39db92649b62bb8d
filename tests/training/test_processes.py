"""Processes that train together, two and three: see processes.py, which they run."""

import json
import os
import socket

import pytest

from tests.scripts import run_script
from tests.training.test_train import ROOT


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def found(tmp_path_factory, request):
    """What each of the processes found, by rank."""
    if not hasattr(os, "fork"):
        pytest.skip("forks")
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = run_script(ROOT / "tests/training/processes.py", folder, port, request.param)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(request.param)]


def test_gradients_are_exchanged_while_the_backward_pass_goes_on(found):
    for answers in found:
        case = answers["exchange_while_computing"]
        assert case["of"] > 4
        assert max(case["asked"]) >= case["of"] - 2  # all but the buckets of the first layers
        assert case["weights"] == pytest.approx(case["alone"], rel=1e-6)


def test_memory_that_is_full_in_one_process_changes_nothing(found):
    plain = found[0]["exchange_while_computing"]["weights"]
    cases = [answers["memory_full_on_one"] for answers in found]
    assert [case["budget"] for case in cases] == [40, 20, 40][: len(found)]
    assert [case["weights"] for case in cases] == pytest.approx([plain] * len(found), rel=1e-6)


def test_the_best_epochs_weights_are_every_processes(found):
    for answers in found:
        case = answers["keep_best"]
        assert case["weights"] == case["best"] != case["last"]


def test_a_signal_to_one_process_ends_all_when_the_checkpoint_is_saved(found):
    assert [answers["signal_to_one"] for answers in found] == [["step-00000006.safetensors"]] * len(found)


def test_nodes_without_a_shared_disk_are_noticed(found):
    for rank, answers in enumerate(found):
        assert answers["other_folder"].startswith(
            f"process 1 of {len(found)} does not see FOLDER/disk{rank}, which process 0 created:"
        )
        assert "checkpoints of different steps" in answers["other_checkpoint"]
        assert f"({', '.join(['2'] + ['0'] * (len(found) - 1))})" in answers["other_checkpoint"]


def test_a_hang_ends_in_half_an_hour_and_a_slow_member_is_waited_for(found):
    assert [answers["time_limits"] for answers in found] == [[1800, 7 * 24 * 3600]] * len(found)
