"""Fill data/kaggle from the Kaggle client or from the competition's zip.

    python data/kaggle/prepare.py
    python data/kaggle/prepare.py --zip competition.zip  # saved in the browser

The client needs the Kaggle token of an account that has joined the competition. The files are checked before they are
written. Existing files are replaced only with --overwrite.
"""

import contextlib
import shutil
import stat
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # python itself adds only the script's folder

from argparse import BooleanOptionalAction, Namespace

from common.cli import Parser, UserError, add_label_columns, exit_codes
from common.data import Dataset, load_dataset
from common.files import whole_file
from common.reading.parts import SAMPLE, find_split, is_sample
from common.submission.kaggle import COMPETITION, download

FOLDER = Path(__file__).resolve().parent
REQUIRED = ("test.csv", "train.csv")
NAMES = (SAMPLE, *REQUIRED)  # train.csv comes last: it completes the dataset
SIZE_LIMIT = 500 * 10**6  # bytes, unpacked, all files together
CHUNK = 2**20


@exit_codes
def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    there = [FOLDER / name for name in NAMES if (FOLDER / name).exists()]
    if there and not options.overwrite:
        raise UserError(f"{there[0]} exists already; --overwrite replaces it")
    with tempfile.TemporaryDirectory() as temporary:
        zip_file = options.zip or download(temporary, options.competition)
        unpacked = Path(temporary) / "unpacked"
        extract(zip_file, unpacked)
        dataset = check(unpacked, zip_file, options)
        move(unpacked, FOLDER)
    test_rows = 0 if dataset.test is None else len(dataset.test)
    print(f"wrote {FOLDER}: {len(dataset.train)} training rows, {test_rows} test rows, {len(dataset.classes)} classes")
    return 0


def parse_options(argv: Sequence[str] | None) -> Namespace:
    parser = Parser(__doc__)
    group = parser.add_argument_group("source")
    group.add_argument(
        "--zip", type=Path, metavar="FILE", help="the competition's zip; default: download it with the Kaggle client"
    )
    group.add_argument("--competition", default=COMPETITION, metavar="NAME", help="competition to download")
    group = parser.add_argument_group("columns with other names (give them to the other scripts, too)")
    group.add_argument("--text-column", default="text", metavar="NAME", help="column with the text")
    add_label_columns(group)
    group = parser.add_argument_group("output")
    group.add_argument("--overwrite", action=BooleanOptionalAction, help="replace existing files")
    return parser.parse_args(argv)


def extract(zip_file: Path, folder: Path) -> None:
    """Unpack only the competition's files into the new `folder`.

    Raises UserError if the file is not a zip, is damaged or has a password, if a member points outside or is a link, if
    a file is missing or there twice, or if the unpacked bytes (not the declared size) exceed SIZE_LIMIT.
    """
    folder.mkdir()
    written = 0
    try:
        with zipfile.ZipFile(zip_file) as archive:
            for name, member in choose_members(archive, zip_file).items():
                with archive.open(member) as packed, open(folder / name, "wb") as file:
                    while chunk := packed.read(CHUNK):
                        written += len(chunk)
                        if written > SIZE_LIMIT:
                            raise UserError(f"{zip_file}: more than {SIZE_LIMIT / 1e6:g} MB when unpacked; refused")
                        file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: a password is needed; NotImplementedError: an unknown compression
        raise UserError(f"{zip_file} cannot be unpacked: {error or 'it is cut short'}") from error
    except OSError as error:
        raise UserError(f"cannot read {zip_file}: {error.strerror or error}") from error


def choose_members(archive: zipfile.ZipFile, zip_file: Path) -> dict[str, zipfile.ZipInfo]:
    """The archive's members to unpack: {file name: member}. Exact names win. Raises UserError for a hostile member."""
    found: dict[str, list[tuple[str, zipfile.ZipInfo]]] = {}  # standard name -> own names and members
    for member in archive.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in str(path):
            raise UserError(f"{zip_file}: member {member.filename!r} points outside the folder; refused")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(f"{zip_file}: member {member.filename!r} is a link; refused")
        name = standard_name(path.name)
        if name in NAMES and not member.is_dir():
            found.setdefault(name, []).append((path.name, member))
    chosen = {}
    for name, members in found.items():
        exact = [member for own, member in members if own == name] or [member for _, member in members]
        if len(exact) > 1:
            raise UserError(f"{zip_file} has two files for {name}: {exact[0].filename} and {exact[1].filename}")
        chosen[name] = exact[0]
    missing = [name for name in REQUIRED if name not in chosen]
    if missing:
        content = ", ".join(archive.namelist()[:5]) or "nothing"
        raise UserError(f"{zip_file} has no {missing[0]}; it has: {content}. Is it the competition's zip?")
    return chosen


def standard_name(name: str) -> str | None:
    """`Train_data.csv` -> train.csv, `sampleSubmission.csv` -> sample_submission.csv; None for other files."""
    split = find_split(name) if name.lower().endswith(".csv") else None
    return SAMPLE if is_sample(name) else split and f"{split}.csv"


def check(unpacked: Path, zip_file: Path, options: Namespace) -> Dataset:
    """The unpacked files as a checked dataset. Errors name the zip; no message names the temporary folder."""
    try:
        with contextlib.chdir(unpacked):
            return load_dataset(".", options.text_column, options.label_column, options.id_column)
    except UserError as error:
        raise UserError(f"{zip_file}: {error}") from error


def move(unpacked: Path, folder: Path) -> None:
    """Write the files to `folder`, each whole or not at all. Deletes a file that only an earlier download had."""
    for name in NAMES:
        if (unpacked / name).exists():
            with whole_file(folder / name) as temporary:
                shutil.copyfile(unpacked / name, temporary)
        else:
            (folder / name).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
