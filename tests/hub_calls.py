"""Command lines of train.py, one after the other, with the data of another folder than the checkout's.

    python tests/hub_calls.py DATA_FOLDER '[["--model", "tiny"], ...]'

Prints [exit code, stderr, seconds] of each, as JSON.
"""

import contextlib
import io
import json
import sys
import time
from pathlib import Path

import common.data
import train


def main():
    common.data.DATA_FOLDER = Path(sys.argv[1])
    answers = []
    for arguments in json.loads(sys.argv[2]):
        start, error = time.monotonic(), io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
            code = train.main(arguments)
        answers.append([code, error.getvalue(), time.monotonic() - start])
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
