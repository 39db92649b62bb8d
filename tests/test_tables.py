"""CSV tables: what is read, however it is written, and what is refused in one line that names the place."""

import csv
import io
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cli import UserError
from common.tables import check_ids, csv_writer, read_headerless, read_table


def nfc(text):
    return unicodedata.normalize("NFC", text)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """One file that every test, and every hypothesis example, writes anew."""
    return tmp_path_factory.mktemp("tables") / "table.csv"


def read(file, content, required=("id", "text")):
    """The rows, as lists of strings, of a file with this content."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(file, required).to_numpy().tolist()


def refusal(file, content, required=("id", "text")):
    with pytest.raises(UserError) as caught:
        read(file, content, required)
    message = str(caught.value)
    assert message.startswith(str(file)) or message.startswith(f"cannot read {file}")
    return message.replace(str(file), "FILE")


# What is read


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(file, delimiter, end):
    lines = ["id,text,label".replace(",", delimiter), f'1{delimiter}"a,b;c\td"{delimiter}X', f"2{delimiter}{delimiter}"]
    assert read(file, end.join(lines)) == [["1", "a,b;c\td", "X"], ["2", "", ""]]
    assert read(file, end.join(lines) + end) == [["1", "a,b;c\td", "X"], ["2", "", ""]]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('id,text\n1,"Er sagte ""ja"""\n', [["1", 'Er sagte "ja"']]),
        ('id,text\n1,"zwei\nZeilen"\n2,"und\r\ndrei"\n', [["1", "zwei\nZeilen"], ["2", "und\r\ndrei"]]),
        ('id,text\n1,ein 5" Rohr\n', [["1", 'ein 5" Rohr']]),  # a quote inside an unquoted field is a quote
        ('"id","text"\n"1","a"\n', [["1", "a"]]),
        ("\ufeffid,text\n1,a\n", [["1", "a"]]),
        ('\ufeff"id","text"\n1,a\n', [["1", "a"]]),
        ("id,text\n\n1,a\n\n\r\n2,b\n\n", [["1", "a"], ["2", "b"]]),
        ("\n\r\nid,text\n1,a\n", [["1", "a"]]),
        (" id , text\n1, a \n", [["1", " a "]]),  # names are stripped, texts are not
        ("id,text\n1,=HYPERLINK()\n", [["1", "=HYPERLINK()"]]),
        ("id,text\nNA,null\n1.0,007\n", [["NA", "null"], ["1.0", "007"]]),  # strings stay strings
        ("id,text\n1,Gru\u0308\u00dfe\n", [["1", "Gr\u00fc\u00dfe"]]),
        ("id,text\n1,👩‍👩‍👧 🇦🇹\n", [["1", "👩‍👩‍👧 🇦🇹"]]),
        ("id,text\n1,\u202bשלום עולם\u202c مرحبا\n", [["1", "\u202bשלום עולם\u202c مرحبا"]]),
        ("id,text\n1,a\u2028b\x85c\x0bd\x1ce\n", [["1", "a\u2028b\x85c\x0bd\x1ce"]]),  # no line ends in a CSV
    ],
)
def test_what_users_have(file, content, rows):
    assert read(file, content) == rows


def test_names_are_normalised(file):
    file.write_text("id,text,U\u0308ber\n1,a,b\n")
    assert list(read_table(file, ["id"]).columns) == ["id", "text", "Über"]


def test_the_greek_question_mark_does_not_become_a_delimiter(file):
    # its NFC form is the semicolon
    assert read(file, "id;text\n1;Τι είναι αυτό\u037e\n") == [["1", "Τι είναι αυτό;"]]
    file.write_text("Sport;'Τι\u037e'\n")
    assert read_headerless(file, ["label", "text"], ";", "'").to_numpy().tolist() == [["Sport", "Τι;"]]


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("id,text;with;semicolons\n1,a\n", ["id", "text;with;semicolons"]),
        ("id;text,label\n1;a\n", ["id", "text,label"]),
        ("id\ttext,label;x\n1\ta\n", ["id", "text,label;x"]),
        ("id\n1\n", ["id"]),
        # under the semicolon there is a column id as well, but the rows do not fit
        ("id,label,prob_a;id;b;c;d\n1,x,1\n", ["id", "label", "prob_a;id;b;c;d"]),
        ("id;x,id,y,z\n1;a\n", ["id", "x,id,y,z"]),
    ],
)
def test_the_delimiter_is_the_one_that_finds_the_columns(file, content, columns):
    file.write_text(content)
    assert list(read_table(file, ["id"]).columns) == columns


def test_a_megabyte_in_one_field(file):
    long = "Wörter, und „mehr“; " * 50_000
    assert read(file, f'id,text\n1,"{long}"\n2,kurz\n') == [["1", long], ["2", "kurz"]]


def test_twenty_thousand_rows_are_read_quickly(file):
    words = "Das Bundesheer übt im Waldviertel; " * 60  # 2,000 characters, a usual article
    content = "id,text,label\n" + "".join(f'{n},"{words}",Inland\n' for n in range(20_000))
    started = time.process_time()
    rows = read(file, content)
    assert time.process_time() - started < 4  # 0.5 s; a quadratic reader takes minutes
    assert len(rows) == 20_000 and rows[-1] == ["19999", words, "Inland"]


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
tricky = st.text(st.sampled_from(list("a;,\t\"'\r\n =u\u0308\u037e")), max_size=6)
names = st.one_of(cells, tricky).map(lambda name: nfc(name).strip())


