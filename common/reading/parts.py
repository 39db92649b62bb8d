"""Find a dataset's files in a folder, also under other names and in folders below, as on Kaggle."""

import re
from pathlib import Path

from common.cli import UserError, note
from common.reading.folders import folders_below
from common.reading.formats import FORMATS

SPLIT_NAMES = {  # split -> its names, in folders and on the hub
    "train": ("train", "training"),
    "valid": ("valid", "validation", "dev", "val"),
    "test": ("test",),
}
SPLITS = tuple(SPLIT_NAMES)
SUFFIXES = (".csv", ".tsv", ".txt", *FORMATS)  # the first that exists is taken
SAMPLE = "sample_submission.csv"


def find_parts(folder: Path, needed: str = "train") -> dict[str, Path]:
    """The files of a dataset's folder: {a name of SPLITS or SAMPLE: its file}, without missing ones.

    If the folder lacks `needed`, this searches the folders below it. A note names each file that is below or has
    another name than train.csv and so on. Raises UserError if two files fit.
    """
    parts = _parts_in(folder)
    if needed not in parts and folder.is_dir():
        below = [_parts_in(each) for each in folders_below(folder)]
        parts = _choose(folder, [parts, *below], needed)
    for part, path in parts.items():
        if path.parent != folder or path.stem != Path(part).stem:
            note(f"{path} is taken as {Path(part).stem}{path.suffix} of {folder}")
    return parts


def _parts_in(folder):
    """The files of one folder, without the folders below. Exact names win."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    parts = {split: path for split in SPLITS if (path := _part(folder, names, split))}
    samples = [name for name in names if is_sample(name)]
    if samples:
        parts[SAMPLE] = folder / (SAMPLE if SAMPLE in samples else samples[0])
    return parts


def _part(folder, names, split):
    exact = next((folder / f"{split}{suffix}" for suffix in SUFFIXES if f"{split}{suffix}" in names), None)
    other = [n for n in names if Path(n).suffix.lower() in SUFFIXES and _plain(n) in SPLIT_NAMES[split]]
    if not exact and len(other) > 1:
        name = split + Path(other[0]).suffix.lower()
        raise UserError(f"{folder} has {' and '.join(other)}; rename the right one to {name}")
    return exact or (folder / other[0] if other else None)


def find_split(name: str) -> str | None:
    """The split that a file's name, or a split's name on the hub, stands for, or None."""
    return next((split for split, names in SPLIT_NAMES.items() if _plain(name) in names), None)


def is_sample(name: str) -> bool:
    """Whether a file's name stands for sample_submission.csv."""
    return _plain(name) == "samplesubmission" and name.lower().endswith(".csv")


def _plain(name):
    """`Train_data.csv` -> train."""
    return re.sub(r"(data|set)$", "", re.sub(r"[ _.-]", "", Path(name).stem.lower()))


def _choose(folder, found, needed):
    """One file per part from several folders: from the folder of the needed one, else the only such file."""
    there = [parts for parts in found if needed in parts]
    if not there:
        return found[0]
    if len(there) > 1:
        places = [str(parts[needed].parent) for parts in there]
        shown = ", ".join(places[:5]) + (f" and {len(places) - 5} more" if len(places) > 5 else "")
        raise UserError(f"{folder} has no {needed}.csv, but several folders below it have: {shown}; give one of them")
    chosen = dict(there[0])
    for part in (*SPLITS, SAMPLE):
        paths = [parts[part] for parts in found if part in parts]
        if part not in chosen and len(paths) > 1:
            raise UserError(f"{folder}: {paths[0]} and {paths[1]} both fit; give the folder of one")
        if part not in chosen and paths:
            chosen[part] = paths[0]
    return chosen
