"""Fill data/gnad10 from the hub or from the original files of 10kGNAD.

    python data/gnad10/prepare.py
    python data/gnad10/prepare.py --from-folder ~/10kGNAD

Ten Thousand German News Articles in the official split: 9,245 training and 1,028 test rows. The rows per class are
checked before anything is written.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # python itself adds only the script's folder

from argparse import BooleanOptionalAction, Namespace

from common.cli import Parser, UserError, exit_codes
from common.files import whole_file
from common.reading.sources import fetch_from_hub
from common.reading.tables import csv_writer, read_headerless

FOLDER = Path(__file__).resolve().parent
HUB_ID = "community-datasets/gnad10"
# Not pinned: the only cited commit (0798affe, in MTEB) has a loading script, which datasets no longer runs. The counts
# below replace the pin: they refuse another version of the data.
REVISION = None
# Rows per class, (train, test), from the table in https://github.com/tblock/10kGNAD/blob/master/README.md
ROWS = {
    "Web": (1510, 168),
    "Panorama": (1509, 168),
    "International": (1360, 151),
    "Wirtschaft": (1270, 141),
    "Sport": (1081, 120),
    "Inland": (913, 102),
    "Etat": (601, 67),
    "Wissenschaft": (516, 57),
    "Kultur": (485, 54),
}
SPLITS = ("train", "test")
Rows = dict[str, list[tuple[str, str]]]  # split -> (label, text) of each row


@exit_codes
def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    if (FOLDER / "train.csv").exists() and not options.overwrite:
        raise UserError(f"{FOLDER / 'train.csv'} exists already; --overwrite replaces it")
    if options.from_folder:
        write_dataset(FOLDER, read_original(options.from_folder), source=options.from_folder)
    else:
        fetch(FOLDER)
    return 0


def parse_options(argv: Sequence[str] | None) -> Namespace:
    parser = Parser(__doc__)
    group = parser.add_argument_group("source and output")
    group.add_argument(
        "--from-folder",
        type=Path,
        metavar="FOLDER",
        help="folder with the original train.csv and test.csv (github.com/tblock/10kGNAD); default: fetch from the hub",
    )
    group.add_argument("--overwrite", action=BooleanOptionalAction, help="replace existing files")
    return parser.parse_args(argv)


def fetch(folder: Path) -> None:
    """Fetch the dataset from the hub into `folder`. If this fails, raises UserError that names the alternative."""
    print(f"fetching {HUB_ID} from the hub (27 MB, licence CC BY-NC-SA 4.0) ...", flush=True)
    try:
        hub = fetch_from_hub(HUB_ID, revision=REVISION)
    except UserError as error:
        raise UserError(
            f"{error}. Or get train.csv and test.csv from https://github.com/tblock/10kGNAD and run: "
            "python data/gnad10/prepare.py --from-folder FOLDER"
        ) from error
    rows = {}
    for split in SPLITS:
        if split not in hub or not {"text", "label"} <= set(hub[split].column_names):
            raise UserError(f"{HUB_ID} has changed: no split {split!r} with the columns text and label")
        names = getattr(hub[split].features["label"], "names", None)  # a ClassLabel stores numbers
        labels = [names[label] if names else label for label in hub[split]["label"]]
        rows[split] = list(zip(labels, hub[split]["text"], strict=True))
    write_dataset(folder, rows, source=HUB_ID)


def read_original(folder: Path) -> Rows:
    """Read the original files: no header, `;`, quoted with `'`, label before text."""
    rows = {}
    for split in SPLITS:
        table = read_headerless(folder / f"{split}.csv", ["label", "text"], delimiter=";", quotechar="'")
        rows[split] = list(zip(table["label"], table["text"], strict=True))
    return rows


def write_dataset(folder: Path, rows: Rows, source: str | Path) -> None:
    """Check the rows per class, then write test.csv and train.csv. train.csv comes last: it completes the dataset."""
    for position, split in enumerate(SPLITS):
        expected = {name: counts[position] for name, counts in ROWS.items()}
        found = Counter(label for label, _ in rows[split])
        if len(rows[split]) != sum(expected.values()):
            raise UserError(f"{source}: expected {sum(expected.values())} {split} rows, found {len(rows[split])}")
        for name in sorted(expected.keys() | found.keys()):
            right = expected.get(name, 0)
            if found[name] != right:
                raise UserError(f"{source}: expected {right} {split} rows of {name!r}, found {found[name]}")
    for split in reversed(SPLITS):
        with (
            whole_file(folder / f"{split}.csv") as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as file,
        ):
            writer = csv_writer(file)
            writer.writerow(["id", "text", "label"])
            # the id names the split, so that predictions of both cannot be confused
            writer.writerows((f"{split}-{n}", text, label) for n, (label, text) in enumerate(rows[split], 1))
    print(f"wrote {folder}: {', '.join(f'{len(rows[split])} {split} rows' for split in SPLITS)}, {len(ROWS)} classes")


if __name__ == "__main__":
    sys.exit(main())
