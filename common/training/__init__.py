"""Training: the only folder that imports torch."""

from common.installation import require, require_docstrings

require("torch", "transformers", "tqdm")
require_docstrings("transformers")
