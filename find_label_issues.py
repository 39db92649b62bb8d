"""Find wrong labels, near-duplicates and broken texts, to review in the browser.

    python find_label_issues.py --run kaggle-gbert-base-ensemble-5folds
    python find_label_issues.py --predictions a.csv b.csv --data my_data

Needs predictions for rows outside the model's training: a run's predictions/oof.csv, or prediction files with labels.
Several files for the same rows (seeds, models) are combined. Writes label_issues.html, label_issues.csv, summary.json
and two pictures. Open the page to keep, relabel or exclude each row, then download corrections.csv for train.py
--corrections. In a second round, --corrections carries the earlier decisions on: the page's corrections.csv has all.
"""

import hashlib
import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.classes import class_numbers
from common.cli import DATA_OPTIONS, Parser, UserError, add_data_options, data_options, exit_codes, note, wrap
from common.data import DATASETS, Dataset, is_trained_on, load_dataset, load_run_dataset
from common.files import read_json, write_json
from common.label_issues.exports import KINDS, write_export
from common.label_issues.held_out import (
    HeldOut,
    find_out_of_fold_run,
    read_held_out,
    run_of,
)
from common.label_issues.labels import (
    ENSEMBLE_WEIGHTS,
    FILTER,
    SCORE,
    LabelIssues,
    LabelNoise,
    estimate_noise,
    find_label_issues,
    find_rarest_class,
)
from common.label_issues.page import write_review_page
from common.label_issues.review import ISSUES, Review, build_review, write_review_table
from common.label_issues.texts import TextIssues, find_text_issues
from common.predictions import OOF
from common.reading.corrections import apply_corrections, read_corrections
from common.runs import RUNS_FOLDER, check_run
from common.training.encoders.sources import find_source

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 5
SHOWN_CLASSES = 12
SHOWN_PAIRS = 5


@exit_codes
def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)

    # Labelled rows, and predictions of models that were not trained on them
    dataset = load_dataset(options.data, **data_options(options)) if options.data else None
    paths, run, folder = find_predictions(options, dataset)
    dataset = dataset or find_dataset(paths, run)
    held_out = read_held_out(paths, dataset)
    if options.corrections and held_out.file != dataset.files["train"]:
        raise UserError(f"--corrections are of training rows, but {paths[0]} has predictions for {held_out.place}")
    earlier = read_decisions(options, paths, dataset)
    print(
        f"{len(held_out.rows):,} rows of {held_out.place}, {len(paths)} "
        f"{'prediction files' if len(paths) > 1 else 'prediction file'}",
        flush=True,
    )

    # Issues
    given = class_numbers(held_out.rows["label"], dataset.classes)
    labels = find_label_issues(given, held_out.members)
    noise = estimate_noise(given, labels.probabilities, dataset.classes)
    rarest = find_rarest_class(held_out.rows["label"])
    texts = find_text_issues(dataset)
    review = build_review(held_out, labels, texts, dataset.classes)
    agreement = float((labels.suggested == given).mean())
    summary = summarise(paths, dataset, held_out, agreement, labels, noise, rarest, texts, review)

    # Everything is computed: write. The import of matplotlib takes a second; errors do not wait for it
    from common.label_issues.plots import draw_joint, draw_quality
    from common.plots import save_figure

    write_review_table(folder / "label_issues.csv", review)
    title = f"{dataset.name}, {held_out.file}"
    command = training_command(options, run, dataset)
    write_review_page(folder / "label_issues.html", review, title, command, earlier)
    save_figure(draw_joint(noise.joint, len(given), dataset.classes), folder / "label_joint.png")
    save_figure(draw_quality(labels.quality, labels.is_issue), folder / "label_quality.png")
    write_json(folder / "summary.json", summary)
    files = ["label_issues.html", "label_issues.csv", "summary.json", "label_joint.png", "label_quality.png"]
    files += write_export(options.export, folder, review) if options.export else []

    report(summary, dataset.files["train"])
    print("\n" + wrap(f"written to {folder}/: {', '.join(files)}"))
    print(f"next: open {folder / 'label_issues.html'} in a browser; then train.py --corrections corrections.csv")
    return 0


