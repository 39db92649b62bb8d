"""`tiny`: a small BERT from configuration, its WordPiece tokenizer trained on the training texts. No download."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
VOCABULARY = 8000
MAX_LENGTH = 512


def build_tiny_tokenizer(texts, vocabulary=VOCABULARY):
    """Train a cased WordPiece tokenizer (umlauts kept, at most `vocabulary` pieces) on `texts`, an iterable of str.

    The same texts give the same tokenizer. The trainer alone does not see to that: it numbers the continuation pieces
    in the order of a hash table, and breaks ties by number; so they are handed to it, sorted, as if they were special.
    """
    texts = list(texts)
    characters = [character for character in sorted(set("".join(texts))) if not character.isspace()]
    pieces = characters + ["##" + character for character in characters]  # so that known characters spell any word
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
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, **SPECIAL_TOKENS)


def build_tiny_model(tokenizer, labels, dropouts):
    """A two-layer BERT for classification, drawn from torch's current seed; `labels` are config entries."""
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
