"""The summary that the training scripts print at the end. No torch: `tfidf` prints it, too."""

from pathlib import Path

from common.cli import wrap
from common.runs import run_name


def summary_lines(folder: Path, results: dict) -> list[str]:
    """Scores with intervals, the baseline, the speed and the files."""
    lines = score_lines(results)
    if results.get("selected_on_validation"):
        lines.append(
            f"       epoch {results['kept_epoch']} was selected on the validation rows: their score is too high"
        )
    if results.get("baseline"):
        lines.append(baseline_line(results["baseline"]))
    speed = f"{results['tokens_per_second']:,.0f} tokens/s, " if "tokens_per_second" in results else ""
    lines.append(f"speed  {speed}{results['seconds']:.0f} s of training")
    pictures = "".join(f"{path.name}, " for path in sorted(Path(folder).glob("*.png")))
    lines.append(f"files  {folder}: results.json, {pictures}predictions/, model/")
    return [*map(wrap, lines), f"next:  python predict.py {run_name(folder)} new.csv"]


def baseline_line(baseline: dict) -> str:
    """The scores of `tfidf` on the same rows."""
    parts = [("", baseline), ("test ", baseline["test"])]
    scores = [f"{name}accuracy {part['accuracy']:.2%}" for name, part in parts if part and part["accuracy"] is not None]
    return f"tfidf  {', '.join(scores)}: the baseline without a neural network, same rows"


def score_lines(results: dict) -> list[str]:
    """One line for the validation rows and one for the test rows, if they have labels."""
    lines = []
    for name, scores in ((results["evaluated_on"], results), ("test", results.get("test"))):
        if name and scores:
            low, high = scores["accuracy_interval"]
            lines.append(
                f"{name:<6} accuracy {scores['accuracy']:.2%} (95 % interval {low:.1%} to {high:.1%}, "
                f"{scores['rows']:,} rows)  macro-F1 {scores['macro_f1']:.2%}"
            )
    return lines
