"""TF-IDF and the linear machine: features computed by hand, calibration, files that give the same model back."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from common.cli import UserError
from common.data import load_dataset
from common.metrics import cross_entropy
from common.tfidf.features import fit_features
from common.tfidf.model import FILE, _smooth_targets, fit_model, load_model, predict_probabilities, save_model

ROOT = Path(__file__).resolve().parents[2]

TEXTS = ["Der Ball rollt!", "Ball, Ball und Tor", "Die Aktie fällt", "Aktie und Börse ..."]
CLASSES = ["Sport", "Wirtschaft"]


@pytest.fixture(scope="module")
def sample():
    return load_dataset("sample")


@pytest.fixture(scope="module")
def trained(sample):
    numbers = np.array([sample.classes.index(label) for label in sample.train["label"]])
    return fit_model(sample.train["text"], numbers, sample.classes)


def test_features_are_words_signs_and_four_letters():
    features = fit_features(["Tor!", "Tor zu", "zu"])
    assert features.words == ["!", "tor", "zu"]
    assert features.letters == [" tor", "tor ", " zu "]  # `!` alone, padded, is in one text only
    row = features.compute(["TOR tor Abseits"]).toarray()[0]
    assert row[features.words.index("tor")] == 1  # the only known word: a row of length 1
    assert row[3:] == pytest.approx([0.5**0.5, 0.5**0.5, 0])  # two sequences, as often and as rare as each other


@pytest.mark.parametrize(("columns", "options"), [("words", {"token_pattern": r"\w+|[^\w\s]+"}), ("letters", {})])
def test_features_are_those_of_scikit_learn(sample, columns, options):
    """For letters, scikit-learn cuts words at blanks alone: texts without signs here."""
    texts = [" ".join(word for word in text.split()[:60] if word.isalnum()) for text in sample.train["text"]]
    if columns == "letters":
        options = {"analyzer": "char_wb", "ngram_range": (4, 4), "min_df": 2}
    reference = TfidfVectorizer(sublinear_tf=True, **options)
    expected = reference.fit_transform(texts)
    features = fit_features(texts)
    names, first = (features.words, 0) if columns == "words" else (features.letters, len(features.words))
    assert sorted(names) == reference.get_feature_names_out().tolist()
    found = features.compute(texts)[:, [first + names.index(name) for name in reference.get_feature_names_out()]]
    assert abs(found - expected).max() < 1e-6


def test_a_text_is_predicted_alike_alone_and_among_others(sample, trained):
    texts = sample.test["text"].tolist()
    together = predict_probabilities(trained, texts)
    assert np.array_equal(together[:5], np.concatenate([predict_probabilities(trained, [text]) for text in texts[:5]]))


def test_blank_texts_are_predicted_alike_alone_and_among_others(trained):
    together = predict_probabilities(trained, ["Der Ball rollt.", "", " \n", "Die Aktie"])
    assert np.array_equal(together[1:3], predict_probabilities(trained, ["", " \n"]))
    assert np.array_equal(together[1], together[2]) and not np.array_equal(together[0], together[1])


def test_saved_and_loaded_it_predicts_the_same_numbers(sample, trained, tmp_path):
    save_model(tmp_path, trained)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    loaded = load_model(tmp_path)
    assert loaded.classes == sample.classes
    expected = predict_probabilities(trained, sample.test["text"])
    assert np.array_equal(predict_probabilities(loaded, sample.test["text"]), expected)


def test_probabilities_are_calibrated(sample, trained):
    """On new texts the fitted scale has a lower log loss than half and twice of it, and far lower than guessing."""
    probabilities = predict_probabilities(trained, sample.test["text"])
    assert probabilities.dtype == np.float32 and np.allclose(probabilities.sum(axis=1), 1)
    labels = sample.test["label"].to_numpy()
    loss = cross_entropy(labels, probabilities, sample.classes)
    for factor in (0.5, 2.0):
        powers = probabilities.astype(float) ** factor  # as the scale times the factor gives
        assert loss < cross_entropy(labels, powers / powers.sum(axis=1, keepdims=True), sample.classes)
    assert loss < 0.8 * np.log(len(sample.classes))


def test_a_few_separable_texts_do_not_make_it_sure():
    """All held-out rows are right, so that without Platt's targets no scale would be large enough."""
    texts = [
        "Der Ball rollt ins Tor",
        "Ball und Tor",
        "Ein Tor im Spiel",
        "Die Aktie fällt",
        "Aktie, Börse",
        "Die Börse und Aktie",
    ]
    model = fit_model(texts, [0, 0, 0, 1, 1, 1], CLASSES)
    assert predict_probabilities(model, texts).max() < 0.95
    assert predict_probabilities(model, ["xyz qqq"]).max() < 0.6


