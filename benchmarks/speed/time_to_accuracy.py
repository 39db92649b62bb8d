"""Time to accuracy: seconds until our loop's validation accuracy reaches that of Hugging Face Trainer's last epoch.

    python -m benchmarks.speed.time_to_accuracy --model starter --data sample --max-length 256 --seeds 3
    python -m benchmarks.speed.time_to_accuracy --model starter --data sample --max-length 256 --seeds 3 --table

Trainer runs with its defaults (3 epochs, batch 8, 5e-5), ours with the scripts' defaults for the encoder, scored after
each epoch on the same held-out fifth. Seconds are those of training alone, validation left out, Trainer's too. One JSON
line a run is appended to the results file; what is there is not computed again.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments

from benchmarks.options import new_parser
from benchmarks.workload import about, default_recipe, encoder_name, markdown_table, plus_minus, synchronize
from common.cli import exit_codes, number
from common.data import assign_folds, load_dataset
from common.training.devices import open_device
from common.training.loop import fit, predict
from common.training.models import load_model
from common.training.sources import find_source
from common.training.tokenizer import load_tokenizer
from common.training.tokens import cut_heads, encode

FOLDS = 5  # one of which validates


@exit_codes
def main(argv=None):
    """Run what is missing, then print the table; returns the exit code."""
    arguments = parse_arguments(argv)
    device = open_device(arguments.device, arguments.precision, distributed=False)
    path = Path(arguments.results)
    settings = {
        "encoder": encoder_name(arguments),
        "data": Path(arguments.data).name,
        "max_length": arguments.max_length,
        "our_precision": device.precision,
        "trainer_epochs": arguments.trainer_epochs,
    }
    runs = read_runs(path, settings)
    if not arguments.table:
        path.parent.mkdir(parents=True, exist_ok=True)
        for seed in range(arguments.seeds):
            for who, train in (("ours", train_ours), ("trainer", train_trainer)):
                if (who, seed) in runs:
                    continue
                epochs = train(arguments, device, seed)
                record = settings | {"who": who, "seed": seed, "epochs": epochs, **about(device)}
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                print(
                    f"{who} seed {seed}: "
                    + ", ".join(f"{epoch['accuracy']:.1%} after {epoch['seconds']:.0f} s" for epoch in epochs),
                    flush=True,
                )
        runs = read_runs(path, settings)
    print(table(runs))
    return 0


def parse_arguments(argv):
    """Read the command line."""
    parser = new_parser(__doc__, "model", "data", "seeds", "device", "precision", "results", "table", max_length=256)
    parser.add_argument("--trainer-epochs", type=number(int, 1), default=3, metavar="N", help="epochs of Trainer")
    arguments = parser.parse_args(argv)
    arguments.random_init = None
    default = Path(__file__).parents[1] / "results" / f"time-to-accuracy-{encoder_name(arguments)}.jsonl"
    arguments.results = arguments.results or default
    return arguments


def read_runs(path, settings):
    """The recorded runs of these settings, by (who, seed)."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    records = [json.loads(line) for line in lines]
    return {(record["who"], record["seed"]): record for record in records if settings.items() <= record.items()}


class Task:
    """The tokens and the class numbers of one seed's split."""

    def __init__(self, arguments, seed):
        self.dataset = load_dataset(arguments.data)
        self.source = find_source(arguments.model)
        frame, texts = self.dataset.train, self.dataset.train["text"]
        self.tokenizer, _ = load_tokenizer(self.source, texts)
        encoded = encode(self.tokenizer, texts)
        labels = np.array([self.dataset.classes.index(label) for label in frame["label"]])
        held_out = assign_folds(frame, FOLDS, seed) == 0
        self.max_length = min(arguments.max_length, self.tokenizer.model_max_length)
        self.train, self.train_labels = encoded.take(np.flatnonzero(~held_out)), labels[~held_out]
        self.valid, self.valid_labels = encoded.take(np.flatnonzero(held_out)), labels[held_out]

    def accuracy(self, model, device, long_texts):
        """The share of the held-out articles that the model gets right; `long_texts` as in the recipe."""
        reading = {"max_length": self.max_length, "long_texts": long_texts}
        return float((predict(model, self.valid, device, reading).argmax(1) == self.valid_labels).mean())


