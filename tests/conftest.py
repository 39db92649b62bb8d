"""Small data and small models that the tests build; nothing is downloaded."""

import os
import tempfile

# Before any hub client is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["HF_HOME"] = tempfile.mkdtemp()  # not the user's
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side: threads that wait for one another spin

import csv
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from common.data import load_dataset
from tests.scripts import start_default_server

# A shell starts background jobs with Ctrl-C ignored, and so would be whatever these tests start and interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("any machine", deadline=None)  # a busy machine is slow, not wrong
settings.load_profile("any machine")

CLASSES = ("Kultur", "Sport", "Wirtschaft")


def write_csv(path, header, rows):
    """Write a CSV file as a user would have it."""
    Path(path).parent.mkdir(exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


LONG_FILES = ("test_hub.py", "test_train.py", "test_kills.py", "test_train_ensemble.py")


def pytest_collection_modifyitems(items):
    """Long files first: processes that share the tests file by file then end at the same time."""
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


def pytest_collection_finish(session):
    """Now what the tests need is imported, and no test has left anything behind."""
    if hasattr(os, "fork") and not session.config.option.collectonly:
        start_default_server()


def pytest_unconfigure():
    """The hub's clients have no more use for it."""
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """A dataset folder: 45 training and 12 labelled test rows of three topics, each text cut to 30 words."""
    sample = load_dataset("sample")
    folder = tmp_path_factory.mktemp("small")
    for name, frame, rows in (("train", sample.train, 15), ("test", sample.test, 4)):
        part = frame[frame["label"].isin(CLASSES)].groupby("label").head(rows)
        write_csv(
            folder / f"{name}.csv",
            ["id", "text", "label"],
            [[row.id, " ".join(row.text.split()[:30]), row.label] for row in part.itertuples()],
        )
    return folder


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    """Work in an empty folder, where runs/ appears."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
