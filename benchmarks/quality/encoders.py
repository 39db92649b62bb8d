"""Compare encoders over several seeds on the same test rows, with published figures.

    python -m benchmarks.quality.encoders --models starter,tiny,tfidf --seeds 3 --data sample
    python -m benchmarks.quality.encoders --seeds 3 --data gnad10   # every short name: needs a GPU and the hub
    python -m benchmarks.quality.encoders --data gnad10 --table     # only rewrite the table

Each run calls train.py in its own process and writes one JSON file to benchmarks/results/encoders/. Recorded runs are
not repeated, and an interrupted run continues. The trained weights are deleted when the run is complete. The table of
all recorded runs is written to docs/encoders.md. Options after `--` go to train.py: `-- --max-length 128`.
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
# (accuracy in per cent, standard deviation, number of runs) on the 1,028 official test rows of 10kGNAD: averages over
# the runs in data/transformers_eval10kgnad.csv of that repository
PUBLISHED = {
    "gbert-base": (90.16, 0.47, 20),
    "gelectra-large": (89.84, 0.57, 30),
    "bert-base-german-cased": (89.74, 0.50, 30),
    "distilbert-german": (89.36, 0.47, 27),
    "distilbert-base-multilingual-cased": (87.26, 0.64, 31),
}


@exit_codes
def main(argv: list[str] | None = None) -> int:
    """Train and record the missing runs, then write the table; returns 1 if a run failed."""
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
        names = ", ".join(sorted(set(failed)))
        print(f"{len(failed)} of {len(jobs)} runs failed ({names}); the same command tries them again")
    return 1 if failed else 0


def parse_arguments(argv):
    """Our options, and the list of options for train.py."""
    argv = sys.argv[1:] if argv is None else argv
    split = argv.index("--") if "--" in argv else len(argv)
    parser = new_parser(__doc__, "seeds", "table", data="gnad10")
    everything = ",".join([*MODELS, TFIDF])
    parser.add_argument(
        "--models", default=everything, metavar="NAME,...", help="encoders to compare (default: every short name)"
    )
    parser.add_argument("--results", default=RESULTS, metavar="FOLDER", help="folder of the JSON files")
    parser.add_argument("--page", metavar="FILE", help="file for the table (default: docs/encoders.md)")
    arguments = parser.parse_args(argv[:split])
    arguments.models = [name.strip() for name in arguments.models.split(",")]
    return arguments, argv[split + 1 :]


def run_name(data: str, model: str, seed: int, options: list[str]) -> str:
    """A name that differs for other data, models, seeds and options."""
    parts = [Path(data).name, Path(model).name, f"seed{seed}", *(option.lstrip("-") for option in options)]
    return "-".join(part.replace("/", "-") for part in parts)


def record_file(arguments, model: str, seed: int, options: list[str]) -> Path:
    return Path(arguments.results) / f"{run_name(arguments.data, model, seed, options)}.json"


def measure(data: str, model: str, seed: int, options: list[str]) -> dict | None:
    """Train in a new process, so that its peak memory is that of this run; None if train.py fails.

    Raises UserError if the data has neither labelled test rows nor validation rows.
    """
    run = Path("runs") / f"encoders-{run_name(data, model, seed, options)}"
    command = ["--model", model, "--data", data, "--seed", str(seed), "--run", str(run), *options]
    # "spawn": a forked child would start with the memory of this process
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        code, memory = pool.submit(train_once, command).result()
    if code == 130:
        raise KeyboardInterrupt
    if code:
        return None
    results, config, environment = (read_json(run / f"{name}.json") for name in ("results", "config", "environment"))
    scores, rows = (results["test"], "test") if results.get("test") else (results, results["evaluated_on"])
    if rows is None:
        raise UserError(
            f"{data}: found neither labelled test rows nor validation rows; comparing encoders needs one of them"
        )
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
    """Runs in the child process: train.py's exit code, and the peak memory in bytes, of the GPU if one was used."""
    try:
        code = train.main(command)
    except Exception as error:  # the other encoders should still run
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1, None
    torch = sys.modules.get("torch")  # tfidf does not import it
    if torch and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return code, torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return code, None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return code, peak if sys.platform == "darwin" else peak * 1024


def read_records(folder: Path) -> list[dict]:
    """The records of all runs in `folder`."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).glob("*.json"))]


def write_page(path: Path, records: list[dict]) -> None:
    """Write docs/encoders.md: a table for each dataset, device and set of options. Raises UserError without records."""
    if not records:
        raise UserError("no run is recorded yet; start without --table")
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
    """Whether the published figures apply to these test rows."""
    return data == "gnad10" and rows == 1028


PAGE_HEAD = """# Encoders compared

    python -m benchmarks.quality.encoders --seeds 3 --data gnad10

The command trains every encoder that has a short name, with its default recipe, and writes this page from the
[recorded runs](../benchmarks/results/encoders). Accuracy and macro-F1 are means over the seeds, ± their standard
deviation. Brackets hold the 95 % interval (Wilson) of one model's accuracy on that many rows. Seconds are the mean
training time, without validation and prediction. Memory is the largest peak of the process, or of the GPU if one was
used.

Published figures are for the official 1,028 test rows of 10kGNAD: averages over the runs in
`data/transformers_eval10kgnad.csv` of [goerlitz/nlp-classification]({source})."""


def table(records: list[dict], published: bool) -> list[str]:
    """The lines of a Markdown table; the best encoder comes first."""
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
    """The mean accuracy of one encoder, and its line of the table."""
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
