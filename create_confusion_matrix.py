"""Show where a model errs: confusion matrix, scores per class, calibration.

    python create_confusion_matrix.py --run run-a --compare run-b
    python create_confusion_matrix.py --predictions valid.csv --labels gold.csv

Works on prediction files, a run's or another tool's. Of a run it takes predictions/oof.csv where there is one, else
valid.csv, else test.csv where that has labels. Scores are scikit-learn's, with 95 % bootstrap intervals.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from common.cli import Parser, UserError, add_label_columns, exit_codes, number, wrap
from common.confusion.statistics import (
    calibration,
    compare,
    evaluate,
    per_class_table,
    recalibrate,
    similarity_order,
    top_confusions,
)
from common.data import read_labels
from common.files import write_json, write_text
from common.predictions import align, read_predictions
from common.runs import check_run, complete_runs

FILES = ("predictions/oof.csv", "predictions/valid.csv", "predictions/test.csv")  # the one with most rows first
SHOWN_CLASSES = 12
SHOWN_CONFUSIONS = 5


@exit_codes
def main(argv=None):
    options = parse_options(argv)

    # What is scored, and on which labels
    path, predictions, folder = find_predictions(options)
    other_path, other = find_other(options, predictions) if options.compare else (None, None)
    labels, predicted, classes = predictions.labels, predictions.predicted, predictions.classes
    sampling = {"resamples": options.resamples, "seed": options.seed}

    # Figures
    counts = confusion_matrix(labels, predicted, labels=classes)  # [given, predicted]
    per_class = per_class_table(labels, predicted, classes)
    confusions = top_confusions(predictions)
    scores = evaluate(predictions, options.bins, **sampling)
    _, bins = calibration(predictions, options.bins)
    scaling, recalibrated = recalibrate(predictions, options.bins)
    metrics = {"predictions": str(path), "labels": str(options.labels or path), "rows": len(labels), "classes": classes}
    metrics |= {**scores, "recalibrated": scaling, "calibration_bins": options.bins}
    metrics |= {"bootstrap": {"level": 0.95, **sampling}}
    if other:
        difference = compare(predictions, other, **sampling)
        metrics["comparison"] = {"other": str(other_path), **evaluate(other, options.bins, **sampling), **difference}

    # Pictures; matplotlib is imported here, as it costs a second that errors and --help need not wait for
    from common import plots
    from common.confusion import plots as matrix_plots

    order = similarity_order(counts) if options.order == "similarity" else list(range(len(classes)))
    title = matrix_plots.title(path, scores, len(labels))
    figures = {
        "confusion_matrix.png": matrix_plots.draw_matrix(counts, classes, order, title),
        "per_class_metrics.png": matrix_plots.draw_per_class(per_class, title),
        "reliability.png": matrix_plots.draw_reliability(
            bins, scores["expected_calibration_error"], title, scaling and calibration(recalibrated, options.bins)[1]
        ),
    }
    if other:
        figures["comparison.png"] = matrix_plots.draw_comparison(
            counts=[counts, confusion_matrix(labels, other.predicted, labels=classes)],
            f1_scores=[per_class["f1"].to_numpy(), per_class_table(labels, other.predicted, classes)["f1"].to_numpy()],
            names=[matrix_plots.display_name(file) for file in (path, other_path)],
            difference=difference,
            classes=classes,
            order=order,
        )

    # Everything is computed: write
    matrix = pd.DataFrame(counts, columns=classes)
    matrix.insert(0, "given", classes, allow_duplicates=True)  # a class may be called so, too
    tables = {"confusion_matrix.csv": matrix, "per_class_metrics.csv": per_class, "top_confusions.csv": confusions}
    for name, figure in figures.items():
        plots.save_figure(figure, folder / name)
    for name, table in tables.items():
        write_text(folder / name, table.to_csv(index=False, lineterminator="\n"))
    write_json(folder / "metrics.json", metrics)

    report(metrics, per_class, confusions)
    print("\n" + wrap(f"written to {folder}/: {', '.join([*figures, *tables, 'metrics.json'])}"))
    return 0


def parse_options(argv):
    parser = Parser(__doc__)

    group = parser.add_argument_group("what is scored (default: the newest complete run with labelled predictions)")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--run", metavar="RUN", help="a name below runs/, or a run's folder")
    source.add_argument("--predictions", metavar="CSV", help="a file with id, prob_<class> columns, and perhaps label")
    group.add_argument("--labels", metavar="CSV", help="the labels for --predictions, matched by id")
    add_label_columns(group)
    group.add_argument("--compare", metavar="OTHER", help="a run or prediction file on the same rows, set beside it")

    group = parser.add_argument_group("output")
    group.add_argument(
        "--output", metavar="DIR", help="folder (default: confusion_matrix in the run, or here for --predictions)"
    )
    group.add_argument(
        "--order",
        choices=["similarity", "class"],
        default="similarity",
        help="classes in the picture: confused ones together, or in class order",
    )

    group = parser.add_argument_group("statistics")
    group.add_argument(
        "--resamples", type=number(int, 100, 1_000_000), default=2000, metavar="N", help="of the bootstrap"
    )
    group.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="of the bootstrap")
    group.add_argument("--bins", type=number(int, 1, 1000), default=15, metavar="N", help="of the calibration error")
    return parser.parse_args(argv)


def find_predictions(options):
    """What the options mean: the prediction file's path, its predictions with checked labels, the output folder."""
    if options.predictions:
        path, folder = Path(options.predictions), Path("confusion_matrix")
        predictions = read_predictions(path)
        if options.labels:
            given = read_labels(options.labels, options.label_column, options.id_column)
            aligned = align(predictions, given["id"], predictions.classes, f"{path}, against {options.labels}")
            predictions = replace(aligned, labels=given["label"].to_numpy(dtype=object))
        elif predictions.labels is None:
            raise UserError(f"{path} has no column 'label'; give the labels with --labels CSV")
    else:
        if options.labels:
            raise UserError("--labels goes with --predictions: a run brings its labels along")
        folders = [check_run(options.run)] if options.run else complete_runs()
        files = [folder / file for folder in folders for file in FILES if (folder / file).exists()]
        labelled = ((file, found) for file in files if (found := read_predictions(file)).labels is not None)
        path, predictions = next(labelled, (None, None))
        if path is None:
            where = f"run {folders[0]}" if options.run else "no complete run below runs/"
            or_train = "" if options.run else ", or run train.py"
            raise UserError(
                f"{where} has {'no ' * bool(options.run)}predictions with labels; give --predictions CSV{or_train}"
            )
        folder = path.parent.parent / "confusion_matrix"
    print(f"{path}{'' if options.predictions or options.run else ' (the newest run with labels)'}")

    if len(predictions.classes) < 2:
        raise UserError(f"{path} has only one class, {predictions.classes[0]!r}: nothing can be confused")
    for row_id, label in zip(predictions.ids, predictions.labels, strict=True):
        if label not in predictions.classes:
            raise UserError(f"{options.labels or path}, id {row_id!r}: label {label!r} is no prob_ column of {path}")
    return path, predictions, Path(options.output) if options.output else folder


