"""Predict all chunks with all members: one member in memory at a time; finished parts are kept."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.interrupts import Interrupted
from common.predicting.members import Member, find_members
from common.predicting.parts import Parts, open_parts, plan_of
from common.predicting.texts import Texts
from common.predictions import Predictions, write_predictions
from common.saved.settings import Settings

Predictor = Callable[[Sequence[str]], np.ndarray]  # texts -> probabilities [texts, classes], in the model's class order


def predict_members(
    members: Sequence[Member],
    texts: Texts,
    parts: Parts,
    load: Callable[[Path, Settings], Predictor],
    progress: Callable,
    rank: int = 0,
    processes: int = 1,
) -> int:
    """Fill `parts`; returns the number of texts predicted in this process, summed over members.

    `load` loads a predictor from a model folder, `progress(total, done=0)` shows a progress bar. Chunks are distributed
    over the `processes`; this one has the number `rank`. Raises Interrupted on Ctrl-C; finished parts remain,
    unless they are temporary.
    """
    classes = members[0].settings.classes
    mine = range(rank, texts.chunk_count, processes)
    missing = [{chunk for chunk in mine if not parts.is_there(number, chunk)} for number in range(len(members))]
    total = len(members) * sum(texts.rows_of(chunk) for chunk in mine)
    left = sum(texts.rows_of(chunk) for chunks in missing for chunk in chunks)
    bar = progress(total, done=total - left)
    try:
        with bar:
            for number, member in enumerate(members):
                if missing[number]:
                    predict = load(member.folder, member.settings)
                    order = [member.settings.classes.index(name) for name in classes]
                    for position, chunk in enumerate(texts.chunks()):
                        if position in missing[number]:
                            parts.save(number, position, predict(chunk.texts)[:, order])
                            bar.update(len(chunk.texts))
    except KeyboardInterrupt:
        kept = f"finished parts are kept in {parts.folder}; the same command continues"
        raise Interrupted("nothing was written; --output keeps finished parts" if parts.temporary else kept) from None
    return left


def predict_file(
    path: Path, run: Path, texts: Texts, load: Callable[[Path, Settings], Predictor], progress: Callable
) -> None:
    """Write a prediction file of `texts` by all members of a run. After an interruption the same call continues."""
    members, _ = find_members([str(run)])
    parts = open_parts(path.with_suffix(".parts"), plan_of(members, texts, {}))
    predict_members(members, texts, parts, load, progress)
    shares = np.concatenate([parts.mean(chunk, members) for chunk in range(texts.chunk_count)])
    ids = np.array([row_id for chunk in texts.chunks() for row_id in chunk.ids], dtype=object)
    write_predictions(path, Predictions(ids, members[0].settings.classes, shares))
    parts.remove()
