"""Finished parts of a prediction, kept until the output is complete: an interruption loses at most one part."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.cli import UserError
from common.files import read_json, whole_file, write_json, writing
from common.predicting.members import Member, weight_files
from common.predicting.texts import Texts
from common.predictions import mean_probabilities
from common.runs import LOCK, hold_folder, release_folder

PLAN = "plan.json"


@dataclass(frozen=True)
class Parts:
    """A folder of probabilities: one array [rows, classes] float32 for each chunk of the input and each member."""

    folder: Path
    temporary: bool = False  # an interruption deletes the folder

    def is_there(self, member: int, chunk: int) -> bool:
        """Whether this part is finished."""
        return self._file(member, chunk).exists()

    def save(self, member: int, chunk: int, probabilities: np.ndarray) -> None:
        """Keep a finished part."""
        with whole_file(self._file(member, chunk)) as temporary:
            np.save(temporary, probabilities.astype(np.float32))

    def mean(self, chunk: int, members: Sequence[Member]) -> np.ndarray:
        """The members' weighted mean for a chunk, [rows, classes] float32."""
        arrays = [np.load(self._file(member, chunk)) for member in range(len(members))]
        return mean_probabilities(arrays, [member.weight for member in members])

    def remove(self) -> None:
        """Delete the folder, when the output is complete."""
        release_folder(self.folder)  # Windows keeps open files
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, member: int, chunk: int) -> Path:
        return self.folder / f"member{member:03d}-part{chunk:06d}.npy"


def plan_of(members: Sequence[Member], texts: Texts, how: dict) -> dict:
    """Everything that the parts depend on, as a JSON object; `how` holds the settings of the computation."""
    weights = [(file, file.stat()) for member in members for file in weight_files(member.folder)]
    return {
        "input": texts.fingerprint,
        "rows": texts.rows,
        "models": [[str(file.resolve()), stat.st_size, stat.st_mtime_ns] for file, stat in weights],
        **how,
    }


def open_parts(folder: Path, plan: dict, temporary: bool = False) -> Parts:
    """Open the folder of finished parts. It is emptied unless an earlier start had the same `plan`.

    This process then holds the folder. Raises UserError if another process does, or if the folder holds other files.
    """
    plan_file = folder / PLAN
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    there = [path for path in folder.iterdir() if path.name != LOCK]
    if there and not plan_file.exists():
        raise UserError(f"{folder} is needed for finished parts, but it holds other files; move it away")
    hold_folder(folder)
    if plan_file.exists() and read_json(plan_file) != plan:
        for path in folder.iterdir():  # parts of another input, or of other models
            if path.name != LOCK:
                path.unlink()
    write_json(plan_file, plan)
    return Parts(folder, temporary)
