"""Folders inside a folder: Kaggle's inputs lie some levels down."""

import os
from collections.abc import Iterator
from pathlib import Path

DEPTH = 4  # /kaggle/input/gbert-base/transformers/default/1


def folders_below(folder: Path) -> Iterator[Path]:
    """The folders inside a folder, up to DEPTH levels down, sorted; hidden ones are left out."""
    for place, folders, _ in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(Path(place).relative_to(folder).parts) == DEPTH:
            folders.clear()
        yield from (Path(place, name) for name in folders)
