"""Start a script again and again, the n-th time killed in the middle of its n-th write, until it ends by itself.

    python tests/hardening/die_writing.py train --model tiny --data sample --run x --checkpoint-minutes 0

Every process is a fork of this one, so that torch is imported once. An odd n dies with half of the file written, an
even n when the file has just got its name. Prints the file that each start was killed over; exit code: the last one's.
"""

import importlib
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
LATE = (
    "common.training.compute.devices",
    "common.training.ensemble",
    "common.training.run",
    "common.training.inputs",
    "transformers",
)


def main():
    """Start until it ends; returns the exit code of the start that did."""
    name, *arguments = sys.argv[1:]
    script = importlib.import_module(name)
    for module in LATE:  # what the scripts import late
        importlib.import_module(module)
    for number in range(1, 1000):
        process = os.fork()
        if process == 0:
            die_at_write(number)
            sys.exit(script.main(arguments))
        status = os.waitpid(process, 0)[1]
        if not os.WIFSIGNALED(status):
            return os.WEXITSTATUS(status)
    return 1


def die_at_write(number):
    """Every file gets its name by os.replace (common/files.py): kill this process there, at the `number`-th."""
    replace, writes = os.replace, []

    def dies(source, target):
        writes.append(target)
        if len(writes) == number:
            whole = Path(source) if Path(source).is_file() else Path(source, "model.safetensors")  # model/ is a folder
            if number % 2:
                os.truncate(whole, whole.stat().st_size // 2)
            else:
                replace(source, target)
            print(target, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = dies


if __name__ == "__main__":
    sys.exit(main())
