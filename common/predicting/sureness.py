"""The threshold on the probability of a label, and the accuracy above it on held-out rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.cli import UserError
from common.confidence import coverage
from common.confidence.coverage import Coverage, coverage_at, show_threshold
from common.confidence.temperature import recalibrate
from common.files import read_json
from common.predicting.members import Member
from common.predictions import Predictions, align, mean_probabilities, read_predictions
from common.saved.settings import FILE

HELD_OUT = {"oof": "out-of-fold rows", "valid": "validation rows"}  # the better one first


@dataclass(frozen=True)
class Sureness:
    """The temperature of the probabilities, from held-out rows or from predicting.json."""

    temperature: float | None  # None: the probabilities are taken as they are
    rows: str  # "297 out-of-fold rows", for messages
    held_out: Predictions | None  # labelled, at the temperature (cross-fitted)


def read_sureness(members: Sequence[Member], runs: Sequence[Path], arguments: int) -> Sureness:
    """Use the runs' held-out rows if all `arguments` are runs with the same held-out rows; else predicting.json."""
    if len(runs) == arguments:
        for split, words in HELD_OUT.items():
            held_out = _mean_of([run / "predictions" / f"{split}.csv" for run in runs])
            if held_out:
                scaling, recalibrated = recalibrate(held_out)
                rows = f"{len(held_out.ids):,} {words}"
                if any(read_json(run / "results.json").get("selected_on_validation") for run in runs):
                    rows += " (epochs were selected on them, --keep best: too good)"
                return Sureness(scaling["temperature"] if scaling else None, rows, recalibrated or held_out)
    temperature = members[0].settings.temperature if len(members) == 1 else None
    return Sureness(temperature, f"the rows named in {FILE}" if temperature else "no held-out rows", None)


def choose_threshold(
    sureness: Sureness, min_probability: float | None, target_accuracy: float | None
) -> tuple[float | None, str | None]:
    """The threshold on the probability (None: no threshold), and a line on its effect on held-out rows.

    `target_accuracy` chooses the lowest threshold that reaches it on held-out rows. Raises UserError if none does.
    """
    held_out = sureness.held_out
    if target_accuracy is not None:
        target = f"--target-accuracy {target_accuracy:g}"
        if held_out is None:
            raise UserError(f"{target} is chosen on held-out rows, and there are none here; give --min-probability")
        found = coverage.choose_threshold(held_out, target_accuracy)
        if found is None:
            raise UserError(f"{target}: even the surest of the {sureness.rows} do not reach it; give less")
        return found[0], _promise(found[0], found[1], sureness.rows, "cross-checked, ")
    if min_probability is None:
        return None, None
    if held_out is None:
        return min_probability, "no held-out rows are here: how many of the labels are right is not known"
    return min_probability, _promise(min_probability, coverage_at(held_out, min_probability), sureness.rows)


def _promise(threshold: float, kept: Coverage, rows: str, how: str = "") -> str:
    line = f"sure   a probability of {show_threshold(threshold)} or more: {kept.share:.0%} of {rows} stay"
    if kept.accuracy_interval:
        low, high = kept.accuracy_interval
        line += f", {kept.accuracy:.1%} of them right ({how}95 % interval {low:.1%} to {high:.1%})"
    return line


def _mean_of(files: Sequence[Path]) -> Predictions | None:
    """The mean of the runs' predictions; None if the runs do not have the same labelled rows."""
    if not all(file.exists() for file in files):
        return None
    first, *others = [read_predictions(file) for file in files]
    if first.labels is None or any(set(other.ids) != set(first.ids) for other in others):
        return None
    aligned = [first, *(align(other, first.ids, first.classes) for other in others)]
    if any(other.labels is None or (other.labels != first.labels).any() for other in aligned):
        return None
    return replace(first, probabilities=mean_probabilities([each.probabilities for each in aligned]))