def parse_options(argv: Sequence[str] | None) -> Namespace:
    parser = Parser(__doc__)

    group = parser.add_argument_group("predictions (default: the newest complete run with predictions/oof.csv)")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--run", metavar="RUN", help="a run with predictions/oof.csv: a name below runs/, or a folder")
    source.add_argument(
        "--predictions",
        nargs="+",
        metavar="CSV",
        help="files with id, label and prob_<class> columns, one per model or seed",
    )

    group.add_argument(
        "--model",
        metavar="NAME_OR_FOLDER",
        help="use the newest run of this encoder (and --data); if there is none, cross-validate (default: gbert-base)",
    )

    add_data_options(parser, default=None).description = "default: the dataset of the run, with its columns"

    group = parser.add_argument_group("review")
    group.add_argument("--corrections", metavar="FILE", help="decisions of an earlier round, to carry on")

    group = parser.add_argument_group("output")
    group.add_argument(
        "--output", metavar="DIR", help="folder (default: label_issues in the run, or here for --predictions)"
    )
    group.add_argument("--export", choices=KINDS, help="also export the list for this annotation tool")
    options = parser.parse_args(argv)
    if options.model and options.run:
        raise UserError("--model chooses the newest run of an encoder; leave it out beside --run")
    if options.export and options.corrections:
        raise UserError("--export has no place for the decisions of --corrections; give one of them")
    if data_options(options) and not options.data:
        given = ", ".join("--" + name.replace("_", "-") for name in data_options(options))
        raise UserError(f"{given} needs --data")
    return options


def find_predictions(options: Namespace, dataset: Dataset | None) -> tuple[list[Path], Path | None, Path]:
    """The prediction files of the options, their run or None, and the output folder."""
    if options.predictions:
        missing = next((path for path in options.predictions if not Path(path).is_file()), None)
        if missing:
            raise UserError(f"no prediction file {missing}")
        paths = [Path(path) for path in options.predictions]
        return paths, run_of(paths[0]), Path(options.output or "label_issues")
    if options.run:
        run = check_run(options.run)
    else:
        run = find_out_of_fold_run(dataset, options.model) or make_out_of_fold_run(options, dataset)
    if not (run / OOF).exists():
        raise UserError(
            f"run {run} has no {OOF}; predictions for training rows cannot show wrong labels. "
            "Make out-of-fold predictions with: python train_ensemble.py --folds 5 ..."
        )
    print(f"run {run}{'' if options.run else ' (the newest with out-of-fold predictions)'}")
    return [run / OOF], run, Path(options.output or run / "label_issues")


def make_out_of_fold_run(options: Namespace, dataset: Dataset | None) -> Path:
    """Cross-validate: each row gets a prediction from a model that was not trained on it. Returns the run's folder."""
    import train_ensemble

    data, model = options.data or "gnad10", options.model or "gbert-base"
    find_source(model)  # a mistyped name ends here
    name = f"{dataset.name if dataset else data}-{Path(model).name}-{FOLDS}folds"
    taken = RUNS_FOLDER / name / "config.json"
    if dataset and taken.exists() and not is_trained_on(read_json(taken), dataset):  # another file of this name
        identity = [dataset.identity("train"), dataset.classes, dataset.options["label_column"]]
        name += "-" + hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
    print(f"no run of {model} on {data} has out-of-fold predictions; starting a {FOLDS}-fold cross-validation")
    print(f"run {RUNS_FOLDER / name}")
    given = [(f"--{name.replace('_', '-')}", value) for name, value in data_options(options).items()]
    code = train_ensemble.main.__wrapped__(
        [
            f"--model={model}",
            f"--data={data}",
            *(option if value is True else f"{option}={value}" for option, value in given),
            "--seeds=1",
            f"--folds={FOLDS}",
            f"--run={RUNS_FOLDER / name}",
        ]
    )
    if code:
        raise UserError("the cross-validation did not finish; the same command resumes it")
    return RUNS_FOLDER / name


def find_dataset(paths: list[Path], run: Path | None) -> Dataset:
    """The run's dataset. Raises UserError without a run."""
    if run is None:
        raise UserError(f"{paths[0]} is not in a run folder; give its dataset with --data")
    return load_run_dataset(run)


def read_decisions(options: Namespace, paths: list[Path], dataset: Dataset) -> "pd.DataFrame | None":
    """The decisions of an earlier round, or None. Says so if a run was trained with some that are not given."""
    if options.corrections:
        # Refuses what the training would refuse
        apply_corrections(dataset.train, options.corrections, dataset.classes)
        decisions = read_corrections(options.corrections)
        print(f"{options.corrections}: {len(decisions)} earlier decisions, which the page carries on")
        return decisions
    for run in dict.fromkeys(filter(None, map(run_of, paths))):
        used = (read_json(run / "config.json").get("data") or {}).get("corrections")
        if used and "relabelled" in used["counts"]:  # not of --auto-exclude
            note(
                f"{run} was trained with {used['file']}; the list has the given labels, so its decisions are open "
                "again. To carry them on, give that file with --corrections"
            )
    return None


