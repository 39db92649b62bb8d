"""The clients that users run, with a hub on this machine: first all is well, then come the faults of networks."""

import json
import os
import shutil
import socket
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
from tests.hub_clients import connect_clients, empty_cache, train_each
from tests.scripts import ROOT, run_script
from tests.test_prepare import make_hub

GBERT, GNAD = "deepset/gbert-base", "community-datasets/gnad10"
QUICK = ["--max-length", "16", "--max-steps", "2", "--max-train-rows", "64", "--device", "cpu"]


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


@pytest.fixture(scope="module")
def port():
    """A free one, for the hub: it comes and goes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def clients(port):
    """Clients that know the hub's address."""
    with connect_clients(f"http://127.0.0.1:{port}") as found:
        yield found


@pytest.fixture
def train(tmp_path, clients):
    """A function that runs train.py in a process: command lines -> one [exit code, stderr, seconds] for each."""
    shutil.copytree(ROOT / "data/sample", tmp_path / "data/sample")
    (tmp_path / "data/gnad10").mkdir()  # to be filled
    shutil.copy(ROOT / "data/gnad10/prepare.py", tmp_path / "data/gnad10")

    def run(*command_lines, clients=clients):
        return train_each([[*QUICK, *line] for line in command_lines], tmp_path, tmp_path / "data", **clients)

    run.place = tmp_path
    empty_cache()
    yield run
    empty_cache()


def one_line(answer, *parts):
    """Check that a run was refused in one line that has all `parts`."""
    code, error, _ = answer
    assert code == 2 and error.count("\n") == 1 and error.startswith("error: "), error
    for part in parts:
        assert part in error


def test_fetched_once_then_offline(repositories, train, port):
    first = ["--model", "gbert-base", "--data", "gnad10", "--run", "online"]
    with serve(repositories, port) as hub:
        ((code, error, _),) = train(first)
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
    (train.place / "data/gnad10/train.csv").unlink()
    model = ["--model", "gbert-base", "--data", "gnad10", "--run"]
    answers = train([*model, "gone"], [*model, "online"], ["--model", "gelectra-base", "--data", "sample"])
    assert [answer[:2] for answer in answers[:2]] == [[0, ""], [0, ""]] and max(answer[2] for answer in answers) < 60
    one_line(answers[2], "deepset/gelectra-base", "no connection to the hub", url, "not in the local cache", "starter")
    (train.place / "data/gnad10/train.csv").unlink()
    offline = train([*model, "offline"], clients={})
    assert offline[0][:2] == [0, ""]
    for run in ("gone", "offline"):
        for file in ("config.json", "predictions/valid.csv", "predictions/test.csv"):
            assert (train.place / "runs" / run / file).read_bytes() == (train.place / "runs/online" / file).read_bytes()


def test_what_goes_wrong_is_one_line_and_leaves_nothing_half(repositories, train, port):
    sample = ["--data", "sample", "--run"]
    names = ("nobody/nothing", "no/weights", "only/pickle", "evil/pickle", "flaky/weights", "cut/weights", "cut/config")
    cache = Path(os.environ["HF_HOME"])
    with serve(repositories, port) as hub:
        hub.cuts = {
            "flaky/weights/model.safetensors": 1,
            "cut/weights/model.safetensors": 99,
            "cut/config/config.json": 99,
        }
        lines = [["--model", name, *sample, name.replace("/", "-")] for name in names]
        answers = dict(zip(names, train(*lines), strict=True))
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
        assert not list(cache.rglob("*.incomplete"))
        assert not list(cache.glob("hub/models--cut--weights/snapshots/*/model.safetensors"))

        hub.cuts = {}  # and the same command, on a better day
        assert train(["--model", "cut/weights", *sample, "cut-weights"])[0][:2] == [0, ""]


def test_a_dataset_that_cannot_be_had(repositories, train, port, clients, tmp_path):
    """By the script that --data gnad10 calls too."""

    def prepare():
        done = run_script("data/gnad10/prepare.py", place=train.place, **clients)
        return done.returncode, done.stderr, None

    way_out = "python data/gnad10/prepare.py --from-folder FOLDER"
    with serve(tmp_path, port):  # a hub without the dataset
        one_line(prepare(), GNAD, "doesn't exist on the Hub", way_out)
    one_line(prepare(), GNAD, "no connection to the hub", way_out)
    with serve(repositories, port) as hub:
        hub.cuts = {f"{GNAD}/data/train-00000-of-00001.parquet": 99}
        one_line(prepare(), GNAD, "the connection to the hub broke", way_out)
        assert not list((train.place / "data/gnad10").glob("*.csv"))
        hub.cuts = {}
        assert prepare()[:2] == (0, "")


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


def test_any_dataset_on_the_hub(train, port, clients, tmp_path):
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
    (tmp_path / "read.py").write_text(READ)
    with serve(tmp_path / "hub", port):
        done = run_script(tmp_path / "read.py", json.dumps(asked), place=train.place, **clients)
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
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with connect_clients(url) as clients:
            (answer,) = train(["--model", "gbert-base", "--data", "sample"], clients=clients)
        one_line(answer, "no connection to the hub", "timed out")
        assert time.monotonic() - start < 120  # without a limit it would never end
