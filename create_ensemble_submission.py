"""Combine runs, prediction files and submissions into one submission.csv.

    python create_ensemble_submission.py run-a run-b --weights auto
    python create_ensemble_submission.py run-a old.csv --upload "two votes"

The rows are checked against test.csv and sample_submission.csv. A JSON of the same name records the members and their
hashes, the method, weights, agreement and counts per class, and the score if the test labels are known.
"""

import common.installation  # noqa: F401

import argparse
import contextlib
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common.cli import Parser, UserError, add_data_options, data_options, exit_codes, wrap
from common.data import Dataset, load_dataset
from common.files import read_json, write_json
from common.metrics import score
from common.predicting.texts import texts_of
from common.predicting.work import predict_file
from common.predictions import TEST
from common.reading.sample import Sample
from common.runs import find_run, run_name
from common.submission.combining import agreement, as_shares, combine, search_weights
from common.submission.costs import costs_of_leaving_out
from common.submission.files import (
    HEADER,
    check_output,
    expected_ids,
    record_file,
    submission_rows,
    unexpected_counts,
    write_submission,
)
from common.submission.kaggle import COMPETITION, refuse_foreign_ids, submit
from common.submission.members import (
    Contribution,
    align_members,
    describe_members,
    find_classes,
    find_dataset,
    find_run_folder,
    find_test_predictions,
    given_labels,
    parts_of,
    read_contribution,
    read_weighting_rows,
)
from predict import load_predictor

SHOWN = 20  # printed members; the JSON has all


@exit_codes
def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)

    # The members, and the dataset that sets the rows and classes
    arguments = options.members or [newest_run()]
    named = find_run_folder(arguments[0])
    if options.weights == "auto":
        arguments = [part for argument in arguments for part in parts_of(argument)]
    runs = [find_run_folder(argument) for argument in arguments]
    own = find_dataset(run for run in runs if run) if not options.data else None
    dataset = load_dataset(options.data, **data_options(options)) if options.data else own
    for run in filter(None, runs):
        predict_if_missing(find_test_predictions(run, dataset), run, dataset)
    members = [read_contribution(argument, run, dataset) for argument, run in zip(arguments, runs, strict=True)]
    classes = dataset.classes if dataset else find_classes(members)
    ids = expected_ids(dataset) if dataset else None
    ids = members[0].ids if ids is None else ids
    form = (dataset.sample if dataset else None) or plain_form(members, ids)
    inputs = [member.file for member in members]
    inputs += [*map(Path, dataset.places.values()), form.path] if dataset else []
    check_output(options.output, inputs, form.header)
    if options.upload is not None:
        refuse_foreign_ids(dataset, ids, options.competition)

    # Combine
    probabilities, votes = align_members(members, ids, classes)
    has_probabilities = np.array([member.predictions is not None for member in members])
    method = choose_method(options.method, members)
    weights, origin, search = choose_weights(options.weights, members, method, classes)
    costs = measure_costs(members, method, weights, classes)
    chosen, tied = combine(method, probabilities, votes, weights, has_probabilities)
    shares = probabilities if method == "mean" else np.eye(len(classes))[votes]  # [members, rows, classes]
    mean = np.average(shares, axis=0, weights=weights)

    # Describe the result
    labels = np.array(classes, dtype=object)[chosen]
    truth = given_labels(dataset, members, ids)
    counts = {name: int((labels == name).sum()) for name in classes}
    train_counts = {name: int((dataset.train["label"] == name).sum()) for name in classes} if dataset else None
    unexpected = unexpected_counts(counts, train_counts) if dataset else {}
    record = {
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint} if dataset else None,
        "rows": len(ids),
        "classes": classes,
        "method": method,
        "weights": {"from": origin, "values": weights.tolist(), "search": search},
        "members": describe_members(members, weights, votes, labels, truth, classes, costs),
        "agreement": agreement(votes, len(classes)),
        "ties": int(tied.sum()),
        "counts": counts,
        "unexpected_counts": {name: {"expected": e, "deviations": z} for name, (e, z) in unexpected.items()},
        **({"score": score(truth, labels, classes)} if truth is not None else {}),
    }

    # Write, report, upload
    rows = submission_rows(form, ids, labels, classes, mean, dataset.written if dataset else form.written)
    write_submission(options.output, rows, record)
    report(record, dataset, train_counts)
    print(f"wrote {options.output} ({len(ids)} rows) and {record_file(options.output)}")
    if options.upload is not None:
        upload(options)
    elif dataset and dataset.name == "kaggle":
        given = shlex.join(sys.argv[1:] if argv is None else argv)
        print(f"next: python create_ensemble_submission.py {given} --upload MESSAGE")
    elif named:
        print(f"next: python predict.py {run_name(named)} new.csv")
    return 0


