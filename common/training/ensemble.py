"""Plan the members of an ensemble, and combine their predictions into one run."""

from dataclasses import dataclass
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.classes import class_numbers
from common.cli import wrap
from common.data import Dataset
from common.files import read_json, write_json
from common.metrics import score_probabilities
from common.predictions import (
    EXCLUDED,
    OOF,
    TEST,
    VALID,
    Predictions,
    mean_probabilities,
    read_predictions,
    write_predictions,
)
from common.runs import read_metrics, run_name
from common.saved.environment import environment
from common.splitting.splits import assign_folds
from common.training.encoders.registry import TFIDF
from common.training.inputs import AnyInputs, Inputs, Part, fold_part, validation_part
from common.training.plots import draw_ensemble_curve, draw_learning_curves
from common.training.rows import choose_rows, thin, validation_frame, without_excluded
from common.training.summary import score_lines
from common.training.teacher import Teacher, choose_teachers

SUBSETS = 200  # most random subsets of each size for the curve


@dataclass(frozen=True, eq=False)
class Member:
    """One model of an ensemble; `fold` is None without cross-validation."""

    name: str
    model: str
    seed: int
    fold: int | None
    train_rows: np.ndarray  # positions in train.csv
    valid_rows: np.ndarray  # positions in train.csv that it predicts; empty where valid.csv serves

    def held_out(self, inputs: Inputs) -> Part | None:
        """The rows on which it validates, with their tokens."""
        return validation_part(inputs, self.valid_rows) if self.fold is None else fold_part(inputs, self.valid_rows)

    def held_out_frame(self, dataset: Dataset) -> pd.DataFrame | None:
        """The rows on which it validates."""
        if self.fold is None:
            return validation_frame(dataset, self.valid_rows)
        return dataset.train.iloc[self.valid_rows]

    def teachers(self, inputs: AnyInputs) -> list[Teacher]:
        """The teachers that saw none of its validation rows. Raises UserError if all of them saw some."""
        return choose_teachers(inputs.teachers, inputs.dataset, self.held_out_frame(inputs.dataset))


def plan_members(inputs: dict[str, AnyInputs], seeds: list[int], folds: int | None) -> list[Member]:
    """All members over models, seeds and folds; `inputs` maps models to their inputs, of the same dataset."""
    names = [each.name for each in inputs.values()]
    members = []
    for position, (model, each) in enumerate(inputs.items()):
        # Two local folders may have the same last name
        prefix = names[position] if names.count(names[position]) == 1 else f"{names[position]}-{position + 1}"
        parts = _parts(each, folds)
        for seed in seeds[:1] if model == TFIDF else seeds:  # tfidf hardly depends on the seed
            for fold, train_rows, valid_rows in parts:
                name = f"{prefix}-seed{seed}" + ("" if fold is None else f"-fold{fold}")
                members.append(Member(name, model, seed, fold, train_rows, valid_rows))
    return members


def _parts(inputs: AnyInputs, folds: int | None) -> list[tuple[int | None, np.ndarray, np.ndarray]]:
    """(fold, training rows, held-out rows) of each fold; without folds one entry with fold None."""
    if not folds:
        return [(None, *choose_rows(inputs.dataset, inputs.recipe, inputs.train_labels))]
    dataset, labels = inputs.dataset, inputs.train_labels
    rows = thin(np.arange(len(dataset.train)), inputs.recipe)
    fold_of = assign_folds(dataset.train.iloc[rows], folds, inputs.recipe.split_seed)
    train_rows = [without_excluded(rows[fold_of != fold], dataset, labels) for fold in range(folds)]
    return [(fold, each, rows[fold_of == fold]) for fold, each in enumerate(train_rows)]


def ensemble_name(inputs: dict[str, AnyInputs], folds: int | None) -> str:
    """The default name of the run: <data>-<models>-ensemble, with the number of folds."""
    names = "+".join(each.name for each in inputs.values())
    dataset = next(iter(inputs.values())).dataset
    return f"{dataset.name}-{names}-ensemble" + (f"-{folds}folds" if folds else "")


