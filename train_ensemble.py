"""Train several models, over seeds, folds and encoders, and average them.

    python train_ensemble.py --model gbert-base --seeds 5
    python train_ensemble.py --models gbert-base,gottbert-base --folds 5
    torchrun --nproc-per-node 4 train_ensemble.py --seeds 8  # dealt to 4 GPUs

With --folds every training row gets probabilities of models that never saw it. Every member is a run folder under
runs/<run>/members/; the same command again skips those that are complete.
"""

import copy
import sys
import traceback
from argparse import BooleanOptionalAction

from common.cli import EXIT_USER_ERROR, Parser, UserError, add_data_options, exit_codes, number
from common.files import read_json
from common.interrupts import Interrupted
from common.runs import open_run, run_folder
from common.training.encoders.registry import TFIDF
from common.training.encoders.sources import find_source
from common.training.options import add_training_options, changed_options


def parse_arguments(argv):
    """Read the command line; raises UserError for values that cannot be."""
    parser = Parser(__doc__)
    group = parser.add_argument_group("models and run")
    group.add_argument(
        "--models",
        "--model",
        type=model_list,
        default="gbert-base",
        metavar="NAME,...",
        help="encoders: short names, hub ids or folders, separated by commas; tfidf joins as one member",
    )
    group.add_argument(
        "--seeds", type=seed_list, default="5", metavar="N_OR_LIST", help="how many (0 to N-1), or which: 3,7,11"
    )
    group.add_argument(
        "--folds",
        type=number(int, 2),
        metavar="K",
        help="cross-validation: every row is predicted by models that did not see it (default: none)",
    )
    group.add_argument(
        "--members",
        type=part_of_members,
        metavar="I/N",
        help="train the I-th of N parts of the members alone, as one of N jobs on a shared disk; "
        "when all have ended, the same command without it combines them",
    )
    group.add_argument(
        "--run",
        "--run-name",
        metavar="NAME_OR_FOLDER",
        help="where results go; torchrun takes --run for its own, so write --run-name there "
        "(default: runs/<data>-<models>-ensemble, with the folds)",
    )
    group.add_argument("--overwrite", action=BooleanOptionalAction, help="discard an earlier run of that name")
    add_data_options(parser)
    add_training_options(parser)
    arguments = parser.parse_args(argv)
    arguments.changed = changed_options(parser, arguments)
    return arguments


def model_list(text):
    """`a,b` -> ["a", "b"], distinct."""
    models = [name.strip() for name in text.split(",")]
    if len(set(models)) < len(models):
        raise UserError(f"--models {text}: the same encoder twice; --seeds gives several models of one encoder")
    for name in models:
        find_source(name)  # a mistyped name ends here, before torch is imported
    return models


def seed_list(text):
    """`5` -> [0, 1, 2, 3, 4]; `3,7` -> [3, 7]; a single seed is `7,`."""
    parse = number(int, 0, 2**31)
    if "," not in text:
        return list(range(number(int, 1, 1000)(text)))
    seeds = [parse(part) for part in text.split(",") if part]
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text}: give distinct seeds, separated by commas")
    return seeds


