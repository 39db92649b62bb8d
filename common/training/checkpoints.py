"""Checkpoints of an unfinished run: safetensors files, written atomically; the last two are kept."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from common.files import whole_file

KEPT = 2


def save_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: dict,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write weights, optimizer state and `progress` (a JSON object with "step") to <folder>/step-<step>.safetensors.

    No random state is needed: every step draws from (seed, step), see common/training/step.py.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    state = optimizer.state_dict()
    for index, entries in state["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in entries.items()}
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    metadata = {"progress": json.dumps(progress), "scaler": json.dumps(scaler.state_dict() if scaler else None)}
    with whole_file(folder / f"step-{progress['step']:08d}.safetensors") as temporary:
        save_file(tensors, temporary, metadata=metadata)
    for old in _checkpoints(folder)[:-KEPT]:
        old.unlink()


def load_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
    print_line: Callable[[str], None] = print,
) -> dict | None:
    """Restore the newest readable checkpoint; returns its `progress`, or None where there is none.

    A damaged checkpoint is reported through `print_line`; the one before it is used.
    """
    for path in reversed(_checkpoints(folder)):
        try:
            # Copied, because load_file maps the file, and Windows cannot delete a mapped file
            tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
            progress = json.loads(metadata["progress"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            print_line(f"checkpoint {path} is damaged ({error}); trying the one before")
            continue
        model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name[0] == "m"})
        state = optimizer.state_dict()
        state["state"] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, entry = name.split(".", 2)
                state["state"].setdefault(int(index), {})[entry] = tensor
        optimizer.load_state_dict(state)
        scaler_state = json.loads(metadata["scaler"])
        if scaler and scaler_state:  # a checkpoint written in bf16 has no scaler state: start with a new scaler
            scaler.load_state_dict(scaler_state)
        return progress
    return None


def save_weights(path: Path, model: torch.nn.Module) -> None:
    """Write only the weights."""
    with whole_file(path) as temporary:
        save_file({name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}, temporary)


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Load the weights that `save_weights` wrote into `model`."""
    model.load_state_dict(load_file(path))


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"))
