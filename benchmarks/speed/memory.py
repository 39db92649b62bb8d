"""Estimate the GPU memory that training needs, or check the estimate on this CPU.

    python -m benchmarks.speed.memory
    python -m benchmarks.speed.memory --check

The loop uses the same estimate to choose its microbatches on a GPU: see `microbatch_budget` in
common/training/compute/memory.py. It is the sum of two parts. Each weight takes 18 bytes: 16 for the float32 weight,
its gradient and the two moments of AdamW, 2 for the 16-bit copy. Each token takes 60 bytes per layer and hidden unit
for activations, which the backward pass needs. Korthikanti et al. 2022 (Reducing Activation Recomputation in Large
Transformer Models, section 4) count 34 of these, "34 sbh", without attention scores, which fused attention does not
store. The others are for norms and residual sums, which autocast keeps in float32. In float32, activations take twice
as much.
`--check` trains a small BERT on the CPU with two microbatch sizes. The difference in peak memory, divided by the
difference in tokens, is the memory per token. It must not exceed the estimate.
"""

import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.options import new_parser
from benchmarks.workload import (
    ARCHITECTURES,
    BERT,
    about,
    markdown_table,
    memory_in_use,
    peak_memory,
    plain_recipe,
    record_path,
    reset_peak_memory,
)
from common.cli import exit_codes
from common.files import write_json
from common.training.compute.devices import Device, open_device
from common.training.compute.memory import ACTIVATION_BYTES, TRAINING_BYTES, microbatch_budget
from common.training.encoders.configs import count_parameters
from common.training.encoders.pooling import add_mean_pooling
from common.training.loop import fit
from common.training.step import Step
from common.training.tokens import Encoded

GPU = Device(torch.device("cuda"), "bf16")  # no GPU is needed: nothing is computed on it
GIB = 2**30
SIZES = (8, 12, 16, 24, 80)  # GiB
LENGTH = 512  # tokens
SMALL = {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 1024}
CHECK_TOKENS = (2048, 8192)


@exit_codes
def main(argv=None):
    """Print the table of estimates or the check, and record it; returns the exit code."""
    parser = new_parser(__doc__, "json")
    parser.add_argument("--check", action="store_true", help="compare the estimate with peaks measured on this CPU")
    arguments = parser.parse_args(argv)
    if not arguments.check:
        print(f"Estimated, not measured. {GPU.precision}, texts of {LENGTH} tokens; in brackets: tokens per microbatch")
        print(
            markdown_table(
                ["", "weights", "one text at a time", *(f"{size} GB" for size in SIZES)],
                [estimate_row(name) for name in ARCHITECTURES],
            )
        )
        return 0
    record = {"tokens": CHECK_TOKENS, **SMALL, **about(open_device("cpu", distributed=False))}
    rows = []
    for precision in ("fp32", "bf16"):
        device = open_device("cpu", precision, distributed=False)
        peaks = [measure(device, tokens) for tokens in CHECK_TOKENS]
        if None in peaks:
            print("this system does not report a process's peak memory")
            return 1
        units = SMALL["num_hidden_layers"] * SMALL["hidden_size"] * (CHECK_TOKENS[1] - CHECK_TOKENS[0])
        measured = (peaks[1] - peaks[0]) / units
        estimated = ACTIVATION_BYTES * (2 if precision == "fp32" else 1)
        record[precision] = {"peaks": peaks, "measured_bytes": measured, "estimated_bytes": estimated}
        rows.append([precision, f"{measured:.1f}", estimated, "yes" if measured <= estimated else "NO"])
    path = record_path(arguments, "memory", device)
    write_json(path, record)
    print(markdown_table(["bytes per token, layer and hidden unit", "measured", "estimated", "an upper bound"], rows))
    print(path)
    return 0


def estimate_row(name):
    """A row of the table: the model, its weights, the memory for one text at a time, whether it fits each GPU size."""
    model = build(name)
    needed = estimate(model, LENGTH)
    row = [name, f"{count_parameters(model) / 1e6:.0f} M", f"{needed / 1e9:.1f} GB"]
    for size in SIZES:
        budget = choose_budget(model, size * GIB)
        row.append("–" if needed > 0.9 * size * GIB else f"yes ({budget:,})")
    return row


def build(name):
    """The architecture with its pooling layer, as the loop trains it, on the meta device: it takes no memory."""
    kind, config, sizes = ARCHITECTURES[name]
    with torch.device("meta"):
        model = kind(config(num_labels=9, **{**BERT, **sizes}))
        add_mean_pooling(model)
    return model


def estimate(model, tokens):
    """Bytes that 16-bit training needs for microbatches of `tokens` tokens: the inverse of microbatch_budget."""
    activations = model.config.num_hidden_layers * model.config.hidden_size * ACTIVATION_BYTES
    return count_parameters(model) * TRAINING_BYTES + tokens * activations


def choose_budget(model, memory):
    """The tokens per microbatch that the loop would choose on a GPU with `memory` bytes."""
    with mock.patch("torch.cuda.mem_get_info", return_value=(memory, memory)):
        return microbatch_budget(model, GPU)


def measure(device, tokens):
    """Peak memory of two training steps minus the memory in use before, in bytes; None if it cannot be measured."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=1000, attention_probs_dropout_prob=0.0, **SMALL))
    texts = 2 * tokens // LENGTH
    encoded = Encoded(
        np.random.default_rng(0).integers(5, 1000, texts * LENGTH).astype(np.int32),
        np.arange(texts + 1, dtype=np.int64) * LENGTH,
    )
    reset_peak_memory(device)
    before = memory_in_use()
    with tempfile.TemporaryDirectory() as folder:
        labels = np.zeros(texts, dtype=np.int64)
        fit(
            Step(model, encoded, labels, plain_recipe(tokens // LENGTH), 0, device, tokens),
            Path(folder),
            checkpoint_minutes=None,
        )
    peak = peak_memory(device)
    return None if peak is None or before is None else peak - before


if __name__ == "__main__":
    sys.exit(main())
