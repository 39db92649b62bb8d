"""`tiny`: a small, randomly initialized BERT with a WordPiece tokenizer trained on the training texts. No download."""

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
VOCABULARY = 8000
MAX_LENGTH = 512


def build_tiny_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Train a cased WordPiece tokenizer on `texts`. It keeps umlauts and has at most `vocabulary` pieces.

    The same texts give the same tokenizer. The trainer does not guarantee this: it numbers continuation pieces in the
    order of a hash table and breaks ties by number. So the pieces are passed in sorted order, as special tokens.
    """
    texts = list(texts)
    characters = [character for character in sorted(set("".join(texts))) if not character.isspace()]
    # so that any word of known characters can be spelled
    pieces = characters + ["##" + character for character in characters]
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[*SPECIAL_TOKENS.values(), *pieces],
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)

    tokenizer = Tokenizer(models.WordPiece(trained.get_vocab(), unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer, tokenizer.pre_tokenizer = trained.normalizer, trained.pre_tokenizer
    tokenizer.decoder = decoders.WordPiece()
    ids = tokenizer.get_vocab()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, **SPECIAL_TOKENS)


def build_tiny_model(
    tokenizer: PreTrainedTokenizerBase, labels: dict[str, Any], dropouts: dict[str, Any]
) -> BertForSequenceClassification:
    """A two-layer BERT for classification, initialized with torch's current seed; `labels` are config entries."""
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=256,
            max_position_embeddings=MAX_LENGTH,
            pad_token_id=tokenizer.pad_token_id,
            **labels,
            **dropouts,
        )
    )
