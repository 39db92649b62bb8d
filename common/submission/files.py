"""Submissions, `id,label`: reading and writing them, the rows they must have, the class counts to expect."""

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np

from common.cli import UserError
from common.files import sha256, whole_file, write_json
from common.tables import check_ids, csv_writer, read_table

HEADER = ["id", "label"]
FALSE_ALARMS = 0.01  # how often a submission without any shift may be warned about


def read_submission(path):
    """Read a plain submission: ids and labels, both [rows] str. Raises UserError unless its header is id,label."""
    table = read_table(path, HEADER, hint="A submission has the columns id,label")
    if list(table.columns) != HEADER:
        raise UserError(f"{path}: the header is {','.join(table.columns)}, where a submission has id,label")
    check_ids(path, table["id"])
    labels = table["label"].str.strip().to_numpy(dtype=object)
    if (labels == "").any():
        raise UserError(f"{path}, row {np.flatnonzero(labels == '')[0] + 1}: the label is empty")
    return table["id"].to_numpy(dtype=object), labels


def expected_ids(dataset):
    """The ids that a submission must have, in the sample's order, else test.csv's; None where there is neither.

    Raises UserError where sample_submission.csv and test.csv do not have the same ids.
    """
    sample, test = dataset.folder / "sample_submission.csv", dataset.test
    if not sample.exists():
        return None if test is None else test["id"].to_numpy(dtype=object)
    ids, _ = read_submission(sample)
    if test is not None:
        missing, unknown = sorted(set(test["id"]) - set(ids)), sorted(set(ids) - set(test["id"]))
        if missing or unknown:
            what = f"lacks id {missing[0]!r} of" if missing else f"has id {unknown[0]!r}, which is not in"
            raise UserError(f"{sample} {what} {dataset.folder / 'test.csv'}; the two must have the same ids")
    return ids


def unexpected_counts(counts, train_counts):
    """The classes that a submission has far more or less often than training did: {class: (expected, deviations)}.

    Rule: a class's share in the submission and in training, compared by the two-sample z statistic with pooled
    variance; |z| must exceed the normal quantile at which, over all classes (Bonferroni), one submission in a hundred
    from an unchanged distribution would be warned about: 3.3 for nine classes.
    """
    rows, train_rows = sum(counts.values()), sum(train_counts.values())
    limit = NormalDist().inv_cdf(1 - FALSE_ALARMS / 2 / len(train_counts))
    found = {}
    for name, train_count in train_counts.items():
        pooled = (counts[name] + train_count) / (rows + train_rows)
        error = math.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / train_rows))
        deviations = (counts[name] / rows - train_count / train_rows) / error
        if abs(deviations) > limit:
            found[name] = rows * train_count / train_rows, deviations
    return found


def check_output(output, inputs):
    """Refuse an output path that would destroy one of the `inputs`, or that its JSON cannot lie beside."""
    if output.suffix == ".json":
        raise UserError(f"--output {output}: the name with .json is for the record beside the submission")
    for path in (output, record_file(output)):
        if path.is_dir():
            raise UserError(f"--output {output}: {path} is a folder")
    for file in inputs:
        if file.exists() and output.exists() and output.samefile(file):
            raise UserError(f"{output} is read as an input; write to another file with --output")


def write_submission(path, ids, labels, record):
    """Write the submission, and `record` (a JSON object, completed with the file's hash) beside it: both or neither."""
    with whole_file(path) as table, whole_file(record_file(path)) as beside:
        with open(table, "w", encoding="utf-8", newline="") as file:
            writer = csv_writer(file)
            writer.writerow(HEADER)
            writer.writerows(zip(ids, labels, strict=True))
        write_json(beside, {"file": Path(path).name, "sha256": sha256(table), **record})


def record_file(path):
    """The JSON beside a submission: the same name with .json."""
    return Path(path).with_suffix(".json")
