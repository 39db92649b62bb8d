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

# Names of the two dropout rates in configurations, most common first. The last one is of the head alone.
DROPOUT_NAMES = (
    "hidden_dropout_prob",
    "hidden_dropout",
    "dropout",
    "resid_pdrop",
    "resid_dropout",
    "residual_dropout",
    "dropout_rate",
    "mlp_dropout",
    "classifier_dropout",
)
ATTENTION_DROPOUT_NAMES = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")

# ModernBERT has a rate for each place where BERT's hidden_dropout_prob acts.
DROPOUTS_BESIDE = {"mlp_dropout": ("embedding_dropout", "classifier_dropout")}


def can_pool_by_mean(model_type: str) -> bool:
    """Whether `--pooling mean` is available for this architecture."""
    return model_type in BERT_LIKE or model_type in POOLED_BY_CONFIG
