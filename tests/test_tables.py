"""CSV tables: what is read, however it is written, and what is refused in one line that names the place."""

import csv
import io
import json
import time
import unicodedata

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.cli import UserError, note
from common.reading.tables import check_ids, csv_writer, read_headerless, read_table


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
    # a cell with both may be several unquoted rows: see test_tabs_without_quoting
    assume(
        delimiter != "\t" or not any("\t" in cell and ("\n" in cell or "\r" in cell) for row in rows for cell in row)
    )
    assume(any(cell.strip() for row in rows for cell in row))
    table = read_table(file, ["id", "text"])
    named = [position for position, name in enumerate(header) if name]
    assert list(table.columns) == [header[position] for position in named]
    rows = [row for row in rows if any(cell.strip() for cell in row)]  # empty rows are none
    assert table.to_numpy().tolist() == [[nfc(row[position]) for position in named] for row in rows]


@given(rows=st.lists(st.tuples(st.one_of(cells, tricky), st.one_of(cells, tricky)), min_size=1, max_size=5))
def test_our_own_writer_quotes_whatever_needs_it(file, rows):
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    assume(rows)
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
        (
            b"id,text\n1,a\n2,Gr\xfc\xdfe\n",
            "FILE, line 3: not UTF-8 (byte 0xfc); save it as UTF-8 (in Excel: 'CSV UTF-8'), or, if it is part "
            "of a dataset, name its encoding, perhaps --encoding cp1252",
        ),
        (
            b"PK\x03\x04\x14\0",
            "FILE is a zip file, not a CSV: if it is an Excel file, name it .xlsx, or save it as UTF-8 (in Excel: "
            "'CSV UTF-8')",
        ),
        (
            ("id,text\n" + "1,ein Text\n" * 9).encode("utf-16-le"),
            "FILE, line 1: a NUL byte; the file is damaged or not a CSV. If it is UTF-16, give --encoding utf-16-le",
        ),
        ("id,text\n1,a\n".encode("utf-16-le"), "FILE, line 1: a NUL byte; the file is damaged or not a CSV"),
        (b"id,text\n1,a\n2,b\0c\n", "FILE, line 3: a NUL byte; the file is damaged or not a CSV"),
        (b"", "FILE is empty"),
        (b"\xef\xbb\xbf", "FILE is empty"),
        (b"\n\r\n  \n", "FILE is empty"),
        (b"id,text\n", "FILE has a header but no rows"),
        (b"id,text", "FILE has a header but no rows"),
        (b"id,text\n\n\n", "FILE has a header but no rows"),
        (b"id,text\n1,a\n2,b,c\n", "FILE, row 2: expected 2 fields, found 3"),
        (b"id,text\n\n1,a\n\n2\n", "FILE, row 2: expected 2 fields, found 1"),
        (b'id,text\n1,"zwei\nZeilen"\n2\n', "FILE, row 2: expected 2 fields, found 1"),
        (b'id,text\n1,a\n2,"b\n3,c\n', "FILE, row 2: broken quoting: unexpected end of data"),
        (b'id,text\n1,a\n2,"b"c\n', "FILE, row 2: broken quoting: ',' expected after '\"'"),
        (b'"id,text\n1,a\n', "FILE: the header line cannot be read as CSV"),
        (b"id,text,text\n1,a,b\n", "FILE has two columns named 'text'"),
        (
            b"id,Text,TEXT\n1,a,b\n",
            "FILE has the columns 'Text' and 'TEXT', and both fit 'text'; give the exact name",
        ),
        (b"id,Texte,label\n1,a,b\n", "FILE has no column 'text'; it has: id, Texte, label. "),
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
    with pytest.raises(UserError, match="row 2: expected 2 fields, found 3"):
        read_headerless(file, ["label", "text"], delimiter=";", quotechar="'")


def test_ids():
    check_ids("t.csv", ["a", "A", "1", "01", "a "])
    with pytest.raises(UserError, match=r"^t.csv, row 3: duplicate id 'b', first in row 2$"):
        check_ids("t.csv", ["a", "b", "b"])
    with pytest.raises(UserError, match=r"^t.csv, row 2: the id is empty$"):
        check_ids("t.csv", ["a", " \t", "b"])


# What other tools write


