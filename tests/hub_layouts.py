"""What the repositories of the registry look like on the hub, and small copies of them with random weights.

File lists and configuration keys are the hub's, as far as they could be read there; "guess" marks what could not.
Sizes are small, weights random, vocabularies made of the texts that are given.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from common.training.encoders.tiny import build_tiny_tokenizer

BERT = {
    "architectures": ["BertForMaskedLM"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
}
LATER_BERT = BERT | {"layer_norm_eps": 1e-12, "model_type": "bert", "pad_token_id": 0}
ELECTRA = {name: value for name, value in BERT.items() if name != "hidden_dropout_prob"} | {
    "architectures": ["ElectraForPreTraining"],
    "bos_token_id": None,
    "embedding_size": 32,
    "layer_norm_eps": 1e-12,
    "model_type": "electra",
}
ROBERTA = BERT | {
    "architectures": ["RobertaForMaskedLM"],
    "bos_token_id": 0,
    "eos_token_id": 2,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 514,
    "model_type": "roberta",
    "pad_token_id": 1,
    "type_vocab_size": 1,
}
XLM_ROBERTA = ROBERTA | {
    "architectures": ["XLMRobertaForMaskedLM"],
    "model_type": "xlm-roberta",
    "output_past": True,
    "position_embedding_type": "absolute",
    "use_cache": True,
}
DISTILBERT = {
    "activation": "gelu",
    "architectures": ["DistilBertForMaskedLM"],
    "attention_dropout": 0.1,
    "dim": 32,
    "dropout": 0.1,
    "hidden_dim": 64,
    "initializer_range": 0.02,
    "max_position_embeddings": 512,
    "model_type": "distilbert",
    "n_heads": 2,
    "n_layers": 2,
    "output_past": True,
    "pad_token_id": 0,
    "qa_dropout": 0.1,
    "seq_classif_dropout": 0.2,
    "sinusoidal_pos_embds": True,
    "tie_weights_": True,
}
EUROBERT = {
    "architectures": ["EuroBertForMaskedLM"],
    "auto_map": {
        "AutoConfig": "configuration_eurobert.EuroBertConfig",
        "AutoModel": "modeling_eurobert.EuroBertModel",
        "AutoModelForSequenceClassification": "modeling_eurobert.EuroBertForSequenceClassification",
    },
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "hidden_dropout": 0.0,
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "max_position_embeddings": 8192,
    "model_type": "eurobert",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 250000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "is_decoder": False,
}
MODERNBERT = {
    "architectures": ["ModernBertForMaskedLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_dropout": 0.0,
    "classifier_pooling": "mean",
    "decoder_bias": True,
    "deterministic_flash_attn": False,
    "embedding_dropout": 0.0,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "hidden_activation": "gelu",
    "hidden_size": 32,
    "intermediate_size": 64,
    "local_attention": 128,
    "local_rope_theta": 10000.0,
    "max_position_embeddings": 8192,
    "model_type": "modernbert",
    "norm_eps": 1e-05,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "position_embedding_type": "absolute",
    "reference_compile": False,
    "sparse_prediction": False,
    "torch_dtype": "float32",
}
DEBERTA = LATER_BERT | {  # guess: the keys of DeBERTa-v3
    "architectures": ["DebertaV2ForMaskedLM"],
    "model_type": "deberta-v2",
    "layer_norm_eps": 1e-07,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "pooler_dropout": 0,
    "pooler_hidden_act": "gelu",
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "position_buckets": 256,
    "relative_attention": True,
    "share_att_key": True,
    "type_vocab_size": 0,
}


@dataclass(frozen=True)
class Layout:
    """A repository: config.json, the kind of tokenizer with its tokenizer_config.json, the files of its weights."""

    config: dict
    tokenizer: str  # "vocab.txt", "vocab.txt + tokenizer.json", "tokenizer.json", "merges", "unigram", "llama"
    tokenizer_config: dict | None
    weights: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    extra: dict = field(default_factory=dict)  # file -> text
    pooler: bool = False
    buffer: str | None = None  # a position-id buffer among the weights


OLD = {"do_lower_case": False, "max_len": 512, "init_inputs": []}
GERMAN = OLD | {"strip_accents": False}
CASED = {"do_lower_case": False, "model_max_length": 512}
MODERNGBERT = MODERNBERT | {"bos_token_id": 102, "cls_token_id": 102, "eos_token_id": 103, "sep_token_id": 103}
MODERNGBERT |= {"pad_token_id": 0}
MODERN = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": False}
MODERN |= {"model_input_names": ["input_ids", "attention_mask"]}
CODE = {"modeling_eurobert.py": "raise SystemExit('remote code was run')\n"}
CODE |= {"configuration_eurobert.py": CODE["modeling_eurobert.py"]}
BUFFER = "electra.embeddings.position_ids"

LAYOUTS = {
    "deepset/gbert-base": Layout(BERT, "vocab.txt", GERMAN, pooler=True),
    "deepset/gbert-large": Layout(BERT, "vocab.txt", GERMAN, pooler=True),
    "deepset/gelectra-base": Layout(ELECTRA, "vocab.txt", GERMAN, buffer=BUFFER),
    "deepset/gelectra-large": Layout(ELECTRA, "vocab.txt", GERMAN, buffer=BUFFER),
    "TUM/GottBERT_base_last": Layout(ROBERTA | {"gradient_checkpointing": False}, "merges", None, pooler=True),
    "TUM/GottBERT_large": Layout(ROBERTA | {"classifier_dropout": None, "torch_dtype": "float32"}, "merges", None),
    "GeistBERT/GeistBERT_base": Layout(ROBERTA | {"classifier_dropout": None}, "merges", None),
    "google-bert/bert-base-german-cased": Layout(LATER_BERT, "vocab.txt + tokenizer.json", CASED, pooler=True),
    "dbmdz/bert-base-german-cased": Layout(LATER_BERT | {"output_past": True}, "vocab.txt", OLD, pooler=True),
    "distilbert/distilbert-base-german-cased": Layout(DISTILBERT, "vocab.txt + tokenizer.json", CASED),
    "FacebookAI/xlm-roberta-base": Layout(
        XLM_ROBERTA, "unigram", {"model_max_length": 512}, extra={"sentencepiece.bpe.model": "not read"}
    ),
    "gerturax/gerturax-3": Layout(ELECTRA | {"pad_token_id": 0}, "vocab.txt", CASED),  # guess: as gerturax-2
    "EuroBERT/EuroBERT-210m": Layout(EUROBERT, "llama", {"tokenizer_class": "PreTrainedTokenizerFast"}, extra=CODE),
    # guess: whether there is a tokenizer.json; the next one goes without
    "LSX-UniWue/ModernGBERT_134M": Layout(MODERNGBERT, "tokenizer.json", MODERN, ("model.safetensors",)),
    "LSX-UniWue/ModernGBERT_1B": Layout(MODERNGBERT, "vocab.txt", MODERN, ("model.safetensors",)),
    "ikim-uk-essen/geberta-base": Layout(
        DEBERTA, "deberta", {"tokenizer_class": "DebertaV2Tokenizer"}, extra={"spm.model": "not read"}
    ),
    "ikim-uk-essen/geberta-large": Layout(
        DEBERTA, "deberta", {"tokenizer_class": "DebertaV2Tokenizer"}, extra={"spm.model": "not read"}
    ),
    "jhu-clsp/mmBERT-base": Layout(MODERNBERT, "gemma", {"tokenizer_class": "GemmaTokenizer"}, ("pytorch_model.bin",)),
}


def save_layout(hub_id: str, folder: Path, texts: list[str]) -> None:
    """Write a small copy of the repository; its vocabulary is made of `texts`."""
    layout = LAYOUTS[hub_id]
    folder.mkdir(parents=True)
    special = TOKENIZERS[layout.tokenizer](folder, texts)
    if layout.tokenizer_config is not None:
        _write(folder / "tokenizer_config.json", layout.tokenizer_config)
    config = layout.config | special
    _write(folder / "config.json", config)
    kind = getattr(transformers, config["architectures"][0])
    torch.manual_seed(0)
    model = kind(kind.config_class.from_dict({**config, "auto_map": None}))
    weights = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    width = config.get("hidden_size")
    if layout.pooler:
        name = model.base_model_prefix
        weights[f"{name}.pooler.dense.weight"] = torch.randn(width, width) * 0.02
        weights[f"{name}.pooler.dense.bias"] = torch.zeros(width)
    if layout.buffer:
        weights[layout.buffer] = torch.arange(512)[None]
    if "model.safetensors" in layout.weights:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    if "pytorch_model.bin" in layout.weights:
        torch.save(weights, folder / "pytorch_model.bin")
    for name, text in layout.extra.items():
        (folder / name).write_text(text)


def _write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def _wordpiece(folder, texts, with_text=True, with_json=False):
    """A vocab.txt in GBERT's order (padding, unused ones, the other special tokens, pieces), and its tokenizer.json."""
    tiny = build_tiny_tokenizer(texts, 2000)
    special = ["[PAD]", *(f"[unused{number}]" for number in range(1, 101)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *sorted(set(tiny.get_vocab()) - set(special))]
    ids = {piece: number for number, piece in enumerate(pieces)}
    if with_text:
        (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    if with_json:
        tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.post_processor = _template(ids, "[CLS]", "[SEP]")
        tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
        tokenizer.save(str(folder / "tokenizer.json"))
    return {"vocab_size": len(pieces)}


def _template(ids, first, last):
    return processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, ids[first]), (last, ids[last])]
    )


