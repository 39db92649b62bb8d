"""Compare training recipes by repeated, stratified cross-validation, all on the same folds and seeds.

    python -m benchmarks.quality.recipes --model starter --data kaggle --max-length 256 --jobs 2
    python -m benchmarks.quality.recipes --model starter --data kaggle --max-length 256 --table

Each run appends one line of JSON to the results file. Recorded runs are not repeated, so after an interruption the same
command continues. The table compares each candidate with the default on the same articles, folds and seeds. The 95 %
interval of the difference (normal) treats all predictions for one article as one cluster.
"""

import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from benchmarks.options import new_parser
from benchmarks.quality import techniques
from benchmarks.quality.candidates import CANDIDATES, DEFAULT
from benchmarks.workload import default_recipe
from common.classes import class_numbers, most_probable
from common.cli import UserError, exit_codes, number
from common.data import load_dataset
from common.metrics import cross_entropy
from common.plots import COLOURS, new_figure, save_figure, styled
from common.saved.environment import environment
from common.splitting.splits import assign_folds
from common.training.compute.devices import open_device
from common.training.encoders.models import load_model
from common.training.encoders.sources import find_source
from common.training.encoders.tokenizer import load_tokenizer
from common.training.loop import fit
from common.training.prediction import predict
from common.training.step import Step
from common.training.tokens import encode

FAR = 0.1  # candidates that differ more are only in the table, not in the picture


@exit_codes
def main(argv=None):
    """Run the missing runs, then print the table and draw the picture; returns the exit code."""
    arguments = parse_arguments(argv)
    path = Path(arguments.results)
    runs = read_runs(path, arguments)
    if not arguments.table:
        done = {(run["candidate"], run["repeat"], run["fold"]) for run in runs}
        folds = range(arguments.use_folds or arguments.folds)
        jobs = [
            (name, repeat, fold)
            for repeat in range(arguments.repeats)
            for name in arguments.candidates
            for fold in folds
            if (name, repeat, fold) not in done
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(arguments.jobs) as pool, path.open("a") as file:
            waiting = [pool.submit(run, arguments, *job) for job in jobs]
            for number, future in enumerate(as_completed(waiting), 1):
                record = future.result()
                file.write(json.dumps(record) + "\n")
                file.flush()
                print(
                    f"{number}/{len(jobs)} {record['candidate']}, repeat {record['repeat']}, fold {record['fold']}: "
                    f"{record['accuracy']:.2%}  {record['seconds']:.0f} s",
                    flush=True,
                )
        runs = read_runs(path, arguments)
    rows = summarize(runs, arguments)
    print_table(rows)
    draw(path.with_suffix(".png"), rows, arguments)
    return 0


def parse_arguments(argv):
    """Read the command line."""
    parser = new_parser(__doc__, "model", "data", "folds", "precision", "results", "table", max_length=256)
    parser.add_argument(
        "--repeats", type=number(int, 1), default=3, metavar="N", help="repetitions, each with other folds and seeds"
    )
    parser.add_argument("--label-column", default="label", metavar="NAME", help="column with the class")
    parser.add_argument("--use-folds", type=number(int, 1), metavar="N", help="run only the first N folds")
    parser.add_argument(
        "--candidates", default=",".join(CANDIDATES), metavar="NAME,...", help="candidates to run (default: all)"
    )
    parser.add_argument(
        "--jobs", type=number(int, 1), default=1, metavar="N", help="number of processes; several use one thread each"
    )
    arguments = parser.parse_args(argv)
    arguments.candidates = arguments.candidates.split(",")
    for name in arguments.candidates:
        if name not in CANDIDATES:
            raise UserError(f"no candidate {name!r}; there are: {', '.join(CANDIDATES)}")
    default = Path(__file__).parents[1] / "results" / f"recipes-{Path(arguments.model).name}.jsonl"
    arguments.results = arguments.results or default
    return arguments


def settings(arguments):
    """The settings that must be equal for runs to be comparable."""
    return {
        "model": Path(arguments.model).name,
        "data": Path(arguments.data).name,
        "articles": len(read_data(arguments.data, arguments.label_column).train),
        **({"label_column": arguments.label_column} if arguments.label_column != "label" else {}),
        "max_length": arguments.max_length,
        "folds": arguments.folds,
        "precision": arguments.precision,
    }


@cache
def read_data(data, label_column):
    """Read the dataset, once per process."""
    return load_dataset(data, label_column=label_column)


def read_runs(path, arguments):
    """The records in the results file with the same settings."""
    if not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text().splitlines()]
    wanted = settings(arguments).items()
    return [record for record in records if wanted <= record.items()]


