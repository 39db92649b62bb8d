"""Classify new texts with trained models.

    python predict.py demo new.csv                             # writes predictions.csv
    python predict.py demo new.csv --target-accuracy 0.95      # leaves uncertain rows undecided
    python predict.py run-a run-b new.csv --probabilities --output both.csv
    echo "Der Zug fährt nicht." | python predict.py demo -     # a text on each line
    torchrun --nproc-per-node 4 predict.py large million.csv   # several GPUs

The probabilities of all models of the runs (all members of an ensemble) are averaged; each argument has the same
weight. Texts are read as in training, so a run's own test rows get the probabilities of its predictions/test.csv. After
an interruption the same command continues. Only one model and part of a large CSV file are in memory at a time.
"""

import functools
import shlex
import sys
import tempfile
import time
from argparse import BooleanOptionalAction, Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.cli import Parser, UserError, exit_codes, number, wrap
from common.predicting.members import Member, find_id_columns, find_members, find_text_column
from common.predicting.output import Choice, check_output, write_output
from common.predicting.parts import open_parts, plan_of
from common.predicting.sureness import choose_threshold, read_sureness
from common.predicting.texts import Texts, find_input, read_lines, read_texts
from common.predicting.work import Predictor, predict_members
from common.reading.encoding import check_encoding
from common.saved.settings import Settings
from common.tfidf.model import FILE as TFIDF_FILE
from common.tfidf.model import load_model as load_tfidf
from common.tfidf.model import predict_probabilities

if TYPE_CHECKING:
    from common.training.compute.devices import Device

SHOWN_CLASSES = 12
STDIN = 0  # file descriptor
ENOUGH_ROWS = 100  # held-out rows; a threshold chosen on fewer says little


def parse_arguments(argv: list[str] | None) -> Namespace:
    """Read the command line. Raises UserError for invalid values."""
    parser = Parser(__doc__, "RUN ... INPUT [options]")
    parser.add_argument(
        "arguments",
        nargs="+",
        metavar="RUN ... INPUT",
        help="runs (a name in runs/, or a folder) or model folders; then the new texts: a file, - for lines on "
        "standard input, or a dataset's folder for its test.csv",
    )
    group = parser.add_argument_group("input")
    group.add_argument(
        "--text-column", metavar="NAME", help="column with the text; several are joined: A,B (default: as in training)"
    )
    group.add_argument(
        "--id-column", metavar="NAME", help="column with the id; without one, row numbers (default: as in training)"
    )
    group.add_argument("--encoding", metavar="NAME", help="encoding of a CSV file that is not UTF-8, such as cp1252")
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output",
        type=Path,
        metavar="CSV",
        help="output file; replaces an existing file (default: predictions.csv; for standard input, standard output)",
    )
    group.add_argument("--probabilities", action=BooleanOptionalAction, default=False, help="add a column per class")
    group.add_argument("--copy", action=BooleanOptionalAction, default=True, help="copy the input's other columns")
    undecided = group.add_mutually_exclusive_group()
    undecided.add_argument(
        "--min-probability",
        type=number(float, 0, 1),
        metavar="P",
        help="leave the label empty if the probability, calibrated on held-out rows, is lower",
    )
    undecided.add_argument(
        "--target-accuracy",
        type=number(float, 0, 1, low_open=True),
        metavar="A",
        help="choose the lowest --min-probability that reaches this accuracy on held-out rows",
    )
    group = parser.add_argument_group("machine")
    group.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="device to compute on")
    group.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        help="auto: as in training, with fp32 on CPUs; bf16 is faster on CPUs with native support and changes "
        "probabilities slightly",
    )
    options = parser.parse_intermixed_args(argv)
    if len(options.arguments) < 2:
        raise UserError("expected one or more runs, then the new texts: python predict.py RUN new.csv")
    *options.runs, options.input = options.arguments
    if options.input != "-":
        options.output = options.output or Path("predictions.csv")
    return options


