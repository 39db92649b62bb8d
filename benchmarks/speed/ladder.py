"""Measure the loop's optimizations: each rung of the ladder adds one, on the device of this machine.

    python -m benchmarks.speed.ladder --model starter --data sample
    python -m benchmarks.speed.ladder --random-init gbert-base --data gnad10 --max-train-rows 512 --compile

Every rung runs the loop of common/training/loop.py with the later optimizations switched off, on the same articles and
batches. Rates count real tokens per second, without padding and without each run's first step; the first round only
warms up. A rung that the device does not support shows a dash. Prints a Markdown table, and writes the figures and a
picture.
"""

import contextlib
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import torch

import common.training.compute.forward
import common.training.step
from benchmarks.options import WORKLOAD, new_parser
from benchmarks.workload import (
    StepClock,
    Workload,
    about,
    encoder_name,
    markdown_table,
    peak_memory,
    plain_recipe,
    plus_minus,
    record_path,
    reset_peak_memory,
    spread,
)
from common.cli import UserError, exit_codes
from common.files import write_json
from common.plots import COLOURS, new_figure, save_figure, styled
from common.training.compute.devices import open_device
from common.training.compute.forward import choose_mode, compile_layers
from common.training.loop import fit
from common.training.step import Step
from common.training.tokens import deal_batches

WHOLE_BATCH = 10**9  # tokens: a budget that never splits a batch


@dataclass(frozen=True)
class Rung:
    """The settings of a run; the defaults are the lowest rung, without optimizations."""

    attention: str = "eager"
    attention_dropout: float | None = None  # None: the checkpoint's own
    tf32: bool = False
    precision: str = "fp32"
    microbatch_tokens: int | None = WHOLE_BATCH  # None: the loop's own budget, texts sorted by length
    mode: str = "padded"
    whole_last_layer: bool = True
    word_dropout: bool = False
    fused_optimizer: bool = False
    pooling: str = "first"
    compiled: bool = False


def climb(device, mode, compiled):
    """The rungs in order, as (name, Rung); the Rung is None if this device lacks it. `mode` is that of choose_mode."""
    steps = (
        ("plain: float32, padded to the batch's longest", {}),
        ("fused attention (SDPA; needs attention dropout 0)", {"attention": "sdpa", "attention_dropout": 0.0}),
        ("TF32", {"tf32": True} if device.device.type == "cuda" else None),
        (device.precision, {"precision": device.precision} if device.precision != "fp32" else None),
        ("microbatches sorted by length", {"microbatch_tokens": None}),
        ("no padding", {"mode": mode} if mode != "padded" else None),
        ("last layer for the first token only", {"whole_last_layer": False} if mode != "padded" else None),
        ("dropout from random words", {"word_dropout": True} if device.device.type == "cpu" else None),
        ("fused AdamW", {"fused_optimizer": True}),
        ("mean pooling, for quality", {"pooling": "mean"}),
        ("compiled layers", {"compiled": True} if compiled else None),
    )
    rung, rungs = Rung(), []
    for name, change in steps:
        rung = replace(rung, **(change or {}))
        rungs.append((name, None if change is None else rung))
    return rungs


@exit_codes
def main(argv=None):
    """Measure, print, record and draw; returns the exit code."""
    arguments = parse_arguments(argv)
    device = open_device(arguments.device, arguments.precision, distributed=False)
    work = Workload(
        arguments.model, arguments.random_init, arguments.data, arguments.max_length, arguments.max_train_rows
    )
    rungs = climb(device, choose_mode(work.model(), device), arguments.compile)
    runs = {name: [] for name, _ in rungs}
    for repeat in range(arguments.repeats + 1):  # the first round warms up: compilation, memory pools
        for name, rung in rungs:
            if rung is None:
                continue
            measured = measure(work, device, rung, arguments.batch_size)
            if repeat:
                runs[name].append(measured)
            rate = measured["tokens_per_second"]
            print(f"{repeat or 'warm-up':>7} {name:<50} {rate:>9,.0f} tokens/s", flush=True)
    path = record_path(arguments, "ladder", device)
    record = {
        "encoder": encoder_name(arguments),
        "articles": len(work.texts),
        "max_length": work.max_length,
        "batch_size": arguments.batch_size,
        "repeats": arguments.repeats,
        "rungs": runs,
        **about(device),
    }
    write_json(path, record)
    draw(path.with_suffix(".png"), record)
    print(table(runs), f"\n{path} and .png")
    return 0


