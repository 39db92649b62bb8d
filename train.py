"""Fine-tune a German encoder for text classification.

    python train.py --model gbert-base             # 10kGNAD from the hub
    python train.py --model starter --data sample  # offline, a minute
    python train.py --model tfidf                  # no neural network, seconds
    torchrun --nproc-per-node 2 train.py --model gbert-large --run-name large

All results are in runs/<run>/. The same command again continues an interrupted run. With torchrun several GPUs share
each batch; the result differs from one GPU's only by rounding and dropout.
"""

import os
import sys
from argparse import BooleanOptionalAction, Namespace

from common.cli import Parser, add_data_options, exit_codes, number
from common.files import read_json
from common.runs import open_run, run_folder
from common.training.encoders.registry import TFIDF
from common.training.encoders.sources import find_source
from common.training.options import add_training_options, changed_options, input_paths


def parse_arguments(argv: list[str] | None) -> Namespace:
    """Read the command line. Raises UserError for invalid values."""
    parser = Parser(__doc__)
    group = parser.add_argument_group("model and run")
    group.add_argument(
        "--model",
        default="gbert-base",
        metavar="NAME_OR_FOLDER",
        help="short name (see README), hub id, or local folder; tfidf: a linear model without a neural network",
    )
    group.add_argument("--seed", type=number(int, 0, 2**31), default=0, metavar="N", help="random seed")
    group.add_argument(
        "--run",
        "--run-name",
        metavar="NAME_OR_FOLDER",
        help="name or folder of the results; use --run-name under torchrun (default: runs/<data>-<model>-seed<seed>)",
    )
    group.add_argument("--overwrite", action=BooleanOptionalAction, help="discard an earlier run with this name")
    add_data_options(parser)
    add_training_options(parser)
    arguments = parser.parse_args(argv)
    arguments.changed = changed_options(parser, arguments)
    find_source(arguments.model)  # a mistyped name fails here, before torch is imported
    return arguments


@exit_codes
def main(argv: list[str] | None = None) -> int:
    """Train one model and write its run folder; returns the exit code."""
    arguments = parse_arguments(argv)
    if arguments.model == TFIDF:
        return train_tfidf(arguments)

    from common.data import check_name

    check_name(arguments.data)

    # Imported here because torch takes seconds; --help and errors in options do not need it
    from common.tfidf.run import compute_baseline
    from common.training.compute.devices import close_device, open_device
    from common.training.compute.processes import enter_run
    from common.training.inputs import prepare_inputs, validation_part
    from common.training.rows import choose_rows, describe_kept_labels
    from common.training.run import fine_tune
    from common.training.saved import predict_texts
    from common.training.summary import summary_lines
    from common.training.teacher import choose_teachers, prepare_lesson

    device = open_device(arguments.device, arguments.precision)
    print_line = device.print_line

    # Data: the rows to train on, and to validate on (valid.csv or a part of train.csv)
    inputs = prepare_inputs(arguments, print_line)
    train_rows, valid_rows = choose_rows(inputs.dataset, inputs.recipe, inputs.train_labels)
    if kept := describe_kept_labels(inputs.dataset, inputs.train_labels, valid_rows):
        print_line(kept)
    held_out = validation_part(inputs, valid_rows)
    frame = held_out[0] if held_out else None
    teachers = choose_teachers(inputs.teachers, inputs.dataset, frame)

    # Run folder: new, to be continued, or complete
    folder = run_folder(arguments.run or f"{inputs.dataset.name}-{inputs.name}-seed{arguments.seed}")
    config = {"script": "train.py", "seed": arguments.seed, **inputs.config}
    if enter_run(device, folder, config, arguments.overwrite, reads=input_paths(arguments)):
        print_line(f"run {folder} is complete; --overwrite trains it again")
        results = read_json(folder / "results.json")
    else:
        print_line(f"training {arguments.model} on {len(train_rows):,} rows ({device.words})")
        again = "the same command" + (", without --overwrite," if arguments.overwrite else "")
        print_line(f"run {folder}; if interrupted, {again} continues it")

        # A baseline to compare with, soft labels of the teachers, then the training
        baseline = lesson = None
        if device.main:
            weights = inputs.recipe.class_weights
            baseline = compute_baseline(inputs.dataset, inputs.train_labels, train_rows, frame, weights)
        if teachers:
            lesson = prepare_lesson(teachers, inputs.dataset, lambda run, texts: predict_texts(run, texts, device))
        results = fine_tune(
            folder,
            inputs,
            arguments.seed,
            train_rows,
            held_out,
            device,
            arguments,
            print_line,
            baseline=baseline,
            lesson=lesson,
        )
    close_device(device)

    for line in summary_lines(folder, results):
        print_line(line)
    return 0


def train_tfidf(arguments: Namespace) -> int:
    """The same steps for `tfidf`, without torch. Of a torchrun's processes only the first one trains."""
    from common.tfidf.run import fit_tfidf
    from common.training.rows import choose_rows, describe_kept_labels, prepare_tfidf, validation_frame
    from common.training.summary import summary_lines
    from common.training.tracking import Tracker

    if os.environ.get("RANK", "0") != "0":
        return 0
    inputs = prepare_tfidf(arguments, print)
    train_rows, valid_rows = choose_rows(inputs.dataset, inputs.recipe, inputs.train_labels)
    if kept := describe_kept_labels(inputs.dataset, inputs.train_labels, valid_rows):
        print(kept)
    folder = run_folder(arguments.run or f"{inputs.dataset.name}-{TFIDF}-seed{arguments.seed}")
    config = {"script": "train.py", "seed": arguments.seed, **inputs.config}
    if open_run(folder, config, arguments.overwrite, reads=input_paths(arguments)):
        print(f"run {folder} is complete; --overwrite trains it again")
        results = read_json(folder / "results.json")
    else:
        print(f"training {TFIDF} on {len(train_rows):,} rows; run {folder}")
        held_out = validation_frame(inputs.dataset, valid_rows)
        results = fit_tfidf(
            folder,
            inputs.dataset,
            inputs.train_labels,
            train_rows,
            held_out,
            inputs.recipe.class_weights,
            arguments.seed,
            arguments.changed,
        )
        Tracker(arguments.track, folder).finish(results)
    print("\n".join(summary_lines(folder, results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
