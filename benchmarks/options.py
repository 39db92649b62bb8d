"""The options that several benchmarks share: defined once, each benchmark names those that it takes."""

from common.cli import Parser, number

OPTIONS = {
    "model": {"default": "starter", "metavar": "NAME_OR_FOLDER", "help": "encoder"},
    "random_init": {
        "metavar": "NAME",
        "help": "gbert-base, gbert-large, gelectra-large or xlm-roberta-base with random weights",
    },
    "data": {"default": "sample", "metavar": "NAME_OR_FOLDER", "help": "dataset"},
    "max_length": {"type": number(int, 8), "default": 512, "metavar": "TOKENS", "help": "most tokens of an article"},
    "max_train_rows": {
        "type": number(int, 1),
        "default": 256,
        "metavar": "N",
        "help": "articles, repeated where there are fewer",
    },
    "batch_size": {"type": number(int, 1), "default": 16, "metavar": "N", "help": "articles per step"},
    "folds": {"type": number(int, 2), "default": 5, "metavar": "K", "help": "parts of the cross-validation"},
    "seeds": {"type": number(int, 1), "default": 3, "metavar": "N", "help": "how many splits and seeds"},
    "repeats": {"type": number(int, 1), "default": 3, "metavar": "N", "help": "measured rounds after one warm-up"},
    "device": {"choices": ["auto", "cpu", "cuda", "mps"], "default": "auto", "help": "where to compute"},
    "precision": {"choices": ["auto", "fp32", "bf16", "fp16"], "default": "auto", "help": "of our loop"},
    "json": {"metavar": "FILE", "help": "where the figures go (default: in benchmarks/results/)"},
    "results": {"metavar": "FILE", "help": "file of JSON lines (default: in benchmarks/results/)"},
    "table": {"action": "store_true", "help": "only print what is recorded"},
}
WORKLOAD = ("model", "random_init", "data", "max_length", "max_train_rows", "device")  # what is computed, and where


def new_parser(doc: str, *names: str, **defaults: object) -> Parser:
    """A Parser of a benchmark's docstring with the shared options `names`; `defaults` replace theirs."""
    parser = Parser(doc)
    for name in (*names, *(name for name in defaults if name not in names)):
        settings = OPTIONS[name] | ({"default": defaults[name]} if name in defaults else {})
        parser.add_argument("--" + name.replace("_", "-"), **settings)
    return parser
