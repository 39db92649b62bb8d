"""Reading in chunks: the same table as in one piece, also of a file that is streamed."""

import tracemalloc

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.cli import UserError
from common.reading import chunks
from common.reading.tables import read_table
from tests.conftest import write_csv

CELLS = st.text(st.sampled_from("aä ;,\"'\n\r\t|=ſ\u0308"), max_size=8)


def streamed(path, size, monkeypatch, **needs):
    """The table in chunks, streamed where possible; and whether it was."""
    whole = []
    monkeypatch.setattr(chunks, "WHOLE", 0)
    monkeypatch.setattr(chunks, "read_table", lambda *given, **named: whole.append(1) or read_table(*given, **named))
    parts = chunks.open_chunks(path, size, "text", ["id"], **needs)
    first, again = list(parts()), list(parts())
    assert [len(part) for part in first] == [len(part) for part in again]
    assert all(len(part) == size for part in first[:-1]) and 0 < len(first[-1]) <= size
    return pd.concat(first, ignore_index=True), not whole


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=9), st.sampled_from(",;\t"), st.integers(1, 4))
def test_chunks_are_the_table(tmp_path, monkeypatch, rows, delimiter, size):
    path = tmp_path / "t.csv"
    write_csv(path, ["id", "text"], [["1", "x"], *rows])
    text = path.read_text(encoding="utf-8").replace("id,text", f"id{delimiter}text", 1) if delimiter == ";" else None
    if text:
        path.write_text(text, encoding="utf-8", newline="")
    with monkeypatch.context() as patch:
        try:
            expected = read_table(path, texts="text", optional=["id"])
        except UserError as error:
            with pytest.raises(UserError, match=r"t\.csv") as raised:
                streamed(path, size, patch)
            assert str(raised.value) == str(error)
            return
        table, _ = streamed(path, size, patch)
    pd.testing.assert_frame_equal(table, expected)


@pytest.mark.parametrize(
    ("content", "plain"),
    [
        (b"id;Text;text\n1;a;b\n\n2;c;d\n;;\n3;e;f\n", True),  # empty rows are none
        ('\ufeffid\ttext\n1\tÄ "x" b\n'.encode(), True),
        (b"sep=;\nid;text\n1;a,b\n", True),
        ("id;text\n1;für\n".encode("utf-16"), True),
        (b'id,text\n1,"a \\"b\\" c"\n2,d\n', False),  # escaped quotes: only the whole file tells
        (b'id\ttext\n1\t"a\n2\tb"\n3\tc\n', False),  # quotes that mean nothing
    ],
)
def test_what_is_streamed_and_what_is_read_whole(tmp_path, monkeypatch, content, plain):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    table, was_streamed = streamed(path, 2, monkeypatch)
    assert was_streamed == plain
    pd.testing.assert_frame_equal(table, read_table(path, texts="text", optional=["id"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,text\n1,a\n2,b,c\n", "row 2: expected 2 fields, found 3"),
        (b"id,text\n1,a\n2,\xff\n", "line 3: not UTF-8"),
        (b'id,text\n1,"a\n', "broken quoting"),
        (b"id,text\n1,a\x00b\n", "a NUL byte"),
        (b"id,titel\n1,a\n", "no column 'text'"),
        (b"id,text\n", "a header but no rows"),
        (b"", "is empty"),
    ],
)
def test_a_broken_file_is_refused_as_by_read_table(tmp_path, monkeypatch, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"t\.csv") as raised:
        streamed(path, 2, monkeypatch)
    assert message in str(raised.value)


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "WHOLE", 0)
    monkeypatch.setattr(chunks, "HEAD", 10_000)
    peaks = []
    for rows in (4_000, 16_000):
        path = tmp_path / f"{rows}.csv"
        write_csv(path, ["id", "text"], ([str(number), "Wort " * 20] for number in range(rows)))
        tracemalloc.start()
        assert sum(len(part) for part in chunks.open_chunks(path, 500, "text", ["id"])()) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks
