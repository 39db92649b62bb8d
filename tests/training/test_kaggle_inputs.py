"""Kaggle's inputs as they are: read-only, some folders down, under other names."""

import json
import shutil
from pathlib import Path

import pytest

import create_ensemble_submission
import train
from common.cli import UserError
from common.training.encoders.sources import find_source


def test_an_encoder_some_folders_down(tmp_path, checkpoint):
    version = tmp_path / "input/gbert-base/transformers/default/1"
    shutil.copytree(checkpoint, version)
    source = find_source(str(tmp_path / "input/gbert-base"))
    assert (source.name, source.folder) == ("gbert-base", version)
    shutil.copytree(checkpoint, version.with_name("2"))
    with pytest.raises(UserError, match=r"gbert-base holds several encoders; name one: .*default/1, .*default/2$"):
        find_source(str(tmp_path / "input/gbert-base"))


def test_from_read_only_inputs_to_a_submission(in_tmp, small_data, checkpoint, capsys):
    data, model = Path("input/topics/files"), Path("input/encoder/pytorch/small/3")
    shutil.copytree(checkpoint, model)
    data.mkdir(parents=True)
    shutil.copy(small_data / "train.csv", data / "Train.csv")
    shutil.copy(small_data / "test.csv", data / "test.csv")
    ids = [line.split(",")[0] for line in (data / "test.csv").read_text(encoding="utf-8").splitlines()[1:]]
    (data / "sampleSubmission.csv").write_text("\n".join(["Id,Category", *(f"{i},x" for i in ids)]), encoding="utf-8")
    before = sorted(path for path in Path("input").rglob("*"))
    for path in reversed(before):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        options = ["--max-steps", "2", "--max-length", "32", "--long-texts", "head", "--device", "cpu"]
        assert train.main(["--data", "input/topics", "--model", "input/encoder", *options]) == 0
        assert create_ensemble_submission.main(["topics-encoder-seed0"]) == 0
    finally:
        for path in before:
            path.chmod(0o755)
    assert sorted(path for path in Path("input").rglob("*")) == before
    config = json.loads(Path("runs/topics-encoder-seed0/config.json").read_text())
    assert sorted(config["data"]["fingerprint"]) == ["Train.csv", "sampleSubmission.csv", "test.csv"]
    lines = Path("submission.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "Id,Category" and [line.split(",")[0] for line in lines[1:]] == ids
    assert "holds the encoder of input/encoder" in " ".join(capsys.readouterr().out.split())
