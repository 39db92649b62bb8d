"""Train several models, over seeds, folds and encoders, and average them.

    python train_ensemble.py --model gbert-base --seeds 5
    python train_ensemble.py --models gbert-base,gottbert-base --folds 5
    torchrun --nproc-per-node 4 train_ensemble.py --seeds 8  # dealt to 4 GPUs

With --folds every training row is predicted by models that never saw it. Every member is a run folder in
runs/<run>/members/. The same command again skips complete members and continues an interrupted one.
"""

import sys
from argparse import BooleanOptionalAction, Namespace

from common.cli import EXIT_USER_ERROR, Parser, UserError, add_data_options, exit_codes, number
from common.files import read_json
from common.runs import run_folder
from common.training.encoders.sources import find_source
from common.training.options import add_training_options, changed_options, input_paths


def parse_arguments(argv: list[str] | None) -> Namespace:
    """Read the command line. Raises UserError for invalid values."""
    parser = Parser(__doc__)
    group = parser.add_argument_group("models and run")
    group.add_argument(
        "--models",
        "--model",
        type=model_list,
        default="gbert-base",
        metavar="NAME,...",
        help="encoders, separated by commas: short names, hub ids or folders; tfidf adds one member",
    )
    group.add_argument(
        "--seeds",
        type=seed_list,
        default="5",
        metavar="N_OR_LIST",
        help="random seeds: how many (0 to N-1), or a list: 3,7,11",
    )
    group.add_argument(
        "--folds",
        type=number(int, 2),
        metavar="K",
        help="number of folds of a cross-validation, which predicts every training row (default: none)",
    )
    group.add_argument(
        "--members",
        type=part_of_members,
        metavar="I/N",
        help="train only part I of N of the members, as one of N jobs on a shared disk; "
        "when all jobs are done, the same command without --members combines them",
    )
    group.add_argument(
        "--run",
        "--run-name",
        metavar="NAME_OR_FOLDER",
        help="name or folder of the results; use --run-name under torchrun "
        "(default: runs/<data>-<models>-ensemble, with the folds)",
    )
    group.add_argument("--overwrite", action=BooleanOptionalAction, help="discard an earlier run with this name")
    add_data_options(parser)
    add_training_options(parser)
    arguments = parser.parse_args(argv)
    arguments.changed = changed_options(parser, arguments)
    return arguments


def model_list(text: str) -> list[str]:
    """`a,b` -> ["a", "b"], distinct."""
    models = [name.strip() for name in text.split(",")]
    if len(set(models)) < len(models):
        raise UserError(f"--models {text}: the same encoder twice; --seeds gives several models of one encoder")
    for name in models:
        find_source(name)  # a mistyped name fails here, before torch is imported
    return models


def seed_list(text: str) -> list[int]:
    """`5` -> [0, 1, 2, 3, 4]; `3,7` -> [3, 7]; a single seed is `7,`."""
    parse = number(int, 0, 2**31)
    if "," not in text:
        return list(range(number(int, 1, 1000)(text)))
    seeds = [parse(part) for part in text.split(",") if part]
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text}: expected distinct seeds, separated by commas")
    return seeds


def part_of_members(text: str) -> tuple[int, int]:
    """`3/15` -> (3, 15)."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UserError(f"--members {text}: expected a part and the number of parts, such as 1/4")
    return int(part), int(parts)


@exit_codes
def main(argv: list[str] | None = None) -> int:
    """Train all members, combine them, write the run folder; returns the exit code."""
    arguments = parse_arguments(argv)
    if arguments.members and arguments.overwrite:
        raise UserError(
            "--overwrite would discard the other parts' members; leave out --members, or choose another --run"
        )

    from common.data import check_name

    check_name(arguments.data)

    # Imported here because torch takes seconds; --help and errors in options do not need it
    from common.training.compute.devices import close_device, open_device
    from common.training.compute.processes import enter_run
    from common.training.ensemble import (
        combine_members,
        ensemble_config,
        ensemble_lines,
        ensemble_name,
        plan_members,
    )
    from common.training.inputs import prepare_models
    from common.training.members import train_members
    from common.training.rows import describe_kept_labels
    from common.training.tracking import Tracker

    device = open_device(arguments.device, arguments.precision)
    print_line = device.print_line

    # Data, tokenized once per encoder; which rows each member trains on and predicts
    inputs = prepare_models(arguments, print_line)
    members = plan_members(inputs, arguments.seeds, arguments.folds)
    first = inputs[arguments.models[0]]
    dataset = first.dataset
    if not arguments.folds and (kept := describe_kept_labels(dataset, first.train_labels, members[0].valid_rows)):
        print_line(kept)
    if arguments.folds and dataset.valid is not None:
        print_line(f"{dataset.files['valid']} is not used: each fold validates on its rows of {dataset.files['train']}")
    teachers = {member.name: member.teachers(inputs[member.model]) for member in members}

    # Run folder: new, to be continued, or complete
    folder = run_folder(arguments.run or ensemble_name(inputs, arguments.folds))
    config = ensemble_config(inputs, arguments.seeds, arguments.folds)
    shared = bool(arguments.members)
    if enter_run(device, folder, config, arguments.overwrite, shared, input_paths(arguments)):
        close_device(device)
        print_line(f"run {folder} is complete; --overwrite trains it again")
        for line in ensemble_lines(folder, read_json(folder / "results.json")):
            print_line(line)
        return 0

    # Train: complete members are skipped, an interrupted one is resumed, a failing one does not stop the others
    failed = train_members(folder, members, inputs, teachers, arguments, device)
    close_device(device)
    if failed.defects:
        which = "; ".join(failed.defects)
        print_line(f"{len(failed.defects)} of {len(members)} members failed ({which}); the same command finishes them")
        return 1
    if failed.diverged and device.main:
        which = "; ".join(failed.diverged)
        raise UserError(f"{len(failed.diverged)} of {len(members)} members failed ({which})")
    if failed.diverged:
        return EXIT_USER_ERROR
    if arguments.members:
        part, parts = arguments.members
        print_line(
            f"part {part} of {parts} is complete; when all are, the same command without --members combines them"
        )
        return 0

    # Combine: out-of-fold or validation rows, test rows, scores, pictures
    if device.main:
        results = combine_members(folder, dataset, members)
        Tracker(arguments.track, folder).finish(results)
        for line in ensemble_lines(folder, results):
            print_line(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
