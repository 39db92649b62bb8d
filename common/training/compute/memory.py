"""GPU memory: how many tokens fit at once, and how to recognize that it is full."""

import torch
from transformers import PreTrainedModel

from common.cli import UserError
from common.training.compute.devices import Device

CPU_MICROBATCH_TOKENS = 2048
MOST_MICROBATCH_TOKENS = 32768  # an H100 gains nothing beyond this
FEWEST_MICROBATCH_TOKENS = 512
ACTIVATION_BYTES = 60  # per token, layer and hidden unit in 16 bits: what a BERT layer keeps for its backward pass
TRAINING_BYTES = 18  # per weight: float32 weight, gradient, two moments; the 16-bit copy of autocast
PREDICTION_BYTES = 6  # per weight: the float32 weight and its 16-bit copy

# Out-of-memory errors of libraries other than torch's CUDA allocator, which torch raises as plain RuntimeErrors
MEMORY_MESSAGES = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "MPS backend out of memory")


def microbatch_budget(model: PreTrainedModel, device: Device, training: bool = True) -> int:
    """Estimate from the free memory how many tokens to compute at once.

    Counts weights, gradients, two moments and activations. If the estimate is too high, the training step halves it
    (see common/training/step.py).
    """
    if device.device.type != "cuda":
        return CPU_MICROBATCH_TOKENS
    config = model.config.get_text_config()
    layers, hidden = (getattr(config, name, None) for name in ("num_hidden_layers", "hidden_size"))
    if not layers or not hidden:  # a rare architecture
        return FEWEST_MICROBATCH_TOKENS
    weights = sum(parameter.numel() for parameter in model.parameters())
    # Memory that this process has reserved, for example for the previous member of an ensemble, can be used again
    available = torch.cuda.mem_get_info(device.device)[0] + torch.cuda.memory_reserved(device.device)
    free = 0.9 * available - weights * (TRAINING_BYTES if training else PREDICTION_BYTES)
    per_token = layers * hidden * (ACTIVATION_BYTES if training else 2)
    if device.precision == "fp32":
        per_token *= 2
    return int(min(max(free / per_token, FEWEST_MICROBATCH_TOKENS), MOST_MICROBATCH_TOKENS))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch means that the device's memory is full."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in MEMORY_MESSAGES)


def free_cached_memory(device: Device) -> None:
    """Release the memory that torch's allocator caches. Call it outside `except`: an exception holds tensors."""
    if device.device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.device.type == "mps":
        torch.mps.empty_cache()


def recompute_activations(model: PreTrainedModel) -> None:
    """Keep no activations for the backward pass (gradient checkpointing). Raises UserError if the model cannot."""
    newer = getattr(model, "activation_checkpointing_enable", None)  # transformers 5.23 renamed it
    try:
        (newer or model.gradient_checkpointing_enable)()
    except ValueError as error:
        raise UserError(
            f"--gradient-checkpointing: {model.config.model_type} does not support it; leave the option out"
        ) from error
