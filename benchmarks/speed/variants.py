"""Compare changes to the training step that were tried and rejected with the current step, on this CPU.

    python -m benchmarks.speed.variants --model starter --data sample --max-length 128

All variants compute the same batch in turn. Prints the tokens per second, the ratio to the current step (median and
range over the rounds), and the relative distance between the variant's gradient and that of the current step, from the
warm-up.
"""

import statistics
import sys
import time
from unittest import mock

import numpy as np
import torch

from benchmarks.options import new_parser
from benchmarks.workload import Workload, plain_recipe
from common.cli import exit_codes
from common.training.compute import attention
from common.training.compute.devices import open_device
from common.training.step import Step

PLAIN = "as it is"


class SoftmaxInPlace(torch.autograd.Function):
    """Attention that writes its weights over the products; query, key and value are [texts, heads, tokens, size]."""

    @staticmethod
    def forward(ctx, query, key, value, scale):
        """softmax(scale x query x key) x value, [texts, heads, tokens, size]."""
        weights = (query * scale) @ key.transpose(-1, -2)
        torch.softmax(weights, -1, out=weights)
        ctx.save_for_backward(query, key, value, weights)
        ctx.scale = scale
        return weights @ value

    @staticmethod
    def backward(ctx, gradient):
        """The gradients of query, key and value."""
        query, key, value, weights = ctx.saved_tensors
        products = torch._softmax_backward_data(gradient @ value.transpose(-1, -2), weights, -1, weights.dtype)
        return (
            (products @ key).mul_(ctx.scale),
            (products.transpose(-1, -2) @ query).mul_(ctx.scale),
            weights.transpose(-1, -2) @ gradient,
            None,
        )


def in_place(module, query, key, value, mask=None):
    """Attention with SoftmaxInPlace."""
    return SoftmaxInPlace.apply(query, key, value, module.scaling)


def fused(module, query, key, value, mask=None):
    """Attention with torch's fused kernel, also in bf16."""
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=module.scaling)


def contiguous(module, query, key, value, mask=None, plain=attention._scaled_dot_product):
    """The current attention, on contiguous copies of query, key and value."""
    return plain(module, query.contiguous(), key.contiguous(), value.contiguous(), mask)


def cast_once(step, *given, plain=Step._accumulate, backward=torch.Tensor.backward, **named):
    """Compute all microbatches of a step within one autocast, which casts each weight only once."""

    def without_autocast(loss):
        with torch.autocast("cpu", enabled=False):
            backward(loss)

    with step.device.autocast(), mock.patch.object(torch.Tensor, "backward", without_autocast):
        return plain(step, *given, **named)


def other_budget(tokens):
    """The variant with microbatches of `tokens` tokens."""
    return lambda step: (step, "budget", tokens)


VARIANTS = {  # name -> function of the Step: what to replace (owner, attribute, value) while it is computed
    PLAIN: lambda step: (step, "budget", step.budget),
    "casts once a step": lambda step: (Step, "_accumulate", cast_once),
    "softmax in place": lambda step: (attention, "_scaled_dot_product", in_place),
    "fused attention": lambda step: (attention, "_scaled_dot_product", fused),
    "contiguous heads": lambda step: (attention, "_scaled_dot_product", contiguous),
    **{f"microbatches of {tokens:,}": other_budget(tokens) for tokens in (1024, 4096, 8192)},
}


@exit_codes
def main(argv=None):
    """Measure and print; returns the exit code."""
    parser = new_parser(__doc__, "model", "data", "max_length", "batch_size", "repeats", max_length=128, repeats=5)
    arguments = parser.parse_args(argv)
    work = Workload(arguments.model, None, arguments.data, arguments.max_length, arguments.batch_size)
    device = open_device("cpu", "auto", distributed=False)
    step = Step(work.model(), work.encoded, work.labels, plain_recipe(arguments.batch_size), 0, device)
    rows = np.arange(arguments.batch_size)
    step.begin_epoch(0)
    step(0, rows, 1e-6)  # the optimizer creates its state
    seconds, gradients = {name: [] for name in VARIANTS}, {}
    for number in range(arguments.repeats + 1):
        for name, change in VARIANTS.items():
            with mock.patch.object(*change(step)):
                if not number:  # the warm-up also gives the gradient
                    gradients[name] = gradient(step, rows)
                    continue
                begin = time.perf_counter()
                step(number, rows, 1e-6)
                seconds[name].append(time.perf_counter() - begin)
    tokens = int(work.encoded.lengths.sum())
    print(f"{device.name}, {device.precision}, {tokens} tokens per step, microbatches of {step.budget:,}")
    for name, taken in seconds.items():
        ratios = [plain / own for plain, own in zip(seconds[PLAIN], taken, strict=True)]
        off = float((gradients[name] - gradients[PLAIN]).norm() / gradients[PLAIN].norm())
        print(
            f"{name:<22} {tokens / statistics.median(taken):8,.0f} tokens/s  x {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})  gradient off by {off:.0e}"
        )
    return 0


def gradient(step, rows):
    """The gradient of the batch `rows`, as one vector."""
    step._backward(0, rows)
    flat = torch.cat([parameter.grad.flatten() for parameter in step.parameters if parameter.grad is not None])
    step.optimizer.zero_grad()
    return flat


if __name__ == "__main__":
    sys.exit(main())
