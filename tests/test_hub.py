"""The clients that users run against a hub: a small one on this machine, whole, then with what goes wrong on networks.

train.py runs in a copy of the checkout's code, so that data/gnad10 is filled there, and in processes of its own, as the
clients read HF_ENDPOINT when they are imported.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForMaskedLM

from common.data import prepare_module
from common.training.encoders.tiny import build_tiny_tokenizer
from tests.fake_hub import commit, serve
from tests.test_prepare import make_hub

ROOT = Path(__file__).resolve().parent.parent
GBERT, GNAD = "deepset/gbert-base", "community-datasets/gnad10"
QUICK = ["--max-length", "16", "--max-steps", "2", "--max-train-rows", "64", "--device", "cpu"]
# Several command lines in one process: importing torch takes longer than each of them. Prints exit code and seconds.
CALLS = """
import contextlib, io, json, sys, time
import train
import common.training.run, datasets
for arguments in json.loads(sys.argv[1]):
    start, error = time.monotonic(), io.StringIO()
    with contextlib.redirect_stderr(error):
        code = train.main(arguments)
    print(json.dumps([code, error.getvalue(), time.monotonic() - start]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    """What the hub serves: the dataset in its official size, an encoder, and encoders with something missing."""
    folder = tmp_path_factory.mktemp("hub")
    data = make_hub(prepare_module("gnad10"))
    (folder / "datasets" / GNAD / "data").mkdir(parents=True)
    datasets.disable_progress_bars()
    for split, rows in data.items():
        rows.to_parquet(folder / "datasets" / GNAD / "data" / f"{split}-00000-of-00001.parquet")
    tokenizer = build_tiny_tokenizer([*data["test"]["text"], "Straße für Öl Ärger Übermut"])
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        pad_token_id=tokenizer.pad_token_id,
    )
    whole = folder / "models" / GBERT
    BertForMaskedLM(config).save_pretrained(whole)
    tokenizer.save_pretrained(whole)
    for name in ("flaky/weights", "cut/weights", "cut/config", "no/weights", "only/pickle", "evil/pickle"):
        shutil.copytree(whole, folder / "models" / name)
    for name in ("no/weights", "only/pickle", "evil/pickle"):
        (folder / "models" / name / "model.safetensors").unlink()
    torch.save(load_file(whole / "model.safetensors"), folder / "models/only/pickle/pytorch_model.bin")
    torch.save({"bert": Evil(folder / "ran")}, folder / "models/evil/pickle/pytorch_model.bin")
    return folder


class Evil:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def train(tmp_path):
    """A function that runs train.py against a hub: command lines -> one [exit code, stderr, seconds] for each."""
    place = tmp_path / "checkout"
    for part in ("common", "data/sample", "data/gnad10"):
        shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__", "gnad10/*.csv"))
    for file in ("train.py", "requirements.txt"):
        shutil.copy(ROOT / file, place)

    def environment(url):
        inherited = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
        return inherited | {
            "HF_ENDPOINT": url,
            "HF_HOME": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def run(url, *command_lines, **settings):
        command = [sys.executable, "-c", CALLS, json.dumps([[*QUICK, *line] for line in command_lines])]
        done = subprocess.run(
            command, cwd=place, env=environment(url) | settings, text=True, capture_output=True, check=False
        )
        answers = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("[")]
        assert len(answers) == len(command_lines), done.stderr
        return answers

    run.place, run.cache, run.environment = place, tmp_path / "cache", environment
    return run


def one_line(answer, *parts):
    """Check that a run was refused in one line that has all `parts`."""
    code, error, _ = answer
    assert code == 2 and error.count("\n") == 1 and error.startswith("error: "), error
    for part in parts:
        assert part in error


def test_fetched_once_then_offline(repositories, train):
    first = ["--model", "gbert-base", "--data", "gnad10", "--run", "online"]
    with serve(repositories) as hub:
        ((code, error, _),) = train(hub.url, first)
        assert (code, error) == (0, "")
        asked = {path for _, path in hub.requests}
        assert f"/{GBERT}/resolve/{commit(GBERT)}/model.safetensors" in asked
        url = hub.url
    config = json.loads((train.place / "runs/online/config.json").read_text())
    assert config["model"] == {
        "name": "gbert-base",
        "location": GBERT,
        "revision": commit(GBERT),
        "weights": "safetensors",
    }
    assert len((train.place / "data/gnad10/train.csv").read_text(encoding="utf-8").splitlines()) == 9246
    assert len((train.place / "data/gnad10/test.csv").read_text(encoding="utf-8").splitlines()) == 1029

    # The hub is gone: from the cache, as fast as offline, to the same predictions; the dataset anew from its cache
    shutil.rmtree(train.place / "data/gnad10/__pycache__", ignore_errors=True)
    (train.place / "data/gnad10/train.csv").unlink()
    model = ["--model", "gbert-base", "--data", "gnad10", "--run"]
    answers = train(url, [*model, "gone"], [*model, "online"], ["--model", "gelectra-base", "--data", "sample"])
    assert [answer[:2] for answer in answers[:2]] == [[0, ""], [0, ""]] and max(answer[2] for answer in answers) < 60
    one_line(answers[2], "deepset/gelectra-base", "no connection to the hub", url, "not in the local cache", "starter")
    (train.place / "data/gnad10/train.csv").unlink()
    offline = train(url, [*model, "offline"], HF_HUB_OFFLINE="1")
    assert offline[0][:2] == [0, ""]
    for run in ("gone", "offline"):
        for file in ("config.json", "predictions/valid.csv", "predictions/test.csv"):
            assert (train.place / "runs" / run / file).read_bytes() == (train.place / "runs/online" / file).read_bytes()


def test_what_goes_wrong_is_one_line_and_leaves_nothing_half(repositories, train):
    sample = ["--data", "sample", "--run"]
    names = ("nobody/nothing", "no/weights", "only/pickle", "evil/pickle", "flaky/weights", "cut/weights", "cut/config")
    with serve(repositories) as hub:
        hub.cuts = {
            "flaky/weights/model.safetensors": 1,
            "cut/weights/model.safetensors": 99,
            "cut/config/config.json": 99,
        }
        lines = [["--model", name, *sample, name.replace("/", "-")] for name in names]
        answers = dict(zip(names, train(hub.url, *lines), strict=True))
        assert not any("spaces" in path or "discussions" in path for _, path in hub.requests)  # no third party is asked
        one_line(answers["nobody/nothing"], "'nobody/nothing' is not on the hub, or you have no", "hf auth login")
        one_line(answers["no/weights"], "no/weights", "pytorch_model.bin or model.safetensors")
        assert answers["only/pickle"][:2] == [0, ""]  # tensors alone are read from a pickle ...
        one_line(answers["evil/pickle"], "evil/pickle")  # ... and nothing is run
        assert not (repositories / "ran").exists()
        assert answers["flaky/weights"][:2] == [0, ""]  # the client goes on by itself
        for name in ("cut/weights", "cut/config"):
            one_line(answers[name], name, "the connection to the hub broke", "start the same command again")
            assert answers[name][2] < 60
        assert not list(train.cache.rglob("*.incomplete"))
        assert not list(train.cache.glob("hub/models--cut--weights/snapshots/*/model.safetensors"))

        hub.cuts = {}  # and the same command, on a better day
        assert train(hub.url, ["--model", "cut/weights", *sample, "cut-weights"])[0][:2] == [0, ""]


def test_a_dataset_that_cannot_be_had(repositories, train, tmp_path):
    """By the script that --data gnad10 calls too: it needs no torch, so its processes start fast."""
    command = [sys.executable, "data/gnad10/prepare.py"]

    def prepare(url):
        done = subprocess.run(
            command, cwd=train.place, env=train.environment(url), text=True, capture_output=True, check=False
        )
        return done.returncode, done.stderr, None

    way_out = "python data/gnad10/prepare.py --from-folder FOLDER"
    with serve(tmp_path) as hub:  # a hub without the dataset
        url = hub.url
        one_line(prepare(url), GNAD, "doesn't exist on the Hub", way_out)
    one_line(prepare(url), GNAD, "no connection to the hub", way_out)
    with serve(repositories) as hub:
        hub.cuts = {f"{GNAD}/data/train-00000-of-00001.parquet": 99}
        one_line(prepare(hub.url), GNAD, "the connection to the hub broke", way_out)
        assert not list((train.place / "data/gnad10").glob("*.csv"))
        hub.cuts = {}
        assert prepare(hub.url)[:2] == (0, "")


READ = """
import contextlib, io, json, sys
from common.cli import UserError
from common.data import load_dataset
for name, options in json.loads(sys.argv[1]):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            dataset = load_dataset(name, **options)
        frames = {split: frame.to_dict("list") for split, frame in dataset.frames.items()}
        print(json.dumps([dataset.name, dataset.location, dataset.classes, frames, sorted(dataset.fingerprint)]))
    except UserError as error:
        print(json.dumps(str(error)))
"""


def test_any_dataset_on_the_hub(train, tmp_path):
    """--data owner/name[:config], by the real client: ClassLabel names, withheld labels, splits, refusals."""
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["Sport", "Web"]),
            "n": datasets.Value("int64"),
        }
    )
    rows = {"train": (["Ein Tor", "Ein Netz"], [0, 1]), "validation": (["Sieg"], [0]), "test": (["Noch eins"], [-1])}
    place = tmp_path / "hub/datasets/some/news"
    for config in ("de", "at"):
        (place / config).mkdir(parents=True)
        for split, (texts, labels) in rows.items():
            columns = {"text": [f"{text} {config}" for text in texts], "label": labels, "n": list(range(len(texts)))}
            datasets.Dataset.from_dict(columns, features=features).to_parquet(place / config / f"{split}.parquet")
    lines = [f"- config_name: {name}\n  data_dir: {name}\n" for name in ("de", "at")]
    (place / "README.md").write_text("---\nconfigs:\n" + "".join(lines) + "---\n")
    outside = tmp_path / "hub/datasets/only/test"
    outside.mkdir(parents=True)
    (outside / "test.jsonl").write_text('{"text": "a", "label": "b"}\n')

    asked = [
        ["some/news:at", {}],
        ["some/news:at", {"id_column": "n"}],
        ["some/news:at", {"text_column": "body"}],
        ["only/test", {}],
        ["no/body", {}],
        ["some/news:ch", {}],
    ]
    with serve(tmp_path / "hub") as hub:  # one process for all, as the client takes seconds to start
        command = [sys.executable, "-c", READ, json.dumps(asked)]
        settings = {"cwd": train.place, "env": train.environment(hub.url)}
        done = subprocess.run(command, text=True, capture_output=True, check=True, **settings)
    read, numbered, body, test, nobody, config = map(json.loads, done.stdout.splitlines()[-len(asked) :])
    name, location, classes, frames, parts = read
    assert (name, location, classes) == ("news-at", "some/news:at", ["Sport", "Web"])
    assert frames["train"] == {"id": ["1", "2"], "text": ["Ein Tor at", "Ein Netz at"], "label": ["Sport", "Web"]}
    assert frames["valid"] == {"id": ["1"], "text": ["Sieg at"], "label": ["Sport"]}
    assert frames["test"] == {"id": ["1"], "text": ["Noch eins at"]}  # -1 stands for a label that is withheld
    assert parts == ["test", "train", "validation"]
    assert numbered[3]["train"]["id"] == ["0", "1"]
    assert "some/news:at, split train has no column 'body'; it has: text, label, n" in body
    assert "only/test has no split 'train'; it has: test" in test
    assert nobody.startswith("no file or folder 'no/body'; as a dataset on the hub: no/body ")
    assert "some/news:ch" in config and "at" in config


@pytest.mark.slow  # it waits for a silent server
def test_a_hub_that_swallows_packets_costs_seconds(train):
    """A socket that accepts and never answers: what a firewall or a captive portal looks like."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (answer,) = train(url, ["--model", "gbert-base", "--data", "sample"])
        one_line(answer, "no connection to the hub", "timed out")
        assert time.monotonic() - start < 120  # without a limit it would never end
