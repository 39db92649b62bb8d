"""What all command lines share: exit codes, one-line errors, common options."""

import argparse
import errno
import functools
import io
import math
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from common.interrupts import Interrupted, interruptible

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
LONGEST_LINE = 800  # characters of an error message
USER_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG)


class UserError(Exception):
    """An error that the user can fix. The script prints `error: ...` on one line and exits with code 2."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes its help from the script's docstring, shows defaults and fails in one line.

    The docstring's first paragraph says what the script does, in one line. The second has indented examples; the first
    example is `python X.py` or `python -m X`. The help begins with the first paragraph and ends with the examples.
    """

    def __init__(self, doc: str | None, arguments: str = "[options]"):
        if doc is None:  # `python -OO` strips docstrings
            doc = f"(python -OO strips this description)\n\n    python {Path(sys.argv[0]).stem}.py"
        what, examples, *more = doc.strip("\n").split("\n\n")
        words = examples.split()
        script = " ".join(words[1:3]) if words[1] == "-m" else words[1]
        super().__init__(
            prog=script,
            usage=f"python %(prog)s {arguments}",
            description="\n\n".join([what, *more]),
            epilog=f"examples:\n{examples}",
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )

    def format_help(self) -> str:
        usage, what, rest = super().format_help().split("\n\n", 2)
        return f"{what}\n\n{usage}\n\n{rest}"

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


class _HelpFormatter(argparse.HelpFormatter):
    def _fill_text(self, text, width, indent):
        if text.startswith("examples:"):  # keep their line breaks
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


def exit_codes(main: Callable[..., int]) -> Callable[..., int]:
    """Make a script's `main(argv)` return 0, 2 or 130. Defects of ours keep their traceback, with exit code 1."""

    @functools.wraps(main)
    @interruptible()
    def wrapped(argv: Sequence[str] | None = None) -> int:
        _print_anything()
        try:
            return main(argv)
        except (Interrupted, KeyboardInterrupt) as interruption:
            print("interrupted" + (f": {interruption}" if str(interruption) else ""), file=sys.stderr)
            return EXIT_INTERRUPTED
        except BrokenPipeError:  # `train.py | head`: nobody reads the output any more
            sys.stderr.close()
            return EXIT_INTERRUPTED
        except Exception as error:
            message = _explain(error)
            if message is None:
                raise
            print(f"error{_process()}: {_one_line(message)}", file=sys.stderr)
            return EXIT_USER_ERROR

    return wrapped


def _explain(error):
    """What the user can mend, in words; None for a defect of ours."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in USER_ERRNOS:  # a full disk or a missing permission, anywhere
        return f"{error.filename or 'a file'}: {error.strerror}"
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":  # a name in Latin-1
        before, after = error.object[: error.start], error.object[error.start :]
        name = re.split('["\n]', before)[-1] + re.split('["\n]', after)[0]
        return f"the name {name.encode(errors='replace').decode()} is not UTF-8; rename the file, folder or run"
    return None


def _print_anything():
    """Print `?` for characters that the console's encoding lacks (cp1252 on Windows), instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not when closed (pythonw), not in a notebook
            stream.reconfigure(errors="replace")


def _process():
    """The process number under torchrun, unless it is 0: one process alone may fail."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f" (process {rank})"


def _one_line(message):
    """The message on one line, without the middle of a very long one: bad column names can have megabytes."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 4 :]}"


@functools.cache
def note(message: str) -> None:
    """Tell the user, once, how the program understood the input. Under torchrun only process 0 prints."""
    if os.environ.get("RANK", "0") == "0":
        print(wrap("note: " + _one_line(message), indent=6), flush=True)


def wrap(line: str, indent: int = 7) -> str:
    """Break a long line to fit 80 columns, without breaking words. `indent` applies after the first line."""
    return textwrap.fill(line, 79, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def number(
    kind: type[int] | type[float], low: float | None = None, high: float | None = None, low_open: bool = False
) -> Callable[[str], float]:
    """An argparse type: an int or float from `low` to `high`. `low_open` excludes `low` itself."""

    def parse(text: str) -> float:
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


def add_data_options(parser: argparse.ArgumentParser, default: str | None = "gnad10") -> argparse._ArgumentGroup:
    """Add --data and the options that say how to read it. Every script that reads a dataset has the same ones."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        default=default,
        metavar="NAME_OR_PATH",
        help="sample, gnad10, kaggle, a folder with train.csv, a single file, or owner/name[:config] on the hub",
    )
    group.add_argument(
        "--text-column", default="text", metavar="NAME", help="column with the text; Subject,Body joins two columns"
    )
    add_label_columns(group)
    group.add_argument("--columns", metavar="NAME,...", help="column names for CSV files without a header")
    group.add_argument("--encoding", metavar="NAME", help="encoding of the CSV files if not UTF-8, for example cp1252")
    group.add_argument("--drop-blank", action="store_true", help="leave out training rows without text or label")
    group.add_argument(
        "--ignore-test-labels", action="store_true", help="ignore the labels of test rows (placeholders)"
    )
    group.add_argument(
        "--allow-unknown-test-labels",
        action="store_true",
        help="accept test labels that train.csv lacks; they count as wrong",
    )
    return group


def add_label_columns(group: argparse._ArgumentGroup) -> None:
    """Add --label-column and --id-column, also for scripts that read labels without texts."""
    group.add_argument("--label-column", default="label", metavar="NAME", help="column with the class")
    group.add_argument(
        "--id-column", default="id", metavar="NAME", help="column with the id; without one, row numbers are the ids"
    )


DATA_OPTIONS = {  # the options of add_data_options except --data, with their defaults
    "text_column": "text",
    "label_column": "label",
    "id_column": "id",
    "columns": None,
    "encoding": None,
    "drop_blank": False,
    "ignore_test_labels": False,
    "allow_unknown_test_labels": False,
}


def data_options(options: argparse.Namespace) -> dict[str, Any]:
    """The given options on how to read --data, as keyword arguments of `load_dataset`."""
    given = {name: getattr(options, name) for name in DATA_OPTIONS}
    return {name: value for name, value in given.items() if value != DATA_OPTIONS[name]}
