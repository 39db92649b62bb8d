"""What two or more scripts share: data, models, the training loop, prediction files, run folders, figures."""

from common.installation import require

# The only effect at import: the imports that follow would fail before any later check.
require("filelock", "matplotlib", "numpy", "pandas", "scikit-learn", "seaborn")
