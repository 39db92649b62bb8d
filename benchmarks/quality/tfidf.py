"""The baseline without a neural network: TF-IDF and a linear support vector machine, on the folds of train_ensemble.py.

    python -m benchmarks.quality.tfidf --data kaggle --folds 5 --split-seeds 3

Prints the accuracy over all held-out rows, with its mean and deviation over the splits.
"""

import argparse
import sys

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from common.data import assign_folds, load_dataset


def main():
    """Cross-validate and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample", help="dataset (default: sample)")
    parser.add_argument("--folds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--split-seeds", type=int, default=3, help="how many splits (default: 3)")
    arguments = parser.parse_args()
    train = load_dataset(arguments.data).train
    texts, labels = train["text"].to_numpy(), train["label"].to_numpy()
    accuracies = []
    for seed in range(arguments.split_seeds):
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
