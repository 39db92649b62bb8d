"""The sections of the GPU benchmark. Each takes (Size, Device, folder with the articles, scratch folder).

Each returns its record, a dict.
"""

import csv
import json
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.speed import ladder
from benchmarks.speed import train as rival
from benchmarks.speed.memory import estimate
from benchmarks.workload import (
    StepClock,
    Workload,
    matmul_rate,
    peak_memory,
    plain_recipe,
    reset_peak_memory,
    synchronize,
)
from common.cli import EXIT_INTERRUPTED, UserError
from common.data import load_dataset
from common.predictions import read_predictions
from common.runs import read_metrics
from common.training.compute.compiling import wants_compile
from common.training.compute.forward import compile_layers
from common.training.encoders.tiny import build_tiny_tokenizer
from common.training.loop import fit
from common.training.step import Step

ROOT = Path(__file__).resolve().parents[2]
# Log-normal lengths in tokens: 48 % exceed 512, and the mean is 407 after they are cut to 512.
MEDIAN_LENGTH, SPREAD_LENGTH = 497, 0.74
RESUMED_STEPS = 60  # of the run to interrupt: long enough for a signal to reach it, with several loss records


@dataclass(frozen=True)
class Size:
    """How much to compute. The defaults are the full benchmark."""

    articles: int = 9245
    max_length: int = 512
    base: tuple[str, ...] = ("--random-init", "gbert-base")  # an encoder, as an option of the benchmarks
    large: tuple[str, ...] = ("--random-init", "gbert-large")
    xlm_roberta: tuple[str, ...] = ("--random-init", "xlm-roberta-base")
    batch_size: int = 16
    epochs: int = 4
    seeds: int = 5
    rows: int = 1024  # articles for the ladder and the rivals
    matmul_seconds: float = 2.0


