"""How rows are split: clean cuts, stratified, seeded, near-duplicates together; and how those are found."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.cli import UserError, note
from common.data import Dataset
from common.splitting import duplicates
from common.splitting.duplicates import near_duplicate_groups, near_duplicate_sets
from common.splitting.splits import assign_folds, describe_overlap, split_validation

rows = st.lists(st.tuples(st.sampled_from("abcdefghijklmno"), st.sampled_from("XYZ")), min_size=1, max_size=40)


def frame_of(pairs):
    """A frame of (text, label) pairs, with an index that is not the row number."""
    frame = pd.DataFrame(pairs, columns=["text", "label"], dtype="object")
    return frame.set_index(pd.Index(range(100, 100 + len(frame))))


def own_texts(pairs):
    """How many distinct texts each class has, and the class of each text: that of its first row."""
    label_of = dict(reversed(pairs))
    return Counter(label_of.values()), label_of


def hundred(repeat=1):
    """100 distinct texts of three classes, 50, 30 and 20, in no order; each `repeat` times."""
    pairs = [(f"Text {n}", "A" if n < 50 else "B" if n < 80 else "C") for n in range(100)] * repeat
    return frame_of([pairs[position] for position in np.random.default_rng(0).permutation(len(pairs))])


@given(pairs=rows, fraction=st.sampled_from([0.1, 0.25, 0.5, 0.9]), seed=st.integers(0, 2**31))
def test_validation_rows_are_a_clean_cut(pairs, fraction, seed):
    frame = frame_of(pairs)
    try:
        train, valid = split_validation(frame, fraction, seed)
    except UserError as error:
        assert f"{len(pairs)} rows with a validation share of {fraction} leave" in str(error)
        assume(False)
    assert sorted([*train, *valid]) == list(range(len(pairs)))
    assert list(train) == sorted(train) and list(valid) == sorted(valid) and len(valid) > 0
    assert not {pairs[row][0] for row in train} & {pairs[row][0] for row in valid}
    texts, label_of = own_texts(pairs)
    assert {pairs[row][1] for row in train} == {label for _, label in pairs}  # every class is still learned
    lonely = {label for label, count in texts.items() if count == 1}
    assert not lonely & {label_of[pairs[row][0]] for row in valid}
    again, _ = split_validation(frame, fraction, seed)
    assert list(again) == list(train)


@pytest.mark.parametrize("repeat", [1, 3])
def test_validation_rows_are_stratified_and_seeded(repeat):
    frame = hundred(repeat)
    train, valid = split_validation(frame, 0.2, seed=0)
    labels = frame["label"].to_numpy()
    assert Counter(labels[valid]) == {"A": 10 * repeat, "B": 6 * repeat, "C": 4 * repeat}
    assert len(train) == 80 * repeat
    _, other = split_validation(frame, 0.2, seed=1)
    assert list(other) != list(valid)


def test_the_only_row_of_a_class_trains_even_where_its_text_is_another_classs():
    pairs = [(f"Text {n}", "Sport" if n < 20 else "Wirtschaft") for n in range(40)] + [("Text 3", "Kultur")]
    frame = frame_of(pairs)
    sizes = []
    for seed in range(6):
        train, valid = split_validation(frame, 0.1, seed)
        assert {3, 40} <= set(train)
        sizes.append(len(valid))
    assert sizes.count(3) == 2  # these had drawn the shared text


def test_validation_share_of_zero():
    train, valid = split_validation(frame_of([("a", "X"), ("b", "Y")]), 0, seed=0)
    assert list(train) == [0, 1] and list(valid) == []


@pytest.mark.parametrize("pairs", [[("a", "X"), ("b", "Y")], [("a", "X"), ("b", "X"), ("c", "Y"), ("d", "Y")]])
def test_too_few_rows_to_validate(pairs):
    with pytest.raises(UserError, match=rf"^{len(pairs)} rows with a validation share of 0\.1 leave "):
        split_validation(frame_of(pairs), 0.1, seed=0)


@given(pairs=rows, folds=st.integers(2, 5), seed=st.integers(0, 2**31))
def test_folds_are_a_clean_cut(pairs, folds, seed):
    frame = frame_of(pairs)
    texts, label_of = own_texts(pairs)
    counts = {label: texts[label] for _, label in pairs}
    if min(counts.values()) < folds:
        with pytest.raises(UserError, match=rf"{min(counts.values())} distinct texts are too few for {folds} folds"):
            assign_folds(frame, folds, seed)
        return
    fold = assign_folds(frame, folds, seed)
    assert len(fold) == len(pairs) and set(fold) == set(range(folds))
    assert len({(text, number) for (text, _), number in zip(pairs, fold, strict=True)}) == len(label_of)
    fold_of = {text: number for (text, _), number in zip(pairs, fold, strict=True)}
    for label in counts:  # stratified: the folds' shares of a class differ by one text at most
        sizes = Counter(fold_of[text] for text in fold_of if label_of[text] == label)
        assert max(sizes.values()) - min(sizes[number] for number in range(folds)) <= 1
    assert list(assign_folds(frame, folds, seed)) == list(fold)


def test_folds_are_seeded():
    frame = hundred()
    first, second = assign_folds(frame, 5, seed=0), assign_folds(frame, 5, seed=1)
    assert list(first) != list(second)
    assert Counter(zip(frame["label"], first, strict=True)) == {
        (label, fold): count for label, count in (("A", 10), ("B", 6), ("C", 4)) for fold in range(5)
    }


def test_more_folds_than_texts_of_the_rarest_class():
    frame = frame_of([("a", "X"), ("b", "X"), ("c", "X"), ("d", "Y"), ("e", "Y"), ("e", "Y")])
    with pytest.raises(UserError, match=r"^class 'Y': 2 distinct texts are too few for 3 folds; use fewer folds$"):
        assign_folds(frame, 3, seed=0)
    # the only text of Z counts as Y's: in one fold or another no model would have seen Z
    frame = frame_of([("a", "X"), ("b", "X"), ("c", "Y"), ("d", "Y"), ("d", "Z")])
    with pytest.raises(UserError, match=r"^class 'Z': 0 distinct texts are too few for 2 folds"):
        assign_folds(frame, 2, seed=0)


# Near-duplicates

WORDS = [
    f"{first}{second}" for first in ("Haus", "Wald", "Berg", "See", "Licht") for second in ("tor", "weg", "rand", "tal")
]


def article(number, length=40):
    """A text of random words, unlike those of other numbers."""
    rng = np.random.default_rng(number)
    return " ".join(f"{word}{rng.integers(1000)}" for word in rng.choice(WORDS, length))


def test_near_duplicates_by_hand():
    text = article(0)
    texts = [
        text,
        article(1),
        text.upper(),
        f"{text} (Archiv)",
        article(2),
        article(1).replace(" ", "\n", 3),
        "",
        "x",
        "",
    ]
    assert near_duplicate_sets(texts) == [[0, 2, 3], [1, 5], [6, 8]]
    assert near_duplicate_groups(texts).tolist() == [0, 1, 0, 0, 2, 1, 3, 4, 3]
    assert near_duplicate_sets([]) == [] and near_duplicate_sets(["a"]) == []


def test_what_shares_a_subject_is_no_duplicate():
    assert near_duplicate_sets(["Das Paket kam nicht an", "Das Paket kam zu spät an", "Mein Paket kam nicht"]) == []


@given(st.lists(st.sampled_from([*(article(n, 12) for n in range(4)), "", "a", "A "]), max_size=12), st.randoms())
def test_groups_do_not_depend_on_the_order(texts, random):
    order = random.sample(range(len(texts)), len(texts))
    mixed = near_duplicate_groups([texts[place] for place in order])
    group = near_duplicate_groups(texts)
    pairs = [(a, b) for a in range(len(texts)) for b in range(a)]
    assert all((group[order[a]] == group[order[b]]) == (mixed[a] == mixed[b]) for a, b in pairs)


def test_most_copies_with_a_changed_word_are_found():
    """60 words of which one is another: far above the limit. Every second word another: far below."""
    originals = [article(n, 60) for n in range(60)]
    changed = [text.replace(text.split()[7], "geändert") for text in originals]
    mixed = [" ".join(np.where(np.arange(60) % 2, a.split(), b.split())) for a, b in pairwise(originals)]
    sets = near_duplicate_sets([*originals, *changed, *mixed])
    assert sets == [[n, n + 60] for n in range(60)]


def test_comparisons_grow_with_the_rows_not_with_their_square(monkeypatch):
    compared = []
    monkeypatch.setattr(duplicates, "_similarity", lambda a, b: compared.append(0) or 0.0)  # no link ends a search

    def comparisons(rows):
        compared.clear()
        near_duplicate_sets([f"{n} {article(1000)}" for n in range(rows)])  # all from one template
        return len(compared)

    assert comparisons(200) > 200 and comparisons(800) <= 800 * 30


def test_near_duplicates_stay_together():
    texts = [text for n in range(30) for text in (article(n), f"{article(n)} (Archiv)")]
    frame = frame_of([(text, "AB"[n // 2 % 2]) for n, text in enumerate(texts)])
    fold = assign_folds(frame, 5, seed=0)
    assert (fold[::2] == fold[1::2]).all() and Counter(fold) == dict.fromkeys(range(5), 12)
    train, valid = split_validation(frame, 0.2, seed=0)
    assert set(valid) == {row ^ 1 for row in valid} and set(train) == {row ^ 1 for row in train}


def test_a_template_is_no_copy(capsys):
    note.cache_clear()
    texts = [f"Sehr geehrte Damen und Herren, die Rechnung Nummer {n} ist noch offen" for n in range(40)]
    frame = frame_of([(text, "AB"[n % 2]) for n, text in enumerate([*texts, texts[0]])])
    fold = assign_folds(frame, 4, seed=0)
    assert min(Counter(fold).values()) >= 10 and fold[0] == fold[40]
    assert "41 of 41 texts follow one template" in " ".join(capsys.readouterr().out.split())


def test_overlap_of_training_and_test_rows():
    train = frame_of([(article(n), "AB"[n % 2]) for n in range(10)])
    test = pd.DataFrame({"id": ["x", "y", "z"], "text": [article(3), f"{article(4)}!", article(77)]})
    places = {"train": "d/train.csv", "valid": "d/valid.csv", "test": "d/test.csv"}
    dataset = Dataset("d", None, ["A", "B"], train, train[:1], test, {}, places=places)
    assert describe_overlap(dataset) == [
        "1 of 1 rows of d/valid.csv are near-duplicates of training rows",
        "2 of 3 rows of d/test.csv are near-duplicates of training rows",
    ]
