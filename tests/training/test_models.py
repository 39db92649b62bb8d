"""Loading: where an encoder comes from, the traps of published checkpoints, what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
)

from common.cli import UserError
from common.training.encoders.configs import describe_source
from common.training.encoders.models import head_parameters, unshared_weights
from common.training.encoders.registry import MODELS
from common.training.encoders.sources import find_source
from common.training.encoders.tokenizer import load_tokenizer
from common.training.run import _stuck_line
from tests.training.encoder_folders import SIZES, TEXTS, edit_json, load
from tests.training.small_encoders import save_small_encoder

ROOT = Path(__file__).resolve().parents[2]


def test_short_names_hub_ids_and_folders(checkpoint):
    assert find_source("gbert-base").location == "deepset/gbert-base"
    assert find_source("gottbert-base").location == "TUM/GottBERT_base_last"
    assert find_source("someone/some-model").location == "someone/some-model"
    assert find_source(str(checkpoint)).location == str(checkpoint)
    assert all("/" in spec.hub_id and spec.licence for spec in MODELS.values())


@pytest.mark.parametrize("name", ["gbert", "./missing", "/missing/folder", "a/b/c", ""])
def test_unknown_models_are_refused(name):
    with pytest.raises(UserError, match="no model"):
        find_source(name)


def test_a_hub_name_without_network_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"deepset/gbert-base.*cannot be fetched.*--model starter or tiny"):
        load_tokenizer(find_source("gbert-base"), TEXTS)


def test_a_float16_checkpoint_becomes_float32_with_a_seeded_head(checkpoint):
    one, two, other = load(checkpoint), load(checkpoint), load(checkpoint, seed=1)
    assert {parameter.dtype for parameter in one.parameters()} == {torch.float32}
    assert torch.equal(one.classifier.weight, two.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    assert torch.equal(one.bert.encoder.layer[0].output.dense.weight, other.bert.encoder.layer[0].output.dense.weight)
    assert one.config.id2label == {0: "Kultur", 1: "Sport"}
    assert head_parameters(one) == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }


def test_dropout_settings(checkpoint):
    model = load(checkpoint, dropout=0.3, attention_dropout=0.0)
    assert (model.config.hidden_dropout_prob, model.config.attention_probs_dropout_prob) == (0.3, 0.0)
    assert load(checkpoint, attention_dropout=None).config.attention_probs_dropout_prob == 0.1


def test_missing_encoder_weights_are_refused(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(UserError, match=r"16 encoder weights are missing"):
        load(checkpoint)


def test_encoder_weights_without_a_place_get_a_warning(checkpoint):
    """A head of pre-training, position ids and a pooler are no part of the encoder's layers."""
    lines = []
    weights = load_file(checkpoint / "model.safetensors")
    extra = {"bert.embeddings.position_ids": torch.arange(512)[None], "bert.pooler.extra.weight": torch.zeros(1)}
    save_file(weights | extra, checkpoint / "model.safetensors", metadata={"format": "pt"})
    load(checkpoint, print_line=lines.append)
    assert lines == []
    edit_json(checkpoint / "config.json", num_hidden_layers=1)
    load(checkpoint, print_line=lines.append)
    name = "bert.encoder.layer.1.attention.output.LayerNorm.bias"
    assert [line.split(";")[0] for line in lines] == [
        f"warning: 16 encoder weights of the checkpoint are not used, e.g. {name}"
    ]
    BertModel(BertConfig(vocab_size=len(weights["bert.embeddings.word_embeddings.weight"]), **SIZES)).save_pretrained(
        checkpoint
    )
    edit_json(checkpoint / "config.json", num_hidden_layers=1)
    load(checkpoint, print_line=lines.append)
    assert lines[1] == lines[0].replace("bert.", "")


def test_relative_positions_are_refused(checkpoint):
    edit_json(checkpoint / "config.json", position_embedding_type="relative_key_query")
    with pytest.raises(UserError, match=r"position_embedding_type 'relative_key_query'.*absolute positions"):
        load(checkpoint)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_bert_that_is_a_decoder_is_refused(checkpoint, pooling):
    """Its logits would be the same for all texts."""
    edit_json(checkpoint / "config.json", is_decoder=True)
    with pytest.raises(UserError, match=r"is a decoder .*set \"is_decoder\" to false"):
        load(checkpoint, pooling=pooling)


