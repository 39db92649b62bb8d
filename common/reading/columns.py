"""Column names: an exact match wins; else case and surrounding space do not matter."""

from collections.abc import Iterable, Sequence

from common.cli import UserError
from common.reading.spelling import in_nfc

SHOWN_IN_ALL = 200  # characters
SHOWN_LENGTH = 40  # characters of one name: without a header, the names are whole texts


def fold(name: str) -> str:
    """The form in which two names are compared."""
    return in_nfc(name).strip("\ufeff \t\r\n\u00a0").casefold()


def find_column(place: object, header: Sequence[str], name: str) -> int | None:
    """The position of the column named `name`, or None. Raises UserError if several columns fit."""
    found = [position for position, there in enumerate(header) if there == name]
    found = found or [position for position, there in enumerate(header) if fold(there) == fold(name)]
    if len(found) > 1 and header[found[0]] == name:
        raise UserError(f"{place} has two columns named {name!r}")
    if len(found) > 1:
        both = " and ".join(repr(header[position]) for position in found[:2])
        raise UserError(f"{place} has the columns {both}, and both fit {name!r}; give the exact name")
    return found[0] if found else None


def find_text_columns(place: object, header: Sequence[str], names: str) -> list[int] | None:
    """The positions of the columns in `--text-column` (one name, or several with commas); None if one is missing."""
    whole = find_column(place, header, names)
    if whole is not None:
        return [whole]
    wanted = split_names(names)
    found = [position for name in wanted if (position := find_column(place, header, name)) is not None]
    return found if found and len(found) == len(wanted) else None


def check_names(text: str, label: str, row_id: str) -> None:
    """Raise UserError unless the options name three different columns."""
    names = {"--text-column": text, "--label-column": label, "--id-column": row_id}
    for option, name in names.items():
        if not fold(name):
            raise UserError(f"{option} is empty; give it the name of a column")
    if len({fold(name) for name in names.values()}) < 3:
        raise UserError("--text-column, --label-column and --id-column must name three different columns")


def split_names(names: str) -> list[str]:
    """`Betreff, Text` -> ["Betreff", "Text"]."""
    return [name.strip() for name in names.split(",") if name.strip()]


def count_found(header: Iterable[str], wanted: Iterable[str]) -> int:
    """How many of the wanted columns a header has."""
    there = {fold(name) for name in header}
    return sum(fold(name) in there for name in wanted)


def show_names(header: Sequence[str]) -> str:
    """A header for a message. Long names are cut; names past 200 characters are only counted."""
    names = [name if len(name) <= SHOWN_LENGTH else name[:SHOWN_LENGTH] + "..." for name in header]
    shown = next((n for n in range(1, len(names) + 1) if sum(map(len, names[: n + 1])) > SHOWN_IN_ALL), len(names))
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if shown < len(names) else "")
