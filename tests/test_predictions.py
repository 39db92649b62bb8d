"""Prediction files: what is written comes back bit for bit, and rows and classes are matched by name."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cli import UserError
from common.predictions import Predictions, align, mean_probabilities, read_predictions, write_predictions

TINY = [1.401298464e-45, 1e-40, 1.1754944e-38, 1e-30, 1e-9, 5.9604645e-08, 0.0]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """One file that every test, and every hypothesis example, writes anew."""
    return tmp_path_factory.mktemp("predictions") / "test.csv"


def column(values):
    return np.array(values, dtype=object)


def make(ids, classes, probabilities, labels=None, folds=None):
    labels = None if labels is None else column(labels)
    folds = None if folds is None else np.array(folds)
    return Predictions(column(ids), classes, np.array(probabilities, dtype=np.float32), labels, folds)


def bits(probabilities):
    assert probabilities.dtype == np.float32
    return probabilities.view(np.uint32).tolist()


def assert_same(first, second):
    assert bits(first.probabilities) == bits(second.probabilities)
    assert list(first.classes) == list(second.classes)
    for name in ("ids", "labels", "folds"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None)
        assert one is None or one.tolist() == other.tolist()


def refusal(file, content):
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_predictions(file)
    return str(caught.value).replace(str(file), "FILE")


# Writing and reading


def test_the_file_by_hand(file):
    write_predictions(file, make(["7", "x,y"], ["A", "B"], [[0.25, 0.75], [1, 0]], ["B", "A"], [1, 0]))
    assert file.read_bytes() == b'id,label,fold,prob_A,prob_B\n7,B,1,0.25,0.75\n"x,y",A,0,1,0\n'
    write_predictions(file, make(["7"], ["A", "B"], [[0.1, 0.9]]))
    assert file.read_bytes() == b"id,prob_A,prob_B\n7,0.100000001,0.899999976\n"


nfc_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).map(
    lambda text: unicodedata.normalize("NFC", text)
)
ids = nfc_text.filter(str.strip)
names = ids.map(str.strip)  # labels and classes are stripped when a dataset is read


@st.composite
def rows_of_float32(draw, classes):
    """A row of probabilities: any float32 in [0, 1], the tiniest included, that sum to 1 within float32's error."""
    value = st.one_of(st.floats(0, 1, width=32), st.sampled_from(TINY))
    rest = np.array(draw(st.lists(value, min_size=classes - 1, max_size=classes - 1)))
    rest = (rest / max(1.0, rest.sum() * 1.0001)).astype(np.float32)
    row = np.append(rest, np.float32(1 - rest.sum(dtype=np.float64)))
    return row[draw(st.permutations(range(classes)))]


@st.composite
def predictions(draw):
    classes = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    row_ids = draw(st.lists(ids, min_size=1, max_size=5, unique=True))
    rows = draw(st.lists(rows_of_float32(len(classes)), min_size=len(row_ids), max_size=len(row_ids)))
    labels = draw(st.none() | st.lists(names, min_size=len(row_ids), max_size=len(row_ids)))
    folds = draw(st.none() | st.lists(st.integers(0, 99), min_size=len(row_ids), max_size=len(row_ids)))
    return make(row_ids, classes, np.stack(rows), labels, folds)


@given(table=predictions())
def test_what_is_written_comes_back_bit_for_bit(file, table):
    write_predictions(file, table)
    assert_same(read_predictions(file), table)


def test_twenty_thousand_floats_survive_nine_digits(file):
    # every exponent below 1, subnormals included, with random mantissas: what `:.9g` must carry
    patterns = np.random.default_rng(0).integers(0, 0x3F800001, size=20_000, dtype=np.uint32)
    values = patterns.view(np.float32)
    written = np.array([float(f"{value:.9g}") for value in values]).astype(np.float32)
    assert bits(written) == patterns.tolist()


@pytest.mark.parametrize(
    "names",
    [
        ["id", "label", "fold", "prob_id"],
        ["a;id;b;c", "x\ty", "d"],
        ['Recht, "Steuern"', "zwei\nZeilen", "cr\rlf\r\nx"],
        ["=1+1", "../../etc", "🙂", "שלום", "prob_"],
    ],
)
def test_awkward_class_names(file, names):
    table = make([*names, "1"], names, np.full((len(names) + 1, len(names)), 1 / len(names)), [*names, names[0]])
    write_predictions(file, table)
    assert_same(read_predictions(file), table)


