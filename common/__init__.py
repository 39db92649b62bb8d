"""What two or more scripts share: data, models, the training loop, prediction files, run folders, figures."""

from common.installation import require

# The only effects at import, with the excepthook: what follows would fail, or be interrupted, before any later check.
require("filelock", "matplotlib", "numpy", "pandas", "scikit-learn", "seaborn")
