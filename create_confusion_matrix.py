"""Show a model's errors: confusion matrix, scores per class, calibration.

    python create_confusion_matrix.py --run demo --split test
    python create_confusion_matrix.py --run run-a --compare run-b
    python create_confusion_matrix.py --predictions valid.csv --labels gold.csv

Works on prediction files of a run or of another tool. In a run it takes the out-of-fold rows, else the validation
rows, else the test rows if they have labels; --split chooses others. Scores are scikit-learn's, with 95 % bootstrap
intervals.
"""

import common.installation  # noqa: F401

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from common.cli import Parser, exit_codes, number, wrap
from common.confidence.coverage import coverage_curve, coverage_figures, show_threshold
from common.confidence.temperature import BINS, calibration, recalibrate
from common.confusion.sources import (
    SPLITS,
    describe_rows,
    find_other,
    find_predictions,
    has_comparison,
    is_of_run,
    name_file,
)
from common.confusion.statistics import compare, evaluate, per_class_table, similarity_order, top_confusions
from common.files import whole_file, write_json
from common.reading.tables import csv_writer
from common.runs import run_name

SHOWN_TARGET = 0.95
SHOWN_CLASSES = 12
SHOWN_CONFUSIONS = 5


@exit_codes
def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)

    # Predictions and labels
    path, predictions, folder = find_predictions(options)
    other_path, other = find_other(options, path, predictions) if options.compare else (None, None)
    labels, predicted, classes = predictions.given, predictions.predicted, predictions.classes
    sampling = {"resamples": options.resamples, "seed": options.seed}

    # Figures
    counts = confusion_matrix(labels, predicted, labels=classes)  # [given, predicted]
    per_class = per_class_table(labels, predicted, classes)
    confusions = top_confusions(predictions)
    scores = evaluate(predictions, options.bins, **sampling)
    _, bins = calibration(predictions, options.bins)
    scaling, recalibrated = recalibrate(predictions, options.bins)
    sure = recalibrated or predictions
    metrics = {"predictions": str(path), "labels": str(options.labels or path), "rows": len(labels), "classes": classes}
    metrics |= {**scores, "recalibrated": scaling, "calibration_bins": options.bins}
    metrics |= {"coverage": coverage_figures(sure)}
    metrics |= {"bootstrap": {"level": 0.95, **sampling}}
    if other:
        difference = compare(predictions, other, **sampling)
        metrics["comparison"] = {"other": str(other_path), **evaluate(other, options.bins, **sampling), **difference}

    # Pictures. The import of matplotlib takes a second; errors and --help do not wait for it
    from common import plots
    from common.confusion import confidence_plots
    from common.confusion import plots as matrix_plots

    order = similarity_order(counts) if options.order == "similarity" else list(range(len(classes)))
    rows = describe_rows(path, len(labels))
    title = matrix_plots.title(rows, scores)
    figures = {
        "confusion_matrix.png": matrix_plots.draw_matrix(counts, classes, order, title),
        "per_class_metrics.png": matrix_plots.draw_per_class(per_class, title),
        "reliability.png": confidence_plots.draw_reliability(
            bins, scores["expected_calibration_error"], title, scaling and calibration(recalibrated, options.bins)[1]
        ),
        "coverage.png": confidence_plots.draw_coverage(
            coverage_curve(sure), metrics["coverage"], title, scaling and scaling["temperature"]
        ),
    }
    if other:
        figures["comparison.png"] = matrix_plots.draw_comparison(
            counts=[counts, confusion_matrix(labels, other.predicted, labels=classes)],
            f1_scores=[per_class["f1"].to_numpy(), per_class_table(labels, other.predicted, classes)["f1"].to_numpy()],
            names=[name_file(file) for file in (path, other_path)],
            difference=difference,
            classes=classes,
            order=order,
        )

    # Everything is computed: write
    matrix = pd.DataFrame(counts, columns=classes)
    matrix.insert(0, "given", classes, allow_duplicates=True)  # a class may have this name
    tables = {"confusion_matrix.csv": matrix, "per_class_metrics.csv": per_class, "top_confusions.csv": confusions}
    for name, figure in figures.items():
        plots.save_figure(figure, folder / name)
    if not other and has_comparison(folder):
        (folder / "comparison.png").unlink(missing_ok=True)  # of an earlier --compare
    for name, table in tables.items():
        with whole_file(folder / name) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            csv_writer(file).writerows([table.columns, *table.itertuples(index=False)])
    write_json(folder / "metrics.json", metrics)

    report(metrics, rows, per_class, confusions)
    print("\n" + wrap(f"written to {folder}/: {', '.join([*figures, *tables, 'metrics.json'])}"))
    if is_of_run(path):
        run = run_name(path.parent.parent)
        held_out = path.stem == "oof"
        print("next: python " + (f"find_label_issues.py --run {run}" if held_out else f"predict.py {run} new.csv"))
    return 0


