"""What two or more scripts must agree on: data, models, the training loop, prediction files, run folders, figures."""

from common.installation import require

# An effect at import, the only one: later is too late, since the imports that follow are what fails.
require("filelock", "matplotlib", "numpy", "pandas", "scikit-learn", "seaborn")