def train_ours(arguments, device, seed):
    """Our loop with the scripts' defaults; returns [{"seconds", "accuracy"}] by epoch."""
    task = Task(arguments, seed)
    recipe = default_recipe(arguments.model, task.source) | {"max_length": task.max_length}
    model = load_model(
        task.source,
        task.tokenizer,
        task.dataset.classes,
        seed=seed,
        pooling=recipe["pooling"],
        dropout=recipe["dropout"],
        attention_dropout=recipe["attention_dropout"],
    )
    epochs, validating = [], 0.0

    def evaluate():
        nonlocal validating
        synchronize(device)
        now = time.perf_counter()
        accuracy = task.accuracy(model, device, recipe["long_texts"])
        epochs.append({"seconds": now - begin - validating, "accuracy": accuracy})
        validating += time.perf_counter() - now
        return {}

    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        fit(
            model,
            task.train,
            task.train_labels,
            recipe,
            seed,
            device,
            evaluate=evaluate,
            log=lambda record: None,
            folder=Path(folder),
        )
    return epochs


def train_trainer(arguments, device, seed):
    """Trainer with its defaults; returns [{"seconds", "accuracy"}] of its last epoch."""
    task = Task(arguments, seed)
    model = load_model(
        task.source, task.tokenizer, task.dataset.classes, seed=seed, pooling="first", attention_dropout=None
    )
    cut = cut_heads(task.train, task.max_length)
    rows = [
        {"input_ids": cut.tokens[a:b].tolist(), "labels": int(label)}
        for a, b, label in zip(cut.offsets, cut.offsets[1:], task.train_labels, strict=False)
    ]
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        settings = TrainingArguments(
            folder,
            num_train_epochs=arguments.trainer_epochs,
            seed=seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            use_cpu=device.device.type == "cpu",
        )
        trainer = Trainer(model, settings, train_dataset=rows, data_collator=DataCollatorWithPadding(task.tokenizer))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        synchronize(device)
        seconds = time.perf_counter() - begin
    return [{"seconds": seconds, "accuracy": task.accuracy(model, device, "head")}]


def seconds_to(epochs, accuracy):
    """Seconds until the first epoch with at least this accuracy; None where there is none."""
    return next((epoch["seconds"] for epoch in epochs if epoch["accuracy"] >= accuracy), None)


def table(runs):
    """The Markdown table: a line a seed, then the mean over the seeds where ours arrived."""
    rows, ratios = [], []
    for seed in sorted({seed for _, seed in runs}):
        if not {("ours", seed), ("trainer", seed)} <= set(runs):
            continue
        ours, theirs = runs["ours", seed]["epochs"], runs["trainer", seed]["epochs"][-1]
        reached = seconds_to(ours, theirs["accuracy"])
        if reached is not None:
            ratios.append(theirs["seconds"] / reached)
        rows.append(
            [
                seed,
                f"{theirs['accuracy']:.1%}",
                f"{theirs['seconds']:.0f}",
                "not reached" if reached is None else f"{reached:.0f}",
                f"{ours[-1]['accuracy']:.1%}",
                f"{ours[-1]['seconds']:.0f}",
            ]
        )
    text = markdown_table(
        [
            "seed",
            "Trainer's accuracy",
            "its seconds",
            "ours: seconds until then",
            "accuracy in the end",
            "seconds in the end",
        ],
        rows,
    )
    if ratios:
        text += f"\n\nreached in {len(ratios)} of {len(rows)} seeds, there {plus_minus(ratios, 1)} times as fast"
    return text


if __name__ == "__main__":
    sys.exit(main())
