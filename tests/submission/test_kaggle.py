"""Uploads by the Kaggle client: what it is asked, the public score, what is said when it fails."""

import json
import os
import sys
from pathlib import Path

import pytest

from create_ensemble_submission import main
from tests.submission.test_submission import FIRST, fails, make_dataset, make_predictions, record, submission


@pytest.fixture
def kaggle(in_tmp, monkeypatch):
    """A program `kaggle`: it records the arguments of an upload, says `says` and ends with `code`.

    Asked for the submissions, it prints the next one of `lists`.
    """
    make_dataset("data")
    program = in_tmp / "bin" / "kaggle"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("common.submission.kaggle.ASK_EVERY", 0)

    def tell(says, code=0, lists=()):
        Path("lists.json").write_text(json.dumps(list(lists)))
        program.write_text(
            f"""#!{sys.executable}
import json, sys
if "submissions" in sys.argv:
    lists = json.load(open("lists.json"))
    print(lists.pop(0) if lists else "no list")
    json.dump(lists, open("lists.json", "w"))
    sys.exit()
open("asked", "w").write("\\n".join(sys.argv[1:]))
print({says!r})
sys.exit({code})
"""
        )
        program.chmod(0o755)

    return tell


def test_upload_hands_the_file_to_the_client(capsys, kaggle):
    kaggle("Successfully submitted to LNU")
    assert main([make_predictions("1.csv", FIRST), "--upload", "zwei Läufe", "--output", "out.csv"]) == 0
    name = "lnu-deep-learn-2-text-classification-2025"
    asked = Path("asked").read_text().split("\n")
    assert asked == ["competitions", "submit", "-c", name, "-f", "out.csv", "-m", "zwei Läufe"]
    out = capsys.readouterr().out
    assert "Successfully submitted" in out and "public score: not known yet" in out
    assert record("out.json")["upload"] == {"competition": name, "message": "zwei Läufe", "public_score": None}


def test_the_public_score_is_that_of_this_upload(capsys, kaggle):
    """The client's list as kaggle 2.2.5 prints it: before the upload, while Kaggle scores it, and after."""
    notice = "Warning: a newer version of kaggle is available\n"
    head = notice + "ref,fileName,date,description,status,publicScore,privateScore\n"
    earlier = '7,out.csv,2026-11-20 10:00:00,"zwei, drei",SubmissionStatus.COMPLETE,0.80000,\n'
    other = '8,other.csv,2026-11-26 12:00:00,"zwei, drei",SubmissionStatus.COMPLETE,0.90000,\n'
    pending = '9,out.csv,2026-11-26 12:00:01,"zwei, drei",SubmissionStatus.PENDING,,\n'
    scored = '9,out.csv,2026-11-26 12:00:01,"zwei, drei",SubmissionStatus.COMPLETE,0.90679,\n'
    rest = other + earlier
    kaggle("Successfully submitted", lists=[head + text + rest for text in ("", "", pending, scored)])
    assert main([make_predictions("1.csv", FIRST), "--upload", "zwei, drei", "--output", "out.csv"]) == 0
    assert "public score: 0.90679" in capsys.readouterr().out
    assert record("out.json")["upload"]["public_score"] == "0.90679"


def test_kaggle_may_take_longer_than_we_wait(capsys, kaggle, monkeypatch):
    monkeypatch.setattr("common.submission.kaggle.SCORED_WITHIN", 0)
    kaggle("Successfully submitted", lists=["No submissions found"] * 9)
    assert main([make_predictions("1.csv", FIRST), "--upload", "neu", "--output", "out.csv"]) == 0
    assert "public score: not known yet" in capsys.readouterr().out


def test_upload_refuses_ids_that_are_not_the_competitions(capsys, kaggle, monkeypatch):
    kaggle("Successfully submitted")
    file = make_predictions("1.csv", FIRST)
    make_dataset("plain", sample=False)
    assert "plain has no sample_submission.csv" in fails(capsys, file, "--data", "plain", "--upload", "m")
    make_dataset("home/kaggle", ids=["k1", "k2", "k3", "k4"])
    monkeypatch.setattr("common.submission.kaggle.DATA_FOLDER", Path("home"))
    assert "the ids are not the competition's" in fails(capsys, file, "--upload", "m")
    assert not Path("asked").exists()
    assert main([file, "--data", "data", "--upload", "m"]) == 0
    assert main([file, "--upload", "m", "--competition", "another"]) == 0


@pytest.mark.parametrize(
    ("says", "code", "hint"),
    [
        ("OSError: Could not find kaggle.json. Make sure it's located in /root/.kaggle.", 1, "KAGGLE_API_TOKEN"),
        ("You must authenticate before you can call the Kaggle API.", 1, "~/.kaggle/kaggle.json"),
        ("401 Client Error: Unauthorized for url: https://api.kaggle.com/", 1, "KAGGLE_USERNAME and KAGGLE_KEY"),
        ("403 Client Error: Forbidden for url: https://api.kaggle.com/", 1, "2025/rules"),
        ("403 - You cannot submit until you accept the competition rules", 1, "join the competition"),
        ("404 Client Error: Not Found for url", 1, "--competition"),
        ("Could not find competition - please verify", 0, "--competition"),
        ("", 1, "it said nothing"),
    ],
)
def test_a_failed_upload_says_what_to_do(capsys, kaggle, says, code, hint):
    kaggle(says, code)
    assert main([make_predictions("1.csv", FIRST), "--upload", "m"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: submission.csv is written, but not uploaded: ")
    assert hint in lines[0] and says in lines[0]
    assert len(submission()) == 4


def test_a_client_that_crashes_is_shown_by_its_last_line(capsys, kaggle):
    kaggle('Traceback (most recent call last):\n  File "kaggle.py", line 9, in main\nValueError: no such field', 1)
    assert main([make_predictions("1.csv", FIRST), "--upload", "m"]) == 2
    error = capsys.readouterr().err
    assert "failed: ValueError: no such field; see https://" in error and "File" not in error and "Trace" not in error


def test_without_the_client_the_hint_says_how_to_install_it(capsys, in_tmp, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert main([make_predictions("1.csv", FIRST), "--upload", "m"]) == 2
    assert "pip install kaggle" in capsys.readouterr().err