@exit_codes
def main(argv: list[str] | None = None) -> int:
    """Predict all rows and write the file; returns the exit code."""
    options = parse_arguments(argv)

    # Models, threshold and input. The whole input is checked before hours of prediction
    members, runs = find_members(options.runs)
    sureness = read_sureness(members, runs, len(options.runs))
    threshold, promise = choose_threshold(sureness, options.min_probability, options.target_accuracy)
    kept = [*(member.folder for member in members), *(run / "predictions" for run in runs)]
    texts = open_texts(options, members, kept)

    # Imported here because torch takes seconds; --help and errors in options do not need it
    from common.training.compute.devices import close_device, open_device
    from common.training.compute.processes import gather
    from common.training.progress import progress_bar

    device = open_device(options.device, options.precision)
    device = device.predicting() if options.precision == "auto" else device
    if options.input == "-" and device.processes > 1:
        raise UserError("several processes cannot share standard input; write the texts to a file")
    say = functools.partial(print, file=sys.stdout if options.output else sys.stderr)
    if device.main:
        say(describe_work(members, texts, device))

    # Predict every chunk of rows with every model, one model in memory at a time; finished parts are kept
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(f"{options.output}.parts" if options.output else temporary)
        plan = plan_of(members, texts, {"precision": device.precision, "encoding": options.encoding})
        parts = gather(device, open_parts(folder, plan, not options.output) if device.main else None)[0]
        begin = time.monotonic()
        load = functools.partial(load_predictor, device=device.alone())
        shown = device.main and options.output is not None
        progress = functools.partial(progress_bar, what="predict", unit="text", shown=shown)
        predicted = predict_members(members, texts, parts, load, progress, device.rank, device.processes)
        seconds = time.monotonic() - begin
        predicted = sum(gather(device, predicted))
        close_device(device)
        if not device.main:
            return 0

        # Write the file atomically
        classes = members[0].settings.classes
        choice = Choice(classes, threshold, sureness.temperature, options.probabilities, options.copy)
        means = (parts.mean(chunk, members) for chunk in range(texts.chunk_count))
        counts = write_output(options.output, texts, means, choice)
        parts.remove()

    for line in report_lines(texts, counts, promise):
        say(line)
    if predicted:
        say(f"speed  {predicted / seconds:,.1f} texts/s a model, {seconds:.0f} s")
    if options.output:
        say(f"files  {options.output}")
        if threshold is None and sureness.held_out is not None and len(sureness.held_out.ids) >= ENOUGH_ROWS:
            say(f"next:  python predict.py {shlex.join(sys.argv[1:] if argv is None else argv)} --target-accuracy 0.95")
    return 0


def load_predictor(folder: Path, settings: Settings, device: "Device") -> Predictor:
    """Load the model in a folder, an encoder or `tfidf`, as a function from texts to probabilities."""
    if (folder / TFIDF_FILE).exists():
        return functools.partial(predict_probabilities, load_tfidf(folder))
    from common.training.saved import load_encoder  # late: torch takes seconds

    return load_encoder(folder, settings, device)


def open_texts(options: Namespace, members: Sequence[Member], kept: Sequence[Path]) -> Texts:
    """Open the input. Its columns have the same names as in training unless options give others.

    The output may not lie in the folders `kept`.
    """
    if options.encoding:
        check_encoding(options.encoding)
    path = None if options.input == "-" else find_input(options.input)
    if path is None and sys.stdin is None:
        raise UserError("standard input is closed; name a file")
    if options.output:
        check_output(options.output, path or STDIN, kept)
    if path is None:
        return read_lines(sys.stdin.buffer, options.encoding)
    text_column = options.text_column or find_text_column(members)
    id_columns = [options.id_column] if options.id_column else find_id_columns(members)
    return read_texts(path, text_column, id_columns, options.encoding, needs_ids=bool(options.id_column))


def describe_work(members: Sequence[Member], texts: Texts, device: "Device") -> str:
    """A line on the texts, the models and the device."""
    settings = members[0].settings
    models = "1 model" if len(members) == 1 else f"{len(members)} models, one in memory at a time"
    return wrap(
        f"{texts.name}: {texts.rows:,} texts, {models}, {len(settings.classes)} classes ({device.name}, "
        f"{device.precision})"
    )


def report_lines(texts: Texts, counts: Counter[str | None], promise: str | None) -> list[str]:
    """The number of rows of each label, most frequent first; of undecided rows and of blank rows."""
    common = [(name, count) for name, count in counts.most_common() if name is not None]
    lines = [f"  {name:<28.27}{count:>8,}  {count / texts.rows:6.1%}" for name, count in common[:SHOWN_CLASSES]]
    if len(common) > SHOWN_CLASSES:
        lines.append(f"  and {len(common) - SHOWN_CLASSES} more classes")
    if promise:
        lines += [wrap(promise), f"       {counts[None]:,} of {texts.rows:,} rows are undecided: their label is empty"]
    if texts.blank:
        lines.append(f"blank  {texts.blank:,} rows have no text; their label is meaningless")
    return lines


if __name__ == "__main__":
    sys.exit(main())
