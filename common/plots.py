"""The style of all figures.

Figures are built without pyplot, so importing this module does not change a notebook's backend or style, and drawing
needs no display.
"""

import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    "figure.facecolor": "white",  # light also on a dark page
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e6e6e6",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.parse_math": False,  # show a dollar sign in a class name as it is
    "font.family": "DejaVu Sans",  # part of matplotlib, so the same picture everywhere; has umlauts
}


@contextmanager
def _style():
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # emoji in class names become boxes
        yield


styled = _style()  # a decorator: the function draws in this style


def new_figure(figsize: tuple[float, float], **settings: Any) -> Figure:
    """An empty figure, size in inches; `settings` go to matplotlib's Figure."""
    figure = Figure(figsize, **settings)
    FigureCanvasAgg(figure)  # else seaborn asks pyplot for a display
    return figure


@styled
def save_figure(figure: Figure, path: str | Path) -> None:
    """Write the figure as PNG."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", metadata={"Software": None})


def shorten(name: object, longest: int = LONGEST_NAME) -> str:
    """One line of at most `longest` characters, cut after the middle since German compounds differ at both ends."""
    text = " ".join(str(name).split())
    if len(text) <= longest:
        return text
    tail = longest // 3
    return text[: longest - tail - 1] + "…" + text[-tail:]
