"""Cells that a spreadsheet would run as formulas: guarded on writing, restored on reading."""

# https://owasp.org/www-community/attacks/CSV_Injection, the full-width forms included
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_AMBIGUOUS = (*FORMULA_STARTS, "'")


def guard(cell):
    """Put an apostrophe before a text that a spreadsheet would run, or that `restore` would take for a guarded one."""
    looks_guarded = cell.startswith("'") and cell[1:].startswith(_AMBIGUOUS)
    return "'" + cell if cell.startswith(FORMULA_STARTS) or looks_guarded else cell


def restore(cell):
    """Undo `guard`: restore(guard(cell)) == cell for every text; a cell never guarded (`'n Abend`) stays as it is."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_AMBIGUOUS) else cell
