"""How fast the training loop is, Hugging Face Trainer and the machine's own ceiling beside it.

    python -m benchmarks.speed.train --model starter --data sample --repeats 3
    python -m benchmarks.speed.train --random-init gbert-base --data gnad10 --max-train-rows 9245 --json speed.json

Columns, in turn: ours; ours_fp32, where the loop's precision on a CPU is another; trainer, with its defaults (float32,
batch 8, padded to the longest, attention dropout as the checkpoint has it); fair_trainer, set as somebody would who
knows its options: our precision and choice of compilation, attention dropout 0, grouped by length, fused AdamW, and of
16 texts at once or four times 4 what is faster here; on CPUs also unpadded_trainer, the same without any padding. Each
column of ours is held against the rate of one large matrix product in its precision.
"""

import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.options import WORKLOAD, new_parser
from benchmarks.speed.rivals import SHAPES, fair_options, train_with_trainer
from benchmarks.workload import (
    StepClock,
    Workload,
    about,
    encoder_name,
    matmul_rate,
    peak_memory,
    plain_recipe,
    reset_peak_memory,
    synchronize,
)
from common.cli import UserError, exit_codes
from common.files import write_json
from common.training.compute.compiling import wants_compile
from common.training.compute.devices import open_device
from common.training.compute.forward import compile_layers
from common.training.loop import fit
from common.training.step import Step

COLUMNS = ("ours", "ours_fp32", "trainer", "fair_trainer", "unpadded_trainer")
WORDS = {"trainer": "Trainer", "fair_trainer": "a fair Trainer", "unpadded_trainer": "one without padding"}


def default_columns(device):
    """All columns that say something on this device."""
    on_cpu = device.device.type == "cpu"
    left_out = {
        "ours_fp32": not on_cpu or device.precision == "fp32",
        "unpadded_trainer": not on_cpu,  # text by text, it would starve a GPU
    }
    return [name for name in COLUMNS if not left_out.get(name)]


@exit_codes
def main(argv=None):
    """Measure and print; returns the exit code."""
    arguments = parse_arguments(argv)
    device = open_device(arguments.device, arguments.precision, distributed=False)
    chosen = arguments.columns.split(",") if arguments.columns else default_columns(device)
    work = Workload(
        arguments.model, arguments.random_init, arguments.data, arguments.max_length, arguments.max_train_rows
    )
    compiled, _ = wants_compile(arguments.compile, device, work.model(), int(work.encoded.lengths.sum()) * 10)
    devices = {"ours": device, "ours_fp32": replace(device, precision="fp32")}
    rates = {name: matmul_rate(devices[name]) for name in chosen if name in devices}
    runs, shapes = {name: [] for name in chosen}, {}
    for repeat in range(arguments.repeats + 1):  # the first round warms up: compilation, caches, memory pools
        for name in chosen:
            if name in devices:
                measured = time_ours(work, devices[name], arguments, compiled)
            elif name == "trainer":
                measured = time_trainer(work, device)
            else:
                if name not in shapes:
                    shapes[name] = faster_shape(work, device, compiled, name)
                measured = time_trainer(work, device, name, fair_options(device, compiled, shapes[name]))
            if repeat:
                runs[name].append(measured)
            print(
                f"{repeat or 'warm-up':>7} {name:<14} {measured['tokens_per_second']:>10,.0f} tokens/s  "
                f"{measured['seconds']:.1f} s  first step {measured['first_step_seconds']:.1f} s",
                flush=True,
            )
    result = {
        "encoder": encoder_name(arguments),
        "articles": len(work.texts),
        "tokens": int(work.encoded.lengths.sum()),
        "max_length": work.max_length,
        "batch_size": arguments.batch_size,
        "pooling": arguments.pooling,
        "repeats": arguments.repeats,
        "compiled": compiled,
        "fair_shapes": shapes,
        **summarize(runs, rates, {name: devices[name].precision for name in rates}),
        "runs": runs,
        **about(device),
    }
    print(json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=2))
    print(*final_lines(result, chosen), sep="\n")
    if arguments.json:
        write_json(arguments.json, result)
    return 0


def parse_arguments(argv):
    """Read the command line."""
    parser = new_parser(__doc__, *WORKLOAD, "batch_size", "repeats", "precision", "json")
    parser.add_argument("--pooling", choices=["mean", "first"], default="mean", help="of our model")
    parser.add_argument("--columns", metavar="NAME,...", help="which to run, in this order (default: all that apply)")
    parser.add_argument("--compile", choices=["auto", "on", "off"], default="auto", help="our encoder layers")
    arguments = parser.parse_args(argv)
    chosen = arguments.columns.split(",") if arguments.columns else COLUMNS
    if "ours" not in chosen or set(chosen) - set(COLUMNS):
        raise UserError(f"--columns: ours, and any of {', '.join(COLUMNS[1:])}")
    return arguments


