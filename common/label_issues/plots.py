"""Figures of label issues: given against likely labels, and the label quality."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.plots import COLOURS, new_figure, shorten, styled

NUMBERED_CLASSES = 20  # with more, the numbers in the cells are too small


@styled
def draw_joint(joint: np.ndarray, rows: int, classes: Sequence[str]) -> Figure:
    """Estimated rows per given label (down) and likely label (across); joint [classes, classes] sums to 1.

    Colours show the disagreement. The diagonal is grey; its large counts would hide the rest.
    """
    estimated = joint * rows
    # A cell with less than half a row stays empty.
    numbers = np.where(estimated >= 0.5, np.char.mod("%.0f", estimated), "")
    names = [shorten(name) for name in classes]
    side = min(max(4.5, 0.62 * len(classes) + 2), 18)
    figure = new_figure((side + 1.5, side))
    axis = figure.subplots()
    diagonal = np.eye(len(classes), dtype=bool)
    shared = {
        "ax": axis,
        "square": True,
        "linewidths": 0.5,
        "linecolor": "white",
        "fmt": "",
        "annot": numbers if len(classes) <= NUMBERED_CLASSES else None,
        "xticklabels": names,
        "yticklabels": names,
    }
    highest = max(1.0, float(np.where(diagonal, 0, estimated).max()))
    bar = {"label": "estimated rows, labels disagree", "shrink": 0.7, "ticks": MaxNLocator(6, integer=True)}
    sns.heatmap(estimated, mask=diagonal, cmap="OrRd", vmin=0, vmax=highest, cbar_kws=bar, **shared)
    sns.heatmap(estimated, mask=~diagonal, cmap=["#e9e9e9"], cbar=False, **shared)
    axis.set(title="Given and likely labels, as cleanlab estimates them", xlabel="likely label", ylabel="given label")
    axis.set_xticklabels(axis.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    axis.tick_params(axis="y", rotation=0)
    return figure


@styled
def draw_quality(quality: np.ndarray, is_issue: np.ndarray) -> Figure:
    """Histogram of the label quality: all rows, and in front of them the rows with a label issue."""
    figure = new_figure((7.5, 4))
    axis = figure.subplots()
    bins = np.linspace(0, 1, 41).tolist()
    for values, colour, name in ((quality, 0, "all rows"), (quality[is_issue], 3, "label issues")):
        label = f"{name} ({len(values):,})"
        axis.hist(values, bins, color=COLOURS[colour], label=label, edgecolor="white", linewidth=0.4)
    axis.set(
        title="Label quality",
        xlabel="label quality: probability of the given label, out of fold",
        ylabel="rows (root scale)",
        xlim=(0, 1),
    )
    # a root scale keeps a few wrong labels visible beside many correct ones
    axis.set_yscale("function", functions=(np.sqrt, np.square))
    axis.grid(axis="x", visible=False)
    axis.legend(frameon=False, loc="upper center")
    return figure
