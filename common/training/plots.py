"""Figures of training: learning curves, and an ensemble's accuracy by its size."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from common.plots import COLOURS, new_figure, save_figure, styled

MOST_NAMED = 15  # curves in the legend
LEAST_POINTS = 20  # of a score axis, so that one row of sixty (1.7 points) does not look like a jump


@styled
def draw_learning_curves(path: Path, runs: dict[str, list[dict]]) -> None:
    """Draw loss and validation scores over the epochs.

    `runs` maps a name to its metrics.jsonl records (see common/runs.py): those with "event" "step" carry epoch and
    train_loss, those with "event" "epoch" carry epoch, train_loss and, where there are validation rows, valid_loss,
    valid_accuracy, valid_macro_f1.
    """
    figure = new_figure((10, 3.8), layout="constrained")
    loss_axis, score_axis = figure.subplots(1, 2)
    for axis in (loss_axis, score_axis):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    several = len(runs) > 1
    for position, (name, records) in enumerate(runs.items()):
        steps = [record for record in records if record["event"] == "step"]
        epochs = [record for record in records if record["event"] == "epoch"]
        colour = COLOURS[position % len(COLOURS)]
        x = [record["epoch"] for record in epochs]
        pale = {"color": colour, "alpha": 0.25, "label": "training, every few steps"}
        loss_axis.plot([r["epoch"] for r in steps], [r["train_loss"] for r in steps], **pale)
        loss_axis.plot(x, [r["train_loss"] for r in epochs], color=colour, label="training, each epoch")
        if not epochs or "valid_loss" not in epochs[0]:
            continue
        dots = {"color": colour if several else COLOURS[1], "marker": "o", "ms": 4}
        loss_axis.plot(x, [r["valid_loss"] for r in epochs], ls="--", label="validation", **dots)
        score_axis.plot(x, [100 * r["valid_accuracy"] for r in epochs], label=name if several else "accuracy", **dots)
        if not several:
            dots |= {"color": COLOURS[2], "marker": "s"}
            score_axis.plot(x, [100 * r["valid_macro_f1"] for r in epochs], label="macro-F1", **dots)
    loss_axis.set(title="Loss" + (" (dashed: validation)" if several else ""), xlabel="epoch", ylim=(0, None))
    score_axis.set(title="Validation accuracy" if several else "Validation scores", xlabel="epoch", ylabel="%")
    _widen(score_axis)
    if not score_axis.lines:
        score_axis.text(0.5, 0.5, "no validation rows", ha="center", va="center", transform=score_axis.transAxes)
        score_axis.set(xticks=[], yticks=[])
    elif several and len(runs) <= MOST_NAMED:
        figure.legend(*score_axis.get_legend_handles_labels(), frameon=False, loc="outside right upper", fontsize=9)
    elif not several:
        score_axis.legend(frameon=False)
    if not several:
        loss_axis.legend(frameon=False)
    save_figure(figure, path)


@styled
def draw_ensemble_curve(path: Path, results: dict) -> None:
    """Draw the ensemble's accuracy by its size, and the single models' accuracies.

    `results` is an ensemble's results.json: its "curve", "voters", "accuracy_interval" and "rows".
    """
    curve, voters = results["curve"], results["voters"]
    figure = new_figure((6, 3.8))
    axis = figure.subplots()
    sizes = [point["size"] for point in curve]
    means = [100 * point["accuracy"] for point in curve]
    deviations = [100 * point["deviation"] for point in curve]
    axis.scatter(
        [1] * len(voters),
        [100 * voter["accuracy"] for voter in voters],
        color=COLOURS[7],
        s=18,
        zorder=3,
        label="single models",
    )
    axis.errorbar(
        sizes, means, yerr=deviations, color=COLOURS[0], marker="o", capsize=3, label="mean of subsets ± deviation"
    )
    low, high = (100 * bound for bound in results["accuracy_interval"])
    band = f"95% interval of all {len(voters)} on {results['rows']:,} rows"
    axis.axhspan(low, high, color=COLOURS[0], alpha=0.1, lw=0, label=band)
    axis.set(title="Accuracy of the ensemble", xlabel="members", ylabel="%")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _widen(axis)
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    save_figure(figure, path)


def _widen(axis: Axes) -> None:
    """Widen a score axis in percent to at least LEAST_POINTS, within 0 to 100."""
    low, high = axis.get_ylim()
    top = min(high + max(0.0, LEAST_POINTS - (high - low)) / 2, 101.0)
    axis.set_ylim(max(0.0, min(low, top - LEAST_POINTS)), top)
    axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
