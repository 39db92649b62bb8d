"""Where and how precisely it computes: device, number format, compilation, processes of a torchrun."""

import contextlib
import importlib.util
import os
import sys
from dataclasses import dataclass, replace
from datetime import timedelta

import torch
import torch.distributed as dist
from tqdm import tqdm

from common.cli import UserError

CPU_MICROBATCH_TOKENS = 2048
MOST_MICROBATCH_TOKENS = 32768  # beyond this an H100 gains nothing
ACTIVATION_BYTES = 60  # per token, layer and hidden unit in 16 bits: what a BERT layer keeps for its backward pass
COMPILE_WORTH_OPERATIONS = 3e16  # less is over in a minute or two on a large GPU: compiling takes as long as it saves


@dataclass(frozen=True)
class Device:
    """The resolved device of this process, its number format, and its place among the processes."""

    device: torch.device
    precision: str  # "fp32", "bf16" or "fp16": what matrix products compute in; weights stay float32
    rank: int = 0
    processes: int = 1

    @property
    def main(self):
        """Whether this process writes files and speaks."""
        return self.rank == 0

    @property
    def dtype(self):
        """The torch dtype of `precision`."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    @property
    def name(self):
        """The device as its maker calls it."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def alone(self):
        """The same device for a process that works by itself, as each does on its members of an ensemble."""
        return replace(self, rank=0, processes=1)

    def print_line(self, line):
        """Print a line at once, also into a log file, above any progress bar; processes but the main one are silent."""
        if self.main:
            tqdm.write(line)
            sys.stdout.flush()

    def predicting(self):
        """The same device for predictions: on a CPU in float32, so that they agree with what `pipeline` computes."""
        return replace(self, precision="fp32") if self.device.type == "cpu" else self

    def autocast(self):
        """A context in which matrix products run in `precision`."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def open_device(device="auto", precision="auto", distributed=True):
    """Resolve --device and --precision, and join the other processes where torchrun started this one.

    Raises UserError for a device that is not there or a precision that it lacks.
    """
    processes = int(os.environ.get("WORLD_SIZE", 1)) if distributed else 1
    rank = int(os.environ.get("RANK", 0)) if distributed else 0
    kind = _available(device)
    where = torch.device(kind, int(os.environ.get("LOCAL_RANK", 0))) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        if where.index >= torch.cuda.device_count():
            raise UserError(f"{processes} processes but {torch.cuda.device_count()} GPUs; lower --nproc-per-node")
        torch.cuda.set_device(where)
        torch.set_float32_matmul_precision("high")  # TF32 for what autocast leaves in float32
    if processes > 1 and not dist.is_initialized():
        # Processes may wait long for one another: an ensemble's members do not end at the same time.
        dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=timedelta(days=7))
    return Device(where, _precision(kind, precision), rank, processes)


def close_device(device):
    """Leave the process group, if there is one."""
    if device.processes > 1 and dist.is_initialized():
        dist.destroy_process_group()


def _available(device):
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA GPU is visible to torch (is this a CPU build? see README)")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: not available on this machine")
    return device


def _precision(kind, precision):
    if precision == "auto":
        # bf16 needs no loss scaling; older GPUs only emulate it, and CPUs without it run it far slower than fp32.
        if kind == "cuda":
            return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
        return "bf16" if kind == "cpu" and _cpu_has_bf16() else "fp32"
    if precision == "fp16" and kind != "cuda":
        raise UserError(f"--precision fp16 needs a CUDA GPU; on {kind} use fp32 or bf16")
    return precision


def _cpu_has_bf16():
    """Whether the CPU multiplies bf16 matrices natively: AVX-512 BF16 or AMX. torch's own checks, private as yet."""
    checks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(check() for check in checks if check)


def wants_compile(choice, device, model, tokens):
    """Resolve --compile: `auto` compiles on CUDA when training on `tokens` takes long enough to earn it back."""
    if choice == "auto":
        operations = 6 * sum(parameter.numel() for parameter in model.parameters()) * tokens
        able = device.device.type == "cuda" and importlib.util.find_spec("triton")
        return bool(able) and operations > COMPILE_WORTH_OPERATIONS
    return choice == "on"


def microbatch_budget(model, device, training=True):
    """How many tokens to compute at once, estimated from memory: weights, gradients, two moments, activations.

    An estimate is enough: where it is too high, the loop halves it (see common/training/step.py).
    """
    if device.device.type != "cuda":
        return CPU_MICROBATCH_TOKENS
    config = model.config
    weights = sum(parameter.numel() for parameter in model.parameters())
    free = 0.9 * torch.cuda.mem_get_info(device.device)[1] - weights * (18 if training else 6)
    per_token = config.num_hidden_layers * config.hidden_size * (ACTIVATION_BYTES if training else 2)
    if device.precision == "fp32":
        per_token *= 2
    return int(min(max(free / per_token, 512), MOST_MICROBATCH_TOKENS))
