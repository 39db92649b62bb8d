"""The processes of a torchrun: what they tell one another, what they add up, how they enter a run together."""

from pathlib import Path

import torch
import torch.distributed as dist

from common.runs import open_run
from common.training.devices import Device


def gather(device: Device, value: object) -> list:
    """The values of all processes, by rank: a list, the same in every process."""
    values = [value]
    if device.processes > 1:
        values = [None] * device.processes
        dist.all_gather_object(values, value)
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


def enter_run(device: Device, folder: Path, config: dict, overwrite: bool = False, shared: bool = False) -> bool:
    """Open a run folder on the main process, for all of them (see `open_run`); returns whether it is complete."""
    return gather(device, open_run(folder, config, overwrite, shared) if device.main else None)[0]