def write_articles(folder, data, size):
    """Write a dataset of `size.articles` articles with 10kGNAD's lengths and the words of `data`; returns `folder`."""
    rows = load_dataset(data).train
    words = [word for text in rows["text"] for word in text.split()]
    tokenizer = build_tiny_tokenizer(rows["text"], 31102)
    tokens_a_word = len(tokenizer(" ".join(words[:20000]), verbose=False)["input_ids"]) / len(words[:20000])
    draw = np.random.default_rng(0)
    lengths = np.exp(draw.normal(np.log(MEDIAN_LENGTH), SPREAD_LENGTH, size.articles)).clip(20, 4000) / tokens_a_word
    labels = sorted(set(rows["label"]))
    folder.mkdir()
    with open(folder / "train.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        position = 0
        for number, length in enumerate(lengths.astype(int)):
            text = " ".join(words[(position + place) % len(words)] for place in range(length))
            position += length
            writer.writerow([text, labels[number % len(labels)]])
    return folder


def run_tests(size, device, data, folder):
    """Run the tests that need a GPU. Raises UserError if pytest does not run."""
    report = folder / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", "tests/gpu", f"--junitxml={report}"]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not report.exists():
        raise UserError(f"the tests did not run (pytest is in requirements-dev.txt): {ended.stdout.strip()[-200:]}")
    suite = ElementTree.parse(report).getroot().find("testsuite")
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    failed = counts["failures"] + counts["errors"]
    return {
        "passed": counts["tests"] - failed - counts["skipped"],
        "failed": failed,
        "skipped": counts["skipped"],
        "output": ended.stdout[-5000:] if failed else "",
    }


def run_benchmark(main, encoder, size, device, data, folder, *more):
    """Run another benchmark's `main` on the articles; returns its record. Raises UserError if it fails."""
    path = folder / "record.json"
    common = ["--data", data, "--max-length", size.max_length, "--max-train-rows", size.rows, "--repeats", 1]
    common += ["--batch-size", size.batch_size, "--device", device.device.type, "--json", path]
    if main([str(part) for part in (*encoder, *common, *more)]):
        raise UserError("a benchmark failed; its message is above")
    return json.loads(path.read_text(encoding="utf-8"))


def climb_ladder(size, device, data, folder):
    """Measure the optimizations, added one by one."""
    compiled = ["--compile"] if device.device.type == "cuda" else []
    record = run_benchmark(ladder.main, size.base, size, device, data, folder, *compiled)
    rates = {name: round(runs[0]["tokens_per_second"]) for name, runs in record["rungs"].items() if runs}
    return {"tokens_per_second": rates}


def hold_against_rivals(size, device, data, folder):
    """Compare our loop with Trainer: with its defaults, and with well-chosen options.

    The ratios are without each run's first step, which on a GPU is not small against 64 steps: Trainer's start, our
    compiling.
    """
    more = ("--columns", "ours,trainer,fair_trainer", "--precision", device.precision)
    record = run_benchmark(rival.main, size.base, size, device, data, folder, *more)
    seconds = {
        name: record[f"{name}_seconds"][0] - record[f"{name}_first_step_seconds"]
        for name in ("ours", "trainer", "fair_trainer")
    }
    return {
        **{name: record[name] for name in ("tokens_per_second", "compiled", "fair_shapes")},
        **{f"speedup_over_{name}": seconds[name] / seconds["ours"] for name in ("trainer", "fair_trainer")},
    }


def train_seeds(encoder, epochs, seeds):
    """A section that trains `encoder` (a field of Size) with several seeds in one process, like an ensemble."""

    def section(size, device, data, folder):
        kind, name = getattr(size, encoder)
        given = {"model": None, "random_init": None, kind.removeprefix("--").replace("-", "_"): name}
        work = Workload(given["model"], given["random_init"], data, size.max_length, size.articles)
        rate, runs = matmul_rate(device, size.matmul_seconds), []
        recipe = replace(plain_recipe(size.batch_size), epochs=min(epochs, size.epochs))
        for seed in range(min(seeds, size.seeds)):
            runs.append(time_training(work, device, recipe, seed, seeds, folder / f"{encoder}-{seed}"))
        later = runs[-1]["seconds"] - runs[-1]["first_step_seconds"]
        model = work.model(seed=0)
        longest = sorted(work.encoded.lengths)[-size.batch_size :]
        return {
            "runs": runs,
            "seconds": runs[0]["seconds"],
            "seconds_of_all_seeds": sum(run["seconds"] for run in runs),
            "epochs": recipe.epochs,
            "seconds_per_epoch": later / recipe.epochs,
            "steps_per_second": runs[-1]["steps"] / later,
            "first_step_seconds": runs[0]["first_step_seconds"],
            "matmul_rate": rate,
            "share_of_matmul_rate": recipe.epochs * work.operations(model) / later / rate,
            "mean_tokens": float(work.encoded.lengths.mean()),
            "share_cut": float((work.encoded.lengths == size.max_length).mean()),
            "peak_memory_bytes": runs[-1]["peak_memory_bytes"],
            "estimated_memory_bytes": estimate(model, min(int(sum(longest)), runs[-1]["microbatch_tokens"])),
        }

    return section


def time_training(work, device, recipe, seed, seeds, folder):
    """Time one of `seeds` trainings, from the model on the CPU to the end of the last step.

    It is compiled if `--compile auto` would compile for the tokens of all seeds.
    """
    model = work.model(seed=seed)
    compiled, _ = wants_compile("auto", device, model, int(work.encoded.lengths.sum()) * recipe.epochs * seeds)
    reset_peak_memory(device)
    with StepClock(device, first_only=True) as clock:
        if compiled:
            compile_layers(model)
        outcome = fit(Step(model, work.encoded, work.labels, recipe, seed, device), folder, checkpoint_minutes=None)
        synchronize(device)
        seconds = time.perf_counter() - clock.begin
    return {
        "seconds": seconds,
        "first_step_seconds": clock.times[0],
        "steps": outcome.steps,
        "compiled": compiled,
        "microbatch_tokens": outcome.microbatch_tokens,
        "peak_memory_bytes": peak_memory(device),
    }


def interrupt_and_resume(size, device, data, folder):
    """Run train.py without interruption, and again interrupted by SIGTERM and resumed; compare the predictions."""
    command = [
        sys.executable,
        ROOT / "train.py",
        *("--model", "tiny", "--data", "sample", "--max-steps", RESUMED_STEPS),
    ]
    command += ["--epochs", RESUMED_STEPS, "--batch-size", 4, "--max-length", 32, "--max-train-rows", 24]
    command += ["--device", device.device.type, "--precision", device.precision, "--run"]

    def start(run):
        with open(folder / "errors.txt", "a", encoding="utf-8") as errors:
            given = [str(part) for part in (*command, folder / run)]
            return subprocess.Popen(given, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors)

    codes, cut = [start("whole").wait()], start("cut")
    while cut.poll() is None and not any(r["event"] == "step" for r in read_metrics(folder / "cut")):
        time.sleep(0.05)
    begin = time.perf_counter()
    cut.send_signal(signal.SIGTERM)
    codes.append(cut.wait())
    seconds = time.perf_counter() - begin
    codes.append(start("cut").wait())
    if codes != [0, EXIT_INTERRUPTED, 0]:
        said = (folder / "errors.txt").read_text(encoding="utf-8").strip()[-300:]
        raise UserError(f"train.py ended with {codes}; expected 0, {EXIT_INTERRUPTED} and 0: {said}")
    whole, resumed = (
        read_predictions(folder / run / "predictions" / "valid.csv").probabilities for run in ("whole", "cut")
    )
    return {
        "seconds_to_stop": seconds,
        "largest_difference": float(np.abs(whole - resumed).max()),
    }


SECTIONS = {
    "tests": run_tests,
    "base": train_seeds("base", epochs=4, seeds=5),
    "large": train_seeds("large", epochs=1, seeds=1),
    "xlm_roberta": train_seeds("xlm_roberta", epochs=1, seeds=1),
    "rival": hold_against_rivals,
    "ladder": climb_ladder,
    "resume": interrupt_and_resume,
}
