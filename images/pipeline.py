"""The README's pipeline picture: which script reads and writes what. The type is large, for phones."""

from matplotlib import colormaps
from matplotlib.patches import FancyArrowPatch, Rectangle

from common.plots import styled
from images.card import INK, QUIET, SCALE, new_card, round_box, write

WIDTH, HEIGHT = 1600, 1180
SCRIPT = {"face": "#e8f1f8", "edge": "#9cc3e0"}
FILES = {"face": "#f3f4f5", "edge": "#d3d7dc"}
PAPER = {"face": "white", "edge": "#d3dce4", "radius": 8, "zorder": 3}
GIVEN, SUGGESTED = "#8a5a44", "#1660a8"  # the review page's colours
BACK = "#c2571a"  # the arrow from the review back to training
MONO = "DejaVu Sans Mono"


@styled
def draw_pipeline(counts, issues, submission):
    """Draw the card with samples of the scripts' output; returns a matplotlib Figure.

    `counts` [classes, classes] is a confusion matrix. `issues` has pairs of given and suggested label, `submission` has
    pairs of id and label; the first three of each are shown.
    """
    figure, axis = new_card(WIDTH, HEIGHT)

    draw_box(axis, 56, 890, 410, 230, "data/", ["train.csv", "test.csv"], **FILES)
    draw_box(axis, 566, 890, 460, 230, "train.py\ntrain_ensemble.py", **SCRIPT)
    draw_box(axis, 1126, 890, 418, 230, "encoder", ["GBERT, GottBERT,", "starter, tiny, …"], **FILES)
    draw_arrow(axis, (466, 1005), (560, 1005))
    draw_arrow(axis, (1126, 1005), (1032, 1005))

    draw_box(axis, 430, 654, 1114, 140, "runs/<run>/", ["model, scores, predictions of unseen rows"], **FILES)
    draw_arrow(axis, (796, 890), (796, 800))

    draw_result(axis, 56, "find_label_\nissues.py", "review page")
    draw_result(axis, 570, "create_confusion_\nmatrix.py", "who is taken for whom")
    draw_result(axis, 1084, "create_ensemble_\nsubmission.py", "submission.csv → Kaggle")
    for x in (473, 800, 1314):
        draw_arrow(axis, (x, 654), (x, 564))
    draw_issues(axis, 286, 264, issues[:3])
    draw_matrix(axis, 800, 264, counts)
    draw_submission(axis, 1314, 264, submission[:3])

    way = [104, 104, 636, 636], [558, 842, 842, 862]
    axis.plot(*way, color=BACK, linewidth=5 * SCALE, linestyle=(0, (2.6, 1.6)), zorder=4)
    draw_arrow(axis, (636, 862), (636, 884), BACK)
    write(axis, 130, 752, "corrections.csv", 34, ha="left", color=BACK)
    write(axis, 130, 704, "to train again", 34, ha="left", color=QUIET)
    return figure


def draw_box(axis, left, bottom, width, height, title, lines=(), **style):
    """Draw a box for files or scripts: a monospaced title, with grey lines below it."""
    round_box(axis, left, bottom, width, height, zorder=2, **style)
    titles = title.split("\n")
    y = bottom + height / 2 + 26 * (len(titles) + len(lines) - 1)
    for line in titles:
        write(axis, left + width / 2, y, line, 39, weight="bold", family=MONO)
        y -= 52
    for line in lines:
        write(axis, left + width / 2, y, line, 34, color=QUIET)
        y -= 52


def draw_result(axis, left, title, result):
    """Draw a script of the bottom row, with space for a sample of its output."""
    round_box(axis, left, 52, 460, 506, zorder=2, **SCRIPT)
    for number, line in enumerate(title.split("\n")):
        write(axis, left + 230, 500 - 50 * number, line, 39, weight="bold", family=MONO)
    write(axis, left + 230, 92, result, 33, color=QUIET)


def draw_issues(axis, x, y, issues):
    for number, (given, suggested) in enumerate(issues):
        middle = y + 84 * (1 - number)
        round_box(axis, x - 206, middle - 35, 412, 70, **PAPER)
        write(axis, x - 26, middle, given, 29, ha="right", color=GIVEN)
        write(axis, x, middle, "→", 29)
        write(axis, x + 26, middle, suggested, 29, ha="left", color=SUGGESTED, weight="bold")


def draw_matrix(axis, x, y, counts):
    shares = counts / counts.sum(axis=1, keepdims=True)
    cell = 240 / len(counts)
    for row, column in [(row, column) for row in range(len(counts)) for column in range(len(counts))]:
        corner = (x - 120 + cell * column, y + 120 - cell * (row + 1))
        colour = colormaps["Blues"](0.9 * shares[row, column] ** 0.6)
        axis.add_patch(Rectangle(corner, cell - 2, cell - 2, facecolor=colour, edgecolor="none", zorder=3))


def draw_submission(axis, x, y, rows):
    round_box(axis, x - 206, y - 120, 412, 240, **PAPER)
    for number, (row_id, label) in enumerate([("id", "label"), *rows]):
        middle = y + 84 - 56 * number
        colour = INK if number else QUIET
        write(axis, x - 172, middle, f"{row_id},{label}", 31, ha="left", color=colour, family=MONO)


def draw_arrow(axis, start, end, colour=INK):
    axis.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>,head_width=7,head_length=11",
            color=colour,
            zorder=4,
            linewidth=5 * SCALE,
            shrinkA=0,
            shrinkB=0,
        )
    )
