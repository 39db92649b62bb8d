"""Check Python and the installed packages, and report problems in one line, before an import fails.

Every script imports this first, so it also says in one line that Ctrl-C ended the imports, which take seconds.
Python 3.6 must be able to run this file and common/__init__.py.
"""

import os
import re
import sys

REQUIREMENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "requirements.txt")
OLDEST_PYTHON = (3, 11)


def require(*packages: str) -> None:
    """Exit with one line and code 2 if Python is too old, or a package is missing, too old or too new."""
    ranges = read_ranges() if os.path.exists(REQUIREMENTS) else {}  # somebody may copy common/ alone
    _end(_python_problem() or _package_problem({name: ranges[name] for name in packages if name in ranges}))


def require_docstrings(package: str) -> None:
    """Exit with one line and code 2 under `python -OO`, which strips docstrings that this package reads."""
    if sys.flags.optimize > 1:
        _end(f"{package} does not work under python -OO or PYTHONOPTIMIZE=2; python -O does")


def _end(problem):
    if problem:
        if os.environ.get("RANK", "0") == "0":  # one line, not one per process of a torchrun
            print("error: " + problem, file=sys.stderr)
        raise SystemExit(2)


def _print_interruption(kind, error, traceback, otherwise=sys.excepthook):
    if issubclass(kind, KeyboardInterrupt):  # exit_codes (common/cli.py) handles those that come after the imports
        print("interrupted", file=sys.stderr)
    else:
        otherwise(kind, error, traceback)


def _python_problem():
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return None
    found = "{}.{}".format(*sys.version_info[:2])
    return f"Python {found} is too old, expected 3.11 or newer: make setup PYTHON=python3.12, then .venv/bin/python"


def _package_problem(ranges):
    from importlib import metadata  # Python 3.7 has no such module

    for package, wanted in ranges.items():
        try:
            installed = metadata.version(package)
        except metadata.PackageNotFoundError:
            return f"{package} is not installed: python -m pip install -r requirements.txt"
        if not fits(installed, wanted):
            found = f"{package} {installed} is installed, {package}{wanted} is needed"
            return f"{found}: python -m pip install -r requirements.txt"
    return None


def read_ranges(path: str = REQUIREMENTS) -> "dict[str, str]":
    """requirements.txt as {package: range of versions}, such as `>=5.0,<6`."""
    with open(path, encoding="utf-8") as file:
        lines = [line.split("#")[0].strip() for line in file]
    found = (re.match(r"([\w-]+)(.*)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def fits(version: str, wanted: str) -> bool:
    """Whether a version is in a range of `>=` and `<`; `2.13.0a0+nv25` and `2.13.0+cpu` count as 2.13.0."""
    checks = {">=": lambda a, b: a >= b, "<": lambda a, b: a < b}
    parts = re.findall(r"(>=|<)([\d.]+)", wanted)
    return all(checks[sign](_numbers(version), _numbers(bound)) for sign, bound in parts)


def _numbers(version):
    """`2.13.0a0+cpu` -> [2, 13, 0], without zeros at the end: 5.0 is 5."""
    numbers = [int(part) for part in re.match(r"\d+(\.\d+)*", version).group().split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


sys.excepthook = _print_interruption
