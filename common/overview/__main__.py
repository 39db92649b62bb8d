"""Print all complete runs below runs/ as a table, the best first, and write it to runs/README.md.

python -m common.overview
python -m common.overview --data kaggle
"""

import sys
import time
from pathlib import Path

from common.cli import Parser, UserError, exit_codes
from common.files import read_json, write_text
from common.runs import RUNS_FOLDER, complete_runs

COLUMNS = ("run", "encoder", "data", "rows", "seeds", "folds", "scored on", "accuracy", "macro-F1", "seconds", "date")


@exit_codes
def main(argv=None) -> int:
    """Print the table and write it; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--data", metavar="NAME", help="only runs on this dataset")
    arguments = parser.parse_args(argv)
    runs = [
        (folder, read_json(folder / "config.json"), read_json(folder / "results.json")) for folder in complete_runs()
    ]
    if not runs:
        raise UserError(f"no complete run below {RUNS_FOLDER}/ yet; python train.py makes one")
    runs.sort(key=lambda run: (run[1].get("data", {}).get("name", ""), -(run[2].get("accuracy") or -1)))
    rows = {folder: describe_run(folder, config, results) for folder, config, results in runs}
    write_text(RUNS_FOLDER / "README.md", "# Runs\n\n" + "\n".join(markdown(rows.values())) + "\n")
    shown = [row for row in rows.values() if arguments.data in (None, row["data"])]
    if not shown:
        raise UserError(
            f"no run on {arguments.data!r}; there are: {', '.join(sorted({row['data'] for row in rows.values()}))}"
        )
    print("\n".join(markdown(shown)))
    return 0


def describe_run(folder: Path, config: dict, results: dict) -> dict[str, str]:
    """What the table says of a run: a text for each of COLUMNS."""
    models = [config["model"]["name"]] if "model" in config else list(config.get("models", {}))
    scores, scored_on = results, results.get("evaluated_on")
    if not scored_on and results.get("test"):
        scores, scored_on = results["test"], "test"
    members = [read_json(path) for path in sorted(folder.glob("members/*/results.json"))]
    parts = members or [results]
    low_high = scores.get("accuracy_interval") if scored_on else None
    return {
        "run": folder.name,
        "encoder": ", ".join(models),
        "data": config.get("data", {}).get("name", ""),
        "rows": f"{max((part.get('train_rows') or 0 for part in parts), default=0):,}",
        "seeds": ",".join(map(str, config.get("seeds", [config.get("seed", "")]))),
        "folds": str(config.get("folds") or ""),
        "scored on": f"{scored_on} ({scores['rows']:,})" if scored_on else "",
        "accuracy": f"{scores['accuracy']:.2%} ({low_high[0]:.1%} to {low_high[1]:.1%})" if low_high else "",
        "macro-F1": f"{scores['macro_f1']:.2%}" if scored_on else "",
        "seconds": f"{sum(part.get('seconds') or 0 for part in parts):,.0f}",
        "date": time.strftime("%Y-%m-%d %H:%M", time.localtime((folder / "results.json").stat().st_mtime)),
    }


def markdown(rows) -> list[str]:
    """The rows as a Markdown table that also reads well on a console."""
    table = [dict(zip(COLUMNS, COLUMNS, strict=True)), *rows]
    widths = {name: max(len(row[name]) for row in table) for name in COLUMNS}
    lines = ["| " + " | ".join(row[name].ljust(widths[name]) for name in COLUMNS) + " |" for row in table]
    return [lines[0], "|" + "|".join("-" * (widths[name] + 2) for name in COLUMNS) + "|", *lines[1:]]


if __name__ == "__main__":
    sys.exit(main())
