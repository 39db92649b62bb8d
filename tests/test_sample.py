"""The shipped dataset: what data/sample/README.md says of it."""

import re
import unicodedata
from collections import Counter

import pytest

from common.data import DATA_FOLDER, load_dataset

TOPICS = ["Etat", "Inland", "International", "Kultur", "Panorama", "Sport", "Web", "Wirtschaft", "Wissenschaft"]
# an end: punctuation, perhaps a closing quote, then a capital, a digit or an opening quote, or nothing more
SENTENCE_END = re.compile(r'[.!?…]["“”«»)]*(?=\s+["„»(]*[A-ZÄÖÜ0-9]|\s*$)')


@pytest.fixture(scope="module")
def sample():
    return load_dataset("sample")


@pytest.fixture(scope="module")
def readme():
    return (DATA_FOLDER / "sample" / "README.md").read_text(encoding="utf-8")


def planted_rows(readme):
    """The table of planted errors: {id: (label in train.csv, right label)}."""
    rows = re.findall(r"^\| (a\d+) \| (\w+) \| (\w+) \|$", readme.split("## Planted errors")[1], re.MULTILINE)
    return {row_id: (wrong, right) for row_id, wrong, right in rows}


def test_nine_topics_split_three_to_one(sample, readme):
    planted = planted_rows(readme)
    assert sample.classes == TOPICS and sample.valid is None
    train = [planted.get(row.id, ("", row.label))[1] for row in sample.train.itertuples()]  # as they were written
    counts, test_counts = Counter(train), Counter(sample.test["label"])
    for topic in TOPICS:
        assert counts[topic] + test_counts[topic] >= 40
        assert counts[topic] == 3 * test_counts[topic]


def test_the_readmes_counts(sample, readme):
    rows = re.findall(r"^\| (\w+)[^|]*\| (\d+) \| (\d+) \|$", readme, re.MULTILINE)
    assert [topic for topic, _, _ in rows] == TOPICS
    given = Counter(sample.train["label"])
    wrong = Counter(label for label, _ in planted_rows(readme).values())
    for topic, count, right in rows:
        assert (given[topic], given[topic] - wrong[topic]) == (int(count), int(right))
    assert f"{len(sample.train)} rows in `train.csv`, {len(sample.test)} in `test.csv`" in readme


def test_exactly_twelve_planted_errors(sample, readme):
    planted = planted_rows(readme)
    label_of = dict(zip(sample.train["id"], sample.train["label"], strict=True))
    assert len(planted) == 12
    for row_id, (wrong, right) in planted.items():
        assert label_of[row_id] == wrong != right
        assert right in TOPICS


def test_texts_are_news_items_each_its_own(sample):
    texts = [*sample.train["text"], *sample.test["text"]]
    assert len({" ".join(re.findall(r"\w+", text.casefold())) for text in texts}) == len(texts)
    assert len({SENTENCE_END.split(text)[0] for text in texts}) == len(texts)  # titles
    ids = [*sample.train["id"], *sample.test["id"]]
    assert len(set(ids)) == len(ids)
    for text in texts:
        assert text == " ".join(text.split())
        assert 4 <= len(SENTENCE_END.findall(text)) <= 8, text  # the title and three to seven sentences
    lengths = [len(text.split()) for text in texts]
    assert round(sum(lengths) / len(lengths)) == 77


def test_files_are_normalised(sample):
    for name in ("train.csv", "test.csv"):
        content = (DATA_FOLDER / "sample" / name).read_bytes()
        assert content.startswith(b"id,text,label\n") and b"\r" not in content
        text = content.decode("utf-8")
        assert text == unicodedata.normalize("NFC", text)
        assert not re.search(r"[\ufffd\u200b\ufeff]|Ã.|&\w+;|<\w+>", text)  # no broken encoding, no left-over markup