@cache
def load(model, data, label_column):
    """Load what all runs share, once per process: dataset, source, tokenizer, uncut tokens, the default recipe."""
    dataset = read_data(data, label_column)
    source = find_source(model)
    tokenizer, _ = load_tokenizer(source, dataset.train["text"])
    encoded = encode(tokenizer, dataset.train["text"])
    return dataset, source, tokenizer, encoded, default_recipe(model, source)


def run(arguments, name, repeat, fold):
    """Train and score one candidate on one fold; returns its record."""
    if arguments.jobs > 1:
        torch.set_num_threads(1)
    candidate = CANDIDATES[name]
    dataset, source, tokenizer, whole, recipe = load(arguments.model, arguments.data, arguments.label_column)
    fold_of = assign_folds(dataset.train, arguments.folds, repeat)
    train_rows, held_out = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
    labels = dataset.train["label"].to_numpy()
    begin = time.monotonic()
    if name == "tfidf":
        texts = dataset.train["text"].to_numpy()
        model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LinearSVC())
        model.fit(texts[train_rows], labels[train_rows])
        predicted, loss = model.predict(texts[held_out]), None
    else:
        probabilities = train_and_predict(
            candidate, dataset, source, tokenizer, whole, recipe, train_rows, held_out, repeat, arguments
        )
        predicted = most_probable(probabilities, dataset.classes)
        loss = cross_entropy(labels[held_out], probabilities, dataset.classes)
    correct = predicted == labels[held_out]
    return settings(arguments) | {
        "candidate": name,
        "repeat": repeat,
        "fold": fold,
        "accuracy": float(correct.mean()),
        "macro_f1": float(f1_score(labels[held_out], predicted, average="macro")),
        "loss": loss,
        "seconds": round(time.monotonic() - begin, 2),
        "date": f"{date.today():%Y-%m-%d}",
        "commit": environment()["commit"],
        "correct": "".join(str(int(hit)) for hit in correct),
    }


def train_and_predict(candidate, dataset, source, tokenizer, whole, recipe, train_rows, held_out, seed, arguments):
    """Train on `train_rows`; returns the probabilities of the `held_out` rows, [rows, classes]."""
    changes = {
        key: change(getattr(recipe, key)) if callable(change) else change for key, change in candidate.changes.items()
    }
    length = min(arguments.max_length, candidate.max_length or arguments.max_length)
    recipe = replace(recipe, **changes | {"max_length": min(length, tokenizer.model_max_length)})
    numbers = class_numbers(dataset.train["label"], dataset.classes)[train_rows]
    device = open_device(precision=arguments.precision, distributed=False)
    model = load_model(
        source,
        tokenizer,
        dataset.classes,
        seed=seed,
        pooling=recipe.pooling,
        dropout=recipe.dropout,
        attention_dropout=recipe.attention_dropout,
    )
    if candidate.prepare:
        torch.manual_seed(seed)
        candidate.prepare(model)
    if candidate.pretrain:
        texts = [frame["text"] for frame in (dataset.train, dataset.test) if frame is not None]
        candidate.pretrain(model, encode(tokenizer, pd.concat(texts)), tokenizer, recipe, seed)
    train_texts, held_texts = whole.take(train_rows), whole.take(held_out)
    if candidate.texts:
        train_texts, held_texts = (candidate.texts(texts, recipe.max_length) for texts in (train_texts, held_texts))
    mask = tokenizer.mask_token_id
    techniques.TokenDropout.mask_id = tokenizer.unk_token_id if mask is None else mask
    with tempfile.TemporaryDirectory() as folder:
        step = (candidate.step or Step)(model, train_texts, numbers, recipe, seed, device)
        fit(step, Path(folder), checkpoint_minutes=None)
    if candidate.overlapping:
        return techniques.predict_overlapping(model, held_texts, device, recipe.max_length)
    return predict(model, held_texts, device.predicting(), replace(recipe, **candidate.predict))


def summarize(runs, arguments):
    """A dict per candidate: mean accuracy over the repeats, and the paired difference to the default with its interval.

    Raises UserError without runs.
    """
    if not runs:
        raise UserError("no runs with these settings")
    train = read_data(arguments.data, arguments.label_column).train
    fold_of = {repeat: assign_folds(train, arguments.folds, repeat) for repeat in {run["repeat"] for run in runs}}
    hits = {}  # candidate -> [repeats, rows]: 1 correct, 0 wrong, NaN not run
    for record in runs:
        table = hits.setdefault(record["candidate"], np.full((max(fold_of) + 1, len(train)), np.nan))
        table[record["repeat"], fold_of[record["repeat"]] == record["fold"]] = [int(hit) for hit in record["correct"]]
    rows = []
    for name, table in hits.items():
        accuracies = [np.nanmean(row) for row in table if not np.isnan(row).all()]
        of = [record for record in runs if record["candidate"] == name]
        losses = [record["loss"] for record in of if record["loss"] is not None]
        scores = [record["macro_f1"] for record in of if "macro_f1" in record]  # the earliest records have none
        line = {
            "candidate": name,
            "runs": len(of),
            "accuracy": float(np.mean(accuracies)),
            "deviation": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
            "macro_f1": float(np.mean(scores)) if len(scores) == len(of) else None,
            "loss": float(np.mean(losses)) if losses else None,
            "seconds": float(np.mean([record["seconds"] for record in of])),
            "difference": None,
            "interval": None,
        }
        if name != DEFAULT and DEFAULT in hits:
            apart = table - hits[DEFAULT]
            if not np.isnan(apart).all():
                mean = float(np.nanmean(apart))
                by_article = np.nansum(apart - mean, axis=0)  # predictions for one article are not independent
                half = float(1.96 * np.sqrt((by_article**2).sum()) / (~np.isnan(apart)).sum())
                line |= {"difference": mean, "interval": [mean - half, mean + half]}
        rows.append(line)
    # Sorted by difference first: accuracies of candidates that ran on other folds are not comparable
    return sorted(rows, key=lambda row: (-(row["difference"] or 0), -row["accuracy"]))


def print_table(rows):
    """Print the rows as a Markdown table."""
    print(
        "\n| candidate | accuracy, % | against the default, points | macro-F1, % | log loss | seconds per run | runs |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        deviation = "" if row["deviation"] is None else f" ± {100 * row['deviation']:.2f}"
        apart = ""
        if row["interval"]:
            low, high = (100 * bound for bound in row["interval"])
            apart = f"{100 * row['difference']:+.2f} ({low:+.2f} to {high:+.2f})"
        macro_f1 = "" if row["macro_f1"] is None else f"{100 * row['macro_f1']:.2f}"
        loss = "" if row["loss"] is None else f"{row['loss']:.3f}"
        print(
            f"| {row['candidate']} | {100 * row['accuracy']:.2f}{deviation} | {apart} | {macro_f1} | {loss} | "
            f"{row['seconds']:.0f} | {row['runs']} |"
        )


@styled
def draw(path, rows, arguments):
    """Draw the differences to the default with their intervals. Very large ones would squeeze the others: left out."""
    rows = [row for row in reversed(rows) if row["interval"] and abs(row["difference"]) < FAR]
    if not rows:
        return
    figure = new_figure((7.5, 1.2 + 0.27 * len(rows)))
    axis = figure.subplots()
    for place, row in enumerate(rows):
        low, high = (100 * bound for bound in row["interval"])
        colour = COLOURS[2] if low > 0 else COLOURS[3] if high < 0 else COLOURS[7]
        axis.plot([low, high], [place, place], color=colour, lw=2)
        axis.plot(100 * row["difference"], place, "o", color=colour, ms=5)
    axis.axvline(0, color="#444444", lw=1)
    axis.set_yticks(range(len(rows)), [row["candidate"] for row in rows])
    axis.set(
        title=f"Accuracy against the default: {settings(arguments)['model']}, {arguments.max_length} tokens",
        xlabel="percentage points, with 95 % interval over the articles",
    )
    axis.grid(axis="y", visible=False)
    save_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
