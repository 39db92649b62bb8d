"""Exports of annotation tools: the id, the given label and the chosen label of each reviewed row.

The tools import what find_label_issues.py --export writes. This module reads what they export after the review:
Label Studio's JSON and JSON-MIN, Argilla's `dataset.records.to_json(...)`, doccano's JSONL. It skips rows without an
answer. The formats:
https://labelstud.io/guide/export, https://docs.argilla.io/latest/how_to_guides/import_export,
https://doccano.github.io/doccano/tutorial
"""

import json
from pathlib import Path

from common.cli import UserError
from common.reading.encoding import read_utf8
from common.reading.formats import text_of

TOOLS = "Label Studio, Argilla, doccano"


def is_annotations(path: Path) -> bool:
    """Whether the file's name is that of an annotation tool's export."""
    return path.suffix.lower() in (".json", ".jsonl", ".ndjson")


def read_annotations(path: Path) -> list[tuple[str, str, str]]:
    """The (id, given label, chosen label) of each answered row. Raises UserError for any other file."""
    records = _records(path)
    rows = []
    for number, record in enumerate(records, 1):
        place = f"{path}, row {number}"
        try:
            row_id, given, chosen = _read_record(record)
            row_id, given = text_of(row_id), text_of(given)
            labels = sorted({text_of(label) for label in chosen})
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise UserError(
                f"{place}: expected an export from {TOOLS} of a list that find_label_issues.py --export wrote; "
                f"missing: {error!r}"
            ) from error
        if len(labels) > 1:
            raise UserError(f"{place}: id {row_id!r} has the answers {', '.join(labels)}; leave one of them")
        if labels:
            rows.append((row_id, given, labels[0]))
    return rows


def _read_record(record):
    """The id, the given label and the chosen labels, one per answer."""
    if "annotations" in record:  # Label Studio, JSON
        answers = [each for each in record["annotations"] if not each.get("was_cancelled")]
        results = [result for answer in answers for result in answer["result"] if result["type"] == "choices"]
        chosen = [choice for result in results for choice in result["value"]["choices"]]
        return record["data"]["row_id"], record["data"]["given_label"], chosen
    if "fields" in record:  # Argilla
        responses = (record.get("responses") or {}).get("label") or []
        submitted = [each for each in responses if each.get("status", "submitted") == "submitted"]
        return record["id"], record["fields"]["given_label"], [each["value"] for each in submitted]
    facts = record.get("meta") or record.get("metadata") or record  # doccano; its older releases nest the metadata
    label = record.get("label", [])  # Label Studio, JSON-MIN: a text
    return facts["row_id"], facts["given_label"], [label] if isinstance(label, str) else list(label)


def _records(path):
    text = read_utf8(path).decode()
    try:
        records = json.loads(text)
    except ValueError:
        try:
            records = [json.loads(line) for line in text.split("\n") if line.strip()]
        except ValueError as error:
            raise UserError(f"{path} is not valid JSON: {error}") from error
    return records if isinstance(records, list) else [records]