def time_ours(work, device, arguments, compiled):
    """One epoch by common/training/loop.py, from the model on the CPU to the last step done."""
    model = work.model(arguments.pooling)
    reset_peak_memory(device)
    with tempfile.TemporaryDirectory() as folder, StepClock(device, first_only=True) as clock:
        if compiled:
            compile_layers(model)
        step = Step(model, work.encoded, work.labels, plain_recipe(arguments.batch_size), 0, device)
        outcome = fit(step, Path(folder), checkpoint_minutes=None)
    return _figures(work, clock, device) | {
        "operations": work.operations(model),
        "microbatch_tokens": outcome.microbatch_tokens,
    }


def faster_shape(work, device, compiled, name):
    """The one of SHAPES in which this rival is faster, each after a run that warms up."""
    seconds = {}
    for shape in (*SHAPES, *SHAPES):
        seconds[shape] = time_trainer(work, device, name, fair_options(device, compiled, shape))["seconds"]
    return min(SHAPES, key=seconds.get)


def time_trainer(work, device, name="trainer", options=None):
    """One epoch by transformers.Trainer on the same articles and weights."""
    model = work.model(pooling="first", attention_dropout=None if name == "trainer" else 0.0)
    reset_peak_memory(device)
    with StepClock(device, first_only=True) as clock:
        train_with_trainer(
            model,
            work.encoded,
            work.labels,
            work.tokenizer,
            device,
            unpadded=name == "unpadded_trainer",
            **(options or {}),
        )
    return _figures(work, clock, device)


def _figures(work, clock, device):
    synchronize(device)
    seconds = time.perf_counter() - clock.begin
    return {
        "seconds": seconds,
        "first_step_seconds": clock.times[0],
        "peak_memory_bytes": peak_memory(device),
        "tokens_per_second": float(work.encoded.lengths.sum()) / seconds,
    }


def summarize(runs, rates, precisions):
    """The medians, the spreads, the ratios round by round, as a dict.

    `runs` maps a column to its measurements, `rates` and `precisions` the columns of ours to the matrix-product rate
    (operations/s) and the number format. What has no column in its key is that of "ours".
    """

    def median(name, key):
        return statistics.median(run[key] for run in runs[name])

    result = {}
    for name, rate in rates.items():
        prefix = "" if name == "ours" else f"{name}_"
        operations = runs[name][0]["operations"]
        result[f"{prefix}precision"] = precisions[name]
        result[f"{prefix}matmul_rate"] = rate
        result[f"{prefix}tokens_per_second"] = median(name, "tokens_per_second")
        result[f"{prefix}fraction_of_matmul_rate"] = operations / median(name, "seconds") / rate
        for other in [column for column in runs if column not in rates]:
            ratios = [a["seconds"] / b["seconds"] for a, b in zip(runs[other], runs[name], strict=True)]
            result[f"{prefix}speedup_over_{other}"] = statistics.median(ratios)
            result[f"{prefix}speedup_over_{other}_range"] = [min(ratios), max(ratios)]
    for name, measured in runs.items():
        peaks = [run["peak_memory_bytes"] for run in measured]
        result[f"{name}_seconds"] = [round(run["seconds"], 3) for run in measured]
        result[f"{name}_first_step_seconds"] = median(name, "first_step_seconds")
        result[f"{name}_peak_memory_bytes"] = None if None in peaks else max(peaks)
    result["first_step_seconds"] = result["ours_first_step_seconds"]
    result["peak_memory_bytes"] = result["ours_peak_memory_bytes"]
    return result


def final_lines(result, columns):
    """The figures in words, a line for each column of ours."""
    lines = []
    for name in columns:
        prefix = "" if name == "ours" else f"{name}_"
        if f"{prefix}precision" not in result:
            continue
        line = (
            f"{name} ({result[prefix + 'precision']}): {result[prefix + 'tokens_per_second']:,.0f} tokens/s, "
            f"{result[prefix + 'fraction_of_matmul_rate']:.2f} of the matrix-product rate"
        )
        for other, words in WORDS.items():
            key = f"{prefix}speedup_over_{other}"
            if key in result:
                low, high = result[f"{key}_range"]
                line += f", {result[key]:.2f} times {words} ({low:.2f} to {high:.2f})"
        lines.append(line)
    return lines


if __name__ == "__main__":
    sys.exit(main())
