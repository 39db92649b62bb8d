"""Which encoder classifies best: every one of a list, over seeds, on the same test rows, beside published figures.

    python -m benchmarks.quality.encoders --models starter,tiny,tfidf --seeds 3 --data sample
    python -m benchmarks.quality.encoders --seeds 3 --data gnad10   # every short name: for a GPU and the hub
    python -m benchmarks.quality.encoders --data gnad10 --table     # only writes the table again

Each run is one of train.py in a process of its own, and one JSON in benchmarks/results/encoders/; what is there is not
computed again, and an interrupted run goes on. The weights are deleted once a run is recorded. docs/encoders.md holds
the table of all that is recorded. What comes after `--` goes to train.py: `-- --max-length 128`.
"""

import json
import multiprocessing
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from statistics import mean, stdev

import train
from benchmarks.options import new_parser
from common.cli import UserError, exit_codes
from common.files import read_json, write_json, write_text
from common.metrics import wilson_interval
from common.training.encoders.registry import MODELS, TFIDF

RESULTS = Path(__file__).parents[1] / "results" / "encoders"
PAGE = Path(__file__).parents[2] / "docs" / "encoders.md"
SOURCE = "https://github.com/goerlitz/nlp-classification"
# Accuracy in per cent on the 1,028 official test rows of 10kGNAD, deviation, runs: averages over the runs in
# data/transformers_eval10kgnad.csv of that repository
PUBLISHED = {
    "gbert-base": (90.16, 0.47, 20),
    "gelectra-large": (89.84, 0.57, 30),
    "bert-base-german-cased": (89.74, 0.50, 30),
    "distilbert-german": (89.36, 0.47, 27),
    "distilbert-base-multilingual-cased": (87.26, 0.64, 31),
}


@exit_codes
def main(argv: list[str] | None = None) -> int:
    """Train and record what is missing, then write the table; returns 1 where a run failed."""
    arguments, options = parse_arguments(argv)
    failed = []
    jobs = [] if arguments.table else [(m, seed) for seed in range(arguments.seeds) for m in arguments.models]
    for number, (model, seed) in enumerate(jobs, 1):
        file = record_file(arguments, model, seed, options)
        if file.exists():
            continue
        print(f"[{number}/{len(jobs)}] {model}, seed {seed}", flush=True)
        record = measure(arguments.data, model, seed, options)
        if record is None:
            failed.append(model)
        else:
            write_json(file, record)
    write_page(PAGE if arguments.page is None else Path(arguments.page), read_records(arguments.results))
    if failed:
        print(f"{len(failed)} of {len(jobs)} runs failed ({', '.join(sorted(set(failed)))}); the same command goes on")
    return 1 if failed else 0


def parse_arguments(argv):
    """The options, and those for train.py."""
    argv = sys.argv[1:] if argv is None else argv
    split = argv.index("--") if "--" in argv else len(argv)
    parser = new_parser(__doc__, "seeds", "table", data="gnad10")
    everything = ",".join([*MODELS, TFIDF])
    parser.add_argument("--models", default=everything, metavar="NAME,...", help="(default: every short name)")
    parser.add_argument("--results", default=RESULTS, metavar="FOLDER", help="where the JSONs are")
    parser.add_argument("--page", metavar="FILE", help="the table (default: docs/encoders.md)")
    arguments = parser.parse_args(argv[:split])
    arguments.models = [name.strip() for name in arguments.models.split(",")]
    return arguments, argv[split + 1 :]


def run_name(data: str, model: str, seed: int, options: list[str]) -> str:
    """A name that tells apart runs of other data, models, seeds and options."""
    parts = [Path(data).name, Path(model).name, f"seed{seed}", *(option.lstrip("-") for option in options)]
    return "-".join(part.replace("/", "-") for part in parts)


def record_file(arguments, model: str, seed: int, options: list[str]) -> Path:
    return Path(arguments.results) / f"{run_name(arguments.data, model, seed, options)}.json"


def measure(data: str, model: str, seed: int, options: list[str]) -> dict | None:
    """Train in a fresh process, so that its peak memory is this run's; None where train.py refuses or fails."""
    run = Path("runs") / f"encoders-{run_name(data, model, seed, options)}"
    command = ["--model", model, "--data", data, "--seed", str(seed), "--run", str(run), *options]
    # "spawn": a forked child would begin with the memory of this process
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        code, memory = pool.submit(train_once, command).result()
    if code == 130:
        raise KeyboardInterrupt
    if code:
        return None
    results, config, environment = (read_json(run / f"{name}.json") for name in ("results", "config", "environment"))
    scores, rows = (results["test"], "test") if results.get("test") else (results, results["evaluated_on"])
    if rows is None:
        raise UserError(f"{data}: no labelled test rows and no validation rows, so nothing to compare encoders on")
    shutil.rmtree(run / "model", ignore_errors=True)
    return {
        "data": config["data"]["name"],
        "fingerprint": config["data"]["fingerprint"],
        "model": Path(model).name,
        "revision": config["model"].get("revision"),
        "seed": seed,
        "options": options,
        "scored_on": rows,
        "rows": scores["rows"],
        "accuracy": scores["accuracy"],
        "macro_f1": scores["macro_f1"],
        "seconds": results["seconds"],
        "peak_memory": memory,
        "device": environment["device"],
        "threads": environment["threads"],
        "precision": environment.get("precision", "fp32"),
        "versions": environment["versions"],
        "commit": environment["commit"],
        "date": f"{date.today():%Y-%m-%d}",
        "recipe": config["recipe"],
    }


