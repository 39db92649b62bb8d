"""Fill data/kaggle with the competition's files, by the Kaggle client or a zip.

    python data/kaggle/prepare.py
    python data/kaggle/prepare.py --zip competition.zip  # saved in the browser

The client needs a Kaggle token, and an account that has joined the competition. The files are checked before they
are moved in place; what is there already is kept, unless --overwrite.
"""

import shutil
import stat
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a script's own folder is all that python adds

from argparse import BooleanOptionalAction

from common.cli import Parser, UserError, add_label_columns, exit_codes
from common.data import load_dataset
from common.files import whole_file
from common.submission.kaggle import COMPETITION, download

FOLDER = Path(__file__).resolve().parent
REQUIRED = ("test.csv", "train.csv")
NAMES = ("sample_submission.csv", *REQUIRED)  # train.csv is moved last: it marks the dataset as there
SIZE_LIMIT = 500 * 10**6  # bytes, unpacked, all files together
CHUNK = 2**20


@exit_codes
def main(argv=None):
    options = parse_options(argv)
    there = [FOLDER / name for name in NAMES if (FOLDER / name).exists()]
    if there and not options.overwrite:
        raise UserError(f"{there[0]} is there already; --overwrite replaces it")
    with tempfile.TemporaryDirectory() as temporary:
        zip_file = options.zip or download(temporary, options.competition)
        unpacked = Path(temporary) / "unpacked"
        extract(zip_file, unpacked)
        dataset = check(unpacked, zip_file, options)
        move(unpacked, FOLDER)
    test_rows = 0 if dataset.test is None else len(dataset.test)
    print(f"wrote {FOLDER}: {len(dataset.train)} training rows, {test_rows} test rows, {len(dataset.classes)} classes")
    return 0


def parse_options(argv):
    parser = Parser(__doc__)
    group = parser.add_argument_group("source")
    group.add_argument("--zip", type=Path, metavar="FILE", help="the competition's zip; default: ask the Kaggle client")
    group.add_argument("--competition", default=COMPETITION, metavar="NAME", help="what the Kaggle client downloads")
    group = parser.add_argument_group("columns, should the competition's differ (give them to the other scripts too)")
    group.add_argument("--text-column", default="text", metavar="NAME", help="column with the text")
    add_label_columns(group)
    group = parser.add_argument_group("output")
    group.add_argument("--overwrite", action=BooleanOptionalAction, help="replace the files that are there")
    return parser.parse_args(argv)


def extract(zip_file, folder):
    """Unpack the competition's files, and no others, into the new `folder`.

    Raises UserError where the file is no zip, damaged or locked, has a member that lies outside of it or is a link,
    lacks a file or has it twice, or is larger unpacked than SIZE_LIMIT, whatever size it declares.
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


def choose_members(archive, zip_file):
    """The archive's members to unpack, {file name: member}. One hostile member, wanted or not, refuses the whole."""
    chosen = {}
    for member in archive.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in str(path):
            raise UserError(f"{zip_file}: member {member.filename!r} points outside of the folder; refused")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(f"{zip_file}: member {member.filename!r} is a link; refused")
        if path.name in NAMES and not member.is_dir():
            if path.name in chosen:
                raise UserError(f"{zip_file} has two files named {path.name}")
            chosen[path.name] = member
    missing = [name for name in REQUIRED if name not in chosen]
    if missing:
        found = ", ".join(archive.namelist()[:5]) or "nothing"
        raise UserError(f"{zip_file} has no {missing[0]}; it has: {found}. Is it the competition's zip?")
    return chosen


def check(unpacked, zip_file, options):
    """The unpacked files as a checked dataset; errors name the zip, as the folder is gone when they are read."""
    try:
        dataset = load_dataset(unpacked, options.text_column, options.label_column, options.id_column)
    except UserError as error:
        raise UserError(f"{zip_file}: {str(error).replace(f'{unpacked}/', '')}") from error
    return dataset


def move(unpacked, folder):
    """Move the files in place, each whole; a file of an earlier download that the new one lacks goes."""
    for name in NAMES:
        if (unpacked / name).exists():
            with whole_file(folder / name) as temporary:
                shutil.copyfile(unpacked / name, temporary)
        else:
            (folder / name).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
