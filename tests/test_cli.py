"""The command line's manners: exit codes, one-line errors, numbers in bounds, help with defaults."""

import argparse
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cli import Parser, UserError, add_data_options, exit_codes, number
from common.files import write_json, write_text
from common.interrupts import Interrupted
from tests.scripts import ROOT, run_script

SCRIPTS = (
    "train.py",
    "train_ensemble.py",
    "create_ensemble_submission.py",
    "find_label_issues.py",
    "create_confusion_matrix.py",
    "data/gnad10/prepare.py",
    "data/kaggle/prepare.py",
    "models/starter/distill.py",
)


def ends(error):
    """A script's main that ends with this exception."""

    @exit_codes
    def main(argv=None):
        raise error

    return main


# Exit codes


def test_the_value_of_main_is_the_exit_code(capsys):
    @exit_codes
    def main(argv=None):
        """What it does."""
        print(argv)
        return 0

    assert main(["--x"]) == 0
    assert capsys.readouterr() == ("['--x']\n", "")
    assert (main.__name__, main.__doc__) == ("main", "What it does.")


@given(st.text(max_size=40))
def test_what_the_user_can_mend_is_one_line(message):
    with pytest.MonkeyPatch.context() as patch:
        written = []
        patch.setattr("sys.stderr", type("Stream", (), {"write": lambda _, text: written.append(text)})())
        assert ends(UserError(message))() == 2
    (line,) = "".join(written).splitlines()
    assert line.startswith("error: ") and line.split() == ["error:", *message.split()]


def test_errors_go_to_stderr_and_name_the_process_of_a_torchrun(capsys, monkeypatch):
    main = ends(UserError("train.csv, row 3:\n  the label\tis empty"))
    assert main() == 2
    assert capsys.readouterr() == ("", "error: train.csv, row 3: the label is empty\n")
    monkeypatch.setenv("RANK", "1")
    assert main() == 2
    assert capsys.readouterr() == ("", "error (process 1): train.csv, row 3: the label is empty\n")
    monkeypatch.setenv("RANK", "0")
    assert main() == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyboardInterrupt(), "interrupted\n"),
        (Interrupted("saved at step 12"), "interrupted: saved at step 12\n"),
    ],
)
def test_an_interruption_is_130(capsys, error, line):
    assert ends(error)() == 130
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("error", [ValueError("x"), OSError("x"), AssertionError(), KeyError("x"), SystemExit(3)])
def test_defects_keep_their_traceback(error):
    with pytest.raises(type(error)) as caught:
        ends(error)()
    assert caught.value is error


@pytest.mark.parametrize(
    "write",
    [
        lambda name: write_json("a.json", {"seed": 0, "data": {"folder": f"/x/{name}/y", "ä": "\n"}}),
        lambda name: write_text("a.csv", f"files\n/x/{name}/y\n"),
        lambda name: f"/x/{name}/y".encode(),
    ],
)
def test_a_name_that_is_not_utf_8_is_one_line(capsys, in_tmp, write):
    @exit_codes
    def main(argv=None):
        write(os.fsdecode(b"M\xfcller"))

    assert main() == 2
    assert capsys.readouterr().err == "error: the name /x/M?ller/y is not UTF-8; rename the file, folder or run\n"
    assert not os.listdir()


def test_text_that_an_encoding_lacks_is_a_defect():
    with pytest.raises(UnicodeEncodeError):
        exit_codes(lambda argv=None: "ü".encode("ascii"))()


def test_a_reader_that_has_gone_is_no_defect(monkeypatch):
    closed = []
    monkeypatch.setattr("sys.stderr", type("Stream", (), {"close": lambda _: closed.append(True)})())
    assert ends(BrokenPipeError())() == 130
    assert closed == [True]


