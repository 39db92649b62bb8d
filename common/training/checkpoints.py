"""Checkpoints of an unfinished run: safetensors files that are whole or not there; the last two are kept."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from common.files import whole_file

KEPT = 2


def save_checkpoint(folder, model, optimizer, progress, scaler=None):
    """Write weights, optimizer state and `progress` (a JSON object with "step") to <folder>/step-<step>.safetensors.

    No random state is needed: every step draws from (seed, step), see common/training/step.py.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    state = optimizer.state_dict()
    for index, entries in state["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in entries.items()}
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    metadata = {"progress": json.dumps(progress), "scaler": json.dumps(scaler.state_dict() if scaler else None)}
    folder = Path(folder)
    with whole_file(folder / f"step-{progress['step']:08d}.safetensors") as temporary:
        save_file(tensors, temporary, metadata=metadata)
    for old in _checkpoints(folder)[:-KEPT]:
        old.unlink()


def load_checkpoint(folder, model, optimizer, scaler=None, print_line=print):
    """Restore the newest readable checkpoint; returns its `progress`, or None where there is none.

    A damaged newest one is passed over, which `print_line` tells.
    """
    for path in reversed(_checkpoints(folder)):
        try:
            # copied: Windows deletes no file that is mapped, as load_file leaves it
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
        if scaler and scaler_state:  # a checkpoint of a GPU that computes in bf16 has none: it begins anew
            scaler.load_state_dict(scaler_state)
        return progress
    return None


def save_weights(path, model):
    """Write the weights alone."""
    with whole_file(path) as temporary:
        save_file({name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}, temporary)


def load_weights(path, model):
    """Read weights that `save_weights` wrote back into `model`."""
    model.load_state_dict(load_file(path))


def _checkpoints(folder):
    return sorted(Path(folder).glob("step-*.safetensors"))