def test_another_tools_file(file):
    file.write_text("\ufefffold;prob_B;comment;id;prob_A\r\n2.0;1e-3;x;1;.999\r\n\r\n0;0.5;;2;0.4995\r\n")
    read = read_predictions(file)
    assert (read.ids.tolist(), read.classes, read.folds.tolist()) == (["1", "2"], ["B", "A"], [2, 0])
    assert read.labels is None
    assert np.array_equal(read.probabilities, np.array([[0.001, 0.999], [0.5, 0.4995]], dtype=np.float32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prob_A,prob_B\n1,0\n", "FILE has no column 'id'; it has: prob_A, prob_B. A prediction file has id and one"),
        ("id,A,B\n1,1,0\n", "FILE has no column prob_<class>; it has: id, A, B"),
        ("id,prob_A,prob_A\n1,1,0\n", "FILE has two columns named 'prob_A'"),
        ("id,prob_A\n", "FILE has a header but no rows"),
        ("id,prob_A\n1,1\n1,1\n", "FILE, row 2: duplicate id '1', first in row 1"),
        ("id,prob_A\n,1\n", "FILE, row 1: the id is empty"),
        ("id,prob_A,prob_B\n1,1,0\n2,1\n", "FILE, row 2: expected 3 fields, found 2"),
        ("id,prob_A,prob_B\n1,1,0\n2,1,x\n", "FILE, row 2: prob_B is 'x', not a number"),
        ("id,prob_A,prob_B\n1,1,\n", "FILE, row 1: prob_B is '', not a number"),
        ("id;prob_A;prob_B\n1;0,5;0,5\n", "FILE, row 1: prob_A is '0,5', not a number"),
        ("id,prob_A,prob_B\n1,1,0\n2,nan,1\n", "FILE, row 2: prob_A is nan, not in [0, 1]"),
        ("id,prob_A,prob_B\n1,1,inf\n", "FILE, row 1: prob_B is inf, not in [0, 1]"),
        ("id,prob_A,prob_B\n1,1.0001,0\n", "FILE, row 1: prob_A is 1.0001, not in [0, 1]"),
        ("id,prob_A,prob_B\n1,1,0\n2,1,-1e-9\n", "FILE, row 2: prob_B is -1e-09, not in [0, 1]"),
        ("id,prob_A,prob_B\n1,1,0\n2,0.5,0.5011\n", "FILE, row 2: the probabilities sum to 1.001, not to 1"),
        ("id,prob_A,prob_B\n1,0.5,0.4989\n", "FILE, row 1: the probabilities sum to 0.9989, not to 1"),
        ("id,prob_A,prob_B\n1,0,0\n", "FILE, row 1: the probabilities sum to 0, not to 1"),
        ("id,label,prob_A\n1,A,1\n2, ,1\n", "FILE, row 2: the label is empty"),
        ("id,fold,prob_A\n1,0,1\n2,1.5,1\n", "FILE, row 2: fold '1.5' is not a whole number"),
        ("id,fold,prob_A\n1,x,1\n", "FILE, row 1: fold is 'x', not a number"),
        ("id,fold,prob_A\n1,0,1\n2,nan,1\n", "FILE, row 2: fold 'nan' is not a whole number"),
        ("id,fold,prob_A\n1,inf,1\n", "FILE, row 1: fold 'inf' is not a whole number"),
        ("id,fold,prob_A\n1,1e300,1\n", "FILE, row 1: fold '1e300' is not a whole number"),
    ],
)
def test_what_is_no_prediction_file_is_refused(file, content, message):
    assert refusal(file, content).startswith(message)


def test_sums_are_let_off_by_a_thousandth(file):
    file.write_text("id,prob_A,prob_B\n1,0.5,0.5009\n2,0.5,0.4991\n")
    assert read_predictions(file).ids.tolist() == ["1", "2"]


def test_rounded_probabilities_are_accepted_and_normalised(file):
    """Nine classes at three decimals: half a unit each, 0.0045 in all."""
    names = [f"K{n}" for n in range(9)]
    header = "id," + ",".join(f"prob_{name}" for name in names) + "\n"
    cells = ["0.111"] * 8 + ["0.108"]  # 0.996
    file.write_text(header + "1," + ",".join(cells) + "\n2,1" + ",0" * 8 + "\n")
    read = read_predictions(file)
    assert read.probabilities.sum(axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert read.probabilities[0] == pytest.approx(np.array([0.111] * 8 + [0.108]) / 0.996)
    file.write_text(header + "1," + ",".join(["0.110"] * 8 + ["0.115"]) + "\n")  # 0.995: one unit too far
    with pytest.raises(UserError, match=r"row 1: the probabilities sum to 0\.995, not to 1$"):
        read_predictions(file)


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=12), st.integers(2, 5))
def test_any_rounding_is_accepted(file, counts, digits):
    shares = [count / sum(counts) for count in counts]
    rounded = [f"{share:.{digits}f}" for share in shares]
    if not any(map(float, rounded)):
        return
    file.write_text("id," + ",".join(f"prob_{n}" for n in range(len(counts))) + "\n1," + ",".join(rounded) + "\n")
    read = read_predictions(file)
    assert float(read.probabilities.sum()) == pytest.approx(1, abs=1.1e-3)
    assert read.probabilities[0] == pytest.approx(shares, abs=len(counts) * 10.0**-digits)