def train_once(command: list[str]) -> tuple[int, int | None]:
    """In the child: train.py's exit code and the most memory in use, in bytes; the GPU's where there is one."""
    try:
        code = train.main(command)
    except Exception as error:  # one encoder's defect should not cost the others
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1, None
    torch = sys.modules.get("torch")  # tfidf does without
    if torch and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return code, torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return code, None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return code, peak if sys.platform == "darwin" else peak * 1024


def read_records(folder: Path) -> list[dict]:
    """All recorded runs."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).glob("*.json"))]


def write_page(path: Path, records: list[dict]) -> None:
    """docs/encoders.md: a table for each dataset, machine and set of options."""
    if not records:
        raise UserError("nothing is recorded yet; start without --table")
    groups = {}
    for record in records:
        key = (record["data"], record["scored_on"], record["rows"], record["device"], " ".join(record["options"]))
        groups.setdefault(key, []).append(record)
    parts = [PAGE_HEAD.format(source=SOURCE)]
    for (data, scored_on, rows, device, options), group in sorted(groups.items()):
        title = f"## `{data}`: {rows:,} {scored_on} rows, {device}" + (f", `{options}`" if options else "")
        parts.append(f"{title}\n\n" + "\n".join(table(group, published=is_published(data, rows))))
    write_text(path, "\n\n".join(parts) + "\n")
    print(f"wrote {os.path.relpath(path)}: {len(records)} runs")


def is_published(data: str, rows: int) -> bool:
    """Whether the published figures are of these test rows."""
    return data == "gnad10" and rows == 1028


PAGE_HEAD = """# Encoders compared

    python -m benchmarks.quality.encoders --seeds 3 --data gnad10

The command trains every encoder that has a short name, with its default recipe, and writes this page from what is
recorded ([runs](../benchmarks/results/encoders)). Accuracy is the mean over the seeds, ± the deviation over them.
Brackets hold the 95 % interval of one model's score on that many rows (Wilson). Seconds are of training alone. Memory
is the most that the process used, on a GPU the GPU's.

Published figures are for the official 1,028 test rows of 10kGNAD: averages over the runs in
`data/transformers_eval10kgnad.csv` of [goerlitz/nlp-classification]({source})."""


def table(records: list[dict], published: bool) -> list[str]:
    """Markdown lines, the best encoder first."""
    lines = ["| encoder | seeds | accuracy, % | macro-F1, % | seconds | memory, GB | published accuracy, % |"]
    lines.append("|---|---|---|---|---|---|---|")
    by_model = {}
    for record in records:
        by_model.setdefault(record["model"], []).append(record)
    rows = [table_row(model, runs, PUBLISHED.get(model) if published else None) for model, runs in by_model.items()]
    if published:
        rows += [
            (0.0, f"| {m} | | not measured | | | | {_cited(PUBLISHED[m])} |") for m in PUBLISHED if m not in by_model
        ]
    return lines + [line for _, line in sorted(rows, reverse=True)]


def table_row(model: str, runs: list[dict], cited: tuple | None) -> tuple[float, str]:
    """(accuracy, the line of one encoder)."""
    accuracy = mean(run["accuracy"] for run in runs)
    low, high = wilson_interval(accuracy, runs[0]["rows"])
    peaks = [run["peak_memory"] for run in runs if run["peak_memory"]]
    cells = [
        model,
        str(len(runs)),
        f"{_with_deviation([run['accuracy'] for run in runs])} ({100 * low:.1f} to {100 * high:.1f})",
        _with_deviation([run["macro_f1"] for run in runs]),
        f"{mean(run['seconds'] for run in runs):,.0f}",
        f"{max(peaks) / 1e9:.1f}" if peaks else "",
        _cited(cited) if cited else "",
    ]
    return accuracy, f"| {' | '.join(cells)} |"


def _cited(figures: tuple) -> str:
    return f"{figures[0]:.2f} ± {figures[1]:.2f} ({figures[2]} runs)"


def _with_deviation(shares: list[float]) -> str:
    deviation = f" ± {100 * stdev(shares):.2f}" if len(shares) > 1 else ""
    return f"{100 * mean(shares):.2f}{deviation}"


if __name__ == "__main__":
    sys.exit(main())
