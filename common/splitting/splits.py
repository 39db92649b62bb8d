"""Split rows into training, validation and folds: stratified, seeded, near-duplicates together."""

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from common.cli import UserError, note
from common.data import Dataset
from common.splitting.duplicates import near_duplicate_groups

TEMPLATE = 0.1  # of the rows: a larger set of near-duplicates is one template filled in, not copies


def split_validation(frame: pd.DataFrame, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into training and validation: stratified, seeded, near-duplicates on the same side.

    Returns two sorted arrays of row positions. `fraction` is the validation share of the distinct texts. Every class
    keeps at least one text in training. Raises UserError if there are too few rows for the classes.
    """
    if fraction == 0:
        return np.arange(len(frame)), np.arange(0)
    group, labels = _text_groups(frame)
    splittable = pd.Series(labels).map(pd.Series(labels).value_counts()).to_numpy() >= 2
    candidates = np.flatnonzero(splittable)
    try:
        _, valid = train_test_split(candidates, test_size=fraction, random_state=seed, stratify=labels[candidates])
        is_valid = _keep_classes(np.isin(group, valid), group, frame["label"].to_numpy(dtype=object))
    except ValueError as error:
        raise UserError(
            f"{len(frame)} rows with a validation share of {fraction} leave a class without a row on one "
            "side; choose another --valid-fraction (0: no validation) or add rows"
        ) from error
    return np.flatnonzero(~is_valid), np.flatnonzero(is_valid)


def _keep_classes(is_valid, group, given):
    """Move the first text of each class without training rows to training. Raises ValueError if no others validate.

    The split is by each group's first label, so it may take the only row of a class that shares its text with another.
    """
    is_valid = is_valid.copy()
    for label in sorted(set(given) - set(given[~is_valid])):
        is_valid[group == group[given == label][0]] = False
    if not is_valid.any():
        raise ValueError
    return is_valid


def assign_folds(frame: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    """The fold (0 to folds - 1) of every row: stratified, seeded, near-duplicates in the same fold.

    Raises UserError if a class has fewer distinct texts than folds: some fold would lack the class.
    """
    group, labels = _text_groups(frame)
    texts = pd.Series(labels).value_counts().reindex(sorted(set(frame["label"])), fill_value=0)
    if texts.min() < folds:
        raise UserError(
            f"class {texts.idxmin()!r}: {texts.min()} distinct texts are too few for {folds} folds; use fewer folds"
        )
    fold_of_group = np.empty(len(labels), dtype=int)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(labels, labels)):
        fold_of_group[held_out] = fold
    return fold_of_group[group]


def describe_overlap(dataset: Dataset) -> list[str]:
    """A line for each split with near-duplicates of training texts, which make its scores too good."""
    lines = []
    for split, frame in dataset.frames.items():
        if split == "train":
            continue
        groups = near_duplicate_groups([*dataset.train["text"], *frame["text"]])
        seen = np.isin(groups[len(dataset.train) :], groups[: len(dataset.train)])
        if seen.any():
            lines.append(
                f"{seen.sum():,} of {len(frame):,} rows of {dataset.places[split]} are near-duplicates of training rows"
            )
    return lines


def group_texts(texts: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The texts that must not be torn apart by a split: the number of each row's group, from 0 in order of appearance.

    A group is a set of near-duplicates. Texts that follow one template are near-duplicates, too, but may differ in the
    words that matter: of these, only identical ones form a group. Returns [rows] int, and whether a row follows a
    template, [rows] bool.
    """
    identical, _ = pd.factorize(texts)
    near = near_duplicate_groups(texts)
    sizes = pd.Series(identical).groupby(near).nunique()  # distinct texts of each set
    template = np.isin(near, sizes.index[(sizes > 2) & (sizes > TEMPLATE * len(texts))])
    group, _ = pd.factorize(np.where(template, identical + len(texts), near))
    return group, template


def _text_groups(frame):
    """The group of each row, and the label of each group (that of its first row)."""
    group, template = group_texts(frame["text"])
    if template.any():
        note(
            f"{template.sum():,} of {len(frame):,} texts follow one template; only identical ones among them "
            "stay together in a split"
        )
    labels = frame["label"].to_numpy(dtype=object)
    first = np.unique(group, return_index=True)[1]
    return group, labels[first]