def both(capsys):
    """What was said on stdout, notes put together on one line each."""
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("separator", ["\t", "|"])
def test_tabs_without_quoting(file, capsys, separator):
    """GermEval, PotTS, SB10k: quotes are characters, opened in one row and closed in another."""
    lines = ["text|label", '"Wir haben gewonnen (1/2)|Sport', "Regen im Norden|Wetter", 'und fahren heim (2/2)"|Sport']
    content = "\n".join(lines).replace("|", separator) + "\n"
    expected = [
        ['"Wir haben gewonnen (1/2)', "Sport"],
        ["Regen im Norden", "Wetter"],
        ['und fahren heim (2/2)"', "Sport"],
    ]
    note.cache_clear()
    assert read(file, content, ["text", "label"]) == expected
    assert "is read without quoting" in both(capsys)
    assert read(file, f'text{separator}label\n"Schön" sagt er{separator}b\n', ["text"]) == [['"Schön" sagt er', "b"]]
    assert read(file, f'text{separator}label\nSport{separator}"nie geschlossen\n', ["text"]) == [
        ["Sport", '"nie geschlossen']
    ]


def test_tabs_with_quoting_stay_quoted(file, capsys):
    content = 'id\ttext\tlabel\n1\t"zwei\nZeilen\tund ""Tab"""\tA\n2\tb\tB\n'
    assert read(file, content) == [["1", 'zwei\nZeilen\tund "Tab"', "A"], ["2", "b", "B"]]
    assert both(capsys) == ""
    message = refusal(file, 'id\ttext\n1\t"a"b\n2\tb\tc\n')
    assert message == r"""FILE, row 1: broken quoting: '\t' expected after '"'"""  # a tab that can be seen


def test_escaped_quotes(file, capsys):
    note.cache_clear()
    content = 'id,text\n1,"Er sagte \\"ja\\", dann C:\\\\neu"\n2,b\n'
    assert read(file, content) == [["1", 'Er sagte "ja", dann C:\\neu'], ["2", "b"]]
    assert r"read with \" as an escaped quote" in both(capsys)
    assert read(file, 'id,text\n1,"C:\\neu"\n') == [["1", "C:\\neu"]]  # a backslash elsewhere is one


@given(rows=st.lists(st.tuples(cells, tricky), min_size=1, max_size=4))
def test_escaped_quotes_read_back_or_are_refused(file, rows):
    """Under standard quoting some of these files read otherwise, and no reader could know: those are left out."""
    rows = [(f"x{first}", second.replace("\r", "")) for first, second in rows]
    with open(file, "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, escapechar="\\", doublequote=False)
        writer.writerows([("id", "text"), *rows])
    data = file.read_bytes()
    assume(b"\\" in data)
    try:
        list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))
        assume(False)
    except csv.Error:
        assert read(file, data) == [[nfc(cell) for cell in row] for row in rows]


def test_a_declared_delimiter(file):
    assert read(file, "sep=;\r\nid;text\r\n1;a,b\r\n") == [["1", "a,b"]]
    assert read(file, '"SEP=|"\nid|text\n1|a;b\n') == [["1", "a;b"]]


def test_encodings(file):
    content = "id;text\n1;Grüße für 5 €\n"
    for encoding in ("utf-16", "utf-8-sig"):  # they say themselves what they are
        assert read(file, content.encode(encoding)) == [["1", "Grüße für 5 €"]]
    for encoding in ("cp1252", "utf-16", "utf-16-le", "iso8859-15", "utf-8-sig"):
        file.write_bytes(content.encode(encoding))
        assert read_table(file, ["id"], encoding=encoding).to_numpy().tolist() == [["1", "Grüße für 5 €"]]
    file.write_bytes(b"id,text\n1,\x81\n")
    with pytest.raises(UserError, match=r"is not in the encoding cp1252 \(--encoding\): "):
        read_table(file, ["id"], encoding="cp1252")
    for unknown in ("klingon", "hex"):
        with pytest.raises(UserError, match=f"--encoding {unknown}: no such encoding"):
            read_table(file, ["id"], encoding=unknown)


