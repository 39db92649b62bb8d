"""Every short name, on a small copy of its repository: from the hub, again offline, and its saved model by pipeline."""

import json

import numpy as np
import pytest
from transformers import pipeline

from common.data import load_dataset
from common.predictions import read_predictions
from common.training.encoders.registry import MODELS
from tests.fake_hub import commit, serve
from tests.hub_clients import connect_clients, empty_cache, train_each
from tests.hub_layouts import LAYOUTS, save_layout
from tests.scripts import ROOT

NAMES = [name for name in MODELS if name != "starter"]
QUICK = ("gbert-base", "gottbert-base", "geberta-base", "mmbert-base")  # each has another tokenizer and weight format


def train_all(names, place, data, prefix, **clients):
    """Train each encoder for a few steps, in one process; {name: [exit code, stderr, seconds]}."""
    options = ["--data", str(data), "--max-length", "64", "--long-texts", "head", "--max-steps", "3", "--device", "cpu"]
    lines = [["--model", name, "--run", f"{prefix}-{name}", *options] for name in names]
    return dict(zip(names, train_each(lines, place, ROOT / "data", **clients), strict=True))


def train_twice(names, place, data):
    texts = list(load_dataset(data).train["text"])
    for name in names:
        save_layout(MODELS[name].hub_id, place / "hub/models" / MODELS[name].hub_id, texts)
    empty_cache()
    with serve(place / "hub") as hub, connect_clients(hub.url) as clients:
        online = train_all(names, place, data, "online", **clients)
    offline = train_all(names, place, data, "offline")
    empty_cache()
    return place, online, offline


@pytest.fixture(scope="module")
def some(tmp_path_factory, small_data):
    return train_twice(QUICK, tmp_path_factory.mktemp("some"), small_data)


@pytest.fixture(scope="module")
def rest(tmp_path_factory, small_data):
    return train_twice([name for name in NAMES if name not in QUICK], tmp_path_factory.mktemp("rest"), small_data)


@pytest.mark.parametrize("name", QUICK)
def test_from_the_hub_offline_and_by_pipeline(name, some, small_data):
    check(name, *some, small_data)


@pytest.mark.slow  # 14 more encoders, two runs each: a minute
@pytest.mark.parametrize("name", [name for name in NAMES if name not in QUICK])
def test_the_other_short_names_too(name, rest, small_data):
    check(name, *rest, small_data)


def check(name, place, online, offline, data):
    assert online[name][:2] == offline[name][:2] == [0, ""]
    run, again = place / "runs" / f"online-{name}", place / "runs" / f"offline-{name}"
    hub_id = MODELS[name].hub_id
    weights = "safetensors" if "model.safetensors" in LAYOUTS[hub_id].weights else "pickle"
    identity = {"name": name, "location": hub_id, "revision": commit(hub_id), "weights": weights}
    assert json.loads((run / "config.json").read_text())["model"] == identity
    assert (again / "predictions/test.csv").read_bytes() == (run / "predictions/test.csv").read_bytes()
    assert "model_type" in json.loads((run / "model/config.json").read_text())
    classify = pipeline("text-classification", model=str(run / "model"), device="cpu")
    answers = classify(list(load_dataset(data).test["text"]), top_k=None, truncation=True, max_length=64)
    reloaded = [[entry["score"] for entry in sorted(row, key=lambda entry: entry["label"])] for row in answers]
    written = read_predictions(run / "predictions/test.csv").probabilities
    assert np.abs(np.array(reloaded) - written).max() < 1e-5


def test_every_short_name_has_a_layout():
    assert {MODELS[name].hub_id for name in NAMES} == LAYOUTS.keys()