def to_pickle(folder, **changes):
    """Replace a folder's model.safetensors by pytorch_model.bin; `changes` go into the dictionary of weights."""
    torch.save(load_file(folder / "model.safetensors") | changes, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_pickled_tensors_are_read_and_pickled_code_is_not(checkpoint, tmp_path):
    before = load(checkpoint).state_dict()
    to_pickle(checkpoint)
    assert describe_source(find_source(str(checkpoint)))["weights"] == "pickle"
    after = load(checkpoint).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)

    class Evil:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    torch.save({"bert": Evil()}, checkpoint / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be loaded"):
        load(checkpoint)
    assert not (tmp_path / "ran").exists()
    (checkpoint / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match=r"no weights: expected model\.safetensors or pytorch_model\.bin"):
        find_source(str(checkpoint))


@pytest.mark.parametrize(
    ("name", "architectures"),
    [("gbert", ["BertForMaskedLM"]), ("some-encoder", ["BertForMaskedLM"]), ("deepset-gbert-base", None)],
)
def test_a_config_without_model_type(checkpoint, name, architectures):
    before = load(checkpoint).state_dict()
    config = json.loads((checkpoint / "config.json").read_text())
    del config["model_type"]
    folder = checkpoint.rename(checkpoint.with_name(name))
    (folder / "config.json").write_text(json.dumps(config | {"architectures": architectures}))
    model = load(folder)
    assert model.config.to_dict()["model_type"] == "bert"
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_config_that_tells_nothing_is_refused_with_the_way_out(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    del config["model_type"], config["architectures"]
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"no model_type.*add \"model_type\""):
        load(checkpoint)


def test_remote_code_is_never_run(checkpoint):
    (checkpoint / "evil.py").write_text("raise SystemExit('ran')")
    config = json.loads((checkpoint / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot be loaded"):
        load(checkpoint)


def test_damaged_weights_are_refused(checkpoint):
    data = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="cannot be loaded"):
        load(checkpoint)


def test_the_identity_of_a_folder_is_its_content(checkpoint, tmp_path):
    before = describe_source(find_source(str(checkpoint)))
    moved = checkpoint.rename(tmp_path / "elsewhere")
    assert describe_source(find_source(str(moved))) == before
    assert before["parameters"] == sum(p.numel() for p in BertModel(BertConfig.from_pretrained(moved)).parameters())
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-6}))
    assert describe_source(find_source(str(moved)))["revision"] != before["revision"]


def test_old_names_buffers_types_and_shards_of_weights(checkpoint):
    """gamma and beta for LayerNorm, a position-id buffer, bfloat16, and pickles in two parts: all the same weights."""
    before = load(checkpoint).state_dict()
    weights = load_file(checkpoint / "model.safetensors")
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in weights.items()}
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): tensor.clone() for name, tensor in old.items()}
    old["bert.embeddings.position_ids"] = torch.arange(512)[None]
    (checkpoint / "model.safetensors").unlink()
    names = sorted(old)
    parts = {"pytorch_model-00001-of-00002.bin": names[:9], "pytorch_model-00002-of-00002.bin": names[9:]}
    for file, part in parts.items():
        torch.save({name: old[name] for name in part}, checkpoint / file)
    places = {name: file for file, part in parts.items() for name in part}
    (checkpoint / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    after = load(checkpoint).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)

    BertForMaskedLM.from_pretrained(checkpoint).bfloat16().save_pretrained(checkpoint, max_shard_size="5KB")
    assert len(list(checkpoint.glob("model-*.safetensors"))) > 1
    model = load(checkpoint)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    rounded = before["bert.embeddings.word_embeddings.weight"].bfloat16().float()
    assert torch.equal(model.state_dict()["bert.embeddings.word_embeddings.weight"], rounded)


def test_a_pooler_that_is_there_is_kept(checkpoint, tokenizer):
    config = BertConfig.from_pretrained(checkpoint)
    with_pooler = BertModel(config)
    with_pooler.save_pretrained(checkpoint)
    assert torch.equal(load(checkpoint).bert.pooler.dense.weight, with_pooler.pooler.dense.weight)