def predict_if_missing(file: Path, run: Path, dataset: Dataset | None) -> None:
    """Predict the dataset's test rows with the run's model, unless the run folder has these predictions."""
    if file.exists():
        return
    if dataset is None or dataset.test is None or "test" not in dataset.places:
        raise UserError(f"run {run} has no {TEST}")
    from common.training.compute.devices import open_device  # late: torch takes seconds
    from common.training.progress import progress_bar

    place = dataset.places["test"]
    print(f"run {run} has no predictions for {place} yet: predicting {len(dataset.test):,} texts", flush=True)
    load = partial(load_predictor, device=open_device(distributed=False).predicting())
    progress = partial(progress_bar, what="predict", unit="text")
    predict_file(file, run, texts_of(place, dataset.test, file.stem), load, progress)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__, "[RUN_OR_CSV ...] [options]")
    parser.add_argument(
        "members",
        nargs="*",
        metavar="RUN_OR_CSV",
        help="runs (a folder, or a name below runs/), prediction files (id, prob_<class>), "
        "submissions (id, label, or the sample's columns); default: the newest complete run",
    )
    data = add_data_options(parser, default=None)
    data.description = "Without --data, runs use their own dataset, and CSVs are checked against each other."
    group = parser.add_argument_group("combining")
    group.add_argument(
        "--method",
        choices=("mean", "vote"),
        help="mean of the probabilities, or majority vote; ties: higher mean probability, then argument order "
        "(default: mean where every member has probabilities, else vote)",
    )
    group.add_argument(
        "--weights",
        type=parse_weights,
        metavar="W1,W2,...|auto",
        help="one weight per member, on any scale; auto: fit weights on the runs' out-of-fold or validation "
        "predictions (one per encoder of an ensemble), and use them if they beat equal weights there "
        "(default: equal)",
    )
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output",
        type=Path,
        default=Path("submission.csv"),
        metavar="CSV",
        help="the submission; replaces an earlier one, or a file with the same header",
    )
    group.add_argument(
        "--upload", metavar="MESSAGE", help="upload the submission with the Kaggle client and this message"
    )
    group.add_argument("--competition", default=COMPETITION, metavar="NAME", help="the competition to upload to")
    options = parser.parse_args(argv)
    if not options.data and data_options(options):
        given = ", ".join("--" + name.replace("_", "-") for name in data_options(options))
        raise UserError(f"{given} needs --data")
    if options.upload is not None and not options.upload.strip():
        raise UserError("--upload needs a message")
    return options


def parse_weights(text: str) -> list[float] | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, and not numbers such as 0.5,0.3,0.2") from None
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise argparse.ArgumentTypeError(f"{text}: weights must be finite and not negative, and one of them above 0")
    return weights


def newest_run() -> str:
    run = find_run(TEST)
    if run is None:
        raise UserError(f"no complete run with {TEST} below runs/; name runs or CSV files, or run train.py")
    print(f"no members given: taking the newest complete run, {run}")
    return str(run)


def plain_form(members: Sequence[Contribution], ids: Sequence[str] | np.ndarray) -> Sample:
    """The form of a submission without a sample: that of the first plain submission, else id,label."""
    header = next((member.header for member in members if member.header), HEADER)
    written = {name: spelling for member in reversed(members) for name, spelling in member.written.items()}
    return Sample(Path(), header, header[0], list(ids), None, written)


def choose_method(method: str | None, members: Sequence[Contribution]) -> str:
    plain = next((member for member in members if member.predictions is None), None)
    if method == "mean" and plain:
        raise UserError(f"--method mean needs probabilities; {plain.file} has only labels. Use --method vote")
    return method or ("vote" if plain else "mean")


