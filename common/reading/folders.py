"""Folders below a folder: Kaggle's inputs are some levels down."""

import os
from collections.abc import Iterator
from pathlib import Path

DEPTH = 4  # /kaggle/input/gbert-base/transformers/default/1


def folders_below(folder: Path) -> Iterator[Path]:
    """The folders up to DEPTH levels below a folder, sorted, without hidden ones."""
    for place, folders, _ in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(Path(place).relative_to(folder).parts) == DEPTH:
            folders.clear()
        yield from (Path(place, name) for name in folders)
