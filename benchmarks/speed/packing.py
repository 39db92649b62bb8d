"""Compare packed with padded batches and fp32 with bf16: forward and backward pass of the same articles.

    python -m benchmarks.speed.packing --model starter --data sample --max-length 512

Prints real tokens per second, without padding, of each combination, in two rounds after a warm-up.
"""

import sys
import time
from dataclasses import replace

import numpy as np

from benchmarks.options import new_parser
from benchmarks.workload import Workload, synchronize
from common.cli import exit_codes
from common.training.compute.devices import open_device
from common.training.compute.forward import choose_mode, compute_logits
from common.training.compute.memory import microbatch_budget
from common.training.tokens import TokenStore, split_by_length

ROUNDS = 2


@exit_codes
def main(argv=None):
    """Measure and print; returns the exit code."""
    parser = new_parser(__doc__, "model", "random_init", "data", "max_length", "batch_size")
    arguments = parser.parse_args(argv)
    work = Workload(arguments.model, arguments.random_init, arguments.data, arguments.max_length, 200)
    rows = np.random.default_rng(0).permutation(200)[: arguments.batch_size]
    base = open_device(precision="fp32", distributed=False)
    model = work.model().to(base.device).train()
    store = TokenStore(work.encoded, base.device)
    for number in range(ROUNDS + 1):
        for precision in ("fp32", "bf16"):
            device = replace(base, precision=precision)
            for mode in dict.fromkeys(["padded", choose_mode(model, device)]):
                rate = measure(model, store, rows, device, mode)
                if number:
                    print(f"{number} {mode:<7} {precision} {rate:8,.0f} tokens/s", flush=True)
    return 0


def measure(model, store, rows, device, mode):
    """Real tokens per second of a forward and backward pass over the batch `rows`, in the loop's microbatches."""
    model.zero_grad()
    model.config._attn_implementation = "sdpa"
    begin = time.perf_counter()
    for micro in split_by_length(rows, store.lengths, microbatch_budget(model, device), mode == "padded"):
        with device.autocast():
            logits = compute_logits(model, store.gather(micro), mode)
        logits.float().sum().backward()
    synchronize(device)
    return store.lengths[rows].sum() / (time.perf_counter() - begin)


if __name__ == "__main__":
    sys.exit(main())
