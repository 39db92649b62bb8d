"""Pictures of label issues: which given label is likely which other one, and how good the labels are."""

import numpy as np
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from common.plots import COLOURS, new_figure, shorten, styled

NUMBERED_CLASSES = 20  # with more, numbers in the cells could not be read


@styled
def draw_joint(joint, rows, classes):
    """Estimated rows of each given label (down) and likely label (across); joint [classes, classes] sums to 1.

    Colour shows the disagreement; the diagonal, which would drown it, is left grey.
    """
    estimated = joint * rows
    # Less than half a row is no row: an empty cell shows it better than a zero.
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
def draw_quality(quality, is_issue):
    """Histogram of the label quality of all rows, and in front of them of those with a label issue."""
    figure = new_figure((7.5, 4))
    axis = figure.subplots()
    looks = {"bins": np.linspace(0, 1, 41), "edgecolor": "white", "linewidth": 0.4}
    axis.hist(quality, color=COLOURS[0], label=f"all rows ({len(quality):,})", **looks)
    axis.hist(quality[is_issue], color=COLOURS[3], label=f"label issues ({int(is_issue.sum()):,})", **looks)
    axis.set(
        title="Label quality",
        xlabel="label quality: probability of the given label, out of fold",
        ylabel="rows (root scale)",
        xlim=(0, 1),
    )
    axis.set_yscale(
        "function", functions=(np.sqrt, np.square)
    )  # a few wrong labels stay visible beside many right ones
    axis.grid(axis="x", visible=False)
    axis.legend(frameon=False, loc="upper center")
    return figure
