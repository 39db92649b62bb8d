"""Whether two datasets have the same rows: hashes of their files, by split, with the options that read them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from common.reading.parts import find_split
from common.reading.spelling import in_nfc

READING = {"text_column": "text", "id_column": "id", "columns": "", "encoding": ""}  # what chooses ids and texts


def hashes_by_split(fingerprint: Mapping[str, str]) -> dict[str, str]:
    """The SHA-256 of each split, from a dataset's fingerprint {file name: SHA-256}. A single file has training rows."""
    if len(fingerprint) == 1:
        return {"train": next(iter(fingerprint.values()))}
    return {split: digest for file, digest in fingerprint.items() if (split := find_split(file))}


def identify_rows(split: str, fingerprint: Mapping[str, str], options: Mapping[str, Any]) -> str | None:
    """A digest of a split's ids and texts, that is of its file and the options that choose them; None without it."""
    digest = hashes_by_split(fingerprint).get(split)
    chosen = [in_nfc(options.get(name) or default) for name, default in READING.items()]
    return digest and hashlib.sha256(json.dumps([digest, *chosen]).encode()).hexdigest()


def identify_recorded_rows(split: str, data: Mapping[str, Any]) -> str | None:
    """The same of the dataset in a run's config.json; `data` is its part of that name."""
    return identify_rows(split, data.get("fingerprint") or {}, {**data, **data.get("options", {})})
