"""Encoders with a short name: hub id, licence and their own defaults."""

from dataclasses import dataclass, field
from pathlib import Path

TFIDF = "tfidf"  # a model without a neural network: common/tfidf
STARTER_FOLDER = Path(__file__).resolve().parents[3] / "models" / "starter"


@dataclass(frozen=True)
class Spec:
    """An encoder: a hub id or a folder. `defaults` replace those of its size (see common/training/recipe.py)."""

    hub_id: str
    licence: str
    revision: str | None = None  # None: the newest; config.json records the commit that was loaded
    defaults: dict = field(default_factory=dict)


MODELS = {
    # A single layer tolerates rates that are too high for a deep encoder. Twice this rate or half the epochs make no
    # significant difference (benchmarks/results/recipes-starter.jsonl).
    "starter": Spec(
        str(STARTER_FOLDER),
        "CC BY-SA 4.0, see its card",
        defaults={"learning_rate": 5e-4, "epochs": 8, "head_factor": 1.0},
    ),
    "gbert-base": Spec("deepset/gbert-base", "MIT"),
    "gbert-large": Spec("deepset/gbert-large", "MIT"),
    "gelectra-base": Spec("deepset/gelectra-base", "MIT"),
    # ELECTRA large diverges at the usual rates and learns slowly at small ones
    # (Chan, Schweter, Möller 2020, "German's Next Language Model"; the original experiments found the same).
    "gelectra-large": Spec("deepset/gelectra-large", "MIT", defaults={"learning_rate": 1e-5, "epochs": 10}),
    "gottbert-base": Spec("TUM/GottBERT_base_last", "MIT"),
    "gottbert-large": Spec("TUM/GottBERT_large", "MIT"),
    "geistbert-base": Spec("GeistBERT/GeistBERT_base", "MIT, unverified: see its page"),
    "bert-base-german-cased": Spec("google-bert/bert-base-german-cased", "MIT"),
    "dbmdz-bert-german-cased": Spec("dbmdz/bert-base-german-cased", "MIT"),
    "distilbert-german": Spec("distilbert/distilbert-base-german-cased", "Apache-2.0"),
    "xlm-roberta-base": Spec("FacebookAI/xlm-roberta-base", "MIT"),
    # DeBERTa-v2: padded batches and the first token, no mean pooling
    "geberta-base": Spec("ikim-uk-essen/geberta-base", "MIT"),
    "geberta-large": Spec("ikim-uk-essen/geberta-large", "MIT"),
    # Not verified: its files could not be read; assumed to match gerturax-2's
    "gerturax-3": Spec("gerturax/gerturax-3", "Apache-2.0"),
    "eurobert-210m": Spec("EuroBERT/EuroBERT-210m", "Apache-2.0"),
    # Only pickled weights, according to its tags
    "mmbert-base": Spec("jhu-clsp/mmBERT-base", "MIT"),
    # Not verified whether these two have a tokenizer.json; they load with and without one
    "moderngbert-134m": Spec("LSX-UniWue/ModernGBERT_134M", "RAIL-M, research only"),
    "moderngbert-1b": Spec("LSX-UniWue/ModernGBERT_1B", "RAIL-M, research only"),
}
