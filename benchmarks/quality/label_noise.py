"""Measure whether finding wrong labels pays: flip labels at random, find them, and train on the corrected data.

    python -m benchmarks.quality.label_noise --model starter --data sample --max-length 128
    python -m benchmarks.quality.label_noise --model gbert-base --data kaggle --seeds 3 --json label_noise.json

A part of train.csv is held out, with unchanged labels. Of the other rows, some labels are flipped to another class.
Then the scripts run as a user would run them: train_ensemble.py and find_label_issues.py on the noisy rows, then
train.py four times per seed, scored on the held-out rows. `noisy` trains on the noisy labels. `excluded` leaves out the
flagged rows (--auto-exclude). `corrected` gives every flagged row its true label (--corrections), like a perfect
reviewer who reads only the flagged rows. `clean` trains on the labels before the flips: the upper limit.

The dataset's own labels count as correct. If the scripts flag a row whose own label is wrong (sample has twelve), it
counts as a false alarm. Further options go to the training scripts. After an interruption, the same command continues.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

import find_label_issues
import train
import train_ensemble
from benchmarks.options import new_parser
from common.classes import class_numbers
from common.cli import EXIT_INTERRUPTED, UserError, exit_codes, number
from common.data import load_dataset
from common.files import read_json, write_json
from common.interrupts import Interrupted
from common.label_issues import labels as label_issues
from common.label_issues.held_out import read_held_out
from common.predictions import OOF, read_predictions
from common.reading.corrections import COLUMNS, flagged_ids
from common.reading.spreadsheets import guard, restore
from common.reading.tables import csv_writer, read_table
from common.runs import RUNS_FOLDER
from common.splitting.splits import split_validation

FIRST = (12, 30)  # report the precision of this many first flags, and of as many as labels were flipped


@exit_codes
def main(argv=None):
    """Measure and print; returns the exit code."""
    arguments, recipe = parse_arguments(argv)
    folder = Path(
        arguments.runs or RUNS_FOLDER / f"label_noise-{Path(arguments.data).name}-{Path(arguments.model).name}"
    )

    # Two datasets with the same rows, one with clean and one with noisy labels; both have the same clean valid.csv
    dataset = load_dataset(arguments.data)
    parts = split_validation(dataset.train, arguments.held_out, arguments.noise_seed)
    training, valid = (dataset.train.iloc[rows].reset_index(drop=True) for rows in parts)
    noisy = flip_labels(training, dataset.classes, arguments.share, arguments.noise_seed)
    for name, frame in (("clean", training), ("noisy", noisy)):
        write_rows(folder / name / "train.csv", frame)
        write_rows(folder / name / "valid.csv", valid)

    # Find the flipped labels
    model = [f"--model={arguments.model}", *recipe]
    run = folder / "cross-validation"
    data = f"--data={folder / 'noisy'}"
    call(train_ensemble, *model, data, "--seeds=1", f"--folds={arguments.folds}", f"--run={run}")
    call(find_label_issues, f"--run={run}")
    listed = run / "label_issues" / "label_issues.csv"
    flags = score_flags(listed, run / OOF, load_dataset(folder / "noisy"), training)

    # Train without the flagged rows, with their labels corrected, and on noisy and clean labels
    corrections = folder / "corrections.csv"
    write_corrections(
        corrections, noisy, training, flagged_ids(listed, dict(zip(noisy["id"], noisy["label"], strict=True)))
    )
    variants = {
        "noisy": [data],
        "excluded": [data, f"--auto-exclude={listed}"],
        "corrected": [data, f"--corrections={corrections}"],
        "clean": [f"--data={folder / 'clean'}"],
    }
    trained = {name: [] for name in variants}
    for seed in range(arguments.seeds):
        for name, options in variants.items():
            place = folder / f"{name}-seed{seed}"
            call(train, *model, *options, f"--seed={seed}", f"--run={place}")
            predictions = read_predictions(place / "predictions" / "valid.csv")
            trained[name].append(predictions.predicted == predictions.labels)

    result = {
        "model": Path(arguments.model).name,
        "data": dataset.name,
        "share": arguments.share,
        "folds": arguments.folds,
        "noise_seed": arguments.noise_seed,
        "options": recipe,
        "recipe": read_json(folder / "noisy-seed0" / "config.json")["recipe"],
        "rows": {
            "training": len(noisy),
            "held_out": len(valid),
            "flipped": int((noisy["label"] != training["label"]).sum()),
        },
        "flags": flags,
        "training": {name: summarise(np.array(hits), np.array(trained["noisy"])) for name, hits in trained.items()},
        "environment": read_json(folder / "noisy-seed0" / "environment.json"),
    }
    report(result)
    if arguments.json:
        write_json(Path(arguments.json), result)
    return 0


def parse_arguments(argv):
    """Our options, and the list of options for the training scripts."""
    parser = new_parser(__doc__, "model", "data", "folds", "json", seeds=1)
    share = number(float, 0, 0.9, low_open=True)
    parser.add_argument(
        "--share", type=share, default=0.1, metavar="SHARE", help="share of the training labels to flip"
    )
    parser.add_argument("--held-out", type=share, default=0.25, metavar="SHARE", help="share of train.csv to hold out")
    parser.add_argument(
        "--noise-seed", type=number(int, 0), default=0, metavar="N", help="random seed of the split and the flips"
    )
    parser.add_argument(
        "--runs", metavar="FOLDER", help="folder for the runs (default: runs/label_noise-<data>-<model>)"
    )
    return parser.parse_known_args(argv)


def flip_labels(frame, classes, share, seed):
    """A copy of the rows in which a random `share` has another label; all other classes are equally likely."""
    draw = np.random.default_rng(seed)
    labels = frame["label"].to_numpy(dtype=object).copy()
    for row in draw.choice(len(frame), round(share * len(frame)), replace=False):
        labels[row] = draw.choice([name for name in classes if name != labels[row]])
    return frame.assign(label=labels)


def call(script, *options):
    """Run a script's main. Raises Interrupted if it was interrupted, UserError if it failed."""
    code = script.main(list(options))
    if code == EXIT_INTERRUPTED:
        raise Interrupted("the same command continues")
    if code:
        raise UserError(
            f"{script.__name__}.py ended with exit code {code}; fix its error, then the same command continues"
        )


