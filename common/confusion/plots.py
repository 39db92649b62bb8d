"""Figures of a model's errors: confusion matrix, scores per class, two models side by side.

Each function draws one matplotlib figure and returns it; the caller saves it (common/plots.py).
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from common.confusion.statistics import row_shares
from common.plots import COLOURS, new_figure, shorten, styled

MOST_ANNOTATED = 16  # classes: with more, cells have no room for numbers
MOST_COMPARED = 20  # classes named in the comparison
GREY, LIGHT_GREY = "#6b6b6b", "#c8c8c8"
FIGURE_NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "weighted_f1": "weighted F1"}


def title(rows: str, scores: dict) -> str:
    """The figures' title: the scored rows (`demo: 99 test rows of sample`) and the scores."""
    return f"{shorten(rows, 60)}\naccuracy {scores['accuracy']:.1%}, macro-F1 {scores['macro_f1']:.1%}"


@styled
def draw_matrix(counts: np.ndarray, classes: list[str], order: list[int], title: str) -> Figure:
    """The confusion matrix [classes, classes] in the given order. Colours: share of the row. Numbers: count, share."""
    if len(classes) <= MOST_ANNOTATED:
        size, font = max(5.6, 2.6 + 0.6 * len(classes)), 10.0
    else:  # large enough for one name per row
        size = min(40, 7 + 0.09 * len(classes))
        font = min(9, 42 * size / len(classes))
    figure = new_figure((size, 0.88 * size), layout="constrained")
    axis = figure.subplots()
    support = counts.sum(axis=1)
    rows = [f"{shorten(name)} ({rows:,})" for name, rows in zip(classes, support, strict=True)]
    _matrix(axis, counts, classes, order, with_counts=True)
    _name_classes(axis, [rows[position] for position in order], [classes[position] for position in order], font)
    bar = figure.colorbar(axis.collections[0], ax=axis, shrink=0.6, aspect=30, pad=0.02)
    bar.set_ticks([0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.set_label(f"share of the given class ({'square' if len(classes) <= MOST_ANNOTATED else 'cube'}-root scale)")
    bar.outline.set_visible(False)
    axis.set(xlabel="predicted class", ylabel="given class (rows)")
    set_title(figure, title, fontsize=max(12, 1.1 * size))
    return figure


@styled
def draw_per_class(table: pd.DataFrame, title: str) -> Figure:
    """Precision, recall and F1 of each class, the best on top; `table` is per_class_metrics.csv."""
    table = table.sort_values("f1", kind="stable")
    rows = np.arange(len(table))
    height, size, font = (0.36, 45, 10) if len(table) <= 30 else (0.2, 25, 7.5)
    figure = new_figure((8, 1.5 + height * len(table)), layout="constrained")
    axis = figure.subplots()
    pair = table[["precision", "recall"]]
    axis.hlines(rows, pair.min(axis=1), pair.max(axis=1), color=LIGHT_GREY, lw=2.5, zorder=1)
    # Above and below the line: equal scores do not hide each other.
    markers = {"precision": ("v", COLOURS[0], 0.22), "F1": ("o", "black", 0), "recall": ("^", COLOURS[1], -0.22)}
    for name, (marker, colour, shift) in markers.items():
        axis.scatter(table[name.lower()], rows + shift, marker=marker, color=colour, s=size, label=name, zorder=2)
    names = [f"{shorten(name)} ({support:,})" for name, support in zip(table["class"], table["support"], strict=True)]
    axis.set_yticks(rows, names, fontsize=font)
    axis.set_ylim(-0.7, len(table) - 0.3)
    lowest = table[["precision", "recall"]].to_numpy().min()
    axis.set_xlim(max(-0.01, np.floor(20 * lowest - 0.2) / 20), 1.01)
    _percent_axis(axis)
    axis.grid(axis="y", visible=False)
    set_title(figure, title)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


@styled
def draw_comparison(
    counts: list[np.ndarray],
    f1_scores: list[np.ndarray],
    names: list[str],
    difference: dict,
    classes: list[str],
    order: list[int],
) -> Figure:
    """Two models on the same rows. Above: both matrices. Below: F1 per class, and the differences of the scores.

    `counts`, `f1_scores` ([classes]) and `names` each have two items: A and B. `difference` is the result of compare().
    """
    annotated = len(classes) <= MOST_ANNOTATED
    furthest = set(np.argsort(-np.abs(f1_scores[0] - f1_scores[1]), kind="stable")[:MOST_COMPARED].tolist())
    shown = [position for position in reversed(order) if position in furthest]
    top = 2.9 + 0.28 * min(len(classes), 9) if annotated else 5.4
    bottom = 1.2 + 0.24 * max(len(shown), 6)
    figure = new_figure((10, top + bottom), layout="constrained")
    (upper,), (lower,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[top, bottom], hspace=0.04)

    matrices = upper.subplots(1, 2, sharey=True)
    ordered = [classes[position] for position in order] if annotated else []  # no room for many names
    for mark, axis, matrix, name in zip("AB", matrices, counts, names, strict=True):
        _matrix(axis, matrix, classes, order, with_counts=False)
        _name_classes(axis, ordered, ordered, font=9)
        axis.set_title(f"{mark}: {shorten(name, 40)}", fontsize=11)
        axis.set_xlabel("predicted class" + (" (number: % of the given class)" if annotated else ""), fontsize=10)
    matrices[0].set_ylabel("given class", fontsize=10)
    matrices[1].tick_params(labelleft=False)

    per_class, overall = lower.subplots(1, 2, width_ratios=[1.25, 1])
    _draw_f1_pairs(per_class, [scores[shown] for scores in f1_scores], [classes[position] for position in shown])
    per_class.set_title(
        "F1 (● A, ○ B)" + (f", {len(shown)} largest gaps" if len(shown) < len(classes) else ""), fontsize=11
    )
    _draw_differences(overall, difference["this_minus_other"])
    overall.set_title(f"A minus B (McNemar's test: p = {difference['mcnemar']['p_value']:.2g})", fontsize=11)
    return figure


def _draw_f1_pairs(axis, scores, names):
    rows = np.arange(len(names))
    axis.hlines(rows, *scores, color=LIGHT_GREY, lw=2.5, zorder=1)
    axis.scatter(scores[0], rows, color=COLOURS[0], s=40, label="A", zorder=2)
    axis.scatter(scores[1], rows, facecolor="none", edgecolor=COLOURS[1], lw=1.8, s=60, label="B", zorder=3)
    axis.set_yticks(rows, [shorten(name) for name in names], fontsize=9)
    axis.set_ylim(-0.7, len(names) - 0.3)
    axis.margins(x=0.06)
    _percent_axis(axis)
    axis.tick_params(axis="x", labelsize=9)
    axis.grid(axis="y", visible=False)


def _draw_differences(axis, differences):
    labels = []
    for row, (name, label) in enumerate(FIGURE_NAMES.items()):
        low, value, high = (
            100 * number
            for number in (differences[f"{name}_interval"][0], differences[name], differences[f"{name}_interval"][1])
        )
        axis.plot([low, high], [row, row], color="black", lw=2, solid_capstyle="round")
        axis.plot(value, row, marker="o", color="black", ms=7)
        labels.append(f"{label}\n{value:+z.1f} [{low:+z.1f}, {high:+z.1f}]")
    axis.axvline(0, color=GREY, ls="--", lw=1.2)
    axis.set_yticks(range(len(labels)), labels, fontsize=9)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set_xlabel("percentage points, 95% interval", fontsize=10)
    axis.tick_params(axis="x", labelsize=9)
    reach = 1.1 * max(1.0, *(abs(limit) for limit in axis.get_xlim()))
    axis.set_xlim(-reach, reach)
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.grid(axis="y", visible=False)


def _matrix(axis, counts, classes, order, with_counts):
    """Draw the ordered matrix into `axis`. Cells get numbers if there is room."""
    counts = counts[np.ix_(order, order)]
    shares = row_shares(counts)  # NaN (a class that was never given) is drawn as background
    annotated = len(classes) <= MOST_ANNOTATED
    texts = np.full(counts.shape, "", dtype=object)
    for place in zip(*np.nonzero(counts), strict=True):
        percent = f"{100 * shares[place]:.0f}" if shares[place] >= 0.005 else "<1"
        texts[place] = f"{counts[place]:,}\n{percent}%" if with_counts else percent
    sns.heatmap(
        shares,
        ax=axis,
        cmap="Blues",
        square=True,
        cbar=False,
        xticklabels=False,
        yticklabels=False,
        # a root, to make 1 % visible; a steeper one for cells too small for numbers
        norm=PowerNorm(1 / 2 if annotated else 1 / 3, vmin=0, vmax=1),
        annot=texts if annotated else None,
        fmt="",
        annot_kws={"fontsize": 12 if len(classes) <= 4 else 9},
        linewidths=0.8 if annotated else 0.1 if with_counts else 0,
        linecolor="#e6e6e6",
    )
    axis.set_facecolor("#e6e6e6")


def _name_classes(axis, rows, columns, font):
    """Label the rows and columns of a matrix. Long column names are rotated."""
    columns = [shorten(name) for name in columns]
    rotation = 0 if sum(len(name) + 2 for name in columns) < 45 else 40 if len(columns) <= MOST_ANNOTATED else 90
    axis.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=font, rotation=0)
    axis.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=font, rotation=rotation)
    if rotation == 40:
        for label in axis.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axis.tick_params(length=0)


def _percent_axis(axis):
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g}%")


def set_title(figure: Figure, text: str, fontsize: float = 12) -> None:
    """Write the title above the figure, on the left."""
    figure.suptitle(text, x=0.01, ha="left", fontweight="bold", fontsize=fontsize)