def test_copies_of_rows_leave_the_scale_as_it_is(sample, trained):
    """Copies stay on one side of the calibration's folds and count once. (Torn apart, they would give 3.9, not 9.)"""
    numbers = [sample.classes.index(label) for label in sample.train["label"]] * 5
    copied = fit_model([*sample.train["text"]] * 5, numbers, sample.classes)
    assert copied.scale == pytest.approx(trained.scale, rel=0.1)


def test_targets_are_those_of_platt():
    targets = _smooth_targets(np.array([0, 0, 1]), 3)  # two rows of class 0: 3 / 4; one of class 1: 2 / 3
    assert targets == pytest.approx(np.array([[6, 1, 1], [6, 1, 1], [8 / 6, 16 / 3, 8 / 6]]) / 8)


def test_two_classes_have_one_machine_for_both():
    probabilities = predict_probabilities(fit_model(TEXTS, [0, 0, 1, 1], CLASSES), ["Tor Ball", "Börse fällt"])
    assert probabilities[0, 0] > 0.5 and probabilities[1, 1] > 0.5
    assert probabilities.shape == (2, 2)


def test_a_class_without_training_rows_is_never_predicted():
    model = fit_model(TEXTS, [0, 0, 2, 2], ["Sport", "Web", "Wirtschaft"])
    assert set(predict_probabilities(model, [*TEXTS, "?", "Web"]).argmax(axis=1)) == {0, 2}
    one = fit_model(TEXTS[:2], [1, 1], CLASSES)
    assert predict_probabilities(one, ["Aktie"]).argmax() == 1
    assert predict_probabilities(fit_model(["Tor"], [0], CLASSES), ["Tor"]).argmax() == 0


def test_balanced_weights_find_the_rare_class_more_often(sample):
    train, test = sample.train, sample.test
    rows = [*np.flatnonzero(train["label"] == "Sport"), *np.flatnonzero(train["label"] == "Wirtschaft")[:4]]
    numbers = (train["label"].iloc[rows] == "Wirtschaft").to_numpy().astype(int)
    texts = test["text"][test["label"].isin(CLASSES)]
    found = {
        choice: predict_probabilities(fit_model(train["text"].iloc[rows], numbers, CLASSES, choice), texts)[:, 1].sum()
        for choice in ("none", "balanced")
    }
    assert found["balanced"] > found["none"]


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:200]), lambda path: path.unlink()])
def test_a_damaged_file_is_one_line(trained, tmp_path, damage):
    save_model(tmp_path, trained)
    damage(tmp_path / FILE)
    with pytest.raises(UserError, match=FILE):
        load_model(tmp_path)


def test_nothing_pickled_is_read(tmp_path):
    names = ("classes", "words", "letters", "idf", "coefficients", "intercepts", "scale")
    np.savez(tmp_path / FILE, **dict.fromkeys(names, np.array([print], dtype=object)))
    with pytest.raises(UserError, match="damaged"):
        load_model(tmp_path)


def test_it_needs_no_torch():
    code = "import sys, common.tfidf.model; print({'torch', 'transformers'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"
