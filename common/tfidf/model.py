"""The model without a neural network: TF-IDF, a linear support vector machine, calibrated probabilities."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix
from scipy.special import log_softmax, softmax
from sklearn.svm import LinearSVC

from common.cli import UserError
from common.files import whole_file
from common.splitting.splits import group_texts
from common.tfidf.features import Features, fit_features

FILE = "tfidf.npz"  # in the model folder
FOLDS = 5  # of the calibration
SCALES = (0.1, 30.0)  # the range of the calibration


@dataclass(frozen=True, eq=False)
class TfidfModel:
    """One linear score per class, and the scale that turns scores into probabilities."""

    classes: list[str]
    features: Features
    coefficients: np.ndarray  # [features, classes] float32
    intercepts: np.ndarray  # [classes] float32
    scale: float


def fit_model(
    texts: Sequence[str],
    labels: np.ndarray | Sequence[int],
    classes: Sequence[str],
    class_weights: str = "none",
    seed: int = 0,
) -> TfidfModel:
    """Train on `texts` with class numbers `labels` [texts]. `class_weights` is "none" or "balanced"."""
    features = fit_features(texts)
    matrix = features.compute(texts)
    numbers = np.asarray(labels)
    coefficients, intercepts = _fit_scores(matrix, numbers, len(classes), class_weights, seed)
    groups, _ = group_texts(pd.Series(texts))
    scale = _fit_scale(matrix, numbers, groups, len(classes), class_weights, seed)
    return TfidfModel(list(classes), features, coefficients, intercepts, scale)


def predict_probabilities(model: TfidfModel, texts: Iterable[str]) -> np.ndarray:
    """Class probabilities, [texts, classes] float32. A row depends only on its text."""
    scores = model.features.compute(texts) @ model.coefficients + model.intercepts
    return softmax(model.scale * scores.astype(np.float64), axis=1).astype(np.float32)


def _fit_scores(
    matrix: csr_matrix, labels: np.ndarray, classes: int, class_weights: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients [features, classes] and intercepts [classes]: one machine per class against all others.

    A class without rows has the score -1 for every text.
    """
    coefficients = np.zeros((matrix.shape[1], classes), dtype=np.float32)
    intercepts = np.full(classes, -1.0, dtype=np.float32)
    present = np.unique(labels)
    if len(present) == 1:
        intercepts[present] = 1.0
        return coefficients, intercepts
    # tol: the default of 1e-4 takes 1.5 times as long and gives the same predictions
    weight = "balanced" if class_weights == "balanced" else None
    machine = LinearSVC(tol=1e-2, class_weight=weight, random_state=seed).fit(matrix, labels)
    if len(present) == 2:  # one machine: the second class against the first
        coefficients[:, present] = np.concatenate([-machine.coef_, machine.coef_]).T
        intercepts[present] = [-machine.intercept_[0], machine.intercept_[0]]
    else:
        coefficients[:, present] = machine.coef_.T
        intercepts[present] = machine.intercept_
    return coefficients, intercepts


def _fit_scale(
    matrix: csr_matrix, labels: np.ndarray, groups: np.ndarray, classes: int, class_weights: str, seed: int
) -> float:
    """The scale of the scores with the lowest log loss in a cross-validation, on one row of each group.

    Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks"): predicted classes do not change.
    The target of a class with n rows is (n + 1) / (n + 2), not 1 (Platt 1999, "Probabilistic Outputs for Support Vector
    Machines"): rows that are all predicted rightly do not make the model infinitely sure.
    """
    first = np.unique(groups, return_index=True)[1]  # [groups] row
    if len(first) < 2:
        return 1.0
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(labels[first[order]], kind="stable")]  # stratified: spread evenly over the folds
    fold_of_group = np.empty(len(first), dtype=int)
    fold_of_group[order] = np.arange(len(first)) % min(FOLDS, len(first))
    scores = np.empty((len(first), classes))
    for fold in range(fold_of_group.max() + 1):
        held_out, others = fold_of_group == fold, fold_of_group[groups] != fold
        coefficients, intercepts = _fit_scores(matrix[others], labels[others], classes, class_weights, seed)
        scores[held_out] = matrix[first[held_out]] @ coefficients + intercepts
    targets = _smooth_targets(labels[first], classes)

    def loss(log_scale: float) -> float:
        return -(targets * log_softmax(np.exp(log_scale) * scores, axis=1)).sum(axis=1).mean()

    return float(np.exp(minimize_scalar(loss, bounds=np.log(SCALES), method="bounded").x))


def _smooth_targets(labels: np.ndarray, classes: int) -> np.ndarray:
    """Platt's target probabilities, [rows, classes]: 1 / (n + 2) is shared by the classes that a row does not have."""
    rest = 1 / (np.bincount(labels, minlength=classes)[labels] + 2)  # [rows]
    targets = np.repeat(rest[:, None] / max(classes - 1, 1), classes, axis=1)
    targets[np.arange(len(labels)), labels] = 1 - rest
    return targets


def save_model(folder: Path, model: TfidfModel) -> None:
    """Write the model into `folder` as arrays of numbers and UTF-8 bytes, without pickle."""
    with whole_file(folder / FILE) as temporary:
        np.savez(
            temporary,
            classes=_to_bytes(json.dumps(model.classes)),
            words=_to_bytes("\n".join(model.features.words)),  # neither has a line break: see features.TOKEN
            letters=_to_bytes("\n".join(model.features.letters)),
            idf=model.features.idf,
            coefficients=model.coefficients,
            intercepts=model.intercepts,
            scale=np.float64(model.scale),
        )


def load_model(folder: Path) -> TfidfModel:
    """Read what `save_model` wrote. Raises UserError if the file is damaged."""
    path = folder / FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        words, letters = (_to_text(arrays[name]).split("\n") for name in ("words", "letters"))
        features = Features(words, [] if letters == [""] else letters, arrays["idf"])
        model = TfidfModel(
            json.loads(_to_text(arrays["classes"])),
            features,
            arrays["coefficients"],
            arrays["intercepts"],
            float(arrays["scale"]),
        )
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # damaged zip files raise various exceptions
        raise UserError(f"{path} is damaged: {error}; train it again") from error
    expected = (len(words) + len(features.letters), len(model.classes))
    if model.coefficients.shape != expected or features.idf.shape != expected[:1]:
        raise UserError(f"{path} is damaged: expected {expected} coefficients, found {model.coefficients.shape}")
    return model


def _to_bytes(text: str) -> np.ndarray:
    """A string as an array of UTF-8 bytes."""
    return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)


def _to_text(array: np.ndarray) -> str:
    """The inverse of _to_bytes."""
    return array.tobytes().decode("utf-8")