def parse_options(argv: Sequence[str] | None) -> Namespace:
    parser = Parser(__doc__)

    group = parser.add_argument_group("predictions (default: the newest complete run with labelled predictions)")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--run", metavar="RUN", help="a run: a name below runs/, or its folder")
    source.add_argument("--predictions", metavar="CSV", help="a file with id, prob_<class> and optional label columns")
    group.add_argument("--labels", metavar="CSV", help="the labels for --predictions, matched by id")
    group.add_argument(
        "--label-column", default="label", metavar="NAME", help="column with the given labels, of --labels if there"
    )
    group.add_argument(
        "--id-column", default="id", metavar="NAME", help="column with the ids; --labels may lack it: row numbers then"
    )
    group.add_argument(
        "--split",
        choices=SPLITS,
        help="rows of the run; train-excluded: rows that corrections or --auto-exclude left out of training "
        "(default: the first of oof, valid, test that has labels)",
    )
    group.add_argument("--compare", metavar="OTHER", help="a run or prediction file on the same rows to compare with")

    group = parser.add_argument_group("output")
    group.add_argument(
        "--output", metavar="DIR", help="folder (default: confusion_matrix in the run, or here for --predictions)"
    )
    group.add_argument(
        "--order",
        choices=["similarity", "class"],
        default="similarity",
        help="order of the classes in the picture: confused classes together, or class order",
    )

    group = parser.add_argument_group("statistics")
    group.add_argument(
        "--resamples", type=number(int, 100, 1_000_000), default=2000, metavar="N", help="bootstrap resamples"
    )
    group.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="random seed of the bootstrap")
    group.add_argument(
        "--bins", type=number(int, 1, 1000), default=BINS, metavar="N", help="bins of the calibration error"
    )
    return parser.parse_args(argv)


def report(metrics: dict[str, Any], rows: str, per_class: pd.DataFrame, confusions: pd.DataFrame) -> None:
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

    print(f"\n{rows}, 95 % intervals")
    comparison = metrics.get("comparison")
    points = {key: 100 * np.array(value) for key, value in comparison["this_minus_other"].items()} if comparison else {}
    for key, name in {"accuracy": "accuracy", "macro_f1": "macro-F1", "weighted_f1": "weighted F1"}.items():
        line = f"  {name:<20}{metrics[key]:6.1%}{shown_interval(metrics, key, '.1%')}"
        if comparison:
            line += f"  against {comparison[key]:.1%}: {points[key]:+z.1f}{shown_interval(points, key, '+z.1f')} points"
        print(line)
    print(f"  {'calibration error':<20}{metrics['expected_calibration_error']:6.1%}")
    if scaling := metrics["recalibrated"]:
        print(
            f"  {'at temperature':<20}{scaling['temperature']:6.2f} it would be "
            f"{scaling['expected_calibration_error']:.1%} (cross-fitted)"
        )
    for found in metrics["coverage"]["targets"]:
        if found["target_accuracy"] == SHOWN_TARGET and (checked := found["cross_checked"])["rows"]:
            threshold = show_threshold(found["min_probability"])
            print(
                f"  {f'for {SHOWN_TARGET:.0%} accuracy':<21}leave rows below {threshold} undecided: "
                f"{checked['share']:.0%} stay, {checked['accuracy']:.1%} of them right (cross-checked)"
            )
    if comparison:
        test = comparison["mcnemar"]
        print(
            f"  {test['only_this_right']} rows are right only here, {test['only_other_right']} only there: "
            f"p = {test['p_value']:.3g} (McNemar's exact test)"
        )
        print(f"  there: {comparison['other']}")


def shown_interval(scores: dict[str, Any], key: str, spec: str) -> str:
    """` [low, high]` of a score in the format `spec`; nothing if they are equal, as where all rows are right."""
    low, high = scores[f"{key}_interval"]
    return f" [{low:{spec}}, {high:{spec}}]" if low < high else ""


if __name__ == "__main__":
    sys.exit(main())
