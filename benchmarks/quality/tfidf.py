"""The baseline without a neural network: TF-IDF and a linear support vector machine, on the folds of train_ensemble.py.

    python -m benchmarks.quality.tfidf --data kaggle --folds 5 --seeds 3

Prints the accuracy over all held-out rows, with its mean and deviation over the splits.
"""

import sys

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from benchmarks.options import new_parser
from common.cli import exit_codes
from common.data import load_dataset
from common.splitting.splits import assign_folds


@exit_codes
def main(argv=None):
    """Cross-validate and print; returns the exit code."""
    arguments = new_parser(__doc__, "data", "folds", "seeds").parse_args(argv)
    train = load_dataset(arguments.data).train
    texts, labels = train["text"].to_numpy(), train["label"].to_numpy()
    accuracies = []
    for seed in range(arguments.seeds):
        fold_of = assign_folds(train, arguments.folds, seed)
        predicted = np.empty(len(train), dtype=object)
        for fold in range(arguments.folds):
            held_out = fold_of == fold
            model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LinearSVC())
            predicted[held_out] = model.fit(texts[~held_out], labels[~held_out]).predict(texts[held_out])
        accuracies.append(float((predicted == labels).mean()))
        print(f"split {seed}: accuracy {accuracies[-1]:.2%}")
    print(f"mean {np.mean(accuracies):.2%}, deviation {np.std(accuracies, ddof=1):.2%}, {len(train)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
