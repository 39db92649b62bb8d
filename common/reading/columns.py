"""Column names: matched without regard to case and surrounding space, where only one column fits."""

import unicodedata
from collections.abc import Iterable, Sequence

from common.cli import UserError

SHOWN_IN_ALL = 200  # characters
SHOWN_LENGTH = 40  # a file without a header has whole texts in place of names


def fold(name: str) -> str:
    """The form in which two names are compared."""
    return unicodedata.normalize("NFC", name).strip("\ufeff \t\r\n\u00a0").casefold()


def find_column(place: object, header: Sequence[str], name: str) -> int | None:
    """The position of the column that `name` means, None without one. Raises UserError where several fit."""
    found = [position for position, there in enumerate(header) if there == name]
    found = found or [position for position, there in enumerate(header) if fold(there) == fold(name)]
    if len(found) > 1 and header[found[0]] == name:
        raise UserError(f"{place} has two columns named {name!r}")
    if len(found) > 1:
        both = " and ".join(repr(header[position]) for position in found[:2])
        raise UserError(f"{place} has the columns {both}; write {name!r} exactly as the one that you mean")
    return found[0] if found else None


def find_text_columns(place: object, header: Sequence[str], names: str) -> list[int] | None:
    """The positions of the columns that `--text-column` means: one, or several names separated by commas."""
    whole = find_column(place, header, names)
    if whole is not None:
        return [whole]
    found = [find_column(place, header, name) for name in split_names(names)]
    return found if found and None not in found else None


def split_names(names: str) -> list[str]:
    """`Betreff, Text` -> ["Betreff", "Text"]."""
    return [name.strip() for name in names.split(",") if name.strip()]


def count_found(header: Iterable[str], wanted: Iterable[str]) -> int:
    """How many of the wanted columns a header has."""
    there = {fold(name) for name in header}
    return sum(fold(name) in there for name in wanted)


def show_names(header: Sequence[str]) -> str:
    """A header for a message: long names are cut, and what would pass 200 characters is counted."""
    names = [name if len(name) <= SHOWN_LENGTH else name[:SHOWN_LENGTH] + "..." for name in header]
    shown = next((n for n in range(1, len(names) + 1) if sum(map(len, names[: n + 1])) > SHOWN_IN_ALL), len(names))
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if shown < len(names) else "")
