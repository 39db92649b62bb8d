"""Steps on an accelerator that is simulated (benchmarks/speed/kernels.py): real autograd, no values, no GPU."""

import json
from pathlib import Path

import pytest

from tests.scripts import run_script

CASES = [
    *(f"{name} varlen bf16 first" for name in ("bert", "electra", "roberta", "xlm-roberta", "camembert")),
    *(f"{name} rectangle bf16 first" for name in ("bert", "electra")),
    *(f"{name} padded bf16 first" for name in ("distilbert", "modernbert", "eurobert")),
    *("bert varlen bf16 mean", "bert rectangle fp16 mean", "bert rectangle fp32 first", "distilbert padded fp16 first"),
    *("checkpointing", "adversarial", "microbatches"),
]
FAULTS = ("labels_stay", "loss_is_read", "row_numbers_stay", "not_pinned")


@pytest.fixture(scope="module")
def steps():
    """What happened in each case: its kernels and waits, or an error in words."""
    ended = run_script(Path(__file__).with_name("simulated_steps.py"))
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout)


@pytest.mark.parametrize("case", CASES)
def test_a_step_computes_on_the_device_and_waits_for_nothing(steps, case):
    assert steps[case]["waits"] == []
    assert min(steps[case][part] for part in ("forward", "backward", "update")) > 10


def test_every_case_is_looked_at(steps):
    assert set(steps) == {*CASES, *FAULTS}


def test_planted_faults_are_caught(steps):
    assert steps["labels_stay"].startswith("a host tensor meets a device tensor")
    assert steps["row_numbers_stay"].startswith("a host tensor meets a device tensor")
    assert [wait.split()[0] for wait in steps["loss_is_read"]["waits"]] == ["_local_scalar_dense"]
    assert {wait.split()[0] for wait in steps["not_pinned"]["waits"]} == {"_to_copy"}


def test_what_a_step_is_made_of(steps):
    """Two layers. Where the figures grow, a step is slower: `python -m benchmarks.speed.kernels` counts more."""

    def kernels(case):
        return [steps[case][part] for part in ("forward", "backward", "update")]

    for found, most in (
        (kernels("bert varlen bf16 first"), (100, 105, 20)),
        (kernels("bert rectangle bf16 first"), (112, 110, 20)),
        (kernels("bert rectangle fp16 mean"), (128, 118, 33)),
    ):
        assert all(a <= b for a, b in zip(found, most, strict=True)), found
