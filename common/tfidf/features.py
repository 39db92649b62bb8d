"""TF-IDF features of texts: words, and the letters within words, in one sparse matrix."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

TOKEN = r"\w+|[^\w\s]+"  # words and runs of punctuation: every text that is not blank has one
# Four letters add 2.4 points to words alone on 822 articles, 15.7 points on the 297 of `sample`, 1.3 points on 5,009
# tweets; mixtures of lengths give at most 0.3 points more, for up to three times the cost (docs/accuracy.md).
LETTERS = 4
FEWEST_TEXTS = 2  # letter sequences that occur in fewer training texts are ignored


@dataclass(frozen=True, eq=False)
class Features:
    """The columns of the matrix, first all words, then all letter sequences, and their weights."""

    words: list[str]
    letters: list[str]
    idf: np.ndarray  # [words + letters] float32

    def compute(self, texts: Iterable[str]) -> csr_matrix:
        """The features of `texts`, [texts, words + letters] float32. Unknown words and letters are ignored.

        A row depends only on its text, exactly.
        """
        counts, tokens = _count_tokens(texts)
        words = counts @ _one_column_each(tokens, self.words)
        letters = counts @ _spell(tokens, {letters: column for column, letters in enumerate(self.letters)})
        return _weigh(words, letters, self.idf)


def fit_features(texts: Iterable[str]) -> Features:
    """Choose the features from the training `texts`."""
    counts, words = _count_tokens(texts)
    column_of: dict[str, int] = {}
    letters = counts @ _spell(words, column_of, grow=True)
    found_in = np.bincount(letters.indices, minlength=len(column_of))  # number of texts with this sequence
    kept = [name for name, column in column_of.items() if found_in[column] >= FEWEST_TEXTS]
    found_in = np.concatenate([np.bincount(counts.indices, minlength=len(words)), found_in[found_in >= FEWEST_TEXTS]])
    idf = np.log((1 + counts.shape[0]) / (1 + found_in)) + 1  # as scikit-learn's TfidfTransformer
    return Features(words, kept, idf.astype(np.float32))


def _count_tokens(texts: Iterable[str]) -> tuple[csr_matrix, list[str]]:
    """Counts of each token in each text, [texts, tokens] float32, and the sorted tokens."""
    texts = list(texts)
    if not any(text.strip() for text in texts):  # the vectorizer refuses texts without a token
        return csr_matrix((len(texts), 0), dtype=np.float32), []
    vectorizer = CountVectorizer(token_pattern=TOKEN, dtype=np.float32)
    counts = vectorizer.fit_transform(texts)
    return counts, vectorizer.get_feature_names_out().tolist()


def _one_column_each(tokens: Sequence[str], words: Sequence[str]) -> csr_matrix:
    """[tokens, words]: 1 where the token is the word."""
    column_of = {word: column for column, word in enumerate(words)}
    pairs = [(row, column_of[token]) for row, token in enumerate(tokens) if token in column_of]
    return _ones(pairs, (len(tokens), len(words)))


def _spell(tokens: Sequence[str], column_of: dict[str, int], grow: bool = False) -> csr_matrix:
    """Counts of each letter sequence in each token, [tokens, sequences]; `grow` adds new sequences to `column_of`."""
    pairs = []
    for row, token in enumerate(tokens):
        padded = f" {token} "
        for start in range(max(1, len(padded) - LETTERS + 1)):
            letters = padded[start : start + LETTERS]
            column = column_of.setdefault(letters, len(column_of)) if grow else column_of.get(letters)
            if column is not None:
                pairs.append((row, column))
    return _ones(pairs, (len(tokens), len(column_of)))


def _ones(pairs: list[tuple[int, int]], shape: tuple[int, int]) -> csr_matrix:
    """A matrix with 1 at each (row, column); repeated pairs add up."""
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)


def _weigh(words: csr_matrix, letters: csr_matrix, idf: np.ndarray) -> csr_matrix:
    """(1 + log count) x idf. Words and letters are each scaled to rows of length 1 and put side by side."""
    parts = []
    for counts, weights in ((words, idf[: words.shape[1]]), (letters, idf[words.shape[1] :])):
        counts.sort_indices()  # so that sums do not depend on the other texts
        counts.data = (1 + np.log(counts.data)) * weights[counts.indices]
        parts.append(normalize(counts, copy=False) if counts.shape[1] else counts)
    return hstack(parts, format="csr")
