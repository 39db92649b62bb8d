"""Print all complete runs below runs/ as a table, the best first, and write it to runs/README.md.

python -m common.overview
python -m common.overview --data kaggle
"""

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.cli import Parser, UserError, exit_codes
from common.files import read_json, write_text
from common.runs import RUNS_FOLDER, complete_runs

COLUMNS = (
    "run",
    "encoder",
    "data",
    "rows",
    "seeds",
    "folds",
    "scored on",
    "accuracy",
    "macro-F1",
    "seconds",
    "date",
    "options",
    "submissions",
)


@exit_codes
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write it; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--data", metavar="NAME", help="only runs on this dataset")
    arguments = parser.parse_args(argv)
    runs = [
        (folder, read_json(folder / "config.json"), read_json(folder / "results.json")) for folder in complete_runs()
    ]
    if not runs:
        raise UserError(f"no complete run below {RUNS_FOLDER}/ yet; python train.py makes one")
    submissions = find_submissions()
    runs.sort(key=lambda run: (run[1].get("data", {}).get("name", ""), -(scores_of(run[2])[0].get("accuracy") or -1)))
    rows = {
        folder: describe_run(folder, config, results) | {"submissions": ", ".join(submissions.get(folder.name, []))}
        for folder, config, results in runs
    }
    write_text(RUNS_FOLDER / "README.md", "# Runs\n\n" + "\n".join(markdown(rows.values())) + "\n")
    shown = [row for row in rows.values() if arguments.data in (None, row["data"])]
    if not shown:
        raise UserError(
            f"no run on {arguments.data!r}; there are: {', '.join(sorted({row['data'] for row in rows.values()}))}"
        )
    print("\n".join(markdown(shown)))
    return 0


def describe_run(folder: Path, config: dict, results: dict) -> dict[str, str]:
    """A run's row of the table: a text for each of COLUMNS except the last."""
    models = [config["model"]["name"]] if "model" in config else list(config.get("models", {}))
    scores, scored_on = scores_of(results)
    members = [read_json(path) for path in sorted(folder.glob("members/*/results.json"))]
    parts = members or [results]
    environments = [folder / "environment.json", *sorted(folder.glob("members/*/environment.json"))]
    configs = [read_json(path) for path in sorted(folder.glob("members/*/config.json"))] or [config]
    seeds = sorted({each["seed"] for each in configs if "seed" in each}) or config.get("seeds", [])
    options = [read_json(path).get("options") for path in environments if path.exists()]  # an ensemble's: its members'
    low_high = scores.get("accuracy_interval") if scored_on else None
    return {
        "run": folder.name,
        "encoder": ", ".join(models),
        "data": config.get("data", {}).get("name", ""),
        "rows": f"{max((part.get('train_rows') or 0 for part in parts), default=0):,}",
        "seeds": ",".join(map(str, seeds)),
        "folds": str(config.get("folds") or ""),
        "scored on": f"{scored_on} ({scores['rows']:,})" if scored_on else "",
        "accuracy": f"{scores['accuracy']:.2%} ({low_high[0]:.1%} to {low_high[1]:.1%})" if low_high else "",
        "macro-F1": f"{scores['macro_f1']:.2%}" if scored_on else "",
        "seconds": f"{sum(part.get('seconds') or 0 for part in parts):,.0f}",
        "date": time.strftime("%Y-%m-%d %H:%M", time.localtime((folder / "results.json").stat().st_mtime)),
        "options": " ".join(
            f"--{name.replace('_', '-')} {value}" for name, value in next(filter(None, options), {}).items()
        ),
    }


def scores_of(results: dict) -> tuple[dict, str | None]:
    """The scores that the table shows, and their rows: those of held-out rows, else of test rows, else none."""
    if not results.get("evaluated_on") and results.get("test"):
        return results["test"], "test"
    return results, results.get("evaluated_on")


def find_submissions() -> dict[str, list[str]]:
    """{run: its submissions in the working directory, with their public scores}, from the JSON files beside them."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path().glob("*.json")):
        try:
            record = read_json(path)
        except (UserError, ValueError):  # another tool's
            continue
        members = record.get("members") if isinstance(record, dict) else None
        if not isinstance(members, list) or not isinstance(record.get("file"), str):
            continue
        places = [Path(member["file"]) for member in members if isinstance(member, dict) and "file" in member]
        for name in {place.parts[1] for place in places if place.parts[0] == RUNS_FOLDER.name and len(place.parts) > 2}:
            score = (record.get("upload") or {}).get("public_score")
            found.setdefault(name, []).append(record["file"] + (f" (public score {score})" if score else ""))
    return found


def markdown(rows: Iterable[dict[str, str]]) -> list[str]:
    """The rows as a Markdown table that also reads well on a console."""
    escaped = [{name: cell.replace("|", "\\|") for name, cell in row.items()} for row in rows]
    table = [dict(zip(COLUMNS, COLUMNS, strict=True)), *escaped]
    widths = {name: max(len(row[name]) for row in table) for name in COLUMNS}
    lines = ["| " + " | ".join(row[name].ljust(widths[name]) for name in COLUMNS) + " |" for row in table]
    return [lines[0], "|" + "|".join("-" * (widths[name] + 2) for name in COLUMNS) + "|", *lines[1:]]


if __name__ == "__main__":
    sys.exit(main())
