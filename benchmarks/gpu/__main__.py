"""The GPU benchmark: tests, training speed, rivals, an interruption; estimated at under 15 minutes on an H100.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --sections ladder,rival
    python -m benchmarks.gpu --device cpu --smallest

The measured encoders have their real architecture and random weights. The articles have the number (9,245) and the
lengths of those of 10kGNAD: 48 % exceed 512 tokens, and the mean is 407 after they are cut. Their words come from
`--data`. Each section is recorded as soon as it ends. The same command with the same file continues with the missing
sections; the file's default name contains the date. A Markdown table is written next to the JSON file.
`--smallest` checks on any machine that the sections work; its figures mean nothing. docs/gpus.md explains the figures.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu.report import table
from benchmarks.gpu.sections import SECTIONS, Size, write_articles
from benchmarks.options import new_parser
from benchmarks.workload import (
    about,
    record_path,
)
from common.cli import UserError, exit_codes
from common.files import write_json, write_text
from common.training.compute.devices import open_device

TINY = ("--model", "tiny")
SMALLEST = Size(24, 32, TINY, TINY, TINY, batch_size=4, epochs=1, seeds=2, rows=8, matmul_seconds=0.1)


@exit_codes
def main(argv=None):
    """Run and record the missing sections and print the table; returns the exit code."""
    parser = new_parser(__doc__, "data", "device", "precision", "json")
    parser.add_argument(
        "--sections", metavar="NAME,...", help=f"sections to run, of {','.join(SECTIONS)} (default: all)"
    )
    parser.add_argument("--smallest", action="store_true", help="a few articles and tiny encoders")
    arguments = parser.parse_args(argv)
    chosen = arguments.sections.split(",") if arguments.sections else list(SECTIONS)
    if set(chosen) - set(SECTIONS):
        raise UserError(f"--sections {arguments.sections}: expected some of {', '.join(SECTIONS)}")
    size = SMALLEST if arguments.smallest else Size()
    device = open_device(arguments.device, arguments.precision, distributed=False)
    path = record_path(arguments, "gpu", device)
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    here = {**about(device), "precision": device.precision, "smallest": arguments.smallest}
    if record and any(record.get(key) != here[key] for key in ("device", "precision", "smallest")):
        raise UserError(f"{path} is of another device, precision or size; name another file with --json")
    record = here | {"sections": record.get("sections", {})}
    with tempfile.TemporaryDirectory() as folder:
        data = write_articles(Path(folder) / "articles", arguments.data, size)
        for name in chosen:
            if name in record["sections"]:
                continue
            begin = time.perf_counter()
            found = SECTIONS[name](size, device, data, Path(folder))
            record["sections"][name] = {**found, "section_seconds": round(time.perf_counter() - begin, 1)}
            write_json(path, record)
            print(f"{name}: {record['sections'][name]['section_seconds']:.0f} s", flush=True)
    write_text(path.with_suffix(".md"), table(record))
    print(table(record), f"\n{path} and .md")
    return 1 if record["sections"].get("tests", {}).get("failed") else 0


if __name__ == "__main__":
    sys.exit(main())
