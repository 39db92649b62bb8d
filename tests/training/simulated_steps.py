"""Run steps of every architecture on the simulated accelerator; prints what happened as JSON. Run in its own process:
the simulated device changes torch for good (see benchmarks/speed/kernels.py)."""

import json
import sys
from dataclasses import replace
from unittest import mock

import torch

from benchmarks.speed.kernels import ARCHITECTURES, Case, count, install, modes_of, run_step
from common.training.compute.memory import recompute_activations
from common.training.tokens import TokenStore


def main():
    """Run all cases and faults; the JSON object maps each to its counts, or to its error in words."""
    keep = install()
    found = {}
    small = {"layers": 2, "lengths": (20, 7, 7, 3)}
    cases = [Case(name, modes_of(name)[0], **small) for name in ARCHITECTURES]
    bert = Case("bert", "varlen", **small)
    cases += [
        replace(bert, pooling="mean"),
        replace(bert, mode="rectangle"),
        replace(bert, architecture="electra", mode="rectangle"),
        replace(bert, mode="rectangle", pooling="mean", precision="fp16"),
        replace(bert, mode="rectangle", precision="fp32"),
        replace(bert, architecture="distilbert", mode="padded", precision="fp16"),
    ]
    for case in cases:
        found[f"{case.architecture} {case.mode} {case.precision} {case.pooling}"] = count(run_step(case))

    def checkpointing(step):
        recompute_activations(step.model)

    def adversarial(step):
        step.recipe = replace(step.recipe, adversarial=1.0)

    def microbatches(step):
        step.budget = 15

    for prepare in (checkpointing, adversarial, microbatches):
        found[prepare.__name__] = count(run_step(bert, prepare))

    def labels_stay(step):
        step.labels = torch.zeros(len(step.labels), dtype=torch.int64)

    def loss_is_read(step):
        compute = step.loss
        step.loss = lambda *given: compute(*given) * (1 + 0 * float(compute(*given)))

    for fault in (labels_stay, loss_is_read):
        found[fault.__name__] = attempt(bert, fault)
    with mock.patch.object(TokenStore, "to_device", lambda store, array: torch.from_numpy(array)):
        found["row_numbers_stay"] = attempt(bert)
    with mock.patch("torch.Tensor.pin_memory", lambda tensor: tensor):
        found["not_pinned"] = attempt(bert)
    del keep
    json.dump(found, sys.stdout)


def attempt(case, prepare=lambda step: None):
    """The counts of a case, or the error in words."""
    try:
        return count(run_step(case, prepare))
    except RuntimeError as error:
        return str(error)


if __name__ == "__main__":
    main()
