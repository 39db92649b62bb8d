"""The command line's manners: exit codes, one-line errors, options that several scripts share."""

import argparse
import errno
import functools
import io
import math
import os
import re
import sys
import textwrap
from pathlib import Path

from common.interrupts import Interrupted, interruptible

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
LONGEST_LINE = 800  # characters of an error message
USER_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG)


class UserError(Exception):
    """Something that the user can mend: shown as one line, `error: ...`, with exit code 2."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that shows defaults, makes its help of the script's docstring, and fails in one line.

    The docstring's paragraphs: what the script does, in a line; examples, indented, the first of them `python X.py`
    or `python -m X`; more. The help begins with the first and ends with the examples.
    """

    def __init__(self, doc, arguments="[options]"):
        if doc is None:  # `python -OO` strips docstrings
            doc = f"(python -OO strips this description)\n\n    python {Path(sys.argv[0]).stem}.py"
        what, examples, *more = doc.strip("\n").split("\n\n")
        script = re.match(r"\s*python (\S+\.py|-m \S+)", examples)[1]
        super().__init__(
            prog=script,
            usage=f"python %(prog)s {arguments}",
            description="\n\n".join([what, *more]),
            epilog=f"examples:\n{examples}",
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )

    def format_help(self):
        usage, what, rest = super().format_help().split("\n\n", 2)
        return f"{what}\n\n{usage}\n\n{rest}"

    def error(self, message):
        raise UserError(f"{message} (see --help)")


class _HelpFormatter(argparse.HelpFormatter):
    def _fill_text(self, text, width, indent):
        if text.startswith("examples:"):  # their lines stay as they are
            return text
        paragraphs = [self._split_lines(paragraph, width - len(indent)) for paragraph in text.split("\n\n")]
        return "\n\n".join(textwrap.indent("\n".join(lines), indent) for lines in paragraphs)

    def _split_lines(self, text, width):
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False, break_long_words=False)

    def _get_help_string(self, action):
        text = action.help or ""
        hidden = action.default is None or action.default is False or action.default == argparse.SUPPRESS  # 0 is shown
        if hidden or not action.option_strings or "default" in text:
            return text
        return text + " (default: %(default)s)"


def exit_codes(main):
    """Turn a script's `main(argv)` into one that returns 0, 2 or 130 as documented; defects keep their traceback."""

    @functools.wraps(main)
    @interruptible()
    def wrapped(argv=None):
        _print_anything()
        try:
            return main(argv)
        except UserError as error:
            print(f"error{_process()}: {_one_line(str(error))}", file=sys.stderr)
            return EXIT_USER_ERROR
        except (Interrupted, KeyboardInterrupt) as interruption:
            print("interrupted" + (f": {interruption}" if str(interruption) else ""), file=sys.stderr)
            return EXIT_INTERRUPTED
        except BrokenPipeError:  # `train.py | head`: the reader has gone, and nobody is left to tell
            sys.stderr.close()
            return EXIT_INTERRUPTED
        except OSError as error:  # a disk or a permission, wherever it was met
            if error.errno not in USER_ERRNOS:
                raise
            print(f"error: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
            return EXIT_USER_ERROR

    return wrapped


def _print_anything():
    """Let a console show `?` for what its encoding lacks (cp1252 in Windows): work that is done must not end there."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # neither closed (pythonw) nor a notebook's
            stream.reconfigure(errors="replace")


def _process():
    """Which process of a torchrun this is, unless the first: an error may be one process's alone."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f" (process {rank})"


def _one_line(message):
    """The message on one line; what a file had in place of names can be megabytes, whose middle is left out."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 4 :]}"


@functools.cache
def note(message: str) -> None:
    """Tell the user once how their input was understood; one process of a torchrun speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(wrap("note: " + _one_line(message), indent=6), flush=True)


def wrap(line, indent=7):
    """A long line for the console in pieces that fit 80 columns, those after the first indented; words stay whole."""
    return textwrap.fill(line, 79, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def number(kind, low=None, high=None, low_open=False):
    """An argparse type: an int or float between `low` and `high` (both allowed, unless `low_open`)."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {'a whole' if kind is int else 'a'} number") from None
        if kind is float and not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{text} is not a finite number")
        too_low = low is not None and (value < low or (low_open and value == low))
        if too_low or (high is not None and value > high):
            bounds = [
                f"{'above' if low_open else 'at least'} {low}" if low is not None else "",
                f"at most {high}" if high is not None else "",
            ]
            raise argparse.ArgumentTypeError(f"{text} must be {' and '.join(filter(None, bounds))}")
        return value

    parse.__name__ = kind.__name__
    return parse


def add_data_options(parser, default="gnad10"):
    """Add --data and how to read it: the same in every script that reads a dataset; see `data_options`."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        default=default,
        metavar="NAME_OR_PATH",
        help="sample, gnad10, kaggle, a folder with train.csv, a single file, or owner/name[:config] on the hub",
    )
    group.add_argument(
        "--text-column", default="text", metavar="NAME", help="column with the text; several are joined: Subject,Body"
    )
    add_label_columns(group)
    group.add_argument("--columns", metavar="NAME,...", help="names of the columns of CSV files without a header")
    group.add_argument("--encoding", metavar="NAME", help="encoding of CSV files that are not UTF-8, such as cp1252")
    group.add_argument(
        "--drop-blank", action="store_true", help="leave out training rows without a text or without a label"
    )
    group.add_argument(
        "--ignore-test-labels", action="store_true", help="do not read the labels of test rows (placeholders)"
    )
    group.add_argument(
        "--allow-unknown-test-labels",
        action="store_true",
        help="a test label that train.csv lacks counts as wrong in scores",
    )
    return group


def add_label_columns(group):
    """Add --label-column and --id-column: for scripts that read labels without texts, too."""
    group.add_argument("--label-column", default="label", metavar="NAME", help="column with the class")
    group.add_argument(
        "--id-column", default="id", metavar="NAME", help="column with the id; without one, row numbers are the ids"
    )


DATA_OPTIONS = {  # of add_data_options, beside --data, and their defaults
    "text_column": "text",
    "label_column": "label",
    "id_column": "id",
    "columns": None,
    "encoding": None,
    "drop_blank": False,
    "ignore_test_labels": False,
    "allow_unknown_test_labels": False,
}


def data_options(options):
    """The options that say how --data is read, as keyword arguments of `load_dataset`: only those that were given."""
    given = {name: getattr(options, name) for name in DATA_OPTIONS}
    return {name: value for name, value in given.items() if value != DATA_OPTIONS[name]}
