"""Classify new texts with what was trained.

    python predict.py demo new.csv                             # writes predictions.csv
    python predict.py demo new.csv --target-accuracy 0.95      # leaves unsure rows undecided
    python predict.py run-a run-b new.csv --probabilities --output both.csv
    echo "Der Zug fährt nicht." | python predict.py demo -     # a text on each line
    torchrun --nproc-per-node 4 predict.py large million.csv   # several GPUs

The models of a run, of an ensemble (all its members) or of several runs are averaged; each argument weighs the same.
Texts are read as in training: for a run's own test rows the probabilities are those of its predictions/test.csv.
Interrupted, the same command goes on. One model at a time is in memory, and a part of a large CSV file.
"""

import functools
import shlex
import sys
import tempfile
import time
from argparse import BooleanOptionalAction
from pathlib import Path

from common.cli import Parser, UserError, exit_codes, number, wrap
from common.predicting.members import find_members
from common.predicting.output import Choice, write_output
from common.predicting.parts import open_parts, plan_of
from common.predicting.sureness import choose_threshold, read_sureness
from common.predicting.texts import find_input, read_lines, read_texts
from common.predicting.work import predict_members
from common.tfidf.model import FILE as TFIDF_FILE
from common.tfidf.model import load_model as load_tfidf
from common.tfidf.model import predict_probabilities

SHOWN_CLASSES = 12


def parse_arguments(argv):
    """Read the command line; raises UserError for values that cannot be."""
    parser = Parser(__doc__, "RUN ... INPUT [options]")
    parser.add_argument(
        "arguments",
        nargs="+",
        metavar="RUN ... INPUT",
        help="runs (a name below runs/, or a folder) or model folders; then the new texts: a file, - for lines on "
        "standard input, or a dataset's folder, whose test.csv is meant",
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
        help="an earlier file is replaced (default: predictions.csv; for standard input, standard output)",
    )
    group.add_argument("--probabilities", action=BooleanOptionalAction, default=False, help="a column for each class")
    group.add_argument("--copy", action=BooleanOptionalAction, default=True, help="copy the input's other columns")
    undecided = group.add_mutually_exclusive_group()
    undecided.add_argument(
        "--min-probability",
        type=number(float, 0, 1),
        metavar="P",
        help="leave the label of less sure rows empty; the probability is at the temperature that fits held-out rows",
    )
    undecided.add_argument(
        "--target-accuracy",
        type=number(float, 0, 1, low_open=True),
        metavar="A",
        help="choose the lowest --min-probability with which held-out rows reach this accuracy",
    )
    group = parser.add_argument_group("machine")
    group.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="where to compute")
    group.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        help="auto: as the scripts that train predict, fp32 on CPUs; bf16 is faster on CPUs that have it natively, "
        "and a label in some hundreds differs",
    )
    options = parser.parse_intermixed_args(argv)
    if len(options.arguments) < 2:
        raise UserError("expected one or more runs and then the new texts: python predict.py RUN new.csv")
    *options.runs, options.input = options.arguments
    if options.input != "-":
        options.output = options.output or Path("predictions.csv")
    return options


@exit_codes
def main(argv=None):
    """Predict all rows, write the file; returns the exit code."""
    options = parse_arguments(argv)

    # Which models, how sure they are, and the rows, read to their end: what is wrong shows before hours of work
    members, runs = find_members(options.runs)
    sureness = read_sureness(members, runs, len(options.runs))
    threshold, promise = choose_threshold(sureness, options.min_probability, options.target_accuracy)
    texts = open_texts(options, members[0].settings)

    # Imported late: torch takes seconds, which --help and a mistyped name should not.
    from common.training.compute.devices import close_device, open_device
    from common.training.compute.processes import gather
    from common.training.progress import progress_bar

    device = open_device(options.device, options.precision)
    device = device.predicting() if options.precision == "auto" else device
    if options.input == "-" and device.processes > 1:
        raise UserError("several processes cannot share standard input; write the texts into a file")
    say = functools.partial(print, file=sys.stdout if options.output else sys.stderr)
    if device.main:
        say(describe_work(members, texts, device))

    # Every chunk of rows by every model, one model in memory at a time; finished parts wait beside the output
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(f"{options.output}.parts") if options.output else Path(temporary)
        plan = plan_of(members, texts, {"precision": device.precision, "encoding": options.encoding})
        parts = gather(device, open_parts(folder, plan) if device.main else None)[0]
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

        # One file, whole or not there
        classes = members[0].settings.classes
        choice = Choice(classes, threshold, sureness.temperature, options.probabilities, options.copy)
        means = (parts.mean(chunk, members) for chunk in range(texts.chunk_count))
        counts = write_output(options.output, texts, means, choice)
        parts.remove()

    for line in report_lines(texts, counts, classes, promise):
        say(line)
    if predicted:
        say(f"speed  {predicted / seconds:,.1f} texts/s a model, {seconds:.0f} s")
    if options.output:
        say(f"files  {options.output}")
        if threshold is None and sureness.held_out is not None:
            say(f"next:  python predict.py {shlex.join(sys.argv[1:] if argv is None else argv)} --target-accuracy 0.95")
    return 0


def load_predictor(folder, settings, device):
    """A function from texts to probabilities, by the model in a folder: an encoder, or `tfidf`."""
    if (folder / TFIDF_FILE).exists():
        return functools.partial(predict_probabilities, load_tfidf(folder))
    from common.training.saved import load_encoder  # late: torch takes seconds

    return load_encoder(folder, settings, device)


def open_texts(options, settings):
    """The input, with the columns of training unless others are named."""
    if options.input == "-":
        return read_lines(sys.stdin.buffer)
    path = find_input(options.input)
    if options.output.is_dir():
        raise UserError(f"--output {options.output} is a folder; name a file")
    if options.output.exists() and options.output.samefile(path):
        raise UserError(f"--output {options.output} is the input; name another file")
    text_column, id_column = options.text_column or settings.text_column, options.id_column or settings.id_column
    return read_texts(path, text_column, id_column, options.encoding)


def describe_work(members, texts, device):
    """A line on what will be done."""
    settings = members[0].settings
    models = "1 model" if len(members) == 1 else f"{len(members)} models, one in memory at a time"
    return wrap(
        f"{texts.name}: {texts.rows:,} texts, {models}, {len(settings.classes)} classes ({device.name}, "
        f"{device.precision})"
    )


def report_lines(texts, counts, classes, promise):
    """How often each label was given, the frequent ones first; undecided and blank rows."""
    common = [(name, count) for name, count in counts.most_common() if name is not None]
    lines = [f"  {name:<28.27}{count:>8,}  {count / texts.rows:6.1%}" for name, count in common[:SHOWN_CLASSES]]
    if len(common) > SHOWN_CLASSES:
        lines.append(f"  and {len(common) - SHOWN_CLASSES} more classes")
    if promise:
        lines += [wrap(promise), f"       {counts[None]:,} of {texts.rows:,} rows are undecided: their label is empty"]
    if texts.blank:
        lines.append(f"blank  {texts.blank:,} rows have no text; their label means little")
    return lines


if __name__ == "__main__":
    sys.exit(main())
