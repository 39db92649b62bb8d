"""The README's header: a map of the sample's news items as a model sees them, next to the project's name.

Each dot is an item of data/sample/train.csv. Its position is a t-SNE of its out-of-fold log-probabilities; its colour
is its label. A dot among dots of another colour is a difficult item or has a wrong label.
"""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from common.plots import styled
from images.card import CARD, INK, QUIET, new_card, write

WIDTH, HEIGHT = 1600, 400
MAP = (672, 78, 1520, 326)  # left, bottom, right, top of the dots
GLOW = 34  # pixels: standard deviation of the tint around a dot
FLOOR = 1e-2  # added to each probability; otherwise noise in tiny ones decides the positions
COLOURS = ("#4878b0", "#d98a3d", "#4f9a63", "#c2595b", "#8a74b8", "#8f6f5b", "#cf7fb0", "#3f9fb3", "#a3912f")


@styled
def draw_header(predictions):
    """Draw the card from a Predictions with labels; returns a matplotlib Figure."""
    figure, axis = new_card(WIDTH, HEIGHT)
    left = {"ha": "left", "va": "baseline"}
    write(axis, 72, 236, "German text", 68, weight="bold", **left)
    write(axis, 72, 160, "classification", 68, weight="bold", **left)
    write(axis, 75, 98, "from clone to Kaggle", 34, color=QUIET, **left)

    places = spread(place(predictions), MAP)
    for name, colour in zip(predictions.classes, COLOURS, strict=True):
        dots = places[predictions.labels == name]
        axis.imshow(glow(dots, colour), extent=(0, WIDTH, 0, HEIGHT), origin="lower", aspect="auto", zorder=2)
        axis.scatter(*dots.T, s=58, color=colour, alpha=0.9, edgecolor=CARD, linewidth=0.9, zorder=3)
        write(
            axis,
            *free_spot(np.median(dots, axis=0), places),
            name,
            26,
            color=INK,
            zorder=6,
            path_effects=[withStroke(linewidth=4, foreground=CARD)],
        )
    axis.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))  # imshow changed them
    return figure


def place(predictions):
    """Points [rows, 2]: rows with similar probabilities are close together. The longer axis comes first."""
    values = np.log(predictions.probabilities.astype(float) + FLOOR)
    return PCA(2).fit_transform(TSNE(2, perplexity=20, init="pca", random_state=0).fit_transform(values))


def spread(points, box):
    """Stretch points [rows, 2] over a box (left, bottom, right, top)."""
    left, bottom, right, top = box
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - low) / (high - low) * [right - left, top - bottom] + [left, bottom]


def free_spot(middle, dots):
    """The position for a class's name, above or below the `middle` of its dots, where it covers fewer of all `dots`."""
    spots = middle + np.array([[0, 45], [0, -45]])
    return min(spots, key=lambda spot: (abs(dots - spot) < [85, 18]).all(axis=1).sum())


def glow(dots, colour):
    """An RGBA picture [HEIGHT / 4, WIDTH / 4, 4] of the colour, more opaque where dots are dense."""
    y, x = np.mgrid[0:HEIGHT:4, 0:WIDTH:4]
    squares = (x[..., None] - dots[:, 0]) ** 2 + (y[..., None] - dots[:, 1]) ** 2
    density = np.exp(-squares / (2 * GLOW**2)).sum(axis=-1)
    picture = np.empty((*density.shape, 4))
    picture[..., :3] = to_rgb(colour)
    picture[..., 3] = 0.22 * (1 - np.exp(-density / 8))
    return picture
