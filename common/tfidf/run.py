"""A run of `tfidf`, with the same files as an encoder's run; and the baseline that an encoder should beat."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.data import Dataset
from common.files import write_json
from common.metrics import score_probabilities
from common.predictions import EXCLUDED, TEST, VALID, Predictions, write_predictions
from common.saved.card import describe_model
from common.saved.environment import environment
from common.tfidf.model import FILE, TfidfModel, fit_model, load_model, predict_probabilities, save_model

BASELINE_SECONDS = 10


def fit_tfidf(
    folder: Path,
    dataset: Dataset,
    train_labels: np.ndarray,
    train_rows: np.ndarray,
    held_out: pd.DataFrame | None,
    class_weights: str = "none",
    seed: int = 0,
    options: dict | None = None,
) -> dict:
    """Train `tfidf` in an opened run folder and write all its files; returns results.json's content.

    `train_rows` are positions in train.csv, `train_labels` the class numbers of all its rows, -1 for those left out;
    `held_out` the rows to validate on; `options` those that environment.json records.
    """
    started = time.monotonic()
    machine = {"device": "cpu", "processes": 1, "threads": 1}
    write_json(folder / "environment.json", environment() | machine | {"options": options or {}})
    model = _fit(dataset, train_labels, train_rows, class_weights, seed)
    seconds = time.monotonic() - started
    results: dict[str, Any] = {"evaluated_on": None, "accuracy": None, "macro_f1": None}
    if held_out is not None:
        results |= {"evaluated_on": "valid"} | _predict_file(folder / VALID, model, held_out)
    if dataset.test is not None:
        results["test"] = _predict_file(folder / TEST, model, dataset.test) or None
    excluded = dataset.train[train_labels < 0]
    if len(excluded):
        _predict_file(folder / EXCLUDED, model, excluded)
    results |= {
        "train_rows": len(train_rows),
        "seconds": round(seconds, 3),
        "total_seconds": round(time.monotonic() - started, 3),
    }
    save_model(folder / "model", model)
    describe_model(folder / "model", folder, results)
    write_json(folder / "results.json", results)
    return results


def compute_baseline(
    dataset: Dataset,
    train_labels: np.ndarray,
    train_rows: np.ndarray,
    held_out: pd.DataFrame | None,
    class_weights: str = "none",
) -> dict | None:
    """The scores of `tfidf` on the same rows, for an encoder's results.json; None if it would take over ten seconds.

    "test" is None if the test rows have no labels; the other scores are None without validation rows.
    """
    test = dataset.test if dataset.test is not None and "label" in dataset.test else None
    parts = [frame for frame in (dataset.train, held_out, test) if frame is not None]
    texts = pd.concat([frame["text"] for frame in parts])
    if len(parts) == 1 or estimate_seconds(texts, len(dataset.classes)) > BASELINE_SECONDS:
        return None
    started = time.monotonic()
    model = _fit(dataset, train_labels, train_rows, class_weights, 0)
    scores, test_scores = (
        {}
        if frame is None
        else score_probabilities(frame["label"], predict_probabilities(model, frame["text"]), dataset.classes)
        for frame in (held_out, test)
    )
    return {
        "model": "tfidf",
        **{name: scores.get(name) for name in ("accuracy", "macro_f1", "loss")},
        "test": {name: test_scores[name] for name in ("accuracy", "macro_f1", "loss")} if test_scores else None,
        "seconds": round(time.monotonic() - started, 3),
    }


def estimate_seconds(texts: pd.Series, classes: int) -> float:
    """About how long training on `texts` takes on one core.

    Fitted to CPU seconds on an EPYC, busy with other work, and within a factor of 1.5 of them. 822 articles of 2.2
    million characters took 2.1, 3.7 and 14.3 s for 2, 9 and 100 classes, 7,969 snippets of 0.8 million characters 5.1
    and 13.3 s for 9 and 100, 5,009 tweets of 0.7 million 1.6 s for 2. Each class has a machine of its own. Short texts
    need more passes of its solver.
    """
    return (texts.str.len().sum() + 300 * len(texts)) * (20 + classes) / 26_000_000


def is_tfidf(run: Path) -> bool:
    """Whether a run's model is `tfidf`."""
    return (run / "model" / FILE).exists()


def predict_tfidf(run: Path, texts: Sequence[str]) -> np.ndarray:
    """Probabilities of `texts` by a run's `tfidf`, [texts, classes] float32."""
    return predict_probabilities(load_model(run / "model"), texts)


def _fit(dataset, train_labels, train_rows, class_weights, seed):
    texts = dataset.train["text"].iloc[train_rows]
    return fit_model(texts, train_labels[train_rows], dataset.classes, class_weights, seed)


def _predict_file(path: Path, model: TfidfModel, frame: pd.DataFrame) -> dict:
    """Write a prediction file; returns the scores where the frame has labels, else an empty dict."""
    probabilities = predict_probabilities(model, frame["text"])
    labels = frame["label"].to_numpy() if "label" in frame else None
    write_predictions(path, Predictions(frame["id"].to_numpy(), model.classes, probabilities, labels))
    return {} if labels is None else score_probabilities(labels, probabilities, model.classes)
