"""What several processes do together: run by test_processes.py, which reads what each of them found.

    python tests/training/processes.py FOLDER PORT PROCESSES

Forks processes that join each other over gloo, as under torchrun, and go through all CASES; each writes
FOLDER/<rank>.json, the cases' answers by name.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

import common.training.compute.processes
import common.training.loop
from common.cli import UserError
from common.interrupts import Interrupted
from common.training.checkpoints import load_checkpoint
from common.training.compute.devices import Device, close_device, open_device
from common.training.compute.processes import enter_run
from common.training.loop import fit
from common.training.recipe import Recipe
from common.training.step import Step
from common.training.tokens import Encoded

RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=1e-2, head_factor=1.0, pooling="first", dropout=0.0)


def make_step(device, **changes):
    """A step of a small encoder on 48 random texts; small buckets, so that there are several."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=50, **sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    draw = np.random.default_rng(0)
    lengths = draw.integers(3, 20, 48)
    texts = Encoded(draw.integers(5, 50, lengths.sum()).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))
    labels = draw.integers(0, 2, 48)
    with mock.patch.object(common.training.compute.processes, "BUCKET_BYTES", 2000):
        recipe = Recipe(**vars(RECIPE) | changes)
        return Step(BertForSequenceClassification(config), texts, labels, recipe, 0, device, 40, lambda line: None)


def weights(step):
    """A figure that differs where any weight does."""
    return float(sum(tensor.double().abs().sum() for tensor in step.model.state_dict().values()))


def exchange_while_computing(device, folder):
    """How many sums were asked for when the first layer's gradient came, of how many; and the weights after a run."""
    asked = []
    step = make_step(device)
    first = step.model.bert.embeddings.word_embeddings.weight
    first.register_post_accumulate_grad_hook(lambda _: asked.append(len(step.exchange.sums)))
    fit(step, folder)
    alone = make_step(Device(device.device, "fp32"))
    fit(alone, folder / "alone")
    return {"asked": asked, "of": len(step.exchange.buckets), "weights": weights(step), "alone": weights(alone)}


def memory_full_on_one(device, folder):
    """The weights after a run in which memory ran out on process 1, when most sums had been asked for."""
    step, calls = make_step(device), []

    def full(_):
        calls.append(len(step.exchange.sums))
        if device.rank == 1 and calls[-1] > 2 and not any(count > 2 for count in calls[:-1]):
            raise torch.OutOfMemoryError

    step.model.bert.embeddings.word_embeddings.weight.register_post_accumulate_grad_hook(full)
    fit(step, folder)
    return {"weights": weights(step), "budget": step.budget}


def keep_best(device, folder):
    """The weights of the first of two epochs, whose accuracy is higher; process 0 is slow to save them."""
    step, seen = make_step(device, keep="best"), []
    save = common.training.loop.save_weights

    def evaluate():
        seen.append(weights(step))
        return {"valid_accuracy": 1 - len(seen) / 10}

    def slow(*given):
        time.sleep(0.5)
        save(*given)

    with mock.patch.object(common.training.loop, "save_weights", slow):
        fit(step, folder if device.main else folder / "elsewhere", evaluate=evaluate)
    return {"best": seen[0], "last": seen[1], "weights": weights(step)}


def signal_to_one(device, folder):
    """Whether a signal to process 1 alone ends all, at which step, and not before process 0 has saved."""
    step, call = make_step(device), Step.__call__
    save = common.training.loop.save_checkpoint

    def signalled(step, number, *given):
        if device.rank == 1 and number == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        call(step, number, *given)

    def slow(*given):
        time.sleep(0.5)
        save(*given)

    with (
        mock.patch.object(Step, "__call__", signalled),
        mock.patch.object(common.training.loop, "save_checkpoint", slow),
    ):
        try:
            fit(step, folder)
        except Interrupted:
            return [path.name for path in folder.glob("step-*")]
    return "not interrupted"


def other_folder(device, folder):
    """What is said where process 1 does not see the run folder of process 0."""
    with mock.patch.object(common.training.compute.processes, "SEEN_WITHIN", 0.2):
        try:
            return enter_run(device, folder / f"disk{device.rank}", {"script": "train.py"})
        except UserError as error:
            return str(error).replace(str(folder), "FOLDER")


def other_checkpoint(device, folder):
    """What is said where process 1 lacks the checkpoint that process 0 goes on from."""
    alone = make_step(Device(device.device, "fp32"), max_steps=2)
    own = folder / f"disk{device.rank}"
    if device.main:
        fit(alone, own, checkpoint_minutes=0)
        assert load_checkpoint(own, alone.model, alone.optimizer)["step"] == 2
    try:
        fit(make_step(device), own)
    except UserError as error:
        return str(error).replace(str(folder), "FOLDER")
    return "not noticed"


def time_limits(device, folder):
    """After how many seconds of waiting the group that computes gives up, and the one by which processes wait."""
    groups = (torch.distributed.group.WORLD, device.patient)
    return [group._get_backend(torch.device("cpu")).options._timeout.total_seconds() for group in groups]


CASES = (
    time_limits,
    exchange_while_computing,
    memory_full_on_one,
    keep_best,
    signal_to_one,
    other_folder,
    other_checkpoint,
)


def main():
    """Fork, go through the cases in all processes; returns the exit code."""
    folder, processes = Path(sys.argv[1]), int(sys.argv[3])
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2], "WORLD_SIZE": str(processes), "RANK": "0"}
    children = []
    for rank in range(1, processes):
        child = os.fork()
        if not child:
            os.environ["RANK"], children = str(rank), []
            break
        children.append(child)
    device = open_device("cpu", "fp32")
    answers = {case.__name__: case(device, folder / case.__name__) for case in CASES}
    (folder / f"{device.rank}.json").write_text(json.dumps(answers))
    close_device(device)
    return max((os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), default=0)


if __name__ == "__main__":
    sys.exit(main())