@given(
    extra=st.lists(names.filter(lambda name: name not in ("id", "text")), max_size=3, unique=True),
    data=st.data(),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    bom=st.booleans(),
)
def test_whatever_a_csv_writer_writes_reads_back(file, extra, data, delimiter, end, quoting, bom):
    header = ["id", "text", *extra]
    row = st.lists(st.one_of(cells, tricky), min_size=len(header), max_size=len(header))
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    if end == "\n" and quoting == csv.QUOTE_MINIMAL:  # Python before 3.13 leaves lone carriage returns unquoted
        header = [name.replace("\r", "\n") for name in header]
        rows = [[cell.replace("\r", "\n") for cell in row] for row in rows]
    with open(file, "w", encoding="utf-8-sig" if bom else "utf-8", newline="") as out:
        csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows([header, *rows])
    table = read_table(file, ["id", "text"])
    assert list(table.columns) == header
    assert table.to_numpy().tolist() == [[nfc(cell) for cell in row] for row in rows]


@given(rows=st.lists(st.tuples(st.one_of(cells, tricky), st.one_of(cells, tricky)), min_size=1, max_size=5))
def test_our_own_writer_quotes_whatever_needs_it(file, rows):
    with open(file, "w", encoding="utf-8", newline="") as out:
        csv_writer(out).writerows([("id", "text"), *rows])
    assert read_table(file, ["id", "text"]).to_numpy().tolist() == [[nfc(cell) for cell in row] for row in rows]
    assert file.read_bytes().startswith(b"id,text\n")


def test_our_own_writer_ends_rows_with_line_feeds():
    out = io.StringIO(newline="")
    csv_writer(out).writerows([("a\rb", "c\r\n"), ("d", "e,f")])
    assert out.getvalue() == '"a\rb","c\r\n"\nd,"e,f"\n'


# What is refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,text\n1,a\n2,Gr\xfc\xdfe\n", "FILE, line 3: not UTF-8 (byte 0xfc); save it as UTF-8"),
        ("id,text\n1,ä\n".encode("utf-16"), "FILE, line 1: not UTF-8 (byte 0xff); save it as UTF-8"),
        ("id,text\n1,a\n".encode("utf-16-le"), "FILE, line 1: a NUL byte; the file is damaged or not a CSV"),
        (b"id,text\n1,a\n2,b\0c\n", "FILE, line 3: a NUL byte; the file is damaged or not a CSV"),
        (b"", "FILE is empty"),
        (b"\xef\xbb\xbf", "FILE is empty"),
        (b"\n\r\n  \n", "FILE is empty"),
        (b"id,text\n", "FILE has a header but no rows"),
        (b"id,text", "FILE has a header but no rows"),
        (b"id,text\n\n\n", "FILE has a header but no rows"),
        (b"id,text\n1,a\n2,b,c\n", "FILE, row 2: 3 fields where the header has 2"),
        (b"id,text\n\n1,a\n\n2\n", "FILE, row 2: 1 fields where the header has 2"),
        (b'id,text\n1,"zwei\nZeilen"\n2\n', "FILE, row 2: 1 fields where the header has 2"),
        (b'id,text\n1,a\n2,"b\n3,c\n', "FILE, row 2: unexpected end of data"),
        (b'id,text\n1,a\n2,"b"c\n', "FILE, row 2: ',' expected after '\"'"),
        (b'"id,text\n1,a\n', "FILE: the header line cannot be read as CSV"),
        (b"id,text,text\n1,a,b\n", "FILE has two columns named 'text'"),
        ("id,text,Ü,U\u0308\n1,a,b,c\n".encode(), "FILE has two columns named 'Ü'"),
        (b"id,Text,label\n1,a,b\n", "FILE has no column 'text'; it has: id, Text, label. "),
        (b"1;Ein Text;Sport\n", "FILE has no column 'id'; it has: 1, Ein Text, Sport. "),
    ],
)
def test_what_cannot_be_read_is_refused(file, content, message):
    assert refusal(file, content) == message


def test_the_hint_says_how_to_mend_a_missing_column(file):
    file.write_text("id,body\n1,a\n")
    with pytest.raises(UserError, match=r"it has: id, body\. Name it with --text-column$"):
        read_table(file, ["text"], hint="Name it with --text-column")


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no_such\.csv: No such file"):
        read_table(tmp_path / "no_such.csv")
    with pytest.raises(UserError, match="Is a directory"):
        read_table(tmp_path)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(file, content):
    try:
        assert all(len(row) == 2 for row in read(file, b"id,text\n" + content))
    except UserError as error:
        assert str(error).startswith(str(file))


def test_headerless_files(file):
    file.write_text("Sport;'Ein ''Text''; mit Semikolon'\n\nWeb;Noch einer\n")
    table = read_headerless(file, ["label", "text"], delimiter=";", quotechar="'")
    assert table.to_dict("list") == {"label": ["Sport", "Web"], "text": ["Ein 'Text'; mit Semikolon", "Noch einer"]}
    file.write_text("Sport;a\n\nWeb;b;c\n")
    with pytest.raises(UserError, match="row 2: 3 fields where 2 are expected"):
        read_headerless(file, ["label", "text"], delimiter=";", quotechar="'")


def test_ids():
    check_ids("t.csv", ["a", "A", "1", "01", "a "])
    with pytest.raises(UserError, match=r"^t.csv, row 3: id 'b' stands already in row 2$"):
        check_ids("t.csv", ["a", "b", "b"])
    with pytest.raises(UserError, match=r"^t.csv, row 2: the id is empty$"):
        check_ids("t.csv", ["a", " \t", "b"])