def ensemble_config(inputs: dict[str, AnyInputs], seeds: list[int], folds: int | None) -> dict:
    """The ensemble's config.json."""
    first = next(iter(inputs.values()))
    taught = [each.config["teacher"] for each in inputs.values() if each.teachers]  # the same for all encoders
    return {
        "script": "train_ensemble.py",
        "seeds": seeds,
        "folds": folds,
        "models": {name: {key: each.config[key] for key in ("model", "recipe")} for name, each in inputs.items()},
        "data": first.config["data"],
        "classes": first.dataset.classes,
        **({"teacher": taught[0]} if taught else {}),
    }


Voters = dict[tuple[str, int], list[Member]]  # (model, seed) -> its members: one, or one for each fold


def combine_members(folder: Path, dataset: Dataset, members: list[Member]) -> dict:
    """Write the ensemble's predictions, pictures and results.json; returns the results."""
    folders = {member: folder / "members" / member.name for member in members}
    voters: Voters = {}
    for member in members:
        voters.setdefault((member.model, member.seed), []).append(member)
    results: dict[str, Any] = {"evaluated_on": None, "accuracy": None, "macro_f1": None, "members": len(members)}

    validated = (folders[members[0]] / VALID).exists()
    models = list(dict.fromkeys(member.model for member in members))
    if validated:
        name = VALID if members[0].fold is None else OOF
        votes = [_held_out_predictions(dataset, parts, folders) for parts in voters.values()]
        combined = _average(votes)
        write_predictions(folder / name, combined)
        selected = [read_json(path / "results.json").get("selected_on_validation") for path in folders.values()]
        results["selected_on_validation"] = any(selected)
        results |= {"evaluated_on": Path(name).stem} | _scores(combined) | _spread(voters, votes, combined)
    if dataset.test is not None:
        combined = _average([read_predictions(path / TEST) for path in folders.values()])
        write_predictions(folder / TEST, combined)
        results["test"] = _scores(combined) if combined.labels is not None else None
    if validated and dataset.test is not None and len(models) > 1:
        for model in models:
            held_out = _average([vote for key, vote in zip(voters, votes, strict=True) if key[0] == model])
            test = _average([read_predictions(folders[m] / TEST) for m in members if m.model == model])
            _write_part(folder, _prefix(members, model), model, {name: held_out, TEST: test})
    if (folders[members[0]] / EXCLUDED).exists():
        combined = _average([read_predictions(path / EXCLUDED) for path in folders.values()])
        write_predictions(folder / EXCLUDED, combined)

    metrics = {member.name: read_metrics(folders[member]) for member in members if member.model != TFIDF}
    if metrics:
        draw_learning_curves(folder / "learning_curves.png", metrics)
    if validated and len(voters) > 1:
        draw_ensemble_curve(folder / "ensemble_curve.png", results)
    write_json(folder / "environment.json", environment())
    write_json(folder / "results.json", results)
    return results


def _write_part(folder: Path, name: str, model: str, predictions: dict[str, Predictions]) -> None:
    """Write models/<name>/, the members of one model as a run, so that `--weights auto` can weight the models."""
    part = folder / "models" / name
    config = read_json(folder / "config.json")
    write_json(part / "config.json", config | {"models": {model: config["models"][model]}})
    for file, each in predictions.items():
        write_predictions(part / file, each)
    held_out = next(iter(predictions))
    write_json(part / "results.json", {"evaluated_on": Path(held_out).stem, **_scores(predictions[held_out])})


def _prefix(members: list[Member], model: str) -> str:
    """The common beginning of the names of a model's members."""
    return next(member.name for member in members if member.model == model).rpartition("-seed")[0]


def _held_out_predictions(dataset: Dataset, parts: list[Member], folders: dict[Member, Path]) -> Predictions:
    """One voter's predictions of all held-out rows; several folds are joined in dataset order."""
    predictions = [read_predictions(folders[member] / VALID) for member in parts]
    if parts[0].fold is None:
        return predictions[0]
    place = {row_id: position for position, row_id in enumerate(dataset.train["id"])}
    ids = np.concatenate([each.ids for each in predictions])
    order = np.argsort([place[row_id] for row_id in ids])
    return Predictions(
        ids[order],
        predictions[0].classes,
        np.concatenate([each.probabilities for each in predictions])[order],
        np.concatenate([each.labels for each in predictions])[order],
        np.concatenate([np.full(len(each.ids), m.fold) for m, each in zip(parts, predictions, strict=True)])[order],
    )


