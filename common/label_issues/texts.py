"""Find issues of texts: near-duplicates, outliers (by cleanlab's Datalab), broken texts."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from common.data import Dataset
from common.label_issues.labels import quiet
from common.splitting.duplicates import near_duplicate_sets

COMPONENTS = 100  # of the truncated SVD, scikit-learn's recommendation for texts
VOCABULARY = 50_000
NEIGHBOURS = 10  # Datalab's default
SEARCHED = 20_000  # texts, at most, in which to search neighbours
FEW_WORDS = 3  # a text with fewer is too short to judge

# The two UTF-8 bytes of an umlaut, read as Windows-1252: `Ã¼`; of a quote or dash, three: `â€ž`; of a BOM: `ï»¿`.
MOJIBAKE = re.compile("Ã[\u0080-\u00bfŒœŠšŸŽžƒˆ˜–—‘-„†-•…‰‹›€™]|Â[\u0080-\u00bf]|â€|ï»¿")
CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class TextIssues:
    """Issues of all texts of a dataset. Row numbers run through train, valid and test."""

    rows: pd.DataFrame  # [rows] file, id, text, label ("" where unknown)
    duplicate_sets: list[list[int]]  # row numbers, each set with two or more, disjoint
    is_outlier: np.ndarray  # [rows] bool
    broken: list[str]  # [rows] what is broken, "" where nothing is


def find_text_issues(dataset: Dataset) -> TextIssues:
    """Find the issues of all texts of a dataset, labelled or not."""
    frames = {dataset.files[split]: frame for split, frame in dataset.frames.items()}
    rows = pd.concat(frames, names=["file", None]).reset_index("file").reset_index(drop=True)
    rows["label"] = rows["label"].fillna("")
    sets = near_duplicate_sets(rows["text"])
    return TextIssues(rows, sets, _find_outliers(rows["text"]), [what_is_broken(text) for text in rows["text"]])


def what_is_broken(text: str) -> str:
    """Why a text is unfit for training: too short, without letters, or damaged by a conversion. "" for a sound text."""
    if "\ufffd" in text:
        return "a replacement character: the text was decoded wrongly"
    if found := MOJIBAKE.search(text):
        return f"mojibake ({found.group()}): UTF-8 was read as another encoding"
    if found := CONTROL.search(text):
        return f"a control character (U+{ord(found.group()):04X})"
    if not any(character.isalpha() for character in text):
        return "no letters"
    if len(text.split()) < FEW_WORDS:
        return f"fewer than {FEW_WORDS} words"
    return ""


def _find_outliers(texts):
    """Datalab's outlier flags, [rows] bool, by cosine distance between TF-IDF vectors after an SVD.

    An outlier's mean distance to its neighbours is far above the third quartile (Datalab's default), see
    https://docs.cleanlab.ai/stable/cleanlab/datalab/guide/issue_type_description.html
    """
    features = _features(texts)
    if features is None:
        return np.zeros(len(texts), dtype=bool)
    with quiet():
        from cleanlab import Datalab

        lab = Datalab(data={"text": list(texts)}, verbosity=0)
        graph = _neighbours(features, min(NEIGHBOURS, len(texts) - 1))
        lab.find_issues(knn_graph=graph, issue_types={"outlier": {"k": min(NEIGHBOURS, len(texts) - 1)}})
    # after a failed check Datalab only prints; get_issues() then raises, so a failure does not look like "no issues"
    return lab.get_issues("outlier")["is_outlier_issue"].to_numpy()


def _neighbours(features, count):
    """The cosine distances of each text to its nearest others, nearest first: a sparse [rows, rows] matrix.

    For vectors of length 1 it is half the squared Euclidean distance. scikit-learn computes that without storing all
    pairs; cosine distances take blocks of a gigabyte. With many texts, all texts search the same random sample: the
    time is then linear in the rows, and all distances grow alike.
    """
    rows = len(features)
    unit = normalize(features)
    empty = ~unit.any(axis=1)  # no known word: distance 1 to all texts
    unit = np.column_stack([unit, empty])
    searched = np.sort(np.random.default_rng(0).permutation(rows)[:SEARCHED])
    index = NearestNeighbors(n_neighbors=count + 1, algorithm="brute").fit(unit[searched])
    distances, nearest = index.kneighbors(unit)
    nearest = searched[nearest]  # [rows, count + 1] row numbers, usually with the text itself
    itself = nearest == np.arange(rows)[:, None]
    itself[~itself.any(axis=1), -1] = True
    distances, nearest = (found[~itself].reshape(rows, count) for found in (distances**2 / 2, nearest))
    distances[empty] = 1
    starts = np.arange(0, rows * count + 1, count)
    return csr_matrix((distances.ravel(), nearest.ravel(), starts), shape=(rows, rows))


def _features(texts):
    """TF-IDF reduced by truncated SVD, [rows, components]; None with too few texts or no words."""
    if len(texts) < 4:
        return None
    vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=VOCABULARY, token_pattern=r"\w+", dtype=np.float32)
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:  # "empty vocabulary"
        return None
    components = min(COMPONENTS, matrix.shape[0] - 1, matrix.shape[1] - 1)
    return TruncatedSVD(components, random_state=0).fit_transform(matrix) if components >= 1 else None