def test_columns_that_nobody_asked_for(file, capsys):
    note.cache_clear()
    file.write_text("v1,v2,,,\nham,Hallo,,,\nspam,Gewinn,ja,,\n,,,,\n")
    table = read_table(file, ["v1"], texts="v2")
    assert table.to_dict("list") == {"v1": ["ham", "spam"], "v2": ["Hallo", "Gewinn"]}
    assert "1 empty rows are left out" in both(capsys)
    file.write_text("id;text;Notiz;Notiz;;\n1;a;x;y;;\n2;b\n;;;;;\n3;c;;;;\n")
    with pytest.raises(UserError, match="row 2: expected 6 fields, found 2"):
        read_table(file, ["id", "text"])
    file.write_text("id;text;;\n1;a;;\n2;b\n;;;\n3;c;;;;\n")  # Excel leaves trailing delimiters out after some rows
    assert read_table(file, ["id", "text"]).to_numpy().tolist() == [["1", "a"], ["2", "b"], ["3", "c"]]
    assert refusal(file, "id,text\n1,a,,x\n") == "FILE, row 1: expected 2 fields, found 4"
    file.write_text("id,Notiz,Notiz,text\n1,x,y,a\n")
    assert read_table(file, ["id", "text"]).to_dict("list") == {"id": ["1"], "text": ["a"]}
    with pytest.raises(UserError, match="two columns named 'Notiz'"):
        read_table(file, ["id", "text"], all_unique=True)


def test_names_match_without_regard_to_case_and_space(file):
    file.write_text("ID; Text ;Größe\n1;a;b\n")
    assert list(read_table(file, ["text", "GRÖSSE"], optional=["id", "label"]).columns) == ["id", "text", "GRÖSSE"]
    file.write_text("text,Text\na,b\n")
    assert read_table(file, ["text"]).to_dict("list") == {"text": ["a"], "Text": ["b"]}  # the exact one


def test_several_text_columns(file):
    file.write_text("Betreff,Text,label\nHallo,Welt,A\n,nur Text,B\nnur Betreff, ,B\n,,C\n")
    table = read_table(file, ["label"], texts="betreff, text")
    assert table["betreff, text"].tolist() == ["Hallo\n\nWelt", "nur Text", "nur Betreff", ""]
    file.write_text('"Betreff,Text",label\nHallo,A\n')  # a name that has a comma itself
    assert read_table(file, ["label"], texts="Betreff,Text")["Betreff,Text"].tolist() == ["Hallo"]
    with pytest.raises(UserError, match="has no column 'Betreff,Body'; it has"):
        read_table(file, ["label"], texts="Betreff,Body")


def test_without_a_header(file):
    file.write_text("Ein Tor;Sport\nEin Netz;Web\n")
    table = read_table(file, ["label"], texts="text", columns=["text", "label"])
    assert table.to_dict("list") == {"text": ["Ein Tor", "Ein Netz"], "label": ["Sport", "Web"]}
    file.write_text("Text;Label\nEin Tor;Sport\n")  # a header, all the same
    assert len(read_table(file, ["label"], texts="text", columns=["text", "label"])) == 1
    file.write_text("Ein Tor\nEin Netz\n")
    table = read_table(file, texts="text", columns=["text", "label"], may_lack="label")
    assert table.to_dict("list") == {"text": ["Ein Tor", "Ein Netz"]}
    file.write_text("Ein Tor;Sport\nEin;Netz;Web\n")
    with pytest.raises(UserError, match="row 2: expected 2 fields, found 3"):
        read_table(file, ["label"], columns=["text", "label"])
    file.write_text("Dies ist ein ganzer Artikel, der keine Spalte ist; " * 20 + "\nzwei\n")
    with pytest.raises(UserError) as caught:
        read_table(file, ["text"], hint="HINT")
    assert "it has: Dies ist ein ganzer Artikel, der keine S" in str(caught.value) and len(str(caught.value)) < 400


# Other formats


