"""Options that several benchmarks share. Each benchmark names the ones that it takes."""

from common.cli import Parser, number

OPTIONS = {
    "model": {"default": "starter", "metavar": "NAME_OR_FOLDER", "help": "encoder to measure"},
    "random_init": {
        "metavar": "NAME",
        "help": "gbert-base, gbert-large, gelectra-large or xlm-roberta-base with random weights",
    },
    "data": {"default": "sample", "metavar": "NAME_OR_FOLDER", "help": "dataset"},
    "max_length": {"type": number(int, 8), "default": 512, "metavar": "TOKENS", "help": "maximum tokens per article"},
    "max_train_rows": {
        "type": number(int, 1),
        "default": 256,
        "metavar": "N",
        "help": "number of articles; a smaller dataset is repeated",
    },
    "batch_size": {"type": number(int, 1), "default": 16, "metavar": "N", "help": "articles per step"},
    "folds": {"type": number(int, 2), "default": 5, "metavar": "K", "help": "number of folds"},
    "seeds": {"type": number(int, 1), "default": 3, "metavar": "N", "help": "number of random seeds"},
    "repeats": {"type": number(int, 1), "default": 3, "metavar": "N", "help": "measured rounds after one warm-up"},
    "device": {"choices": ["auto", "cpu", "cuda", "mps"], "default": "auto", "help": "where to compute"},
    "precision": {"choices": ["auto", "fp32", "bf16", "fp16"], "default": "auto", "help": "number format of our loop"},
    "json": {"metavar": "FILE", "help": "file for the figures"},
    "results": {"metavar": "FILE", "help": "file of JSON lines, one per run (default: in benchmarks/results/)"},
    "table": {"action": "store_true", "help": "train nothing; only show the recorded runs"},
}
WORKLOAD = ("model", "random_init", "data", "max_length", "max_train_rows", "device")  # what to compute, and where


def new_parser(doc: str, *names: str, **defaults: object) -> Parser:
    """A Parser made from a benchmark's docstring, with the shared options `names`.

    `defaults` adds options, too, and replaces their default values.
    """
    parser = Parser(doc)
    for name in (*names, *(name for name in defaults if name not in names)):
        settings = OPTIONS[name] | ({"default": defaults[name]} if name in defaults else {})
        parser.add_argument("--" + name.replace("_", "-"), **settings)
    return parser
