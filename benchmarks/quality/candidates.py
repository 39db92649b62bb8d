"""The recipes that benchmarks/quality/recipes.py compares: each with what it changes of the scripts' default."""

from dataclasses import dataclass, field
from functools import partial

from benchmarks.quality import techniques

DEFAULT = "default"


@dataclass(frozen=True)
class Candidate:
    """A recipe to compare. `changes` maps fields of the default recipe to a value or to a function of the old value."""

    note: str
    changes: dict = field(default_factory=dict)
    step: type | None = None
    prepare: object = None  # takes the model
    pretrain: object = None  # takes the model, all texts (also of test.csv), the tokenizer, the recipe, the seed
    texts: object = None  # takes the texts and the maximum length, returns the part of them to read
    predict: dict = field(default_factory=dict)  # fields of the recipe to change for prediction
    overlapping: bool = False  # predict on overlapping windows
    max_length: int | None = None  # used if --max-length is longer


TRAINER = {
    "learning_rate": 5e-5,
    "epochs": 3,
    "batch_size": 8,
    "warmup": 0.0,
    "weight_decay": 0.0,
    "head_factor": 1.0,
    "pooling": "first",
    "dropout": None,
    "attention_dropout": None,
    "label_smoothing": 0.0,
    "long_texts": "head",
}
ORIGINAL = TRAINER | {"learning_rate": 2e-5, "epochs": 5, "batch_size": 32, "warmup": 0.06, "weight_decay": 0.01}
CANDIDATES = {
    DEFAULT: Candidate("the scripts' default"),
    "trainer": Candidate("Hugging Face Trainer's default recipe", TRAINER),
    "original": Candidate("the original experiment's recipe, 256 tokens", ORIGINAL, max_length=256),
    "tfidf": Candidate("TF-IDF of words alone + LinearSVC"),
    "rate x0.3": Candidate("a third of the learning rate", {"learning_rate": lambda rate: rate * 0.3}),
    "rate x0.5": Candidate("half the learning rate", {"learning_rate": lambda rate: rate * 0.5}),
    "rate x2": Candidate("twice the learning rate", {"learning_rate": lambda rate: rate * 2}),
    "epochs x0.5": Candidate("half the epochs", {"epochs": lambda epochs: max(1, epochs // 2)}),
    "epochs x2": Candidate("twice the epochs", {"epochs": lambda epochs: epochs * 2}),
    "batch 8": Candidate("8 texts per step", {"batch_size": 8}),
    "batch 32": Candidate("32 texts per step", {"batch_size": 32}),
    "head as encoder": Candidate("one learning rate for all", {"head_factor": 1.0}),
    "head x10": Candidate("the head learns 10 times as fast", {"head_factor": 10.0}),
    "first token": Candidate("pooling by the first token", {"pooling": "first"}),
    "mean": Candidate("pooling by the mean", {"pooling": "mean"}),
    "attention pooling": Candidate(
        "pooling by learned attention", {"pooling": "mean"}, prepare=techniques.attention_pooling
    ),
    "smoothing 0.1": Candidate("label smoothing", {"label_smoothing": 0.1}),
    "dropout 0.1": Candidate("dropout of hidden states", {"dropout": 0.1}),
    "dropout 0.2": Candidate("more dropout of hidden states", {"dropout": 0.2}),
    "dropout 0.3": Candidate("much dropout of hidden states", {"dropout": 0.3}),
    "attention dropout": Candidate("dropout of attention weights as in the checkpoint", {"attention_dropout": None}),
    "decay 0.1": Candidate("weight decay 0.1", {"weight_decay": 0.1}),
    "class weights": Candidate("rare classes count more", {"class_weights": "balanced"}),
    "layer decay": Candidate("learning rate x 0.9 for each layer below the head", step=techniques.LayerDecay),
    "reset 1 layer": Candidate(
        "top layer initialized again", prepare=lambda model: techniques.reset_top_layers(model, 1)
    ),
    "further pre-training": Candidate(
        "masked-language modelling on all texts first", pretrain=techniques.further_pretraining
    ),
    "average": Candidate("moving average of the weights (EMA)", step=techniques.Averaged),
    "r-drop": Candidate("R-Drop", step=techniques.RDrop),
    "adversarial": Candidate("adversarial embeddings (FGM)", {"adversarial": 1.0}),
    "token dropout": Candidate("15 % of the tokens masked", step=techniques.TokenDropout),
    "head": Candidate("long texts: only the beginning", {"long_texts": "head"}),
    "tail": Candidate("long texts: only the end", {"long_texts": "head"}, texts=techniques.tails),
    "head+tail": Candidate(
        "long texts: a quarter from the start, the rest from the end",
        {"long_texts": "head"},
        texts=partial(techniques.tails, head_share=0.25),
    ),
    "windows predicting": Candidate(
        "trains on the beginning, predicts from windows",
        {"long_texts": "head"},
        predict={"long_texts": "windows"},
    ),
    "windows training": Candidate("trains on windows, predicts from the beginning", predict={"long_texts": "head"}),
    "overlapping windows": Candidate("predicts on full windows, which overlap", overlapping=True),
}
