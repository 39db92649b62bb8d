"""What is known of architectures, by config.json's `model_type`: the one place that the other modules ask.

An architecture that no list names takes the general way: the library's own forward pass on padded batches.
"""

# The packed forward pass (forward.py) and the appended pooling layer (pooling.py) know the layers of these types.
# Each is tested equal to the library's own forward pass (tests/training/test_encoders.py).
BERT_LIKE = frozenset({"bert", "camembert", "electra", "roberta", "xlm-roberta"})

# These pool by configuration: its `classifier_pooling` is "mean" or "cls".
POOLED_BY_CONFIG = frozenset({"eurobert", "modernbert"})

# Positions are counted from the padding id + 1, so fewer tokens fit than there are position embeddings.
POSITIONS_AFTER_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)

# Padding changes the logits (it reaches other tokens by convolutions, Fourier transforms or shared summaries, or XLNet
# reads the last place), so only texts of equal length are computed together.
PADDING_MATTERS = frozenset({"canine", "convbert", "fnet", "mobilebert", "nystromformer", "xlnet", "yoso"})

# The names that configurations have for the two dropout rates, most usual first.
DROPOUT_NAMES = ("hidden_dropout_prob", "dropout", "resid_pdrop", "dropout_rate", "classifier_dropout")
ATTENTION_DROPOUT_NAMES = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


def can_pool_by_mean(model_type: str) -> bool:
    """Whether `--pooling mean` is available for this architecture."""
    return model_type in BERT_LIKE | POOLED_BY_CONFIG
