"""Where the time of training on a CPU goes: torch's operators by their share of the CPU time, largest first.

    python -m benchmarks.speed.operators --model starter --data sample --max-length 128

Profiles one epoch of the loop. `products` adds up all matrix products. Operators below 1 % are left out.
"""

import sys
import tempfile
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from benchmarks.options import new_parser
from benchmarks.workload import Workload, markdown_table, plain_recipe
from common.cli import exit_codes
from common.training.compute.devices import open_device
from common.training.loop import fit
from common.training.step import Step

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")


@exit_codes
def main(argv=None):
    """Profile and print; returns the exit code."""
    parser = new_parser(
        __doc__, "model", "data", "max_length", "max_train_rows", "batch_size", max_length=128, max_train_rows=96
    )
    arguments = parser.parse_args(argv)
    work = Workload(arguments.model, None, arguments.data, arguments.max_length, arguments.max_train_rows)
    device = open_device("cpu", "auto", distributed=False)
    step = Step(work.model(), work.encoded, work.labels, plain_recipe(arguments.batch_size), 0, device)
    with tempfile.TemporaryDirectory() as folder, profile(activities=[ProfilerActivity.CPU]) as profiler:
        fit(step, Path(folder), checkpoint_minutes=None)
    shares = shares_of_time({event.key: event.self_cpu_time_total for event in profiler.key_averages()})
    print(f"{device.name}, {device.precision}, {work.max_length} tokens")
    print(markdown_table(["operator", "share of the CPU time, %"], [[name, f"{100 * s:.0f}"] for name, s in shares]))
    return 0


def shares_of_time(seconds):
    """[(operator, share)] of {operator: time}, largest first, the matrix products together, at least 1 % each."""
    total = sum(seconds.values())
    products = sum(seconds.get(name, 0) for name in PRODUCTS)
    shares = sorted(((name, value / total) for name, value in seconds.items()), key=lambda item: -item[1])
    return [("products", products / total), *(item for item in shares if item[1] >= 0.01)]


if __name__ == "__main__":
    sys.exit(main())
