"""Decide whether to compile the encoder's layers: whether it saves time and whether it works here."""

import time
from functools import cache

import torch
from transformers import PreTrainedModel

from common.cli import UserError
from common.training.compute.devices import Device

# Compiling takes half a minute to a minute, which shorter training does not save. An estimate, not measured on a GPU.
WORTH_SECONDS = 120
RATE_REACHED = 0.4  # assumed share of the matrix-product rate that uncompiled training reaches
PRODUCT = 4096  # rows and columns of the matrices that measure this rate: 137 GFLOP per product


def wants_compile(choice: str, device: Device, model: PreTrainedModel, tokens: int) -> tuple[bool, str | None]:
    """Resolve --compile: whether to compile, and a line to print if compiling fails.

    `auto` compiles on CUDA if training takes long enough. `tokens` counts the tokens of all runs of this process that
    share the compiled code. Raises UserError for `on` if compiling fails.
    """
    if choice == "off" or (choice == "auto" and not _pays(device, model, tokens)):
        return False, None
    failure = compile_failure(device.device)
    if failure and choice == "on":
        raise UserError(f"--compile on: {failure}")
    return not failure, failure and f"not compiling: {failure}"


def _pays(device: Device, model: PreTrainedModel, tokens: int) -> bool:
    if device.device.type != "cuda":
        return False
    operations = 6 * sum(parameter.numel() for parameter in model.parameters()) * tokens
    return operations / (RATE_REACHED * product_rate(device)) > WORTH_SECONDS


@cache
def compile_failure(device: torch.device) -> str | None:
    """Why torch.compile does not work on this device, in one line; None if it works. Makes one small call."""
    try:
        torch.compile(_small)(torch.ones(8, device=device))
    except Exception as error:  # a missing C compiler, Python.h or triton: each raises another type
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return f"{first[:200]} (torch.compile needs a C compiler and Python.h: apt-get install gcc python3-dev)"
    return None


def _small(x: torch.Tensor) -> torch.Tensor:
    return (2 * x).relu()


@cache
def product_rate(device: Device) -> float:
    """Operations per second of large matrix products in the device's precision; takes some milliseconds."""
    matrix = torch.ones(PRODUCT, PRODUCT, device=device.device, dtype=device.dtype)
    seconds = []
    for _ in range(3):  # the first warms up
        torch.cuda.synchronize(device.device)
        begin = time.perf_counter()
        matrix @ matrix
        torch.cuda.synchronize(device.device)
        seconds.append(time.perf_counter() - begin)
    return 2 * PRODUCT**3 / min(seconds)
