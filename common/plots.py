"""Figures: one style for all of them.

Figures are matplotlib's own objects, without pyplot: importing this leaves a notebook's backend and style alone, and
drawing needs no display.
"""

import warnings
from pathlib import Path

import matplotlib
import seaborn as sns
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from common.files import whole_file

LONGEST_NAME = 26  # characters of a class name in a figure
COLOURS = sns.color_palette("colorblind")
STYLE = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("notebook"),
    "axes.prop_cycle": cycler(color=COLOURS),
    "patch.facecolor": COLOURS[0],
    "figure.dpi": 120,
    "figure.facecolor": "white",  # a light card also in a page's dark mode
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e6e6e6",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.parse_math": False,  # a dollar sign in a class name is a dollar sign
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture everywhere, umlauts included
}
styled = matplotlib.rc_context(STYLE)  # a decorator: the function draws in this style


def new_figure(figsize: tuple[float, float], **settings) -> Figure:
    """An empty figure of that size in inches; `settings` are those of matplotlib's Figure."""
    figure = Figure(figsize, **settings)
    FigureCanvasAgg(figure)  # seaborn asks pyplot for a display otherwise
    return figure


@styled
def save_figure(figure: Figure, path: str | Path) -> None:
    """Write the figure as PNG."""
    with whole_file(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # class names may be emoji: a box stands for them
        figure.savefig(temporary, format="png", bbox_inches="tight", metadata={"Software": None})


def shorten(name: object, longest: int = LONGEST_NAME) -> str:
    """One line of at most `longest` characters, cut in the middle: German compounds differ at both ends."""
    text = " ".join(str(name).split())
    if len(text) <= longest:
        return text
    tail = longest // 3
    return text[: longest - tail - 1] + "…" + text[-tail:]