def write_rows(path, frame):
    """Write rows as a dataset's CSV file: id, text, label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv_writer(file).writerows([["id", "text", "label"], *frame[["id", "text", "label"]].to_numpy().tolist()])


def write_corrections(path, noisy, truth, flagged):
    """Write the review page's file for a reviewer who decides correctly on every flagged row and on no other."""
    rows = [COLUMNS]
    for row_id, given, right in zip(noisy["id"], noisy["label"], truth["label"], strict=True):
        if row_id in flagged:
            decision = ("", "keep") if given == right else (right, "relabel")
            rows.append([guard(cell) for cell in (row_id, given, *decision)])
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv_writer(file).writerows(rows)


def score_flags(listed, out_of_fold, noisy, truth):
    """How well the flags and the ranking of all rows find the flipped labels, and the model's accuracy, as a dict."""
    held_out = read_held_out([out_of_fold], noisy)
    given, right = (class_numbers(frame["label"], noisy.classes) for frame in (held_out.rows, truth))
    found = label_issues.find_label_issues(given, held_out.members)
    wrong = dict(zip(truth["id"], given != right, strict=True))
    flagged = flagged_ids(listed, dict(zip(held_out.rows["id"], held_out.rows["label"], strict=True)))
    # in the order of the ranking
    hits = np.array([wrong[row_id] for row_id in read_table(listed)["id"].map(restore) if row_id in flagged])
    first = sorted({n for n in (*FIRST, sum(wrong.values())) if n <= len(hits)})
    return {
        "flagged": len(hits),
        "found": int(hits.sum()),
        "precision": float(hits.mean()) if len(hits) else None,
        "recall": float(hits.sum() / sum(wrong.values())),
        "precision_among_first": {str(n): float(hits[:n].mean()) for n in first},
        "average_precision": float(average_precision_score(given != right, -found.quality)),  # over all rows
        "out_of_fold_accuracy": {
            "noisy": float((found.suggested == given).mean()),
            "clean": float((found.suggested == right).mean()),
        },
    }


def summarise(hits, noisy):
    """The accuracies of the trainings of one kind, and their gain over the trainings on noisy labels, as a dict.

    `hits` and `noisy`, [seeds, held-out rows] bool, say which predictions are correct. The 95 % interval of the gain
    (normal) is over the rows, each averaged over the seeds. It does not cover the choice of other flips.
    """
    gain = hits.mean(axis=0) - noisy.mean(axis=0)
    half = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
    return {
        "accuracies": hits.mean(axis=1).tolist(),
        "mean": float(hits.mean()),
        "deviation": float(hits.mean(axis=1).std(ddof=1)) if len(hits) > 1 else None,
        "gain": float(gain.mean()),
        "gain_interval": [float(gain.mean() - half), float(gain.mean() + half)],
    }


def report(result):
    """Print the figures."""
    rows, flags = result["rows"], result["flags"]
    print(
        f"\n{rows['flipped']} of {rows['training']} labels flipped; {flags['flagged']} rows flagged, "
        f"{flags['found']} of them correctly: precision {flags['precision'] or 0:.1%}, recall {flags['recall']:.1%}"
    )
    first = ", ".join(f"{share:.1%} of the first {n}" for n, share in flags["precision_among_first"].items())
    print(f"flipped: {first or 'too few flags'}; average precision {flags['average_precision']:.1%}")
    print(
        f"out of fold, the model agrees with {flags['out_of_fold_accuracy']['noisy']:.1%} of the noisy labels, "
        f"{flags['out_of_fold_accuracy']['clean']:.1%} of the clean ones"
    )
    print(f"\n{'trained on':<12}{'accuracy on ' + str(rows['held_out']) + ' rows':>22}{'points against noisy':>32}")
    for name, scores in result["training"].items():
        deviation = "" if scores["deviation"] is None else f" ± {scores['deviation']:.1%}"
        low, high = (100 * bound for bound in scores["gain_interval"])
        gain = "" if name == "noisy" else f"{100 * scores['gain']:+.1f} ({low:+.1f} to {high:+.1f})"
        accuracy = f"{scores['mean']:.1%}{deviation}"
        print(f"{name:<12}{accuracy:>22}{gain:>32}")


if __name__ == "__main__":
    sys.exit(main())
