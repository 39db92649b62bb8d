"""Near-duplicates: texts that differ in a few words only, found in time linear in the number of rows.

Two texts are near-duplicates if the sets of their character 5-grams overlap by 70 % or more (Jaccard similarity). Case
and spacing do not matter. A long text is represented by the 256 grams with the smallest hashes (a bottom-k sketch; the
standard error of the similarity is 0.03). Shorter texts are compared exactly. Candidates share one of 20 bands of 4
MinHash values; this misses one in 240 pairs at 0.7. See Broder 1997, and Leskovec et al., Mining of Massive Datasets,
chapter 3. cleanlab's own check takes quadratic time, and its threshold adapts to the data: among 1,028 news articles
without duplicates it reports 14 that share a topic.
"""

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SHINGLE = 5  # characters
SIMILARITY = 0.7  # German tweets: 0.6 begins to link replies to the same people
SKETCH = 256  # grams
BANDS, HASHES = 20, 4
COMPARISONS, LINKS = 30, 3  # at most, per text: keeps the time linear for thousands of texts from one template
MIXER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, as in Fibonacci hashing
FACTORS = np.random.default_rng(0).integers(1, 2**32, (BANDS * HASHES, 1), dtype=np.uint32) | np.uint32(1)


def near_duplicate_sets(texts: Iterable[str]) -> list[list[int]]:
    """The sets of two or more near-duplicates, as positions in `texts`. Chains of near-duplicates are one set."""
    number = near_duplicate_groups(texts)
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    return [rows.tolist() for rows in np.split(order, starts[1:]) if len(rows) > 1]


def near_duplicate_groups(texts: Iterable[str]) -> np.ndarray:
    """A group number per row, [rows] int: equal for near-duplicates, counted from 0 in order of appearance."""
    return _groups(tuple(texts))


@functools.lru_cache(maxsize=4)  # an ensemble asks once per encoder
def _groups(texts):
    plain = [" ".join(text.casefold().split()) for text in texts]
    distinct, firsts = pd.factorize(np.array(plain, dtype=object))  # identical texts need no signature
    links = _links([str(text) for text in firsts])
    if links:
        ends = np.array(links).T
        graph = coo_array((np.ones(len(links)), ends), shape=(len(firsts), len(firsts)))
        component = connected_components(graph, directed=False)[1]
    else:
        component = np.arange(len(firsts))
    return pd.factorize(component[distinct])[0]


def _links(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of distinct texts that are near-duplicates, enough of them to connect each set."""
    buckets: dict[tuple[int, bytes], list[int]] = {}  # (band, its hashes) -> texts
    sketches: list[np.ndarray] = []  # a kilobyte each; Python sets of integers take twenty
    links = []
    for row, text in enumerate(texts):
        sketch, keys = _sketch(text)
        sketches.append(sketch)
        compared: set[int] = set()
        linked = 0
        for band_and_key in enumerate(keys):
            bucket = buckets.setdefault(band_and_key, [])
            for other in bucket:
                if other not in compared and len(compared) < COMPARISONS and linked < LINKS:
                    compared.add(other)
                    if _similarity(sketch, sketches[other]) >= SIMILARITY:
                        links.append((other, row))
                        linked += 1
            if len(bucket) < COMPARISONS:
                bucket.append(row)
    return links


@functools.lru_cache(maxsize=50_000)  # training texts are split first, then compared with test texts
def _sketch(text):
    """The smallest distinct hashes of a text's character 5-grams, at most SKETCH, and a key per band."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    if len(codes) < SHINGLE:
        codes = np.pad(codes, (0, SHINGLE - len(codes)))
    count = len(codes) - SHINGLE + 1
    mixed = np.zeros(count, dtype=np.uint64)
    for place in range(SHINGLE):
        mixed = mixed * MIXER + codes[place : place + count]
        mixed ^= mixed >> np.uint64(29)
    hashes = np.sort(((mixed * MIXER) >> np.uint64(32)).astype(np.uint32))  # np.unique is five times as slow
    sketch = hashes[np.append(True, hashes[1:] != hashes[:-1])][:SKETCH]
    smallest = (sketch * FACTORS).min(axis=1)  # [hashes], of products [hashes, grams] modulo 2**32
    return sketch, [band.tobytes() for band in smallest.reshape(BANDS, HASHES)]


def _similarity(first, second):
    """The Jaccard similarity of two texts, estimated from the smallest hashes of both (sorted, distinct)."""
    merged = np.sort(np.concatenate([first, second]))
    common = merged[1:][merged[1:] == merged[:-1]]
    union = len(merged) - len(common)
    if len(first) < SKETCH and len(second) < SKETCH:
        return len(common) / union
    limit = merged[np.append(True, merged[1:] != merged[:-1])][SKETCH - 1]  # above it a sketch may be cut
    return np.count_nonzero(common <= limit) / SKETCH
