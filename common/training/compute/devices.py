"""The device, its precision, and the processes of a torchrun."""

import contextlib
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from tqdm import tqdm

from common.cli import UserError

SLOWEST_STEP = timedelta(minutes=30)  # a process that waits longer for another within a run hangs
SLOWEST_MEMBER = timedelta(days=7)  # members of an ensemble finish at different times
OLD_GPU_INDEX = "https://download.pytorch.org/whl/cu126"  # the build with kernels for compute capabilities 5.0 to 9.0


@dataclass(frozen=True)
class Device:
    """The device of this process, its precision, and its rank among the processes."""

    device: torch.device
    precision: str  # of matrix products: "fp32", "bf16" or "fp16"; weights stay float32
    rank: int = 0
    processes: int = 1
    patient: dist.ProcessGroup | None = None  # the CPU group in which processes wait for one another

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype of `precision`."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    @property
    def name(self) -> str:
        """The name of the GPU, or the type of the device."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    @property
    def words(self) -> str:
        """Device and precision, as a script prints them."""
        tf32 = self.device.type == "cuda" and self.precision == "fp32"
        return f"{self.name}, {self.precision}" + (" with TF32 products" if tf32 else "")

    def alone(self) -> "Device":
        """The same device for a process that works alone, as on its own members of an ensemble."""
        return replace(self, rank=0, processes=1)

    def print_line(self, line: str) -> None:
        """Print a line above any progress bar and flush it. Only the main process prints."""
        if self.main:
            tqdm.write(line)
            sys.stdout.flush()

    def predicting(self) -> "Device":
        """The same device for predictions: float32 on a CPU, so that they agree with `pipeline`."""
        return replace(self, precision="fp32") if self.device.type == "cpu" else self

    def place(self, model: torch.nn.Module) -> None:
        """Move a model to this device, in place."""
        model.to(self.device)

    def autocast(self) -> contextlib.AbstractContextManager:
        """A context in which matrix products run in `precision`."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def open_device(device: str = "auto", precision: str = "auto", distributed: bool = True) -> Device:
    """Resolve --device and --precision, and join the other processes of a torchrun.

    Raises UserError for a device that is missing or that torch cannot use, or a precision that it does not support.
    """
    # Batches differ in size, so fixed segments would leave gaps. Only read when CUDA starts.
    if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & os.environ.keys():
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
    processes = int(os.environ.get("WORLD_SIZE", 1)) if distributed else 1
    rank = int(os.environ.get("RANK", 0)) if distributed else 0
    kind = _available(device)
    where = torch.device(kind, int(os.environ.get("LOCAL_RANK", 0))) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        if where.index >= torch.cuda.device_count():
            raise UserError(f"{processes} processes but {torch.cuda.device_count()} GPUs; lower --nproc-per-node")
        _check_kernels(where)
        torch.cuda.set_device(where)
        torch.set_float32_matmul_precision("high")  # TF32 for matrix products that autocast leaves in float32
    patient = _join_processes(kind) if processes > 1 else None
    return Device(where, _precision(kind, precision), rank, processes, patient)


def close_device(device: Device) -> None:
    """Leave the process group, if there is one."""
    if device.processes > 1 and dist.is_initialized():
        dist.destroy_process_group()


def _join_processes(kind: str) -> dist.ProcessGroup:
    """Join the other processes; returns the group in which they wait for one another.

    Python objects are exchanged over gloo, which does not occupy the GPU while waiting. So NCCL's time limit can be
    short, and it ends a run that hangs.
    """
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo", timeout=SLOWEST_STEP)
    return dist.new_group(backend="gloo", timeout=SLOWEST_MEMBER)


def _available(device: str) -> str:
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise UserError(f"--device cuda: torch {torch.__version__} finds no CUDA GPU ({_why_no_cuda()})")
    if device == "auto" and torch.version.cuda and _has_nvidia_gpu():
        raise UserError(
            f"there is an NVIDIA GPU, but torch {torch.__version__} cannot use it ({_why_no_cuda()}); install a newer "
            "driver, or the build of torch for this driver (see docs/gpus.md); --device cpu works without the GPU"
        )
    if device in ("auto", "mps") and torch.backends.mps.is_available():
        return "mps"
    if device == "mps":
        raise UserError("--device mps: not available on this machine")
    return "cpu"


def _has_nvidia_gpu() -> bool:
    """Whether there is an NVIDIA GPU that CUDA_VISIBLE_DEVICES does not hide."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return True
    tool = shutil.which("nvidia-smi")
    if not tool:
        return False
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "GPU" in done.stdout


def _why_no_cuda() -> str:
    """torch's own reason in one line: a build without CUDA, an old driver, no device."""
    if not torch.version.cuda:
        return "this is a build without CUDA"
    try:
        with warnings.catch_warnings(action="ignore"):
            torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0][:200]
    return "no device is visible"


def _check_kernels(where: torch.device) -> None:
    """Raise UserError if this build of torch has no kernels for the GPU: every call would fail."""
    major, minor = torch.cuda.get_device_capability(where)
    for entry in torch.cuda.get_arch_list():  # such as sm_90, sm_90a, compute_120
        kind, _, digits = entry.partition("_")
        number = int("".join(filter(str.isdigit, digits)))
        built = divmod(number, 10)
        same = built[0] == major and built[1] <= minor
        if same if kind == "sm" else built <= (major, minor):  # compute_: code that the driver compiles for newer GPUs
            return
    version = torch.__version__.partition("+")[0]
    raise UserError(
        f"{torch.cuda.get_device_name(where)} (sm_{major}{minor}): torch {torch.__version__} has kernels only for "
        f"{', '.join(torch.cuda.get_arch_list())}. Older GPUs need another build: "
        f"pip install torch=={version} --index-url {OLD_GPU_INDEX}; or use --device cpu"
    )


def _precision(kind: str, precision: str) -> str:
    if precision == "auto":
        # bf16 needs no loss scaling. Older GPUs only emulate it; on CPUs without it, it is far slower than fp32.
        if kind == "cuda":
            return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
        return "bf16" if kind == "cpu" and _cpu_has_bf16() else "fp32"
    if precision == "fp16" and kind != "cuda":
        raise UserError(f"--precision fp16 needs a CUDA GPU; on {kind} use fp32 or bf16")
    return precision


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices natively (AVX-512 BF16 or AMX), by torch's private checks."""
    checks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(check() for check in checks if check)
