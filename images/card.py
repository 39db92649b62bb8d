"""Cards: light pictures with round corners on a transparent background, for pages in light and dark mode."""

from matplotlib.patches import FancyBboxPatch

from common.plots import new_figure

CARD, EDGE, INK, QUIET, ACCENT = "#fcfcfa", "#dcdfe4", "#23303f", "#6b7785", "#0072b2"
DPI = 100
SCALE = 72 / DPI  # points per pixel; all sizes below are in pixels


def new_card(width, height):
    """A figure of `width` x `height` pixels with an empty card, and its axis in pixels."""
    figure = new_figure((width / DPI, height / DPI), dpi=DPI, facecolor="none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, width), ylim=(0, height))
    axis.axis("off")
    round_box(axis, 2, 2, width - 4, height - 4, radius=28)
    return figure, axis


def round_box(axis, left, bottom, width, height, *, radius=18, face=CARD, edge=EDGE, line=2.0, zorder=1):
    """Draw a box with round corners. All sizes are in pixels."""
    axis.add_patch(
        FancyBboxPatch(
            (left, bottom),
            width,
            height,
            boxstyle=f"round,pad=0,rounding_size={radius}",
            facecolor=face,
            edgecolor=edge,
            linewidth=line * SCALE,
            zorder=zorder,
        )
    )


def write(axis, x, y, text, size, **options):
    """Write text of `size` pixels, centred on (x, y) by default."""
    options = {"ha": "center", "va": "center", "color": INK, "zorder": 5} | options
    axis.text(x, y, text, size=size * SCALE, **options)
