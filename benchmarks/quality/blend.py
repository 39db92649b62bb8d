"""Compare one model with several seeds, `tfidf`, a student, and blends of them, on rows that none of them learned from.

    python -m benchmarks.quality.blend --model starter --data sample --folds 3 --max-length 128
    python -m benchmarks.quality.blend --model gbert-base --data gnad10 --seeds 5 --json blend.json

One of --folds parts of train.csv is set aside. It scores all models, and its texts are the unlabelled texts. On the
other rows the scripts run as a user would run them: train_ensemble.py with several seeds; train.py with `tfidf`;
train_ensemble.py with one seed and three folds, the teacher; train.py with --teacher, the student. Blends average the
runs' probabilities with equal weights, like create_ensemble_submission.py. All differences are to one model, the mean
over the seeds. Further options go to the training scripts. After an interruption, the same command continues.
"""

import sys
from pathlib import Path

import numpy as np

import train
import train_ensemble
from benchmarks.options import new_parser
from benchmarks.quality.label_noise import call
from benchmarks.workload import markdown_table
from common.classes import most_probable
from common.cli import exit_codes
from common.confusion.statistics import FIGURES, bootstrap, interval
from common.data import load_dataset
from common.files import read_json, write_json
from common.metrics import headline
from common.predictions import TEST, align, read_predictions
from common.runs import RUNS_FOLDER
from common.splitting.splits import assign_folds

BLENDS = (("seeds", "tfidf"), ("seeds", "student"), ("seeds", "student", "tfidf"))
TEACHER_FOLDS, TEACHER_SEED = 3, 7
RESAMPLES = 2000
SHOWN = ("accuracy", "macro_f1")


@exit_codes
def main(argv=None):
    """Train what is missing, compare and print; returns the exit code."""
    arguments, options = parse_arguments(argv)
    dataset = load_dataset(arguments.data, label_column=arguments.label_column)
    folder = Path(arguments.runs or RUNS_FOLDER / f"blend-{dataset.name}-{Path(arguments.model).name}")
    aside = assign_folds(dataset.train, arguments.folds, 0) == 0
    data = folder / f"{dataset.name}-0"
    data.mkdir(parents=True, exist_ok=True)
    dataset.train.loc[~aside, ["id", "text", "label"]].to_csv(data / "train.csv", index=False)
    dataset.train.loc[aside, ["id", "text"]].to_csv(data / "test.csv", index=False)

    common = [f"--data={data}", *options]
    encoder = [f"--model={arguments.model}", *common]
    call(train, "--model=tfidf", *common, "--valid-fraction=0", f"--run={folder / 'tfidf'}")
    call(train_ensemble, *encoder, f"--seeds={arguments.seeds}", "--valid-fraction=0", f"--run={folder / 'seeds'}")
    teacher = folder / "teacher"
    call(train_ensemble, *encoder, f"--seeds={TEACHER_SEED},", f"--folds={TEACHER_FOLDS}", f"--run={teacher}")
    call(train, *encoder, "--valid-fraction=0", f"--teacher={teacher}", f"--run={folder / 'student'}")

    # Probabilities of the rows set aside, [rows, classes]
    def read(run):
        predictions = read_predictions(run / TEST)
        return align(predictions, dataset.train["id"][aside], dataset.classes, str(run)).probabilities

    singles = [read(member) for member in sorted((folder / "seeds" / "members").iterdir())]
    runs = {name: read(folder / name) for name in ("seeds", "tfidf", "teacher", "student")}
    systems = runs | {", ".join(names): np.mean([runs[name] for name in names], axis=0) for names in BLENDS}
    result = {
        "model": Path(arguments.model).name,
        "data": dataset.name,
        "rows": {"training": int((~aside).sum()), "set_aside": int(aside.sum())},
        "options": options,
        "recipe": read_json(folder / "student" / "config.json")["recipe"],
        **compare(dataset.train["label"][aside].to_numpy(), singles, systems, dataset.classes),
        "environment": read_json(folder / "student" / "environment.json"),
    }
    report(result)
    if arguments.json:
        write_json(Path(arguments.json), result)
    return 0


def parse_arguments(argv):
    """Our options, and the list of options for the training scripts."""
    parser = new_parser(__doc__, "model", "data", "folds", "seeds", "json", folds=3, seeds=5)
    parser.add_argument("--label-column", default="label", metavar="NAME", help="column with the class")
    parser.add_argument("--runs", metavar="FOLDER", help="folder for the runs (default: runs/blend-<data>-<model>)")
    return parser.parse_known_args(argv)


def compare(labels, singles, systems, classes):
    """The FIGURES of one model (mean and deviation over `singles`) and of each system, minus those of one model.

    `singles` and the values of `systems` are probabilities [rows, classes]. Intervals are 95 % bootstrap intervals over
    the rows, the same resamples for all, so they are paired.
    """
    members = [most_probable(probabilities, classes) for probabilities in (*singles, *systems.values())]
    figures = np.array([[headline(labels, member, classes)[name] for name in FIGURES] for member in members])
    drawn = bootstrap(labels, members, classes, RESAMPLES, seed=0)  # [members, resamples, figures]
    one, one_drawn = figures[: len(singles)].mean(axis=0), drawn[: len(singles)].mean(axis=0)
    deviation = figures[: len(singles)].std(axis=0, ddof=1) if len(singles) > 1 else np.zeros(len(FIGURES))
    result = {"one": {name: {"mean": one[n], "deviation": deviation[n]} for n, name in enumerate(FIGURES)}}
    result["systems"] = {
        system: {
            name: {
                "value": value[n],
                "difference": value[n] - one[n],
                "interval": interval(resampled[:, n] - one_drawn[:, n]),
            }
            for n, name in enumerate(FIGURES)
        }
        for system, value, resampled in zip(systems, figures[len(singles) :], drawn[len(singles) :], strict=True)
    }
    return result


def report(result):
    """Print the table: percent, and points against one model."""
    counts = result["rows"]
    print(
        f"\n{counts['set_aside']} rows set aside, {counts['training']} to learn from; in brackets: points against one"
    )
    one = [f"{100 * result['one'][name]['mean']:.2f} ± {100 * result['one'][name]['deviation']:.2f}" for name in SHOWN]
    rows = [["one", *one]]
    for system, scores in result["systems"].items():
        cells = []
        for name in SHOWN:
            value, difference = 100 * scores[name]["value"], 100 * scores[name]["difference"]
            low, high = (100 * bound for bound in scores[name]["interval"])
            cells.append(f"{value:.2f} ({difference:+.1f}, {low:+.1f} to {high:+.1f})")
        rows.append([system, *cells])
    print(markdown_table(["model", "accuracy, %", "macro-F1, %"], rows))


if __name__ == "__main__":
    sys.exit(main())
