"""Split rows into training, validation and folds, with near-duplicate texts together."""
