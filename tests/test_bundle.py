"""notebooks/bundle.py: what it packs, and what it asks of pip. That pip can install it offline was tried by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

from notebooks import bundle

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def pip(monkeypatch):
    """Stands in for pip: the commands, each with the requirements that it was given; `fails` lets it fail."""
    run, calls = subprocess.run, []

    def pretend(command, **options):
        if command[1:3] != ["-m", "pip"]:
            return run(command, **options)
        calls.append((command, Path(command[-1]).read_text(encoding="utf-8")))
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir()
        (folder / "some.whl").write_bytes(bytes(1_000_000))
        return subprocess.CompletedProcess(command, int("fails" in calls))

    monkeypatch.setattr(bundle.subprocess, "run", pretend)
    return calls


@pytest.fixture
def committed():
    """Skips where there is no clone: a bundle's own repository has no history."""
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("no git clone")


def test_the_three_parts_of_a_bundle(in_tmp, pip, committed, capsys):
    assert bundle.main(["--model", "starter", "--output", "b", "--python", "3.12"]) == 0
    tracked = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "-z", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    packed = {str(path.relative_to("b/repository")) for path in Path("b/repository").rglob("*") if path.is_file()}
    assert packed == set(filter(None, tracked.stdout.split("\0")))
    encoder = {path.name: path.read_bytes() for path in Path("b/encoder").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= encoder.keys()
    assert all((ROOT / "models/starter" / name).read_bytes() == content for name, content in encoder.items())

    ((command, wanted),) = pip
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert command[command.index("--python-version") + 1] == "3.12" and command.count("--platform") == 3
    assert command[command.index("-c") + 1] == str(ROOT / "constraints.txt")
    names = [line.split(">=")[0] for line in wanted.splitlines() if ">=" in line]
    assert "transformers" in names and "torch" not in names  # Kaggle and Colab have torch
    assert "wrote b/: repository, encoder, wheels; " in capsys.readouterr().out

    assert bundle.main(["--model", "starter", "--output", "b"]) == 2
    assert "b is not empty; name another with --output" in capsys.readouterr().err


def test_torch_if_asked_for_and_what_pip_refuses(in_tmp, pip, committed, capsys):
    pip.append("fails")
    assert bundle.main(["--model", "starter", "--torch"]) == 2
    assert "pip could not download the wheels" in capsys.readouterr().err
    command, wanted = pip[1]
    assert any(line.startswith("torch>=") for line in wanted.splitlines()) and "--platform" not in command


def test_the_bundles_encoder_is_one(in_tmp):
    from common.training.encoders.sources import find_source

    bundle.pack_encoder("starter", Path("encoder"))
    assert find_source("encoder").folder == Path("encoder")


def test_an_encoder_without_safetensors_is_refused(in_tmp, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, local_dir, **__: Path(local_dir).mkdir())
    with pytest.raises(bundle.UserError, match="'owner/old' has no safetensors weights"):
        bundle.pack_encoder("owner/old", Path("encoder"))
    Path("old").mkdir()
    for name in ("config.json", "pytorch_model.bin"):
        Path("old", name).write_text("{}")
    with pytest.raises(bundle.UserError, match="'old' has no safetensors weights"):
        bundle.pack_encoder("./old", Path("encoder"))
