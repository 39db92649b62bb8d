"""Guard cells that a spreadsheet would run as formulas, and restore them."""

# https://owasp.org/www-community/attacks/CSV_Injection, the full-width forms included
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_AMBIGUOUS = (*FORMULA_STARTS, "'")


def guard(cell: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run, or that looks guarded already."""
    looks_guarded = cell.startswith("'") and cell[1:].startswith(_AMBIGUOUS)
    return "'" + cell if cell.startswith(FORMULA_STARTS) or looks_guarded else cell


def restore(cell: str) -> str:
    """Undo `guard`: restore(guard(cell)) == cell for every text. Other texts (`'n Abend`) do not change."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_AMBIGUOUS) else cell