def _average(votes: list[Predictions]) -> Predictions:
    """The mean of predictions of the same rows."""
    first = votes[0]
    mean = mean_probabilities([each.probabilities for each in votes])
    return Predictions(first.ids, first.classes, mean, first.labels, first.folds)


def _scores(predictions: Predictions) -> dict:
    """The scores of labelled predictions."""
    return score_probabilities(predictions.given, predictions.probabilities, predictions.classes)


def _spread(voters: Voters, votes: list[Predictions], combined: Predictions) -> dict:
    """Each voter's scores, their mean and deviation, the ensemble's gain, the disagreement, and the accuracy curve."""
    labels = votes[0].labels
    assert labels is not None  # held-out rows are labelled
    correct = [vote.predicted == vote.labels for vote in votes]
    accuracies = [float(each.mean()) for each in correct]
    pairs = [float((a.predicted != b.predicted).mean()) for a, b in combinations(votes, 2)]
    return {
        "voters": [
            {"model": model, "seed": seed, "accuracy": accuracy, "macro_f1": _scores(vote)["macro_f1"]}
            for (model, seed), accuracy, vote in zip(voters, accuracies, votes, strict=True)
        ],
        "voter_mean": float(np.mean(accuracies)),
        "voter_deviation": float(np.std(accuracies, ddof=1)) if len(votes) > 1 else None,
        "gain": float((combined.predicted == combined.labels).mean()) - float(np.mean(accuracies)),
        "disagreement": float(np.mean(pairs)) if pairs else None,  # share of rows on which two voters differ
        "curve": accuracy_curve(
            np.stack([vote.probabilities for vote in votes]), class_numbers(labels, votes[0].classes)
        ),
    }


def accuracy_curve(probabilities: np.ndarray, labels: np.ndarray) -> list[dict]:
    """The ensemble's accuracy over its size: [{"size", "accuracy", "deviation", "subsets"}].

    `probabilities` [voters, rows, classes], `labels` [rows] class numbers. Mean and deviation are over all subsets of
    that size, at most SUBSETS random ones.
    """
    voters = len(probabilities)
    draw = np.random.default_rng(0)
    curve = []
    for size in range(1, voters + 1):
        if comb(voters, size) <= SUBSETS:
            subsets = [list(subset) for subset in combinations(range(voters), size)]
        else:
            subsets = [draw.choice(voters, size, replace=False).tolist() for _ in range(SUBSETS)]
        accuracies = [
            float((mean_probabilities(probabilities[subset]).argmax(axis=1) == labels).mean()) for subset in subsets
        ]
        curve.append(
            {
                "size": size,
                "accuracy": float(np.mean(accuracies)),
                "deviation": float(np.std(accuracies)),
                "subsets": len(subsets),
            }
        )
    return curve


def ensemble_lines(folder: Path, results: dict) -> list[str]:
    """The last lines that the script prints."""
    lines = []
    if results["evaluated_on"] and len(results["voters"]) > 1:
        mean, deviation = results["voter_mean"], results["voter_deviation"]
        lines.append(f"single accuracy {mean:.2%} ± {deviation:.2%}, the mean of {len(results['voters'])} models")
    lines += score_lines(results)
    if results.get("selected_on_validation"):
        lines.append(f"       epochs were selected on these {results['evaluated_on']} rows: their scores are too high")
    if results.get("disagreement") is not None:
        lines.append(
            f"gain   {results['gain']:+.2%} over the mean single model; "
            f"two differ on {results['disagreement']:.1%} of the rows"
        )
    pictures = "".join(f"{path.name}, " for path in sorted(Path(folder).glob("*.png")))
    lines.append(f"files  {folder}: results.json, {pictures}predictions/, members/")
    return [*map(wrap, lines), f"next:  python predict.py {run_name(folder)} new.csv"]
