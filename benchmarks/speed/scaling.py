"""Measure how the cost of training grows with processes, with the articles' length and with their number.

    python -m benchmarks.speed.scaling --model starter --data sample

Prints the tokens per second of two processes under torchrun and of one (on a CPU only), and the seconds per epoch for
several lengths and numbers of articles, which should be proportional to the tokens. Writes the figures and a picture.
To give all articles the same length, the script joins all tokens of the dataset and cuts them into equal pieces. When
it varies the number of articles, they keep their own lengths.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.options import WORKLOAD, new_parser
from benchmarks.workload import (
    StepClock,
    Workload,
    about,
    encoder_name,
    markdown_table,
    plain_recipe,
    plus_minus,
    record_path,
    spread,
)
from common.cli import exit_codes, number
from common.files import write_json
from common.plots import COLOURS, new_figure, save_figure, styled
from common.training.compute.devices import close_device, open_device
from common.training.compute.processes import gather
from common.training.loop import fit
from common.training.step import Step
from common.training.tokens import Encoded, deal_batches

BATCH_SIZE = 16
CASES = {
    "one process, one thread": (1, 1),
    "one process, two threads": (1, 2),
    "two processes, one thread each": (2, 1),
}


@exit_codes
def main(argv=None):
    """Measure, print, record and draw; returns the exit code."""
    arguments = parse_arguments(argv)
    if arguments.worker:
        return work_in_process(arguments)
    device = open_device(arguments.device, arguments.precision, distributed=False)
    record = {
        "encoder": encoder_name(arguments),
        "max_length": arguments.max_length,
        "precision": device.precision,
        "repeats": arguments.repeats,
        "processes": {},
        **about(device),
    }
    if device.device.type == "cpu":
        record["processes"] = measure_processes(arguments)
        rows = [[name, plus_minus(rates)] for name, rates in record["processes"].items()]
        print(markdown_table(["", "tokens/s"], rows), "\n")
    lengths, counts = ([int(n) for n in given.split(",")] for given in (arguments.lengths, arguments.rows))
    work = Workload(arguments.model, arguments.random_init, arguments.data, arguments.max_length, max(counts))
    by_length = {
        n: (of_length(work.encoded, n, arguments.length_rows), np.resize(work.labels, arguments.length_rows))
        for n in lengths
    }
    by_rows = {n: (work.encoded.take(range(n)), work.labels[:n]) for n in counts}
    for name, cases in (("length", by_length), ("rows", by_rows)):
        record[name] = measure_epochs(work, device, cases, arguments.repeats)
        rows = []
        for size, case in record[name].items():
            each = 1e6 * spread(case["seconds"])[0] / case["tokens"]
            rows.append([size, f"{case['tokens']:,}", plus_minus(case["seconds"], 2), f"{each:.1f}"])
        print(markdown_table([name, "tokens", "seconds per epoch", "µs per token"], rows), "\n")
    path = record_path(arguments, "scaling", device)
    write_json(path, record)
    draw(path.with_suffix(".png"), record)
    print(f"{path} and .png")
    return 0


def parse_arguments(argv):
    """Read the command line."""
    parser = new_parser(__doc__, *WORKLOAD, "repeats", "precision", "json", max_length=256, max_train_rows=320)
    parser.add_argument("--lengths", default="128,256,512", metavar="N,...", help="tokens per article")
    parser.add_argument(
        "--length-rows", type=number(int, 1), default=200, metavar="N", help="number of articles for each length"
    )
    parser.add_argument("--rows", default="100,200,400,800", metavar="N,...", help="numbers of articles")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def measure_processes(arguments):
    """Measure CASES in turn; returns {name: tokens per second of each round}."""
    rates = {name: [] for name in CASES}
    for _ in range(arguments.repeats):
        for name, (processes, threads) in CASES.items():
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
            torchrun += ["-m", "benchmarks.speed.scaling"]
            done = subprocess.run(
                [*torchrun, *sys.argv[1:], "--worker"],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                check=True,
            )
            rates[name].append(json.loads(done.stdout.splitlines()[-1])["tokens_per_second"])
            print(f"{name:<32} {rates[name][-1]:>9,.0f} tokens/s", flush=True)
    return rates


def work_in_process(arguments):
    """Runs in each process of a torchrun: train an epoch together; the main process prints the rate."""
    device = open_device(arguments.device, arguments.precision)
    work = Workload(
        arguments.model, arguments.random_init, arguments.data, arguments.max_length, arguments.max_train_rows
    )
    gather(device, None)  # wait until all processes are ready
    rate, _ = train_epoch(work, device, work.encoded, work.labels)
    device.print_line(json.dumps({"tokens_per_second": rate}))
    close_device(device)
    return 0


def measure_epochs(work, device, cases, repeats):
    """Time an epoch of each case, {name: (Encoded, labels)}, in turn, after a round of warm-up.

    Returns {name: {"tokens", "seconds" of each round}}.
    """
    found = {name: {"tokens": int(texts.lengths.sum()), "seconds": []} for name, (texts, _) in cases.items()}
    for repeat in range(repeats + 1):
        for name, (texts, labels) in cases.items():
            _, seconds = train_epoch(work, device, texts, labels)
            if repeat:
                found[name]["seconds"].append(seconds)
    return found


def train_epoch(work, device, texts, labels):
    """Train an epoch; returns the tokens per second without the first step, and the seconds of the whole epoch."""
    model = work.model()
    with tempfile.TemporaryDirectory() as folder, StepClock(device, first_only=True) as clock:
        fit(Step(model, texts, labels, plain_recipe(BATCH_SIZE), 0, device), Path(folder), checkpoint_minutes=None)
    counted = sum(texts.lengths[rows].sum() for rows in deal_batches(len(labels), BATCH_SIZE, 0, 0)[1:])
    return float(counted) / (clock.seconds - clock.times[0]), clock.seconds


def of_length(encoded, length, rows):
    """`rows` texts of exactly `length` tokens, cut from the dataset's tokens in order, which are repeated if needed."""
    return Encoded(np.resize(encoded.tokens, rows * length), np.arange(rows + 1, dtype=np.int64) * length)


@styled
def draw(path, record):
    """Draw the seconds per epoch over length and over rows, with the best-fitting line through the origin."""
    figure = new_figure((9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, name, title in zip(axes, ("length", "rows"), ("Length", "Number"), strict=True):
        x = np.array([int(n) for n in record[name]], float)
        means, deviations = np.array([spread(case["seconds"]) for case in record[name].values()]).T
        slope = (x * means).sum() / (x * x).sum()
        axis.plot([0, x.max()], [0, slope * x.max()], color=COLOURS[7], ls="--", lw=1, label="proportional")
        axis.errorbar(x, means, yerr=deviations, color=COLOURS[0], marker="o", ms=5, ls="", capsize=3, label="measured")
        axis.set(
            title=title,
            xlabel={"length": "tokens per article", "rows": "articles"}[name],
            ylabel="seconds per epoch",
            xlim=(0, None),
            ylim=(0, None),
        )
        axis.legend(frameon=False)
    figure.supxlabel(f"{record['encoder']}, {record['precision']}, {record['device']}, {record['date']}", fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