# Numbers


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (number(int), "-3", -3),
        (number(int, 1, 9), "1", 1),
        (number(int, 1, 9), "9", 9),
        (number(int, 0), "9" * 400, int("9" * 400)),
        (number(float, 0, 0.9), "0.9", 0.9),
        (number(float, 0, low_open=True), "1e-300", 1e-300),
        (number(float), "-2", -2.0),
    ],
)
def test_numbers_in_bounds(parse, text, value):
    assert parse(text) == value and type(parse(text)) is type(value)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (number(int, 1, 9), "0", "0 must be at least 1 and at most 9"),
        (number(int, 1, 9), "10", "10 must be at least 1 and at most 9"),
        (number(int, 1), "0", "0 must be at least 1"),
        (number(float, high=0.5), "0.6", "0.6 must be at most 0.5"),
        (number(float, 0, low_open=True), "0", "0 must be above 0"),
        (number(float, 0, low_open=True), "1e-400", "1e-400 must be above 0"),
        (number(int, 0), "1.5", "'1.5' is not a whole number"),
        (number(int, 0), "1e3", "'1e3' is not a whole number"),
        (number(int, 0), "nan", "'nan' is not a whole number"),
        (number(int, 0), "", "'' is not a whole number"),
        (number(float, 0), "0,5", "'0,5' is not a number"),
        (number(float), "nan", "nan is not a finite number"),
        (number(float, 0, 1), "NaN", "NaN is not a finite number"),
        (number(float, 0), "inf", "inf is not a finite number"),
        (number(float, high=1), "-Infinity", "-Infinity is not a finite number"),
        (number(float, 0), "1e999", "1e999 is not a finite number"),
    ],
)
def test_impossible_numbers_are_refused(parse, text, message):
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        parse(text)
    assert str(caught.value) == message


# The parser


def make_parser():
    parser = Parser("Train.\n\n    python train.py --data x   # as it is\n    python train.py\n\nMore\nof it.\n")
    parser.add_argument("--epochs", type=number(int, 1), default=3, help="how often")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="draws")
    parser.add_argument("--dropout", type=number(float, 0, 1), default=0.0, help="share")
    parser.add_argument("--name", help="a name")
    parser.add_argument("--overwrite", action="store_true", help="discard")
    parser.add_argument("--limit", type=int, default=5, help="most (default: by memory)")
    parser.add_argument("runs", nargs="*", default=[], help="runs")
    add_data_options(parser, default="sample")
    return parser


def test_help_shows_defaults(capsys):
    with pytest.raises(SystemExit) as caught:
        make_parser().parse_args(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for shown in (
        "how often (default: 3)",
        "draws (default: 0)",
        "share (default: 0.0)",
        "most (default: by memory)",
        "column with the class (default: label)",
        "owner/name[:config] on the hub (default: sample)",
    ):
        assert shown in text
    for hidden in ("a name (default", "discard (default", "runs (default", "by memory) (default"):
        assert hidden not in text


def test_help_begins_with_what_the_script_does_and_ends_with_examples(capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--help"])
    text = capsys.readouterr().out
    assert text.startswith("Train.\n\nusage: python train.py [options]\n\nMore of it.\n\n")
    assert text.endswith("\n\nexamples:\n    python train.py --data x   # as it is\n    python train.py\n")


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_help_of_every_script_fits_a_terminal(script):
    done = run_script(ROOT / script, "--help", environment=os.environ | {"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].endswith(".") and lines[1] == "" and lines[2].startswith(f"usage: python {script} ")
    examples = lines[lines.index("examples:") + 1 :]
    assert len(examples) >= 2
    for example in examples:
        assert example.startswith("    ") and f" {script}" in example
        named = re.findall(r"--[a-z-]+", example.split("#")[0].split(script)[1])
        for option in named:  # the examples are of options that there are
            assert any(re.match(rf"  .*{option}\b", line) for line in lines[: -len(examples)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "error: argument --epochs: 0 must be at least 1 (see --help)\n"),
        (["--epochs", "viele"], "error: argument --epochs: 'viele' is not a whole number (see --help)\n"),
        (["--dropout", "nan"], "error: argument --dropout: nan is not a finite number (see --help)\n"),
        (["--epochs"], "error: argument --epochs: expected one argument (see --help)\n"),
        (["--epoch", "3"], "error: unrecognized arguments: --epoch"),  # an abbreviation would change its meaning
    ],
)
def test_a_wrong_command_line_is_one_line(capsys, arguments, message):
    @exit_codes
    def main(argv=None):
        make_parser().parse_args(argv)
        return 0

    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(message) and err.count("\n") == 1
    assert main(["--epochs", "2", "a", "b"]) == 0


ANY_CLASS = """
from common.cli import UserError, exit_codes

@exit_codes
def main(argv=None):
    print("Größe 🙂")
    raise UserError("no class 'Größe 🙂'")

raise SystemExit(main())
"""


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "Gr??e ?"), ("cp1252", "Größe ?"), ("utf-8", "Größe 🙂")])
def test_a_console_shows_a_question_mark_for_what_it_lacks(encoding, shown):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-c", ANY_CLASS], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    assert done.stdout.decode(encoding).strip() == shown
    assert done.stderr.decode(encoding).strip() == f"error: no class '{shown}'" and done.returncode == 2


def test_python_without_docstrings_shows_the_options(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py"])
    with pytest.raises(SystemExit):
        Parser(None).parse_args(["--help"])
    assert "usage: python train.py [options]" in capsys.readouterr().out
