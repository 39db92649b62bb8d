"""What the tests of loading share: texts, sizes, and how a folder is loaded and changed."""

import json

from common.training.encoders.models import load_model
from common.training.encoders.sources import find_source
from common.training.encoders.tokenizer import load_tokenizer

TEXTS = ["Der Sturm auf der Straße war für alle stark.", "Für Öl und Ärger sorgt der Übermut der Fußballer."] * 3
CLASSES = ["Kultur", "Sport"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def load(folder, **settings):
    """The folder's encoder with a head for CLASSES, as training gets it."""
    source = find_source(str(folder))
    tokenizer, _ = load_tokenizer(source, TEXTS)
    return load_model(source, tokenizer, CLASSES, **{"seed": 0, "pooling": "first", **settings})


def edit_json(path, **changes):
    """Change keys of a JSON file; None takes a key out."""
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")