def find_other(options, predictions):
    """The path and predictions of --compare, aligned to `predictions`; of a run, the file that has the same ids."""
    path = Path(options.compare)
    if not path.is_file() and path.suffix != ".csv":
        folder = check_run(options.compare)
        files = [folder / file for file in FILES if (folder / file).exists()]
        if not files:
            raise UserError(f"run {folder} has no predictions")
        same_rows = (file for file in files if set(read_predictions(file).ids) == set(predictions.ids))
        path = next(same_rows, files[0])
    other = align(read_predictions(path), predictions.ids, predictions.classes, f"--compare {path}")
    if other.labels is not None and not options.labels:
        for row_id, mine, theirs in zip(predictions.ids, predictions.labels, other.labels, strict=True):
            if mine != theirs:
                raise UserError(f"--compare {path}, id {row_id!r}: label {theirs!r}, not {mine!r}; not the same rows?")
    return path, replace(other, labels=predictions.labels)


def report(metrics, per_class, confusions):
    """Print the scores per class, the most frequent confusions and the final figures."""
    worst = per_class.sort_values("f1", kind="stable").head(SHOWN_CLASSES)
    print(
        f"\n{'classes with the lowest F1' if len(worst) < len(per_class) else 'class':<28}"
        f"{'support':>8}{'precision':>11}{'recall':>8}{'F1':>8}"
    )
    for row in worst.itertuples():
        print(f"{row[1]:<28.27}{row.support:>8}{row.precision:>11.1%}{row.recall:>8.1%}{row.f1:>8.1%}")
    if len(confusions):
        print("\nmost frequent confusions")
    for row in confusions.head(SHOWN_CONFUSIONS).itertuples():
        print(f"{row.count:>6}  {row.given} -> {row.predicted} ({row.share:.1%} of {row.given})")

    print(f"\n{metrics['rows']} rows, 95 % intervals")
    comparison = metrics.get("comparison")
    points = {key: 100 * np.array(value) for key, value in comparison["this_minus_other"].items()} if comparison else {}
    for key, name in {"accuracy": "accuracy", "macro_f1": "macro-F1", "weighted_f1": "weighted F1"}.items():
        line = f"  {name:<20}{metrics[key]:6.1%} {shown_interval(metrics, key, '.1%')}"
        if comparison:
            line += (
                f"  against {comparison[key]:.1%}: {points[key]:+z.1f} {shown_interval(points, key, '+z.1f')} points"
            )
        print(line)
    print(f"  {'calibration error':<20}{metrics['expected_calibration_error']:6.1%}")
    if scaling := metrics["recalibrated"]:
        print(
            f"  {'at temperature':<20}{scaling['temperature']:6.2f} it would be "
            f"{scaling['expected_calibration_error']:.1%} (cross-fitted)"
        )
    if comparison:
        test = comparison["mcnemar"]
        print(
            f"  {test['only_this_right']} rows are right here only, {test['only_other_right']} there only: "
            f"p = {test['p_value']:.3g} (McNemar's exact test)"
        )
        print(f"  there: {comparison['other']}")


def shown_interval(scores, key, spec):
    low, high = scores[f"{key}_interval"]
    return f"[{low:{spec}}, {high:{spec}}]"


if __name__ == "__main__":
    sys.exit(main())
