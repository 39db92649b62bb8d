"""Loading: where an encoder comes from, the traps of published checkpoints, what is refused."""

import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from common.cli import UserError
from common.training.configs import describe_source, max_positions
from common.training.models import head_parameters, load_model, unshared_weights
from common.training.registry import MODELS
from common.training.run import _stuck_line
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


def edit_json(path, **changes):
    """Change keys of a JSON file; None takes a key out."""
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")


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


def save_tokenizer(folder, lowercase, **config):
    """A whole tokenizer.json of TEXTS' words, and a tokenizer_config.json that says what is given."""
    words = sorted({word for text in TEXTS for word in text.replace(".", " .").split()})
    pieces = [word.lower() for word in words] if lowercase else words
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    ids = {piece: number for number, piece in enumerate([*marks, *sorted(set(pieces))])}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    tokenizer.add_special_tokens(marks)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    edit_json(folder / "config.json", vocab_size=len(ids))
    return tokenizer


def test_the_tokenizer_is_that_of_the_file(checkpoint):
    """transformers 5 lower-cases a BERT tokenizer whose tokenizer_config.json does not say do_lower_case."""
    original = save_tokenizer(checkpoint, lowercase=False)
    tokenizer, warnings = load_tokenizer(find_source(str(checkpoint)), TEXTS)
    assert tokenizer(TEXTS)["input_ids"] == [encoding.ids for encoding in original.encode_batch(TEXTS)]
    assert (tokenizer.cls_token, tokenizer.pad_token, tokenizer.unk_token) == ("[CLS]", "[PAD]", "[UNK]")
    assert warnings == [
        "transformers reads other tokens than the encoder's own tokenizer.json gives; tokenizer.json is taken"
    ]
    tokenizer.save_pretrained(checkpoint)
    assert AutoTokenizer.from_pretrained(checkpoint)(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]

    save_tokenizer(checkpoint, lowercase=False, do_lower_case=False)
    assert load_tokenizer(find_source(str(checkpoint)), TEXTS)[1] == []


def test_a_wordpiece_file_under_roberta_gives_words_not_letters(checkpoint):
    original = save_tokenizer(checkpoint, lowercase=False)
    edit_json(checkpoint / "config.json", model_type="roberta", architectures=["RobertaModel"])
    tokenizer, warnings = load_tokenizer(find_source(str(checkpoint)), TEXTS)
    assert tokenizer(TEXTS)["input_ids"] == [encoding.ids for encoding in original.encode_batch(TEXTS)]
    assert "tokenizer.json is taken" in warnings[0]


def test_unknown_words_are_measured_on_the_training_texts(checkpoint):
    save_tokenizer(checkpoint, lowercase=False, do_lower_case=False)
    source = find_source(str(checkpoint))
    strange = "Trainer trainieren Fußballer"  # one word of three is known
    known = "Der Sturm auf der Straße war für alle stark ."  # ten words, all known
    _, warnings = load_tokenizer(source, [known] * 9 + [strange])
    assert any("2.2% of the training texts' tokens are unknown" in line for line in warnings)  # 2 of 93
    assert not any("unknown" in line for line in load_tokenizer(source, [known] * 10 + [strange])[1])  # 2 of 103
    with pytest.raises(UserError, match=r"66\.7% of the training texts' tokens are unknown"):
        load_tokenizer(source, [strange])


def test_a_tokenizer_that_does_not_fit_is_refused_or_named(checkpoint):
    save_tokenizer(checkpoint, lowercase=False, do_lower_case=False)
    rows = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    edit_json(checkpoint / "config.json", vocab_size=rows - 1)
    with pytest.raises(UserError, match=rf"{rows} tokens, its word embeddings {rows - 1} rows"):
        load_tokenizer(find_source(str(checkpoint)), TEXTS)
    edit_json(checkpoint / "config.json", vocab_size=rows)
    edit_json(checkpoint / "tokenizer.json", post_processor=None)
    edit_json(checkpoint / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", cls_token="[CLS]")
    _, warnings = load_tokenizer(find_source(str(checkpoint)), TEXTS)
    assert any("special tokens at both ends" in line for line in warnings)


def test_words_in_many_pieces_are_named(checkpoint):
    letters = sorted(set("".join(TEXTS)) - {" "})
    ids = {token: number for number, token in enumerate(["[PAD]", "[UNK]", *letters, *("##" + x for x in letters)])}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
    fast.save_pretrained(checkpoint)
    edit_json(checkpoint / "config.json", vocab_size=len(ids))
    _, warnings = load_tokenizer(find_source(str(checkpoint)), TEXTS)
    expected = sum(len(text.replace(" ", "")) for text in TEXTS) / sum(len(text.split()) for text in TEXTS)
    assert any(f"{expected:.1f} tokens per word" in line for line in warnings)


@pytest.mark.parametrize("name", ["spm.model", "sentencepiece.bpe.model"])
def test_sentencepiece_alone_says_what_to_install(checkpoint, name, monkeypatch):
    for path in checkpoint.glob("tokenizer*"):
        path.unlink()
    types = {"spm.model": "deberta-v2", "sentencepiece.bpe.model": "xlm-roberta"}
    edit_json(checkpoint / "config.json", model_type=types[name], architectures=[])
    (checkpoint / name).write_bytes(b"\x0a\x0b")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if "sentence" in package else find(package))
    with pytest.raises(UserError, match=rf"{name}.*pip install sentencepiece protobuf"):
        load_tokenizer(find_source(str(checkpoint)), TEXTS)


def test_a_model_without_padding_token_takes_the_end_token(tmp_path):
    marks = {"eos_token": "[SEP]", "unk_token": "[UNK]", "cls_token": None, "sep_token": None, "pad_token": None}
    tokenizer = build_tiny_tokenizer(TEXTS)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **marks).save_pretrained(tmp_path)
    end = tokenizer.sep_token_id
    config = LlamaConfig(vocab_size=len(tokenizer), eos_token_id=end, num_key_value_heads=2, **SIZES)
    LlamaModel(config).save_pretrained(tmp_path)
    loaded, _ = load_tokenizer(find_source(str(tmp_path)), TEXTS)
    assert loaded.pad_token_id == end and load(tmp_path).config.pad_token_id == end


def test_roberta_without_padding_id_counts_positions_from_the_tokenizers(tmp_path, tokenizer):
    RobertaModel(RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=40, **SIZES)).save_pretrained(
        tmp_path
    )
    tokenizer.save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", pad_token_id=None)
    (tmp_path / "config.json").write_text(
        json.dumps(json.loads((tmp_path / "config.json").read_text()) | {"pad_token_id": None})
    )
    loaded, _ = load_tokenizer(find_source(str(tmp_path)), TEXTS)
    assert loaded.model_max_length == 40 - (tokenizer.pad_token_id + 1)
    assert load(tmp_path).config.pad_token_id == tokenizer.pad_token_id


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
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"PEFT adapter.*merge_and_unload"):
        find_source(str(tmp_path / "adapter"))


def test_a_mistyped_name_costs_no_import_of_torch():
    with pytest.raises(UserError, match=r"no model 'gbert-bse': did you mean gbert-base\?"):
        find_source("gbert-bse")
    code = "import sys, train; code = train.main(['--model', 'gbert-bse']); print(code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
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
    assert _stuck_line(np.array(["b"] * 20), np.array(["b"] * 16 + ["a"] * 4)) is None  # 80 % of the rows are b
