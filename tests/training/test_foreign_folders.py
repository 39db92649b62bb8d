"""Model folders as people have them: named like a short name, half copied, edited, saved by another project."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from transformers import pipeline

import predict
import train
from common.cli import UserError
from common.data import load_dataset
from common.predictions import read_predictions
from common.saved.settings import Settings
from common.training.compute.devices import open_device
from common.training.encoders.configs import describe_source
from common.training.encoders.sources import find_source, weight_files
from common.training.saved import load_encoder
from tests.training.encoder_folders import edit_json
from tests.training.small_encoders import save_small_encoder
from tests.training.test_train import QUICK


@pytest.fixture(scope="module")
def small_run(small_data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "first"
    assert train.main([*QUICK, "--data", str(small_data), "--max-length", "128", "--run", str(run)]) == 0
    return run


@pytest.fixture
def trained(small_run, in_tmp):
    """The model folder of a small run."""
    shutil.copytree(small_run, "runs/first")
    return Path("runs/first/model")


def refused(capsys, *arguments):
    assert predict.main([*map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("name", ["./tiny", "gbert-base"])
def test_a_copy_named_like_a_short_name(name, trained, small_data):
    shutil.copytree(trained, name)
    test = str(small_data / "test.csv")
    assert (
        predict.main([name, test, "--output", "copy.csv"]) == predict.main(["first", test, "--output", "run.csv"]) == 0
    )
    assert Path("copy.csv").read_bytes() == Path("run.csv").read_bytes()
    folder = find_source(f"./{name}")
    assert folder.folder == Path(name) and describe_source(folder)["parameters"] > 0
    assert find_source("tiny").folder is None


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_a_model_folder_without_its_tokenizer_is_refused(file, trained, small_data, capsys):
    (trained / file).unlink()
    error = refused(capsys, trained, small_data / "test.csv", "--output", "x.csv")
    assert "has no" in error and not Path("x.csv").exists()


def test_a_changed_tokenizer_is_another_encoder(trained):
    before = describe_source(find_source(str(trained)))
    edit_json(trained / "tokenizer_config.json", do_lower_case=True)
    assert describe_source(find_source(str(trained)))["revision"] != before["revision"]


def test_links_to_files_that_are_not_there(trained, small_data, capsys):
    (trained / "model.safetensors").unlink()
    (trained / "model.safetensors").symlink_to("../../blobs/abc")
    assert "link to a file that is not there" in refused(capsys, trained, small_data / "test.csv", "--output", "x.csv")
    with pytest.raises(UserError, match="link to a file that is not there"):
        find_source(str(trained))


def test_weights_beside_other_safetensors(tmp_path):
    for name in ("adapter_model.safetensors", "pytorch_model.bin"):
        (tmp_path / name).touch()
    assert [path.name for path in weight_files(tmp_path)] == ["pytorch_model.bin"]
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    assert [path.name for path in weight_files(tmp_path)] == ["model-00001-of-00002.safetensors"]


def test_a_checkpoints_own_form_of_output_goes(trained, small_data, in_tmp):
    """`pipeline` on the saved folder says what we say."""
    others = {"problem_type": "multi_label_classification", "output_attentions": True, "return_dict": False}
    edit_json(trained / "config.json", **others)
    arguments = [*QUICK[2:], "--model", str(trained), "--data", str(small_data), "--run", "second"]
    arguments += ["--max-length", "128"]
    assert train.main(arguments) == 0
    ours = read_predictions("runs/second/predictions/test.csv")
    classify = pipeline("text-classification", model="runs/second/model", top_k=None, device="cpu")
    texts = load_dataset(small_data).test["text"].tolist()
    for row, found in enumerate(classify(texts[:3])):
        scores = {each["label"]: each["score"] for each in found}
        assert [scores[name] for name in ours.classes] == pytest.approx(ours.probabilities[row].tolist(), abs=1e-5)


def test_a_vocabulary_without_its_unknown_token(small_data, in_tmp, capsys):
    save_small_encoder("bert", Path("m"))
    for path in Path("m").glob("*token*"):
        path.unlink()
    Path("m/vocab.txt").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert train.main([*QUICK[2:], "--model", "m", "--data", str(small_data), "--run", "x"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "model folder m cannot be loaded" in error


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "gpt2", "deberta-v2"])
def test_a_blank_text_without_special_tokens_has_probabilities(model_type, tmp_path):
    """Alone and among others: no text has fewer than one token."""
    save_small_encoder(model_type, tmp_path)
    edit_json(tmp_path / "tokenizer.json", post_processor=None)
    settings = Settings(classes=["LABEL_0", "LABEL_1"], max_length=20, long_texts="windows")
    predict_batch = load_encoder(tmp_path, settings, open_device("cpu", distributed=False))
    alone, among = predict_batch(["", " "]), predict_batch(["Der Ball.", "", "Der Sturm war stark.", " "])
    assert alone == pytest.approx(among[[1, 3]], abs=1e-6) and np.isfinite(alone).all()
    assert not np.allclose(among[0], among[1], atol=1e-3)