def training_command(options: Namespace, run: Path | None, dataset: Dataset) -> str:
    """The command that trains with the corrections: the run's encoder, dataset and data options."""
    config = read_json(run / "config.json") if run else {}
    data = {} if options.data else config.get("data", {})
    reading = {name: data[name] for name in ("text_column", "label_column", "id_column") if name in data}
    reading = data_options(options) or {**reading, **data.get("options", {})}
    names = [*config.get("models", {}), config.get("model", {}).get("name")]
    command = ["python", "train.py", *(["--model", options.model or names[0]] if options.model or names[0] else [])]
    command += ["--data", options.data or (dataset.name if dataset.name in DATASETS else dataset.location)]
    for name, value in reading.items():
        if value != DATA_OPTIONS[name]:
            command += ["--" + name.replace("_", "-"), *([] if value is True else [str(value)])]
    return shlex.join([*command, "--corrections", "corrections.csv"])


def summarise(
    paths: list[Path],
    dataset: Dataset,
    held_out: HeldOut,
    agreement: float,
    labels: LabelIssues,
    noise: LabelNoise,
    rarest: str | None,
    texts: TextIssues,
    review: Review,
) -> dict[str, Any]:
    """All findings as one JSON object."""
    kinds = [kind for issue in review.table["issue"] for kind in issue.split()]
    flagged = held_out.rows["label"][labels.is_issue].value_counts()
    rows = held_out.rows["label"].value_counts()
    named = [{"file": row.file, "id": row.id, "label": row.label} for row in texts.rows.itertuples()]
    return {
        "predictions": [str(path) for path in paths],
        "dataset": {"name": dataset.name, "file": held_out.file, "fingerprint": dataset.fingerprint},
        "rows": len(held_out.rows),
        "classes": dataset.classes,
        "agreement": agreement,  # share of the labels that the model predicts; a better model makes a better list
        "method": {
            "cleanlab": version("cleanlab"),
            "filter": FILTER,
            "score": SCORE,
            "ensemble_weights": ENSEMBLE_WEIGHTS if len(paths) > 1 else None,
        },
        "issues": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "label_issues": int(labels.is_issue.sum()),
        "estimated_wrong_share": {"confident": noise.confident_share, "joint": noise.wrong_share},
        "per_class": [
            {
                "class": row[1],
                "rows": int(rows.get(row[1], 0)),
                "label_issues": int(flagged.get(row[1], 0)),
                "estimated_wrong_share": row.wrong_share,
                "estimated_missed_share": row.missed_share,
            }
            for row in noise.per_class.itertuples()
        ],
        "overlapping_classes": noise.overlapping.to_dict("records"),
        "class_imbalance": {"rarest_class": rarest} if rarest else None,
        "near_duplicates": [[named[row] for row in rows] for rows in texts.duplicate_sets],
        "outliers": [row for row, is_outlier in zip(named, texts.is_outlier, strict=True) if is_outlier],
        "broken_texts": [{**row, "reason": reason} for row, reason in zip(named, texts.broken, strict=True) if reason],
    }


def report(summary: dict[str, Any], train_file: str) -> None:
    """Print the classes with most label issues, the overlapping classes and the number of issues of each kind."""
    worst = sorted(summary["per_class"], key=lambda row: -row["label_issues"])
    print(f"\n{'class':<28}{'rows':>8}{'label issues':>14}{'wrong, estimated':>18}")
    for row in worst[:SHOWN_CLASSES]:
        print(f"{row['class']:<28.27}{row['rows']:>8}{row['label_issues']:>14}{row['estimated_wrong_share']:>18.1%}")
    total = summary["estimated_wrong_share"]
    print(f"{'all':<28}{summary['rows']:>8}{summary['label_issues']:>14}{total['joint']:>18.1%}")
    print(f"{total['confident']:.1%} are wrong if only confident disagreement counts")
    print(f"the model agrees with {summary['agreement']:.1%} of the labels; a better model makes a better list")
    if summary["overlapping_classes"]:
        print("\nclasses that overlap, estimated rows")
    for pair in summary["overlapping_classes"][:SHOWN_PAIRS]:
        print(f"{pair['rows']:>6}  {pair['class_a']}, {pair['class_b']}")
    print("\nto review")
    for kind, name in ISSUES.items():
        print(f"{summary['issues'].get(kind, 0):>6}  {name}")
    if summary["class_imbalance"]:
        print(f"class {summary['class_imbalance']['rarest_class']!r} is under-represented")
    if summary["dataset"]["file"] != train_file:
        print(f"these are rows of {summary['dataset']['file']}; train.py applies corrections only to {train_file}")


if __name__ == "__main__":
    sys.exit(main())
