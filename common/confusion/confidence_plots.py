"""Figures of confidence: calibration, and accuracy against coverage.

Each function draws one matplotlib figure and returns it; the caller saves it (common/plots.py).
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from common.confusion.plots import GREY, set_title
from common.metrics import wilson_interval
from common.plots import COLOURS, new_figure, styled


@styled
def draw_reliability(table: pd.DataFrame, error: float, title: str, recalibrated: pd.DataFrame | None = None) -> Figure:
    """Accuracy against confidence, and the number of rows at each confidence; `table` comes from calibration().

    `recalibrated` is the same table with a fitted temperature, if there is one.
    """
    figure = new_figure((6.4, 6.8), layout="constrained")
    axis, histogram = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bounds = [wilson_interval(share, rows) for share, rows in zip(table["accuracy"], table["rows"], strict=True)]
    low, high = np.array(bounds).T
    axis.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.2, label="perfect calibration")
    axis.errorbar(
        table["confidence"],
        table["accuracy"],
        fmt="o",
        color=COLOURS[0],
        capsize=2,
        ms=6,
        yerr=[np.maximum(table["accuracy"] - low, 0), np.maximum(high - table["accuracy"], 0)],
        label="predictions, 95% interval",
    )
    if recalibrated is not None:
        axis.plot(
            recalibrated["confidence"],
            recalibrated["accuracy"],
            "s",
            ms=5,
            mfc="none",
            color=COLOURS[1],
            label="with fitted temperature",
        )
    axis.set(ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    histogram.bar(table["low"], table["rows"], width=table["high"] - table["low"], align="edge", color=COLOURS[0])
    histogram.set(xlabel="confidence (highest probability)", ylabel="rows")
    histogram.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_formatter(PercentFormatter(1, decimals=0))
    set_title(figure, f"{title}\nexpected calibration error {error:.1%}")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


@styled
def draw_coverage(curve: pd.DataFrame, coverage: dict, title: str, temperature: float | None) -> Figure:
    """Accuracy against coverage: the share of rows above a confidence threshold.

    `curve` and `coverage` come from coverage_curve() and coverage_figures(); `temperature` is that of the
    probabilities, None without one.
    """
    figure = new_figure((6.4, 5.6), layout="constrained")
    axis = figure.subplots()
    share = curve["rows"] / curve["rows"].iloc[-1]
    pairs = zip(curve["accuracy"], curve["rows"], strict=True)
    low, high = np.array([wilson_interval(accuracy, rows) for accuracy, rows in pairs]).T
    axis.fill_between(share, low, high, color=COLOURS[0], alpha=0.15, lw=0, step="pre", label="95% interval")
    axis.step(share, curve["accuracy"], where="pre", color=COLOURS[0], label="accuracy of the covered rows")
    marked = [each for each in coverage["thresholds"] if each["rows"]]
    dots = {"color": COLOURS[1], "marker": "o", "ls": "", "label": "threshold", "zorder": 3}
    axis.plot([each["share"] for each in marked], [each["accuracy"] for each in marked], **dots)
    drawn = None
    for each in marked:
        if drawn is None or drawn - each["share"] > 0.04:  # labels must not overlap
            drawn = each["share"]
            place = (each["share"], each["accuracy"])
            axis.annotate(f"{each['min_probability']:g}", place, (4, 5), textcoords="offset points", zorder=4)
    axis.set(xlabel="coverage (share of the rows)", ylabel="accuracy", xlim=(0, 1.06))
    axis.set_xticks(np.linspace(0, 1, 6))
    axis.set_ylim(max(0.0, np.floor(20 * low[len(low) // 2 :].min() - 0.5) / 20), 1.015)
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_formatter(PercentFormatter(1, decimals=0))
    at = "without temperature scaling" if temperature is None else f"at temperature {temperature:.2f} (cross-fitted)"
    set_title(figure, f"{title}\nprobabilities {at}")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
