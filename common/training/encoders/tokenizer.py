"""Load an encoder's tokenizer and check that it fits the encoder and the training texts."""

import importlib.util
import json
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import transformers
from tokenizers import Tokenizer
from transformers import (
    TOKENIZER_MAPPING,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from common.cli import UserError
from common.training.encoders.architectures import BERT_LIKE
from common.training.encoders.configs import (
    explain,
    find_file,
    load_config,
    load_part,
    max_positions,
    set_padding,
    set_up_transformers,
)
from common.training.encoders.sources import Source
from common.training.encoders.tiny import build_tiny_tokenizer

# A tokenizer is checked on this many evenly spaced training texts, on their first characters only: whole articles
# would take a quarter of the time needed to tokenize the dataset.
MEASURED, MEASURED_CHARACTERS = 1000, 400
MOST_UNKNOWN, MANY_UNKNOWN = 0.5, 0.02  # shares of unknown tokens: an error above the first, a warning above the second
MANY_PIECES = 4.0  # tokens per word; German encoders need 1.3 to 1.7 for German
SENTENCEPIECE_FILES = (
    "spm.model",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.model",
)
CONFIG = "tokenizer_config.json"


def load_tokenizer(source: Source, train_texts: Iterable[str]) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """The encoder's tokenizer and a list of warnings. `model_max_length` is at most the number of positions.

    The tokenizer of `tiny` is trained on `train_texts`; any other is checked on them. Raises UserError if the
    tokenizer cannot be loaded or does not fit the texts or the encoder.
    """
    set_up_transformers()  # for `tiny`, too: it would warn of each text longer than 512 tokens
    if source.location == "tiny":
        return build_tiny_tokenizer(train_texts), []
    texts = list(train_texts)
    texts = [text[:MEASURED_CHARACTERS] for text in texts[:: max(1, len(texts) // MEASURED)]]
    config = load_config(source)
    tokenizer = _load_as_library(source, config)
    _check_files(source, tokenizer)
    tokenizer, warnings = _prefer_file(source, tokenizer, config, texts)
    set_padding(config, tokenizer)
    try:
        first = tokenizer("a")
    except Exception as error:  # a vocabulary without its unknown token; the libraries raise plain Exceptions
        raise UserError(explain(source, error)) from error
    if any(first.get("token_type_ids", [])):  # transformers' pipeline would use them, and training does not
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    # GottBERT and others have no maximum (transformers then says 1e30)
    tokenizer.model_max_length = min(tokenizer.model_max_length, max_positions(config))
    if tokenizer.model_max_length <= tokenizer.num_special_tokens_to_add():
        raise UserError(f"model {source.location!r}: its tokenizer leaves no room for text (model_max_length)")
    _check_size(source, tokenizer, config)
    warnings += tokenizer_warnings(tokenizer)
    warnings += _measure_texts(source, tokenizer, texts)
    return tokenizer, warnings + _check_ends(tokenizer, config)


def load_saved_tokenizer(source: Source, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that this project saved. Raises UserError if its files are not all there."""
    if not find_file(source, CONFIG):
        raise UserError(f"model folder {source.location} has no {CONFIG}; copy all files of the folder")
    tokenizer = _load_as_library(source, config)
    _check_files(source, tokenizer)
    _check_size(source, tokenizer, config)
    return tokenizer


def _load_as_library(source: Source, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """The tokenizer that transformers builds."""
    try:
        return load_part(AutoTokenizer.from_pretrained, source, config=config, trust_remote_code=False)
    except UserError:
        # ModernBERT with only vocab.txt: transformers wants tokenizer.json, but the class in the files does not
        named = _read(source, CONFIG).get("tokenizer_class", "")
        kind = getattr(transformers, named.removesuffix("Fast"), None)
        if find_file(source, "vocab.txt") and kind is not None:
            return load_part(kind.from_pretrained, source)
        spm = next((name for name in SENTENCEPIECE_FILES if find_file(source, name)), None)
        if spm and not all(importlib.util.find_spec(name) for name in ("sentencepiece", "google.protobuf")):
            raise UserError(
                f"model {source.location!r}: its tokenizer is a SentencePiece model ({spm}), which needs two more "
                "packages: pip install sentencepiece protobuf"
            ) from None
        _check_files(source, TOKENIZER_MAPPING.get(type(config), PreTrainedTokenizerFast))
        raise


def _read(source: Source, name: str) -> dict:
    """A JSON file of the encoder as a dict; empty if there is no such file."""
    path = find_file(source, name)
    if not path:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"model {source.location!r}: {name} is damaged ({error})") from error
    return content if isinstance(content, dict) else {}


def _check_files(source: Source, kind: Any) -> None:
    """Raise UserError if there is no vocabulary for this tokenizer or class.

    transformers 5 would build an empty tokenizer to which every word is unknown.
    """
    names = dict(kind.vocab_files_names)
    whole = names.pop("tokenizer_file", None)
    if whole and find_file(source, whole):
        return
    missing = [name for name in names.values() if not find_file(source, name)]
    if missing:
        alternatives = " and ".join(missing) + (f" (or {whole})" if whole else "")
        raise UserError(
            f"model {source.location!r} has no vocabulary: expected {alternatives} beside config.json; "
            "copy the tokenizer's files from the encoder's original repository"
        )


def _prefer_file(
    source: Source, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, texts: Sequence[str]
) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """The tokenizer that gives the same ids as tokenizer.json on these texts, and warnings.

    transformers 5 builds the tokenizer class named in the configuration and takes only the vocabulary from
    tokenizer.json. Lower-casing and splitting can then differ from pre-training.
    """
    path = find_file(source, "tokenizer.json")
    if not path or not texts:
        return tokenizer, []
    try:
        original = Tokenizer.from_file(str(path))
    except Exception as error:
        raise UserError(explain(source, error)) from error
    original.no_truncation()
    original.no_padding()
    if _ids(tokenizer, texts, True) == _ids(original, texts, True):
        return tokenizer, []
    same_pieces = _ids(tokenizer, texts, False) == _ids(original, texts, False)
    if same_pieces and original.num_special_tokens_to_add(False) == 0:
        return tokenizer, []  # tokenizer.json defines no special tokens; the class does
    vocabulary = original.get_vocab()
    stored = {**_read(source, "special_tokens_map.json"), **_read(source, CONFIG)}
    named = {
        name: token
        for name, token in tokenizer.special_tokens_map.items()
        if token in vocabulary and not stored.get(name)
    }
    chosen = load_part(PreTrainedTokenizerFast.from_pretrained, source, **named)
    with tempfile.TemporaryDirectory() as saved:  # as in a run's model folder
        chosen.save_pretrained(saved)
        config.save_pretrained(saved)
        again = AutoTokenizer.from_pretrained(saved)
    if not _ids(chosen, texts, True) == _ids(again, texts, True) == _ids(original, texts, True):
        raise UserError(
            f"model {source.location!r}: its tokenizer.json gives other tokens than transformers' tokenizer for "
            f"{config.model_type}; copy the tokenizer's files from the encoder's original repository"
        )
    what = "special tokens" if same_pieces else "tokens"
    return chosen, [f"transformers gives other {what} than the encoder's tokenizer.json; tokenizer.json is used"]


def _ids(tokenizer: PreTrainedTokenizerBase | Tokenizer, texts: Sequence[str], special: bool) -> list[list[int]]:
    """Token ids of each text, from a tokenizer of either library."""
    if isinstance(tokenizer, Tokenizer):
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=special)]
    return tokenizer(texts, add_special_tokens=special, return_attention_mask=False)["input_ids"]


def _check_size(source: Source, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Raise UserError for token ids without a row in the word embeddings."""
    ids = max(tokenizer.get_vocab().values(), default=0) + 1
    rows = getattr(config, "vocab_size", None)
    if rows and ids > rows:
        raise UserError(
            f"model {source.location!r}: its tokenizer has {ids:,} tokens, its word embeddings {rows:,} rows "
            "(vocab_size); the files belong to different encoders, or tokens were added without resizing"
        )


def tokenizer_warnings(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Warnings about how the tokenizer treats German, each with a remedy."""

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    warnings = []
    cased = "set do_lower_case to false in its tokenizer_config.json if the encoder was trained on cased text"
    if ids("für") == ids("fur"):
        warnings.append(
            f"the tokenizer strips umlauts (für = fur), which loses meaning: {cased}, "
            "and strip_accents to false; otherwise prefer a cased German model, such as gbert-base"
        )
    if ids("Straße") == ids("straße"):
        warnings.append(
            f"the tokenizer lowercases text (Straße = straße), which hides nouns: {cased}; "
            "otherwise prefer a cased German model, such as gbert-base"
        )
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids("Straße für Öl Ärger Übermut"):
        warnings.append(
            "the tokenizer has no umlauts or ß, so words with them become unknown tokens: "
            "prefer a German model, such as gbert-base"
        )
    return warnings


def _check_ends(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> list[str]:
    """A warning if the tokenizer does not add special tokens at both ends, as pre-training did."""
    if config.model_type not in BERT_LIKE and not tokenizer.cls_token:
        return []
    marks = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    if marks[0] and marks[-1]:
        return []
    return [
        "the tokenizer does not add special tokens at both ends of a text, as pre-training did: "
        "save it again with its cls_token and sep_token set (a post_processor in tokenizer.json)"
    ]


def _measure_texts(source: Source, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[str]:
    """Warnings about unknown tokens and about words split into many tokens."""
    pieces = _ids(tokenizer, texts, False)
    tokens, words = sum(map(len, pieces)), sum(len(text.split()) for text in texts)
    if not tokens or not words:
        return []
    share = sum(row.count(tokenizer.unk_token_id) for row in pieces) / tokens
    if share > MOST_UNKNOWN:
        raise UserError(
            f"model {source.location!r}: {share:.1%} of the training texts' tokens are unknown to its tokenizer; "
            "the vocabulary is damaged or for another language or script"
        )
    warnings = []
    if share > MANY_UNKNOWN:
        warnings.append(
            f"{share:.1%} of the training texts' tokens are unknown to the tokenizer: look for characters that it does "
            "not have (quotes, dashes, emoji) and replace them in the texts, or use a model that has them"
        )
    if tokens / words > MANY_PIECES:
        warnings.append(
            f"the tokenizer needs {tokens / words:.1f} tokens per word; a German one needs about 1.5: texts are "
            "cut early and training is slow; prefer a German model, such as gbert-base"
        )
    return warnings
