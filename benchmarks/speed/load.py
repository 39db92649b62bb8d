"""Time and peak memory of the scripts with large inputs: training on many articles, a submission of many members.

    python -m benchmarks.speed.load --rows 10000 50000 100000 --members 200

The data is synthetic, and every script runs in its own process. Training takes only a few steps of `tiny`, but it reads
and tokenizes all articles, and predicts a test.csv with a tenth as many. The memory per article is the difference in
peak memory between the largest and the smallest number of rows, divided by the difference in rows.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.options import new_parser
from common.cli import exit_codes, number
from common.predictions import Predictions, write_predictions
from common.reading.tables import csv_writer

ROOT = Path(__file__).resolve().parents[2]
CLASSES = [f"Klasse {letter}" for letter in "ABCDEFGHI"]
VOCABULARY = 20_000
SUBMISSION_ROWS = 1000


@exit_codes
def main(argv=None):
    """Write the data, run the scripts, print; returns the exit code."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--rows",
        type=number(int, 10),
        nargs="+",
        default=[10_000, 50_000, 100_000],
        metavar="N",
        help="numbers of training articles",
    )
    parser.add_argument("--words", type=number(int, 1), default=60, metavar="N", help="words per article")
    parser.add_argument("--steps", type=number(int, 1), default=20, metavar="N", help="optimizer steps")
    parser.add_argument("--members", type=number(int, 1), default=200, metavar="N", help="prediction files to combine")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        peaks = {}
        for rows in arguments.rows:
            size = write_articles(place / str(rows), rows, arguments.words)
            seconds, peaks[rows] = measure(
                place,
                "train.py",
                "--model",
                "tiny",
                "--data",
                str(place / str(rows)),
                "--max-steps",
                str(arguments.steps),
                "--max-length",
                "128",
                "--valid-fraction",
                "0.01",
                "--run",
                f"run{rows}",
            )
            print(
                f"train.py, {rows:,} articles ({size / 1e6:.0f} MB): {seconds:.0f} s, peak memory "
                f"{peaks[rows] / 2**20:,.0f} MiB",
                flush=True,
            )
        low, high = min(peaks), max(peaks)
        if high > low:
            print(f"  {(peaks[high] - peaks[low]) / (high - low) / 1000:.1f} KB per additional article")
        files = write_members(place, arguments.members)
        seconds, peak = measure(place, "create_ensemble_submission.py", *files)
        print(
            f"create_ensemble_submission.py, {len(files)} members of {SUBMISSION_ROWS:,} rows and {len(CLASSES)} "
            f"classes: {seconds:.1f} s, peak memory {peak / 2**20:,.0f} MiB"
        )
    return 0


def write_articles(folder, rows, words):
    """Write train.csv and a test.csv with a tenth of its rows into the new `folder`; returns the bytes of both."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnoprstuvwzäöüß"))
    forms = ["".join(draw.choice(letters, draw.integers(2, 13))) for _ in range(VOCABULARY)]
    vocabulary = np.array(forms, dtype=object)
    frequencies = 1 / np.arange(10, VOCABULARY + 10)  # Zipf's law
    frequencies /= frequencies.sum()
    for name, count in (("train", rows), ("test", rows // 10)):
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv_writer(file)
            writer.writerow(["id", "text", "label"])
            for number in range(count):
                drawn = draw.choice(VOCABULARY, words, p=frequencies)
                writer.writerow([number, f"„{' '.join(vocabulary[drawn])}.“", CLASSES[number % len(CLASSES)]])
    return sum(path.stat().st_size for path in folder.iterdir())


def write_members(folder, members):
    """Write prediction files with random probabilities; returns their paths."""
    draw = np.random.default_rng(0)
    ids = np.array([str(number) for number in range(SUBMISSION_ROWS)], dtype=object)
    files = [str(folder / f"member{number}.csv") for number in range(members)]
    for file in files:
        probabilities = draw.dirichlet(np.ones(len(CLASSES)), SUBMISSION_ROWS).astype(np.float32)
        write_predictions(file, Predictions(ids, CLASSES, probabilities))
    return files


def measure(folder, script, *arguments):
    """Run a script in `folder`; returns its seconds and its peak memory in bytes. Exits if the script fails."""
    begin = time.monotonic()
    process = subprocess.Popen([sys.executable, str(ROOT / script), *arguments], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{script} failed")
    return time.monotonic() - begin, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.exit(main())