def classifier(folder, tokenizer, names):
    """A BERT that classifies into `names` already."""
    labels = dict(enumerate(names))
    torch.manual_seed(2)
    config = BertConfig(vocab_size=len(tokenizer), id2label=labels, label2id={v: k for k, v in labels.items()}, **SIZES)
    model = BertForSequenceClassification(config)
    model.classifier.bias.data = torch.arange(float(len(names)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def test_a_head_goes_by_the_names_of_its_classes(tmp_path, tokenizer):
    lines = []
    before = classifier(tmp_path, tokenizer, ["Sport", "Kultur"])
    head = load(tmp_path, print_line=lines.append).classifier
    assert torch.equal(head.weight, before.classifier.weight[[1, 0]])
    assert head.bias.tolist() == [1.0, 0.0]
    assert "is kept" in lines[-1]

    before = classifier(tmp_path, tokenizer, ["Ja", "Nein"])
    head, again = load(tmp_path, print_line=lines.append).classifier, load(tmp_path, print_line=lines.append).classifier
    assert not torch.isclose(head.weight, before.classifier.weight).any() and head.bias.tolist() == [0.0, 0.0]
    assert torch.equal(head.weight, again.weight)
    assert "other classes (Ja, Nein" in lines[-1]

    classifier(tmp_path, tokenizer, ["a", "b", "c"])
    assert load(tmp_path, print_line=lines.append).classifier.weight.shape == (2, 16)
    assert len(lines) == 3


def test_dropout_goes_under_the_configurations_own_names(tmp_path, tokenizer):
    from transformers import FNetConfig, FNetModel, GPT2Config, GPT2Model

    GPT2Model(GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path / "gpt2")
    FNetModel(FNetConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1)).save_pretrained(
        tmp_path / "fnet"
    )
    for name in ("gpt2", "fnet"):
        tokenizer.save_pretrained(tmp_path / name)
    config = load(tmp_path / "gpt2", dropout=0.3, attention_dropout=0.0).config
    assert (config.resid_pdrop, config.attn_pdrop) == (0.3, 0.0)
    assert load(tmp_path / "fnet", dropout=0.3, attention_dropout=0.0).config.hidden_dropout_prob == 0.3
    with pytest.raises(UserError, match=r"--attention-dropout 0\.1: fnet has no such dropout"):
        load(tmp_path / "fnet", attention_dropout=0.1)


@pytest.mark.parametrize("architecture", ["modernbert", "funnel", "gpt_neo"])
def test_dropout_is_that_of_hidden_states(tmp_path, architecture):
    save_small_encoder(architecture, tmp_path)
    model = load(tmp_path, dropout=0.3, attention_dropout=0.0)
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)}
    expected = {  # in the embeddings, in a layer, before the head
        "modernbert": {"model.embeddings.drop", "model.layers.1.mlp.drop", "drop"},
        "funnel": {"funnel.embeddings.dropout", "funnel.encoder.blocks.0.0.ffn.dropout", "classifier.dropout"},
        "gpt_neo": {"transformer.h.0.attn.attention.resid_dropout"},
    }
    assert {rates[name] for name in expected[architecture]} == {0.3}


def test_folders_that_hold_a_model_elsewhere(tmp_path, checkpoint):
    run = tmp_path / "run"
    shutil.copytree(checkpoint, run / "model")
    (run / "config.json").write_text("{}")
    (run / "predictions").mkdir()
    with pytest.raises(UserError, match=r"is a run folder; use its model: --model .*run/model$"):
        find_source(str(run))
    shutil.copytree(run, tmp_path / "ensemble/members/seed0")
    (tmp_path / "ensemble/config.json").write_text("{}")
    with pytest.raises(UserError, match=r"ensemble's folder.*members/seed0/model$"):
        find_source(str(tmp_path / "ensemble"))
    shutil.copytree(checkpoint, tmp_path / "models--a--b/snapshots/c0ffee")
    with pytest.raises(UserError, match=r"hub cache folder.*snapshots/c0ffee$"):
        find_source(str(tmp_path / "models--a--b"))
    with pytest.raises(UserError, match=r"hub cache folder.*models--a--b/snapshots/c0ffee$"):
        find_source(str(tmp_path))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"PEFT adapter.*merge_and_unload"):
        find_source(str(tmp_path / "adapter"))


def test_a_mistyped_name_costs_no_import_of_torch():
    with pytest.raises(UserError, match=r"no model 'gbert-bse': did you mean gbert-base\?"):
        find_source("gbert-bse")
    code = "import sys, train; code = train.main(['--model', 'gbert-bse']); print(code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["2", "False"] and "did you mean gbert-base?" in done.stderr


def test_weights_that_are_shared_are_saved_once(tmp_path, tokenizer):
    from transformers import BartConfig, BartForSequenceClassification

    sizes = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 1)
    model = BartForSequenceClassification(
        BartConfig(vocab_size=len(tokenizer), d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, **sizes)
    )
    model.save_pretrained(tmp_path)
    assert unshared_weights(model).keys() == load_file(tmp_path / "model.safetensors").keys()


def test_nearly_all_rows_in_one_class_is_said():
    labels = np.array(["a"] * 5 + ["b"] * 15)
    assert _stuck_line(np.array(["a"] * 20), labels).startswith(
        "warning: 100% of the validation rows are predicted as a"
    )
    assert _stuck_line(np.array(["a"] * 18 + ["b"] * 2), labels) is None  # 90 %
    assert _stuck_line(np.array(["a"] * 19), labels[1:]) is None  # too few rows to say so
    assert _stuck_line(np.array(["b"] * 20), np.array(["b"] * 16 + ["a"] * 4)) is None  # 80 % of the rows are b
