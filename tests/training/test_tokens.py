"""Reading whole texts, their heads, or windows of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.training.tokens import Encoded, cover_with_windows, cut_heads, draw_windows


def made(*texts, specials=(1, 1)):
    """Texts as lists of token ids."""
    return Encoded(np.concatenate(texts).astype(np.int32), np.cumsum([0, *map(len, texts)]), specials)


def lists(encoded):
    return [encoded.tokens[a:b].tolist() for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)]


SHORT, LONG = [1, 5, 6, 2], [1, 10, 11, 12, 13, 14, 2]
lengths = st.lists(st.integers(2, 40), min_size=1, max_size=8)


def numbered(sizes):
    """Texts whose tokens between the special ones are 100, 101, ...: a window shows where it was taken."""
    return made(*[[1, *range(100, 98 + size), 2] for size in sizes])


def test_taking_texts():
    assert lists(made(SHORT, LONG).take([1, 0, 1])) == [LONG, SHORT, LONG]
    assert lists(made(SHORT).take([])) == []


def test_heads_keep_the_special_tokens():
    assert lists(cut_heads(made(SHORT, LONG), 5)) == [SHORT, [1, 10, 11, 12, 2]]


def test_windows_cover_a_text_in_equal_parts():
    windows, owner = cover_with_windows(made(SHORT, LONG), 5)
    assert lists(windows) == [SHORT, [1, 10, 11, 2], [1, 12, 13, 14, 2]]
    assert owner.tolist() == [0, 1, 1]


def test_texts_may_begin_or_end_without_special_tokens():
    text = made([10, 11, 12, 13, 14, 9], specials=(0, 1))
    assert lists(cut_heads(text, 4)) == [[10, 11, 12, 9]]
    assert lists(cover_with_windows(text, 4)[0]) == [[10, 11, 9], [12, 13, 14, 9]]


@given(lengths, st.integers(8, 20))
def test_windows_cover_every_token_once(sizes, max_length):
    texts = numbered(sizes)
    windows, owner = cover_with_windows(texts, max_length)
    assert windows.lengths.max() <= max_length
    for number, whole in enumerate(lists(texts)):
        parts = [part for part, of in zip(lists(windows), owner, strict=True) if of == number]
        assert [token for part in parts for token in part[1:-1]] == whole[1:-1]
        assert all(part[0] == 1 and part[-1] == 2 for part in parts)
        assert len(parts) == max(1, -(-(len(whole) - 2) // (max_length - 2)))


@given(lengths, st.integers(8, 20), st.integers(0, 9))
def test_drawn_windows_are_full_runs_of_the_text(sizes, max_length, epoch):
    texts = numbered(sizes)
    for part, whole in zip(lists(draw_windows(texts, max_length, 0, epoch)), lists(texts), strict=True):
        assert len(part) == min(len(whole), max_length)
        body = part[1:-1]
        assert body == list(range(body[0], body[0] + len(body))) if body else True
        assert (part[0], part[-1]) == (1, 2) and set(body) <= set(whole)


def test_epochs_draw_different_windows_and_the_same_again():
    texts = numbered([400] * 20)
    first, again, other = (lists(draw_windows(texts, 10, 7, epoch)) for epoch in (0, 0, 1))
    assert first == again != other
    begins = [part[1] for part in first]
    assert 3 <= begins.count(100) <= 17  # about half of them read the head
