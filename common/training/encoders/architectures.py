"""Facts about architectures, by config.json's `model_type`. Other modules look them up only here.

An architecture in none of these lists uses the library's own forward pass on padded batches.
"""

# Architectures that the packed forward pass (forward.py) and the pooling layer (pooling.py) support.
# tests/training/test_encoders.py compares each with the library's own forward pass.
BERT_LIKE = frozenset({"bert", "camembert", "electra", "roberta", "xlm-roberta"})

# These have a setting for pooling: `classifier_pooling` is "mean" or, for the first token, the value here.
POOLED_BY_CONFIG = {"eurobert": "bos", "modernbert": "cls"}

# Positions start at the padding id + 1, so fewer tokens fit than there are position embeddings.
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

# Architectures whose padding id is fixed, whatever `pad_token_id` is.
FIXED_PADDING = {"mpnet": 1}

# Padding changes the logits of these (through convolutions, Fourier transforms or shared summaries; XLNet reads the
# last position), so a batch holds only texts of equal length.
PADDING_MATTERS = frozenset({"canine", "convbert", "fnet", "mobilebert", "nystromformer", "xlnet", "yoso"})

# Names of the two dropout rates in configurations, most common first.
DROPOUT_NAMES = ("hidden_dropout_prob", "dropout", "resid_pdrop", "dropout_rate", "classifier_dropout")
ATTENTION_DROPOUT_NAMES = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


def can_pool_by_mean(model_type: str) -> bool:
    """Whether `--pooling mean` is available for this architecture."""
    return model_type in BERT_LIKE or model_type in POOLED_BY_CONFIG