def _trained(texts, model, trainer):
    """A tokenizer of the tokenizers library: the model as the trainer makes it of the texts."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _bytes(texts, special, **settings):
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        **settings,
    )
    return _trained(texts, models.BPE(), trainer)


def _merges(folder, texts):
    """vocab.json and merges.txt, the mask at the end, as GottBERT has them."""
    tokenizer = _bytes(texts, ["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.model.save(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    vocabulary["<mask>"] = len(vocabulary)
    _write(folder / "vocab.json", vocabulary)
    return {"vocab_size": len(vocabulary)}


def _unigram(special, unknown, first, last):
    def save(folder, texts):
        trainer = trainers.UnigramTrainer(
            vocab_size=800, special_tokens=special, unk_token=unknown, show_progress=False
        )
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.decoder = decoders.Metaspace()
        tokenizer.post_processor = _template(tokenizer.get_vocab(), first, last)
        tokenizer.save(str(folder / "tokenizer.json"))
        names = ("pad_token", "unk_token", "cls_token", "sep_token", "bos_token", "eos_token", "mask_token")
        marks = dict(zip(names, (special[1], unknown, first, last, first, last, special[-1]), strict=True))
        if first == "[CLS]":
            _write(folder / "special_tokens_map.json", marks)
        return {"vocab_size": tokenizer.get_vocab_size()}

    return save


def _llama(folder, texts):
    """Byte-level pieces between Llama 3's special tokens."""
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|mask|>"]
    tokenizer = _bytes(texts, special)
    ids = tokenizer.get_vocab()
    tokenizer.post_processor = _template(ids, special[0], special[1])
    tokenizer.save(str(folder / "tokenizer.json"))
    marks = {"bos_token": special[0], "eos_token": special[1], "pad_token": special[1], "mask_token": special[2]}
    _write(folder / "special_tokens_map.json", marks)
    names = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "mask_token_id": 2}
    return {"vocab_size": len(ids)} | names | marks


def _gemma(folder, texts):
    """SentencePiece-like pieces with bytes for the unknown, as Gemma 2 has them."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    ids = tokenizer.get_vocab()
    tokenizer.post_processor = _template(ids, "<bos>", "<eos>")
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ("pad_token", "eos_token", "bos_token", "unk_token", "mask_token")
    _write(folder / "special_tokens_map.json", dict(zip(names, special, strict=True)))
    numbers = {f"{name}_id": ids[token] for name, token in zip(names, special, strict=True) if name != "unk_token"}
    return {"vocab_size": len(ids), "cls_token_id": 1, "sep_token_id": 1} | numbers


TOKENIZERS = {
    "vocab.txt": _wordpiece,
    "vocab.txt + tokenizer.json": lambda folder, texts: _wordpiece(folder, texts, with_json=True),
    "tokenizer.json": lambda folder, texts: _wordpiece(folder, texts, with_text=False, with_json=True),
    "merges": _merges,
    "unigram": _unigram(["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<unk>", "<s>", "</s>"),
    "deberta": _unigram(["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"], "[UNK]", "[CLS]", "[SEP]"),
    "llama": _llama,
    "gemma": _gemma,
}
