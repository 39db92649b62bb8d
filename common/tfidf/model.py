"""The model without a neural network: TF-IDF, a linear support vector machine, calibrated probabilities. No torch."""

import json
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.svm import LinearSVC

from common.cli import UserError
from common.files import whole_file
from common.tfidf.features import Features, fit_features

FILE = "tfidf.npz"  # below a run's model/
FOLDS = 5  # of the calibration
SCALES = (0.1, 30.0)  # between which the calibration looks


@dataclass(frozen=True, eq=False)
class TfidfModel:
    """One linear score for each class, and the scale that makes probabilities of them."""

    classes: list[str]
    features: Features
    coefficients: np.ndarray  # [features, classes] float32
    intercepts: np.ndarray  # [classes] float32
    scale: float


def fit_model(texts, labels, classes, class_weights="none", seed=0):
    """Train on `texts` with class numbers `labels` [texts]. `class_weights` as in train.py: none or balanced."""
    features = fit_features(texts)
    matrix = features.compute(texts)
    rows = (matrix, np.asarray(labels), len(classes), class_weights, seed)
    return TfidfModel(list(classes), features, *_fit_scores(*rows), _fit_scale(*rows))


def predict_probabilities(model, texts):
    """Class probabilities, [texts, classes] float32, each row by its text alone."""
    scores = model.features.compute(texts) @ model.coefficients + model.intercepts
    return softmax(model.scale * scores.astype(np.float64), axis=1).astype(np.float32)


def _fit_scores(matrix, labels, classes, class_weights, seed):
    """Coefficients [features, classes] and intercepts [classes] of one machine for each class, against all others.

    A class without rows gets -1 everywhere, a clear no.
    """
    coefficients = np.zeros((matrix.shape[1], classes), dtype=np.float32)
    intercepts = np.full(classes, -1.0, dtype=np.float32)
    present = np.unique(labels)
    if len(present) == 1:
        intercepts[present] = 1.0
        return coefficients, intercepts
    # tol: the default of 1e-4 takes half as long again, with the same predictions
    weight = "balanced" if class_weights == "balanced" else None
    machine = LinearSVC(tol=1e-2, class_weight=weight, random_state=seed).fit(matrix, labels)
    if len(present) == 2:  # one machine: the second class against the first
        coefficients[:, present] = np.concatenate([-machine.coef_, machine.coef_]).T
        intercepts[present] = [-machine.intercept_[0], machine.intercept_[0]]
    else:
        coefficients[:, present] = machine.coef_.T
        intercepts[present] = machine.intercept_
    return coefficients, intercepts


def _fit_scale(matrix, labels, classes, class_weights, seed):
    """The scale of the scores with the lowest log loss on rows that the scores were not fitted on (cross-validation).

    Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks"): the best class stays the best.
    """
    if len(labels) < 2:
        return 1.0
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # each class is dealt to the folds evenly
    fold_of = np.empty(len(labels), dtype=int)
    fold_of[order] = np.arange(len(labels)) % min(FOLDS, len(labels))
    scores = np.empty((len(labels), classes))
    for fold in range(fold_of.max() + 1):
        held_out = fold_of == fold
        fitted = _fit_scores(matrix[~held_out], labels[~held_out], classes, class_weights, seed)
        scores[held_out] = matrix[held_out] @ fitted[0] + fitted[1]

    def loss(log_scale):
        return -log_softmax(np.exp(log_scale) * scores, axis=1)[np.arange(len(labels)), labels].mean()

    return float(np.exp(minimize_scalar(loss, bounds=np.log(SCALES), method="bounded").x))


def save_model(folder, model):
    """Write the model into `folder`, as arrays of numbers and of UTF-8 bytes: nothing that could run as code."""
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


def load_model(folder):
    """Read what `save_model` wrote; it predicts the same numbers. Raises UserError where the file is damaged."""
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
    except Exception as error:  # what damaged zip files raise is not one kind
        raise UserError(f"{path} is damaged: {error}; train it again") from error
    expected = (len(words) + len(features.letters), len(model.classes))
    if model.coefficients.shape != expected or features.idf.shape != expected[:1]:
        raise UserError(f"{path} is damaged: expected {expected} coefficients, found {model.coefficients.shape}")
    return model


def _to_bytes(text):
    return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)


def _to_text(array):
    return array.tobytes().decode("utf-8")