def choose_weights(
    weights: list[float] | Literal["auto"] | None, members: Sequence[Contribution], method: str, classes: list[str]
) -> tuple[np.ndarray, str, dict[str, Any] | None]:
    """The weights as shares, [members]; their origin: equal, given or auto; and the result of a search."""
    if weights is None:
        return as_shares(np.ones(len(members))), "equal", None
    if weights != "auto":
        if len(weights) != len(members):
            raise UserError(f"--weights has {len(weights)} values for {len(members)} members; give one per member")
        return as_shares(weights), "given", None
    name, probabilities, labels = read_weighting_rows(members, classes)
    found = search_weights(method, probabilities, labels)
    print(
        wrap(
            f"weights fitted on {found.rows} rows of {name}: accuracy {found.accuracy:.2%} (cross-fitted), with "
            f"equal weights {found.equal_accuracy:.2%}; the difference is {100 * found.difference:+.2f} points with "
            f"a standard error of {100 * found.standard_error:.2f}: {'used' if found.used else 'not used'}",
            indent=2,
        )
    )
    search = asdict(found) | {"file": name, "weights": found.weights.tolist()}
    return found.weights, "auto" if found.used else "equal", search


def measure_costs(
    members: Sequence[Contribution], method: str, weights: np.ndarray, classes: list[str]
) -> list[dict[str, Any] | None]:
    """The cost of leaving each member out; None unless all members have predictions of the same held-out rows."""
    costs: list[dict[str, Any] | None] = [None] * len(members)
    with contextlib.suppress(UserError):  # the submission does not need such rows
        _, probabilities, labels = read_weighting_rows(members, classes)
        costs = costs_of_leaving_out(method, probabilities, labels, weights)
    return costs


def report(record: dict[str, Any], dataset: Dataset | None, train_counts: dict[str, int] | None) -> None:
    """Print the members, their agreement, the counts per class and the score."""
    members, rows = record["members"], record["rows"]
    against = f"checked against {dataset.folder}" if dataset else "checked against each other only (no --data)"
    print(f"{len(members)} member{'s' * (len(members) > 1)}, {record['method']}, {record['weights']['from']} weights")
    print(f"{rows} rows, {len(record['classes'])} classes, {against}")
    for entry in members[:SHOWN]:
        accuracy = f"  accuracy {entry['accuracy']:.1%}" if "accuracy" in entry else ""
        print(
            wrap(
                f"  weight {entry['weight']:.3f}  agrees with the result {entry['agreement_with_ensemble']:6.1%}"
                f"{accuracy}  {entry['name']}",
                indent=4,
            )
        )
        if entry["leaving_out"]:
            cost, (low, high) = entry["leaving_out"]["cost"], entry["leaving_out"]["interval"]
            print(
                f"    leaving it out costs {100 * cost:+.2f} points ({100 * low:+.2f} to {100 * high:+.2f}) "
                "on held-out rows"
            )
    if len(members) > SHOWN:
        print(f"  ... and {len(members) - SHOWN} more, in the JSON")
    if len(members) > 1:
        agreed = record["agreement"]
        print(
            f"all members agree on {agreed['unanimous']:.1%} of the rows, two of them on "
            f"{agreed['mean_pairwise']:.1%} on average; ties: {record['ties']}"
        )

    width = max(map(len, record["counts"]))
    for name, count in record["counts"].items():
        train = f"  training {train_counts[name] / sum(train_counts.values()):6.1%}" if train_counts else ""
        print(f"  {name:<{width}} {count:6}  {count / rows:6.1%}{train}")
    for name, found in record["unexpected_counts"].items():
        print(
            f"warning: {record['counts'][name]} rows are {name}, expected from training: {found['expected']:.0f} "
            f"({found['deviations']:+.1f} deviations)"
        )
    if "score" in record:
        low, high = record["score"]["accuracy_interval"]
        print(
            f"accuracy {record['score']['accuracy']:.2%} (95 % interval {low:.1%} to {high:.1%}), "
            f"macro-F1 {record['score']['macro_f1']:.2%}"
        )


def upload(options: argparse.Namespace) -> None:
    """Upload the submission, print what the client says, add the public score to the JSON. Raises UserError."""
    try:
        said, score = submit(options.output, options.upload, options.competition)
    except UserError as error:
        raise UserError(f"{options.output} is written, but not uploaded: {error}") from error
    print(said)
    print(f"public score: {score or 'not known yet'}")
    file = record_file(options.output)
    uploaded = {"competition": options.competition, "message": options.upload, "public_score": score}
    write_json(file, read_json(file) | {"upload": uploaded})


if __name__ == "__main__":
    sys.exit(main())
