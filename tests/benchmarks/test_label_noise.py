"""benchmarks/quality/label_noise.py: what it flips, and what its reviewer decides."""

import pandas as pd

from benchmarks.quality.label_noise import flip_labels, write_corrections
from common.reading.corrections import apply_corrections

CLASSES = ["=Wirtschaft", "Kultur", "Sport"]


def frame(count=40):
    ids = [f"'={number}" for number in range(count)]
    return pd.DataFrame({"id": ids, "text": "x", "label": [CLASSES[number % 3] for number in range(count)]})


def test_the_share_is_flipped_to_any_other_class_and_again_the_same():
    truth = frame()
    noisy = flip_labels(truth, CLASSES, 0.25, seed=3)
    wrong = noisy["label"] != truth["label"]
    assert wrong.sum() == 10 and set(noisy["label"]) == set(CLASSES)
    assert noisy.drop(columns="label").equals(truth.drop(columns="label"))
    assert noisy.equals(flip_labels(truth, CLASSES, 0.25, seed=3))
    assert not noisy.equals(flip_labels(truth, CLASSES, 0.25, seed=4))
    moves = set(zip(truth["label"][wrong], noisy["label"][wrong], strict=True))
    assert len(moves) > 2, "always to the same class"


def test_the_reviewer_rights_flagged_rows_and_leaves_the_others(tmp_path):
    truth = frame()
    noisy = flip_labels(truth, CLASSES, 0.25, seed=3)
    wrong = noisy.index[noisy["label"] != truth["label"]]
    right = noisy.index[noisy["label"] == truth["label"]]
    flagged = [*wrong[:4], *right[:2]]
    write_corrections(tmp_path / "corrections.csv", noisy, truth, set(noisy["id"][flagged]))
    corrected, counts = apply_corrections(noisy, tmp_path / "corrections.csv", CLASSES)
    assert counts == {"rows": 6, "kept": 2, "relabelled": 4, "excluded": 0}
    assert corrected.index[corrected["label"] != truth["label"]].tolist() == wrong[4:].tolist()