def parse_arguments(argv):
    """Read the command line."""
    parser = new_parser(__doc__, *WORKLOAD, "batch_size", "repeats", "precision", "json", max_train_rows=96)
    parser.add_argument("--compile", action="store_true", help="add the last rung: compiled layers")
    arguments = parser.parse_args(argv)
    if arguments.max_train_rows < 2 * arguments.batch_size:
        raise UserError(
            f"--max-train-rows {arguments.max_train_rows}: expected at least {2 * arguments.batch_size}, two batches, "
            "as the first step is not counted"
        )
    return arguments


def measure(work, device, rung, batch_size):
    """Train one epoch with the rung's settings; returns its figures."""
    device = replace(device, precision=rung.precision)
    model = work.model(rung.pooling, rung.attention_dropout)
    model.config._attn_implementation = rung.attention
    if device.device.type == "cuda":
        torch.set_float32_matmul_precision("high" if rung.tf32 else "highest")
    without = contextlib.ExitStack()
    if rung.whole_last_layer:
        without.enter_context(mock.patch.object(common.training.compute.forward, "_first_token_layer", _whole_layer))
    if not rung.word_dropout:
        without.enter_context(mock.patch.object(common.training.step, "use_word_dropout", lambda model: None))
    reset_peak_memory(device)
    with tempfile.TemporaryDirectory() as folder, StepClock(device, first_only=True) as clock, without:
        if rung.compiled:
            compile_layers(model)
        fit(make_step(rung, model, work, plain_recipe(batch_size), device), Path(folder), checkpoint_minutes=None)
    counted = sum(work.encoded.lengths[rows].sum() for rows in deal_batches(len(work.texts), batch_size, 0, 0)[1:])
    return {
        "tokens_per_second": float(counted) / (clock.seconds - clock.times[0]),
        "first_step_seconds": clock.times[0],
        "peak_memory_bytes": peak_memory(device),
    }


def make_step(rung, model, work, recipe, device):
    """The loop's Step in the rung's mode, with fused AdamW or torch's default implementation."""
    step = Step(model, work.encoded, work.labels, recipe, 0, device, rung.microbatch_tokens)
    step.mode = rung.mode
    for group in step.optimizer.param_groups:
        group["fused"] = True if rung.fused_optimizer else None
    step.optimizer._step_supports_amp_scaling = rung.fused_optimizer  # else GradScaler divides the gradients itself
    return step


def _whole_layer(layer, hidden, batch, attend, segments):
    """Replaces _first_token_layer: computes the layer for all tokens, then takes the first token of each text."""
    forward = common.training.compute.forward
    whole = forward._layer(layer, hidden, attend, segments, forward._project, forward._finish)
    return whole.index_select(0, batch.starts[:-1])


def table(runs):
    """A Markdown table: tokens per second, the ratio to the rung before, the ratio to the first."""
    rows, first, before = [], None, None
    for name, measured in runs.items():
        if not measured:
            rows.append([name, "–", "–", "–"])
            continue
        rates = [run["tokens_per_second"] for run in measured]
        mean = spread(rates)[0]
        first, before = first or mean, before or mean
        rows.append([name, plus_minus(rates), f"{mean / before:.2f}", f"{mean / first:.2f}"])
        before = mean
    return markdown_table(["", "tokens/s", "× before", "× plain"], rows)


@styled
def draw(path, record):
    """Draw a bar per rung, the plain loop at the top, with the standard deviation over the rounds."""
    runs = {
        name: spread([run["tokens_per_second"] for run in measured])
        for name, measured in record["rungs"].items()
        if measured
    }
    means, deviations = zip(*runs.values(), strict=True)
    figure = new_figure((9, 0.42 * len(runs) + 1.2), layout="constrained")
    axis = figure.subplots()
    axis.barh(list(runs), means, xerr=deviations, color=COLOURS[0], error_kw={"capsize": 2, "lw": 1})
    for place, mean in enumerate(means):
        axis.annotate(
            f"× {mean / means[0]:.2f}",
            (mean + deviations[place], place),
            (5, 0),
            va="center",
            fontsize=9,
            textcoords="offset points",
        )
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.12)
    axis.set(title=f"{record['encoder']}, {record['max_length']} tokens", xlabel="real tokens per second")
    figure.supxlabel(f"{record['device']}, {record['date']}", fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
