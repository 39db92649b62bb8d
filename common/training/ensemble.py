"""What an ensemble's run consists of: its members, and how their predictions become one run's files."""

from dataclasses import dataclass
from itertools import combinations
from math import comb
from pathlib import Path

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
from common.runs import environment, read_metrics, run_name
from common.splitting.splits import assign_folds
from common.training.encoders.registry import TFIDF
from common.training.inputs import Inputs, fold_part, validation_part
from common.training.plots import draw_ensemble_curve, draw_learning_curves
from common.training.rows import choose_rows, thin
from common.training.summary import score_lines
from common.training.teacher import Teacher, choose_teachers
from common.training.tokens import Encoded

SUBSETS = 200  # random subsets of each size for the curve, where there are more


@dataclass(frozen=True, eq=False)
class Member:
    """One model of an ensemble; `fold` is None without cross-validation."""

    name: str
    model: str
    seed: int
    fold: int | None
    train_rows: np.ndarray  # positions in train.csv
    valid_rows: np.ndarray  # positions in train.csv that it predicts; empty where valid.csv serves

    def held_out(self, inputs: Inputs) -> tuple[pd.DataFrame, Encoded] | None:
        """The rows it validates on (see common/training/inputs.py)."""
        return validation_part(inputs, self.valid_rows) if self.fold is None else fold_part(inputs, self.valid_rows)

    def teachers(self, inputs: Inputs) -> list[Teacher]:
        """The teachers that it may learn from. Raises UserError where there are teachers, but none such."""
        held_out = self.held_out(inputs)
        return choose_teachers(inputs.teachers, inputs.dataset, held_out[0] if held_out else None)


def plan_members(inputs: dict[str, Inputs], seeds: list[int], folds: int | None) -> list[Member]:
    """All members over encoders, seeds and folds; `inputs` maps encoder names to Inputs of the same dataset."""
    short = [each.source.name.replace("/", "-") for each in inputs.values()]
    members = []
    for position, (model, each) in enumerate(inputs.items()):
        # Two local folders may have the same last name
        prefix = short[position] if short.count(short[position]) == 1 else f"{short[position]}-{position + 1}"
        parts = _parts(each, folds)
        for seed in seeds[:1] if model == TFIDF else seeds:  # its seeds differ in a row of a thousand
            for fold, train_rows, valid_rows in parts:
                name = f"{prefix}-seed{seed}" + ("" if fold is None else f"-fold{fold}")
                members.append(Member(name, model, seed, fold, train_rows, valid_rows))
    return members


def _parts(inputs: Inputs, folds: int | None) -> list[tuple]:
    """(fold, rows that train, rows held out) of each fold; without folds a single one, its fold being None."""
    if not folds:
        return [(None, *choose_rows(inputs.dataset, inputs.recipe))]
    rows = thin(np.arange(len(inputs.dataset.train)), inputs.recipe)
    fold_of = assign_folds(inputs.dataset.train.iloc[rows], folds, inputs.recipe.split_seed)
    return [(fold, rows[fold_of != fold], rows[fold_of == fold]) for fold in range(folds)]


def combine_members(folder: Path, dataset: Dataset, members: list[Member]) -> dict:
    """Write the ensemble's predictions, pictures and results.json; returns the results."""
    folders = {member: folder / "members" / member.name for member in members}
    voters = {}  # (encoder, seed) -> its members: one, or one for each fold
    for member in members:
        voters.setdefault((member.model, member.seed), []).append(member)
    results = {"evaluated_on": None, "accuracy": None, "macro_f1": None, "members": len(members)}

    validated = (folders[members[0]] / VALID).exists()
    models = list(dict.fromkeys(member.model for member in members))
    if validated:
        name = VALID if members[0].fold is None else OOF
        votes = [_held_out_predictions(dataset, parts, folders) for parts in voters.values()]
        combined = _average(votes)
        write_predictions(folder / name, combined)
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
    """models/<name>/: all members of one encoder as a run, so that `--weights auto` can weigh the encoders."""
    part = folder / "models" / name
    config = read_json(folder / "config.json")
    write_json(part / "config.json", config | {"models": {model: config["models"][model]}})
    for file, each in predictions.items():
        write_predictions(part / file, each)
    (held_out, each), *_ = predictions.items()
    write_json(part / "results.json", {"evaluated_on": Path(held_out).stem, **_scores(each)})


def _prefix(members: list[Member], model: str) -> str:
    """What the names of an encoder's members begin with."""
    return next(member.name for member in members if member.model == model).rpartition("-seed")[0]


def _held_out_predictions(dataset, parts, folders):
    """One voter's predictions of all held-out rows, those of several folds put together in dataset order."""
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


def _average(votes):
    first = votes[0]
    mean = mean_probabilities([each.probabilities for each in votes])
    return Predictions(first.ids, first.classes, mean, first.labels, first.folds)


def _scores(predictions):
    return score_probabilities(predictions.labels, predictions.probabilities, predictions.classes)


def _spread(voters, votes, combined):
    """Each voter's score, their mean and deviation, the ensemble's gain, disagreement, and the curve over members."""
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
            np.stack([vote.probabilities for vote in votes]), class_numbers(votes[0].labels, votes[0].classes)
        ),
    }


def accuracy_curve(probabilities: np.ndarray, labels: np.ndarray) -> list[dict]:
    """The ensemble's accuracy over its size: [{"size", "accuracy", "deviation", "subsets"}].

    `probabilities` [voters, rows, classes], `labels` [rows] class numbers. The mean and deviation are over all subsets
    of that size, or over 200 random ones where there are more.
    """
    voters = len(probabilities)
    draw = np.random.default_rng(0)
    curve = []
    for size in range(1, voters + 1):
        if comb(voters, size) <= SUBSETS:
            subsets = list(combinations(range(voters), size))
        else:
            subsets = [draw.choice(voters, size, replace=False) for _ in range(SUBSETS)]
        accuracies = [
            float((mean_probabilities(probabilities[list(subset)]).argmax(axis=1) == labels).mean())
            for subset in subsets
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
    """The lines that the script ends with."""
    lines = []
    if results["evaluated_on"] and len(results["voters"]) > 1:
        mean, deviation = results["voter_mean"], results["voter_deviation"]
        lines.append(f"single accuracy {mean:.2%} ± {deviation:.2%}, the mean of {len(results['voters'])} models")
    lines += score_lines(results)
    if results.get("disagreement") is not None:
        lines.append(
            f"gain   {results['gain']:+.2%} over the mean single model; "
            f"two differ on {results['disagreement']:.1%} of the rows"
        )
    pictures = "".join(f"{path.name}, " for path in sorted(Path(folder).glob("*.png")))
    lines.append(f"files  {folder}: results.json, {pictures}predictions/, members/")
    return [*map(wrap, lines), f"next:  python predict.py {run_name(folder)} new.csv"]