def part_of_members(text):
    """`3/15` -> (3, 15)."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UserError(f"--members {text}: give a part and how many there are, 1/4 to 4/4 say")
    return int(part), int(parts)


@exit_codes
def main(argv=None):
    """Train all members, combine them, write the run folder; returns the exit code."""
    arguments = parse_arguments(argv)
    if arguments.members and arguments.overwrite:
        raise UserError(
            "--overwrite would discard what the other parts train; leave out --members, or name another --run"
        )

    from common.data import check_name

    check_name(arguments.data)

    # Imported late: torch takes seconds, which --help and a mistyped name should not.
    from common.tfidf.run import fit_tfidf, is_tfidf, predict_tfidf
    from common.training.compute.devices import close_device, open_device
    from common.training.compute.processes import enter_run, gather
    from common.training.ensemble import combine_members, ensemble_lines, plan_members
    from common.training.inputs import prepare_inputs
    from common.training.loop import Diverged
    from common.training.progress import show_time_left
    from common.training.run import fine_tune
    from common.training.saved import predict_texts
    from common.training.teacher import prepare_lesson
    from common.training.tracking import Tracker

    # Members are dealt to the processes of a torchrun: each trains its own, alone on its GPU
    device = open_device(arguments.device, arguments.precision)
    rank, processes, alone = device.rank, device.processes, device.alone()
    print_line = device.print_line

    def predict_run(run, texts):
        return predict_tfidf(run, texts) if is_tfidf(run) else predict_texts(run, texts, alone)

    # Data, tokenized once per encoder; which rows each member trains on and predicts
    inputs = {}
    for model in arguments.models:
        for_model = copy.copy(arguments)
        for_model.model = model
        inputs[model] = prepare_inputs(for_model, print_line)
    members = plan_members(inputs, arguments.seeds, arguments.folds)
    teachers = {member.name: member.teachers(inputs[member.model]) for member in members}

    # Run folder: new, to be continued, or complete
    first = next(iter(inputs.values()))
    names = "+".join(each.source.name.replace("/", "-") for each in inputs.values())
    folds = f"-{arguments.folds}folds" if arguments.folds else ""
    folder = run_folder(arguments.run or f"{first.dataset.name}-{names}-ensemble{folds}")
    identities = {name: {key: each.config[key] for key in ("model", "recipe")} for name, each in inputs.items()}
    taught = [each.config["teacher"] for each in inputs.values() if each.teachers]  # the same for all
    config = {
        "script": "train_ensemble.py",
        "seeds": arguments.seeds,
        "folds": arguments.folds,
        "models": identities,
        "data": first.config["data"],
        "classes": first.dataset.classes,
        **({"teacher": taught[0]} if taught else {}),
    }
    if enter_run(device, folder, config, arguments.overwrite, shared=bool(arguments.members)):
        print_line(f"run {folder} is complete; --overwrite trains it again")
        for line in ensemble_lines(folder, read_json(folder / "results.json")):
            print_line(line)
        close_device(device)
        return 0

    # Train: finished members are skipped, an interrupted one is resumed, a failing one costs only itself
    part, parts = arguments.members or (1, 1)
    own = list(enumerate(members, 1))[part - 1 :: parts][rank::processes]
    failures, diverged, seconds, lessons = [], [], [], {}  # lessons: by fold
    for position, (place_in_list, member) in enumerate(own, 1):
        place = folder / "members" / member.name
        place_in_all = f"[{place_in_list}/{len(members)}]"
        prefix = "  " if processes == 1 else f"{place_in_all} "  # several processes' lines mix
        each = inputs[member.model]
        if open_run(place, {"script": "train.py", "seed": member.seed, "fold": member.fold, **each.config}):
            alone.print_line(f"{place_in_all} {member.name}: complete already")
            continue
        alone.print_line(f"{place_in_all} {member.name}: {len(member.train_rows):,} rows ({alone.words})")
        held_out = member.held_out(each)
        try:
            if member.model == TFIDF:
                frame = held_out[0] if held_out else None
                labels, weights = each.train_labels, each.recipe.class_weights
                results = fit_tfidf(place, each.dataset, labels, member.train_rows, frame, weights, member.seed)
                Tracker(arguments.track, place).finish(results)
                continue
            if member.fold not in lessons and teachers[member.name]:
                lessons[member.fold] = prepare_lesson(
                    teachers[member.name], each.dataset, arguments.text_column, predict_run
                )
            results = fine_tune(
                place,
                each,
                member.seed,
                member.train_rows,
                held_out,
                alone,
                arguments,
                print_line=lambda line, prefix=prefix: alone.print_line(prefix + line),
                runs=sum(other.model == member.model for _, other in own),
                lesson=lessons.get(member.fold),
            )
        except Diverged as error:
            alone.print_line(f"{prefix}{error}")
            diverged.append(f"{member.name}: {error}")
        except (UserError, Interrupted, KeyboardInterrupt):
            raise
        except Exception as error:
            traceback.print_exc()
            failures.append(f"{member.name}: {type(error).__name__}")
        else:
            seconds.append(results["total_seconds"])
            if position < len(own):
                alone.print_line(prefix + show_time_left(seconds, len(own) - position))
    failures, diverged = ([line for part in gather(device, lines) for line in part] for lines in (failures, diverged))
    close_device(device)
    if failures:
        print_line(
            f"{len(failures)} of {len(members)} members failed ({'; '.join(failures)}); the same command finishes them"
        )
        return 1
    if diverged:
        if rank == 0:
            raise UserError(f"{len(diverged)} of {len(members)} members failed ({'; '.join(diverged)})")
        return EXIT_USER_ERROR

    if arguments.members:
        print_line(
            f"part {part} of {parts} is complete; when all are, the same command without --members combines them"
        )
        return 0

    # Combine: out-of-fold or validation rows, test rows, scores, pictures
    if rank == 0:
        results = combine_members(folder, first.dataset, members)
        Tracker(arguments.track, folder).finish(results)
        for line in ensemble_lines(folder, results):
            print_line(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
