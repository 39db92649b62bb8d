"""The processes of a torchrun: exchange values, sum tensors and gradients, open a run together."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from common.cli import UserError
from common.runs import open_run
from common.training.compute.devices import Device

SEEN_WITHIN = 30  # seconds; a network disk shows new files late
BUCKET_BYTES = 25 * 2**20  # as in DistributedDataParallel


def gather(device: Device, value: Any) -> list:
    """The values of all processes, by rank. Waits for the slowest process, for days if necessary."""
    values = [value] * device.processes
    if device.processes > 1:
        dist.all_gather_object(values, value, group=device.patient)
    return values


def agree(device: Device, *wishes: bool) -> list[bool]:
    """For each wish, whether any process has it; the answer is the same in every process."""
    return [any(each) for each in zip(*gather(device, wishes), strict=True)]


def sum_over_processes(tensors: list[torch.Tensor]) -> None:
    """Sum float32 tensors over all processes, in place, in a single message."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def copy_from_main(device: Device, model: torch.nn.Module) -> None:
    """Copy the main process's weights to every process."""
    if device.processes > 1:
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, 0)


def enter_run(
    device: Device,
    folder: Path,
    config: dict,
    overwrite: bool = False,
    shared: bool = False,
    reads: Iterable[str | Path] = (),
) -> bool:
    """Open a run folder on the main process for all processes (see `open_run`); returns whether it is complete.

    Raises UserError in every process if one of them does not see the folder: nodes without a shared disk.
    """
    complete = gather(device, open_run(folder, config, overwrite, shared, reads) if device.main else None)[0]
    seen = gather(device, _appears(Path(folder) / "config.json"))
    if not all(seen):
        raise UserError(
            f"process {seen.index(False)} of {device.processes} does not see {folder}, which process 0 created: "
            "name a run folder on a disk that all nodes share, with --run-name"
        )
    return complete


def _appears(path: Path) -> bool:
    """Whether a file exists, or does so within SEEN_WITHIN."""
    end = time.monotonic() + SEEN_WITHIN
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.1)
    return path.exists()


@dataclass(frozen=True, eq=False)
class _Sum:
    """A requested sum of one bucket's gradients."""

    parameters: list[torch.nn.Parameter]
    flat: torch.Tensor  # their gradients in a row
    work: dist.Work


class GradientExchange:
    """Sums gradients over the processes bucket by bucket, during the backward pass.

    Gradients arrive from the last layer to the first. When all gradients of a bucket are there, their sum is requested;
    all processes request sums in the same order. DistributedDataParallel does the same for a module's forward(), which
    this project does not call (see common/training/compute/forward.py).
    """

    def __init__(self, parameters: list[torch.nn.Parameter]):
        self.buckets: list[list[torch.nn.Parameter]] = [[]]
        size = 0
        for parameter in reversed(parameters):
            if size >= BUCKET_BYTES:
                self.buckets.append([])
                size = 0
            self.buckets[-1].append(parameter)
            size += parameter.numel() * parameter.element_size()
            parameter.register_post_accumulate_grad_hook(self._arrive)
        self.place = {id(parameter): n for n, bucket in enumerate(self.buckets) for parameter in bucket}
        self.missing: list[set[int]] = []  # of each bucket: ids of parameters whose gradients have not arrived
        self.sums: list[_Sum | None] = []  # None: no parameter of the bucket has a gradient
        self.last_pass = False

    def begin(self) -> None:
        """Call before a step."""
        self.sums, self.last_pass = [], False

    def begin_last_pass(self) -> None:
        """Call before the step's last backward pass: gradients that arrive from now on are complete.

        If memory runs out during that pass, call it again before the next attempt. Sums requested so far remain valid:
        each is of complete gradients, and the other processes have it.
        """
        self.missing = [{id(parameter) for parameter in bucket} for bucket in self.buckets]
        self.last_pass = True

    def pause(self) -> None:
        """Call after a failed pass."""
        self.last_pass = False

    def finish(self) -> None:
        """Wait for all sums and replace the gradients with them."""
        while len(self.sums) < len(self.buckets):
            self._request_sum()  # a bucket with parameters that have no gradient
        for each in filter(None, self.sums):
            each.work.wait()
            totals = each.flat.split([parameter.numel() for parameter in each.parameters])
            for parameter, total in zip(each.parameters, totals, strict=True):
                parameter.grad = total.view_as(parameter)
        self.begin()

    def _arrive(self, parameter: torch.nn.Parameter) -> None:
        if not self.last_pass:
            return
        self.missing[self.place[id(parameter)]].discard(id(parameter))
        while len(self.sums) < len(self.buckets) and not self.missing[len(self.sums)]:
            self._request_sum()

    def _request_sum(self) -> None:
        parameters = [parameter for parameter in self.buckets[len(self.sums)] if parameter.grad is not None]
        if not parameters:
            self.sums.append(None)
            return
        flat = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])
        self.sums.append(_Sum(parameters, flat, dist.all_reduce(flat, async_op=True)))
