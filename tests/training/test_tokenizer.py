"""The tokenizer that an encoder gets: the one of its files, whole, measured on the training texts."""

import importlib.util
import json

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    BertConfig,
    LlamaConfig,
    LlamaModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from common.cli import UserError
from common.training.encoders.configs import max_positions
from common.training.encoders.sources import find_source
from common.training.encoders.tiny import build_tiny_tokenizer
from common.training.encoders.tokenizer import load_tokenizer, tokenizer_warnings
from tests.training.encoder_folders import SIZES, TEXTS, edit_json, load


@pytest.mark.parametrize("kept", [(), ("tokenizer_config.json",)])
def test_a_folder_without_vocabulary_is_refused(checkpoint, kept):
    for path in checkpoint.glob("tokenizer*"):
        if path.name not in kept:
            path.unlink()
    with pytest.raises(UserError, match=r"no vocabulary: expected vocab\.txt \(or tokenizer\.json\)"):
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
    assert max_positions(MPNetConfig(max_position_embeddings=40, pad_token_id=0)) == 38


@torch.no_grad()
def test_the_longest_text_that_mpnet_reads():
    config = MPNetConfig(vocab_size=9, max_position_embeddings=40, pad_token_id=0, **SIZES)
    model = MPNetModel(config).eval()
    assert model(torch.full((1, max_positions(config)), 5)).last_hidden_state.shape[1] == 38
    with pytest.raises(IndexError):
        model(torch.full((1, max_positions(config) + 1), 5))


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
    assert "has no umlauts" in tokenizer_warnings(simple_tokenizer(False, False, words[:2]))[-1]


def test_tiny_is_the_same_every_time():
    one, two = build_tiny_tokenizer(TEXTS), build_tiny_tokenizer(reversed(TEXTS))
    assert one.backend_tokenizer.to_str() == two.backend_tokenizer.to_str()
    assert one.decode(one("Straße für Öl")["input_ids"], skip_special_tokens=True) == "Straße für Öl"


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
    assert warnings == ["transformers gives other tokens than the encoder's tokenizer.json; tokenizer.json is used"]
    tokenizer.save_pretrained(checkpoint)
    assert AutoTokenizer.from_pretrained(checkpoint)(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]

    save_tokenizer(checkpoint, lowercase=False, do_lower_case=False)
    assert load_tokenizer(find_source(str(checkpoint)), TEXTS)[1] == []


def test_a_wordpiece_file_under_roberta_gives_words_not_letters(checkpoint):
    original = save_tokenizer(checkpoint, lowercase=False)
    edit_json(checkpoint / "config.json", model_type="roberta", architectures=["RobertaModel"])
    tokenizer, warnings = load_tokenizer(find_source(str(checkpoint)), TEXTS)
    assert tokenizer(TEXTS)["input_ids"] == [encoding.ids for encoding in original.encode_batch(TEXTS)]
    assert "tokenizer.json is used" in warnings[0]


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