def test_percent_and_decimal_comma_are_refused_with_a_hint(file):
    assert refusal(file, "id,prob_A,prob_B\n1,45.2,54.8\n") == (
        "FILE, row 1: prob_A is 45.2, not in [0, 1]; divide percentages by 100"
    )
    assert refusal(file, "id;prob_A;prob_B\n1;0,5;0,5\n") == (
        "FILE, row 1: prob_A is '0,5', not a number; write 0.5, not 0,5"
    )


def test_class_columns_without_a_prefix(file):
    file.write_text("id,note,label\n1,x,A\n")
    with pytest.raises(UserError, match="has no column prob_<class>; it has: id, note, label"):
        read_predictions(file, ["A", "B"])
    file.write_text("ID,B,A\n1,0.25,0.75\n")
    read = read_predictions(file, ["A", "B"])
    assert (read.classes, read.probabilities.tolist()) == (["B", "A"], [[0.25, 0.75]])
    with pytest.raises(UserError, match="has no column prob_<class>"):
        read_predictions(file, ["A", "B", "C"])  # not exactly the classes
    file.write_text("id,label,B,A\n1,A,0.25,0.75\n2,B,1,0\n")
    assert read_predictions(file).classes == ["B", "A"]  # exactly the file's labels


# Combining


def test_predicted_class():
    table = make("wxyz", ["B", "A", "C"], [[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [1 / 3, 1 / 3, 1 / 3], [0, 0, 1]])
    assert table.predicted.tolist() == ["B", "A", "B", "C"]  # of equal ones the first in the classes' order


@given(table=predictions(), data=st.data())
def test_rows_and_classes_are_matched_by_name(table, data):
    rows = data.draw(st.permutations(range(len(table.ids))))
    columns = data.draw(st.permutations(range(len(table.classes))))
    mixed = make(
        table.ids[rows],
        [table.classes[place] for place in columns],
        table.probabilities[rows][:, columns],
        None if table.labels is None else table.labels[rows],
        None if table.folds is None else table.folds[rows],
    )
    assert_same(align(mixed, table.ids, table.classes), table)


@pytest.mark.parametrize(
    ("row_ids", "classes", "message"),
    [
        (["1", "2", "3", "4"], ["A", "B"], "a.csv: id '3' is missing (2 missing in all)"),
        (["2"], ["A", "B"], "a.csv: id '1' is unknown (1 unknown in all)"),
        (["1", "02"], ["A", "B"], "a.csv: id '02' is missing (1 missing in all)"),
        (["1", "2"], ["A", "B", "C"], "a.csv: class 'C' is missing (1 missing in all)"),
        (["1", "2"], ["B"], "a.csv: class 'A' is unknown (1 unknown in all)"),
        (["1", "2"], ["a", "B"], "a.csv: class 'a' is missing (1 missing in all)"),
    ],
)
def test_missing_and_unknown_names_are_refused(row_ids, classes, message):
    table = make(["1", "2"], ["A", "B"], [[1, 0], [0, 1]])
    with pytest.raises(UserError) as caught:
        align(table, row_ids, classes, source="a.csv")
    assert str(caught.value) == message


def test_mean_probabilities_by_hand():
    first, second = [[0.5, 0.5], [1, 0]], [[0.25, 0.75], [0, 1]]
    mean = mean_probabilities([first, second])
    assert mean.dtype == np.float32
    assert mean.tolist() == [[0.375, 0.625], [0.5, 0.5]]
    assert mean_probabilities([first, second], weights=[3, 1]).tolist() == [[0.4375, 0.5625], [0.75, 0.25]]
    assert mean_probabilities([first, second], weights=[0, 5]).tolist() == second


def test_means_are_summed_in_float64():
    third = np.full((300, 1, 2), np.float32(0.1))  # in float32, 300 additions would drift
    assert bits(mean_probabilities(third)) == bits(np.full((1, 2), np.float32(0.1)))
