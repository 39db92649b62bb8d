"""Run the Kaggle client as a program, and explain its errors."""

import csv
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from common.cli import UserError
from common.data import DATA_FOLDER, Dataset
from common.reading.parts import SAMPLE
from common.reading.tables import read_table

COMPETITION = "lnu-deep-learn-2-text-classification-2025"
TOKEN_HINT = (
    "get a token at https://www.kaggle.com/settings (API) and save it as ~/.kaggle/kaggle.json (chmod 600), "
    "or set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY"
)
TOKEN_SIGNS = ("401", "unauthorized", "authenticate", "kaggle.json", "credential", "missing user")
SCORED_WITHIN = 60  # seconds to wait for the public score
ASK_EVERY = 5  # seconds


def refuse_foreign_ids(dataset: Dataset | None, ids: np.ndarray, competition: str) -> None:
    """Raise UserError unless the ids are those of the competition's sample_submission.csv, if there is one."""
    if dataset and dataset.sample:
        return  # the submission has the sample's ids
    if dataset:
        raise UserError(
            f"--upload: {dataset.folder} has no {SAMPLE} to check the ids against; "
            "put the competition's there, or leave --upload out"
        )
    sample = DATA_FOLDER / "kaggle" / SAMPLE
    if competition == COMPETITION and sample.exists():
        table = read_table(sample)
        strange = sorted(set(ids) ^ set(table[table.columns[0]]))
        if strange:
            raise UserError(f"--upload: the ids are not the competition's, see {sample}: {strange[0]!r}")


def submit(file: Path, message: str, competition: str = COMPETITION) -> tuple[str, str | None]:
    """Upload a submission; returns the client's output and the public score. Raises UserError with a hint.

    The score is None if Kaggle does not report it within SCORED_WITHIN.
    """
    earlier = _newest_upload(file.name, message, competition)
    said = _call(["submit", "-c", competition, "-f", str(file), "-m", message], competition)
    end = time.monotonic() + SCORED_WITHIN
    while True:
        newest = _newest_upload(file.name, message, competition)
        if newest and newest["publicScore"] and newest.get("date") != (earlier or {}).get("date"):
            return said, newest["publicScore"]
        if newest is None or time.monotonic() > end:
            return said, None
        time.sleep(ASK_EVERY)


def _newest_upload(name, message, competition):
    """The client's row for the newest submission of this file with this message.

    {} if there is none, None if the client does not list the submissions.
    """
    try:
        lines = _call(["submissions", "-c", competition, "--csv"], competition).splitlines()
    except UserError:
        return None
    if "No submissions found" in lines:
        return {}
    header = next((number for number, line in enumerate(lines) if "publicScore" in line), None)
    if header is None:
        return None
    rows = csv.DictReader(lines[header:])  # the newest first
    return next((row for row in rows if (row.get("fileName"), row.get("description")) == (name, message)), {})


def download(folder: str | Path, competition: str = COMPETITION) -> Path:
    """Download the competition's files into `folder` as a zip; returns its path. Raises UserError with a hint."""
    said = _call(["download", "-c", competition, "-p", str(folder)], competition)
    zips = sorted(Path(folder).glob("*.zip"))
    if len(zips) != 1:
        raise UserError(f"expected one zip file from the Kaggle client, found {len(zips)}; it said: {_said(said)}")
    return zips[0]


def _call(arguments, competition):
    # in an environment that is not activated, programs are beside python and not on PATH
    program = shutil.which("kaggle") or shutil.which("kaggle", path=str(Path(sys.executable).parent))
    if program is None:
        raise UserError(f"the Kaggle client is not installed: python -m pip install kaggle; then {TOKEN_HINT}")
    command = ["competitions", *arguments]
    try:
        result = subprocess.run(
            [program, *command],
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        raise UserError(f"{program} cannot be started: {error.strerror}") from error
    # the client exits with 0 for an unknown competition
    if result.returncode == 0 and "could not find competition" not in result.stdout.lower():
        return result.stdout.strip()
    raise UserError(f"kaggle {shlex.join(command)} failed: {_said(result.stdout)}; {_hint(result.stdout, competition)}")


def _hint(output, competition):
    output = output.lower()
    page = f"https://www.kaggle.com/competitions/{competition}"
    if any(sign in output for sign in ("403", "forbidden", "was denied", "accept")):
        return f"join the competition and accept its rules at {page}/rules, with the account of the token"
    if any(sign in output for sign in TOKEN_SIGNS):
        return TOKEN_HINT
    if any(sign in output for sign in ("404", "not found", "could not find competition")):
        return f"the competition may not exist or has ended: see {page} and --competition"
    return f"see {page}; you need a token: {TOKEN_HINT}"


def _said(output):
    lines = [line.strip() for line in output.splitlines() if line.strip() and "%|" not in line]  # no progress bars
    if any(line.startswith("Traceback") for line in lines):
        lines = lines[-1:]  # a crash: the last line names the cause
    return " ".join(lines)[-300:] or "it said nothing"
