"""Compare the speed of our training loop with Hugging Face Trainer and with the device's matrix-product rate.

    python -m benchmarks.speed.train --model starter --data sample --repeats 3
    python -m benchmarks.speed.train --random-init gbert-base --data gnad10 --max-train-rows 9245 --json speed.json

The columns run in turn. `ours` is our loop. `ours_fp32` is our loop in float32, on a CPU where it uses another
precision. `trainer` is Trainer with its defaults: float32, batch size 8, padded to the longest text, the checkpoint's
attention dropout. `fair_trainer` is Trainer with our precision and choice of compilation, attention dropout 0, batches
grouped by length and fused AdamW. Its 16 texts per step are computed at once or four at a time, whichever is faster
here. `unpadded_trainer`, on CPUs only, is the same without padding. Our columns also show their share of the rate of
one large matrix product in the same precision.
"""

import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

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
WORDS = {"trainer": "Trainer", "fair_trainer": "a fair Trainer", "unpadded_trainer": "an unpadded Trainer"}


def default_columns(device):
    """The columns that make sense on this device."""
    on_cpu = device.device.type == "cpu"
    left_out = {
        "ours_fp32": not on_cpu or device.precision == "fp32",
        "unpadded_trainer": not on_cpu,  # one attention call per text would leave a GPU idle
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
    parser.add_argument("--pooling", choices=["mean", "first"], default="mean", help="pooling of our model")
    parser.add_argument("--columns", metavar="NAME,...", help="columns to run, in this order (default: all that apply)")
    parser.add_argument(
        "--compile",
        choices=["auto", "on", "off"],
        default="auto",
        help="compile our encoder layers, and the fair rivals",
    )
    arguments = parser.parse_args(argv)
    chosen = arguments.columns.split(",") if arguments.columns else COLUMNS
    if "ours" not in chosen or set(chosen) - set(COLUMNS):
        raise UserError(f"--columns {arguments.columns}: expected ours, and any of {', '.join(COLUMNS[1:])}")
    return arguments


def time_ours(work, device, arguments, compiled):
    """Time an epoch of our loop, from the model on the CPU to the end of the last step."""
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
    """The entry of SHAPES in which this rival is faster. The first run of each shape is the warm-up."""
    seconds = {}
    for shape in (*SHAPES, *SHAPES):
        seconds[shape] = time_trainer(work, device, name, fair_options(device, compiled, shape))["seconds"]
    return min(SHAPES, key=seconds.get)


def time_trainer(work, device, name="trainer", options=None):
    """Time an epoch of transformers.Trainer on the same articles and weights. `name` is a column of a rival."""
    model = work.model(pooling="first", attention_dropout=None if name == "trainer" else 0.0)
    reset_peak_memory(device)
    products = torch.get_float32_matmul_precision()
    if name == "trainer":
        torch.set_float32_matmul_precision("highest")  # its default; open_device chose TF32
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
    torch.set_float32_matmul_precision(products)
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
    """Summarize the rounds, as a dict: medians, ratios per round with their range, peak memory.

    `runs` maps each column to its measurements. `rates` and `precisions` map our columns to the matrix-product rate
    (operations per second) and to the number format. A key without a column's name belongs to "ours".
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
    """The main figures, one line for each of our columns."""
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
