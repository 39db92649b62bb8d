"""The processes of a torchrun: what they tell one another, what they add up, how they enter a run together."""

import time
from pathlib import Path

import torch
import torch.distributed as dist

from common.cli import UserError
from common.runs import open_run
from common.training.compute.devices import Device

SEEN_WITHIN = 30  # seconds: a network disk shows new files late
BUCKET_BYTES = 25 * 2**20  # as in DistributedDataParallel: large enough for the network, small enough to begin early


def gather(device: Device, value: object) -> list:
    """The values of all processes, by rank: a list, the same in every process. Waits for the slowest, for days."""
    values = [value]
    if device.processes > 1:
        values = [None] * device.processes
        dist.all_gather_object(values, value, group=device.patient)
    return values


def agree(device: Device, *wishes: bool) -> list[bool]:
    """For each of the wishes whether any process has it: the same answer in every process."""
    return [any(each) for each in zip(*gather(device, wishes), strict=True)]


def sum_over_processes(tensors: list[torch.Tensor]) -> None:
    """Add up float32 tensors over all processes, in place: one message for all of them."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def copy_from_main(device: Device, model: torch.nn.Module) -> None:
    """Give every process the main one's weights."""
    if device.processes > 1:
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, 0)


def enter_run(device: Device, folder: Path, config: dict, overwrite: bool = False, shared: bool = False) -> bool:
    """Open a run folder on the main process, for all of them (see `open_run`); returns whether it is complete.

    Raises UserError in every process where one does not see the main one's folder: nodes without a shared disk.
    """
    complete = gather(device, open_run(folder, config, overwrite, shared) if device.main else None)[0]
    seen = gather(device, _appears(Path(folder) / "config.json"))
    if not all(seen):
        raise UserError(
            f"process {seen.index(False)} of {device.processes} does not see {folder}, which process 0 made: "
            "name a run folder on a disk that all nodes share, with --run-name"
        )
    return complete


def _appears(path: Path) -> bool:
    end = time.monotonic() + SEEN_WITHIN
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.1)
    return path.exists()


class GradientExchange:
    """Adds up gradients over the processes while the backward pass goes on, bucket by bucket.

    Gradients arrive from the last layer to the first. As soon as those of a bucket are there, their sum is asked for;
    all processes ask in the same order. DistributedDataParallel does the same for a module's forward(), which this
    project does not call (see common/training/compute/forward.py).
    """

    def __init__(self, parameters: list[torch.nn.Parameter]):
        self.buckets = [[]]
        size = 0
        for parameter in reversed(parameters):
            if size >= BUCKET_BYTES:
                self.buckets.append([])
                size = 0
            self.buckets[-1].append(parameter)
            size += parameter.numel() * parameter.element_size()
            parameter.register_post_accumulate_grad_hook(self._arrive)
        self.place = {id(parameter): n for n, bucket in enumerate(self.buckets) for parameter in bucket}
        self.missing, self.sums = [], []
        self.last_pass = False

    def begin(self) -> None:
        """Before a step: nothing is asked for yet."""
        self.sums, self.last_pass = [], False

    def begin_last_pass(self) -> None:
        """Before the step's last backward pass: a gradient that arrives now is complete.

        Where memory runs out within that pass, it is called again before the next try. Sums that were asked for stay:
        each was of complete gradients, and the other processes have them.
        """
        self.missing = [{id(parameter) for parameter in bucket} for bucket in self.buckets]
        self.last_pass = True

    def pause(self) -> None:
        """After a pass that broke off."""
        self.last_pass = False

    def finish(self) -> None:
        """Wait for all sums and put them in the gradients' place."""
        while len(self.sums) < len(self.buckets):
            self._ask()  # a bucket with parameters that have no gradient
        for parameters, flat, work in self.sums:
            if not parameters:
                continue
            work.wait()
            for parameter, total in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                parameter.grad = total.view_as(parameter)
        self.begin()

    def _arrive(self, parameter: torch.nn.Parameter) -> None:
        if not self.last_pass:
            return
        self.missing[self.place[id(parameter)]].discard(id(parameter))
        while len(self.sums) < len(self.buckets) and not self.missing[len(self.sums)]:
            self._ask()

    def _ask(self) -> None:
        parameters = [parameter for parameter in self.buckets[len(self.sums)] if parameter.grad is not None]
        if not parameters:
            self.sums.append(([], None, None))
            return
        flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
        self.sums.append((parameters, flat, dist.all_reduce(flat, async_op=True)))
