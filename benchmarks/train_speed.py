"""Training speed: our loop against Hugging Face Trainer, alternating in one run, with the device's ceiling beside it.

    python benchmarks/train_speed.py --model starter --data sample --repeats 3
    python benchmarks/train_speed.py --random-init gbert-base --data gnad10 --max-train-rows 9245 --json speed.json

Three columns: ours; Trainer with its defaults (batch 8, padded to the longest, attention dropout as the checkpoint has
it); Trainer with its best options (our batch size, grouped by length, fused AdamW; bf16 and compile on a GPU).
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import transformers
from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

from benchmarks.workload import ARCHITECTURES, Workload, matmul_rate, peak_memory, synchronize
from common.devices import open_device, wants_compile
from common.runs import environment
from common.training import fit


def main():
    """Measure and print; returns the exit code."""
    arguments = parse_arguments()
    device = open_device(arguments.device, distributed=False)
    work = Workload(arguments.model, arguments.random_init, arguments.data, arguments.max_length,
                    arguments.max_train_rows)  # fmt: skip
    compiled = wants_compile(arguments.compile, device, work.model(), int(work.encoded.lengths.sum()) * 10)
    columns = {
        "ours": lambda: time_ours(work, device, arguments, compiled),
        "trainer": lambda: time_trainer(work, device, arguments, tuned=False),
        "tuned_trainer": lambda: time_trainer(work, device, arguments, tuned=True),
    }
    chosen = arguments.columns.split(",")
    rate = matmul_rate(device)
    runs = {name: [] for name in chosen}
    for repeat in range(arguments.repeats + 1):  # the first round warms up: compilation, caches, memory pools
        for name in chosen:
            measured = columns[name]()
            if repeat:
                runs[name].append(measured)
            print(
                f"{repeat or 'warm-up':>7} {name:<14} {measured['tokens_per_second']:>10,.0f} tokens/s  "
                f"{measured['seconds']:.1f} s  first step {measured['first_step_seconds']:.1f} s",
                flush=True,
            )
    result = summarize(runs, work, device, rate, arguments, compiled)
    print(json.dumps({key: value for key, value in result.items() if key not in ("runs", "environment")}, indent=2))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n")
    return 0


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="encoder (default: starter)")
    parser.add_argument("--random-init", choices=sorted(ARCHITECTURES), help="this architecture with random weights")
    parser.add_argument("--data", default="sample", help="dataset (default: sample)")
    parser.add_argument("--max-length", type=int, default=512, help="tokens (default: 512)")
    parser.add_argument("--max-train-rows", type=int, default=256, help="articles, repeated if need be (default: 256)")
    parser.add_argument("--batch-size", type=int, default=16, help="ours, and the tuned Trainer's (default: 16)")
    parser.add_argument("--repeats", type=int, default=3, help="measured rounds after one warm-up (default: 3)")
    parser.add_argument("--columns", default="ours,trainer,tuned_trainer", help="which to run, in this order")
    parser.add_argument("--compile", choices=["auto", "on", "off"], default="auto", help="ours (default: auto)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: auto)")
    parser.add_argument("--json", help="file for the figures")
    return parser.parse_args()


def time_ours(work, device, arguments, compiled):
    """One epoch by common/training.py, from the model on the CPU to the last step done."""
    recipe = {"epochs": 1, "batch_size": arguments.batch_size, "learning_rate": 2e-5, "head_factor": 10.0,
              "weight_decay": 0.01, "warmup": 0.1, "max_grad_norm": 1.0, "label_smoothing": 0.0,
              "class_weights": "none", "keep": "last", "max_steps": None}  # fmt: skip
    model = work.model()
    first = []
    _reset(device)
    begin = time.perf_counter()

    def log(record):
        if record["event"] == "step":
            first.append(time.perf_counter() - begin)

    with tempfile.TemporaryDirectory() as folder:
        outcome = fit(model, work.encoded, work.labels, recipe, 0, device, evaluate=dict, log=log,
                      folder=Path(folder), compiled=compiled)  # fmt: skip
    synchronize(device)
    seconds = time.perf_counter() - begin
    return _figures(work, seconds, first[0], device) | {"operations": work.operations(model),
                                                        "microbatch_tokens": outcome.microbatch_tokens}  # fmt: skip


def time_trainer(work, device, arguments, tuned):
    """One epoch by transformers.Trainer on the same articles and weights."""
    model = work.model(pooling="first", attention_dropout=None)
    rows = [{"input_ids": work.encoded.tokens[a:b].tolist(), "labels": int(label)} for a, b, label in
            zip(work.encoded.offsets, work.encoded.offsets[1:], work.labels, strict=False)]  # fmt: skip
    gpu = device.device.type == "cuda"
    options = {}
    if tuned:
        options = {"per_device_train_batch_size": arguments.batch_size, "optim": "adamw_torch_fused",
                   "train_sampling_strategy": "group_by_length", "bf16": gpu, "torch_compile": gpu}  # fmt: skip
    first = []

    class FirstStep(TrainerCallback):
        def on_step_end(self, *_, **__):
            if not first:
                synchronize(device)
                first.append(time.perf_counter() - begin)

    _reset(device)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(folder, num_train_epochs=1, save_strategy="no", report_to="none",
                                     disable_tqdm=True, logging_strategy="no", use_cpu=not gpu, **options)  # fmt: skip
        trainer = Trainer(model, settings, train_dataset=rows, data_collator=DataCollatorWithPadding(work.tokenizer),
                          callbacks=[FirstStep()])  # fmt: skip
        trainer.train()
    synchronize(device)
    return _figures(work, time.perf_counter() - begin, first[0], device)


def _reset(device):
    if device.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _figures(work, seconds, first_step_seconds, device):
    return {"seconds": seconds, "first_step_seconds": first_step_seconds, "peak_memory_bytes": peak_memory(device),
            "tokens_per_second": float(work.encoded.lengths.sum()) / seconds}  # fmt: skip


def summarize(runs, work, device, rate, arguments, compiled):
    """The medians, the spreads, the ratios pair by pair."""

    def median(name, key):
        return statistics.median(run[key] for run in runs[name])

    result = {"device": device.name, "precision": device.precision, "compiled": compiled,
              "encoder": arguments.random_init or arguments.model, "articles": len(work.texts),
              "tokens": int(work.encoded.lengths.sum()), "max_length": work.max_length,
              "batch_size": arguments.batch_size, "repeats": arguments.repeats,
              "matmul_rate": rate, "tokens_per_second": median("ours", "tokens_per_second")}  # fmt: skip
    operations = runs["ours"][0]["operations"]
    result["fraction_of_matmul_rate"] = operations / median("ours", "seconds") / rate
    for name in runs:
        result[f"{name}_seconds"] = [round(run["seconds"], 3) for run in runs[name]]
        result[f"{name}_first_step_seconds"] = median(name, "first_step_seconds")
        result[f"{name}_peak_memory_bytes"] = max(run["peak_memory_bytes"] for run in runs[name])
        if name != "ours":
            ratios = [a["seconds"] / b["seconds"] for a, b in zip(runs[name], runs["ours"], strict=True)]
            result[f"speedup_over_{name}"] = statistics.median(ratios)
            result[f"speedup_over_{name}_range"] = [min(ratios), max(ratios)]
    return result | {"transformers": transformers.__version__, "torch": torch.__version__, "runs": runs,
                     "environment": environment()}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
