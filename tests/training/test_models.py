"""Loading: where an encoder comes from, the traps of published checkpoints, what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from common.cli import UserError
from common.training.configs import describe_source, max_positions
from common.training.models import head_parameters, load_model
from common.training.registry import MODELS
from common.training.sources import find_source
from common.training.tiny import build_tiny_tokenizer
from common.training.tokenizer import load_tokenizer, tokenizer_warnings

TEXTS = ["Der Sturm auf der Straße war für alle stark.", "Für Öl und Ärger sorgt der Übermut der Fußballer."] * 3
CLASSES = ["Kultur", "Sport"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tiny_tokenizer(TEXTS)


@pytest.fixture
def checkpoint(tmp_path, tokenizer):
    """A folder as pre-training leaves it: an encoder without pooler and head, in float16."""
    torch.manual_seed(1)
    config = BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **SIZES)
    BertForMaskedLM(config).half().save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def load(folder, **settings):
    source = find_source(str(folder))
    tokenizer, _ = load_tokenizer(source, TEXTS)
    return load_model(source, tokenizer, CLASSES, **{"seed": 0, "pooling": "first", **settings})


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


@pytest.mark.parametrize("kept", [(), ("tokenizer_config.json",)])
def test_a_folder_without_vocabulary_is_refused(checkpoint, kept):
    for path in checkpoint.glob("tokenizer*"):
        if path.name not in kept:
            path.unlink()
    with pytest.raises(UserError, match=r"no vocabulary: expected vocab\.txt \(or tokenizer\.json\)"):
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


def test_positions_cap_a_tokenizer_without_maximum(tmp_path, tokenizer):
    """GottBERT: RoBERTa counts positions from the padding id + 1, and its tokenizer names no maximum."""
    config = RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=514, pad_token_id=1, **SIZES)
    assert max_positions(config) == 512
    RobertaModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    unlimited = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, unk_token="[UNK]")
    assert unlimited.model_max_length > 1e20
    unlimited.save_pretrained(tmp_path)
    loaded, _ = load_tokenizer(find_source(str(tmp_path)), TEXTS)
    assert loaded.model_max_length == 512
    assert max_positions(BertConfig(max_position_embeddings=512)) == 512


def simple_tokenizer(lowercase, strip_accents, vocabulary):
    words = Tokenizer(models.WordLevel({word: k for k, word in enumerate(["[UNK]", *vocabulary])}, unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")


def test_tokenizers_that_harm_german_are_named(tokenizer):
    words = ["für", "fur", "Straße", "straße", "Öl", "Ärger", "Übermut", "und", ","]
    stripped = ["fur", "straße", "strasse", "ol", "arger", "ubermut", "und", ","]
    assert tokenizer_warnings(simple_tokenizer(False, False, words)) == []
    assert tokenizer_warnings(tokenizer) == []
    both = tokenizer_warnings(simple_tokenizer(True, True, stripped))
    assert len(both) == 2 and "strips umlauts" in both[0] and "lowercases" in both[1]
    assert "knows no umlauts" in tokenizer_warnings(simple_tokenizer(False, False, words[:2]))[-1]


def test_the_identity_of_a_folder_is_its_content(checkpoint, tmp_path):
    before = describe_source(find_source(str(checkpoint)))
    moved = checkpoint.rename(tmp_path / "elsewhere")
    assert describe_source(find_source(str(moved))) == before
    assert before["parameters"] == sum(p.numel() for p in BertModel(BertConfig.from_pretrained(moved)).parameters())
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-6}))
    assert describe_source(find_source(str(moved)))["revision"] != before["revision"]


def test_tiny_is_the_same_every_time():
    one, two = build_tiny_tokenizer(TEXTS), build_tiny_tokenizer(reversed(TEXTS))
    assert one.backend_tokenizer.to_str() == two.backend_tokenizer.to_str()
    assert one.decode(one("Straße für Öl")["input_ids"], skip_special_tokens=True) == "Straße für Öl"