def test_json_lines(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(
        '{"id": 1, "text": "Gru\\u0308n", "label": true, "tags": ["x"]}\n\n{"id": 2, "text": null, "score": 0.5}\n'
    )
    table = read_table(path, ["id", "text"])
    assert table.to_dict("list") == {
        "id": ["1", "2"],
        "text": ["Grün", ""],
        "label": ["True", ""],
        "score": ["", "0.5"],
    }
    path.write_text('{"text": ["a"]}\n')
    with pytest.raises(UserError, match=r"train\.jsonl, row 1: column 'text' holds a list, not a text"):
        read_table(path, ["text"])
    path.write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(UserError, match=r"train\.jsonl, line 2: not valid JSON"):
        read_table(path, ["text"])
    path.write_text('["a"]\n')
    with pytest.raises(UserError, match=r"train\.jsonl, row 1: expected a JSON object"):
        read_table(path, ["text"])


BROKEN = {"id": "a\0", "na\udc00me": "x", "text": "Tor! \ud83d 🙂", "label": "\udc80Sport\0"}  # scraped, cut emojis


@pytest.mark.parametrize("kind", ["jsonl", "json", "json of columns", "parquet"])
def test_what_no_csv_file_can_hold_is_replaced(tmp_path, kind):
    path = tmp_path / f"train.{kind.split()[0]}"
    if kind == "parquet":  # it is UTF-8, but may have NUL
        halves = str.maketrans(dict.fromkeys("\ud83d\udc00\udc80", "\0"))
        row = {name.translate(halves): value.translate(halves) for name, value in BROKEN.items()}
        pd.DataFrame([row]).to_parquet(path)
    else:
        columns = {name: {"\udc00": value} for name, value in BROKEN.items()}
        path.write_text(json.dumps({"jsonl": BROKEN, "json": [BROKEN]}.get(kind, columns)))
    table = read_table(path, ["id"], texts="text")
    expected = {"id": "a\ufffd", "na\ufffdme": "x", "text": "Tor! \ufffd 🙂", "label": "\ufffdSport\ufffd"}
    assert table.to_dict("records") == [expected]


@pytest.mark.parametrize("orient", ["records", "columns", "list", "lines"])
def test_json(tmp_path, orient):
    path = tmp_path / "train.json"
    frame = pd.DataFrame({"id": [7, 8], "text": ["Größe", "b\nc"]})
    if orient == "list":
        path.write_text(json.dumps(frame.to_dict("list")))
    else:
        options = {"orient": "records", "lines": True} if orient == "lines" else {"orient": orient}
        frame.to_json(path, **options)
    assert read_table(path, ["text"]).to_numpy().tolist() == [["7", "Größe"], ["8", "b\nc"]]
    path.write_text("3")
    with pytest.raises(UserError, match="does not hold a list of JSON objects"):
        read_table(path, ["text"])


def test_parquet(tmp_path):
    path = tmp_path / "train.parquet"
    frame = pd.DataFrame({"id": pd.array([7, None], dtype="Int64"), "text": ["a", "b"], "vector": [[1.0], [2.0]]})
    frame.to_parquet(path)
    assert read_table(path, ["text"]).to_dict("list") == {"id": ["7", ""], "text": ["a", "b"]}
    frame.index = pd.MultiIndex.from_tuples([(2**53 + 1, "x"), (2**53, "y")], names=["doc", None])
    frame.to_parquet(path)  # the ids may be the index, named or not
    assert read_table(path, ["text"])["doc"].tolist() == [str(2**53 + 1), str(2**53)]
    frame.set_index("id", drop=False).to_parquet(path)
    assert read_table(path, ["text"]).to_dict("list") == {"id": ["7", ""], "text": ["a", "b"]}
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match=r"train\.parquet cannot be read as parquet: "):
        read_table(path, ["text"])


def test_excel(tmp_path):
    path = tmp_path / "train.xlsx"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(
        UserError, match=r"train\.xlsx(: pandas needs another package for Excel| cannot be read as xlsx)"
    ):
        read_table(path, ["text"])
    pytest.importorskip("openpyxl")
    frame = pd.DataFrame([[4711, "Größe", "A"], [None, "NA", "B"], [None, None, None]], columns=["Id", "Text", "Label"])
    frame.to_excel(path, index=False)
    table = read_table(path, ["label"], texts="text", optional=["id"])
    assert table.to_dict("list") == {"id": ["4711", ""], "text": ["Größe", "NA"], "label": ["A", "B"]}


@given(
    rows=st.lists(st.tuples(cells, st.one_of(cells, tricky)), min_size=1, max_size=4),
    kind=st.sampled_from(["jsonl", "json", "parquet"]),
)
def test_other_formats_read_back(tmp_path_factory, rows, kind):
    rows = [(f"x{first}", second) for first, second in rows]
    frame = pd.DataFrame(rows, columns=["id", "text"])
    path = tmp_path_factory.getbasetemp() / f"table.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=kind == "jsonl", force_ascii=False)
    assert read_table(path, ["id", "text"]).to_numpy().tolist() == [[nfc(cell) for cell in row] for row in rows]
