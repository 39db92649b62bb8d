"""The cells of probability columns: numbers in [0, 1] whose sum is 1 in each row, up to their rounding."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from common.cli import UserError

SUM_TOLERANCE = 1e-3


def numbers_of(path: str | Path, column: pd.Series, name: str) -> np.ndarray:
    """The column `name` as float64, [rows]. Raises UserError, naming the row, for a cell that is not a number."""
    try:
        return column.to_numpy(dtype=object).astype(np.float64)
    except ValueError:
        for row, value in enumerate(column, 1):
            try:
                float(value)
            except ValueError:
                hint = "; write 0.5, not 0,5" if value.replace(",", "", 1).isdigit() and "," in value else ""
                raise UserError(f"{path}, row {row}: {name} is {value!r}, not a number{hint}") from None
        raise


def check_probabilities(
    path: str | Path, probabilities: np.ndarray, table: pd.DataFrame, columns: Sequence[str]
) -> np.ndarray:
    """The probabilities, [rows, classes] float64. Rounded ones are rescaled to a sum of 1.

    `table` has their cells as the file writes them, in `columns`. Raises UserError, naming the row, for a value outside
    [0, 1] and for a sum that is not 1.
    """
    bad = ~((probabilities >= 0) & (probabilities <= 1))  # NaN compares false: bad too
    if bad.any():
        row, column = np.argwhere(bad)[0]
        value = probabilities[row, column]
        hint = "; divide percentages by 100" if 1 < value <= 100 and abs(probabilities[row].sum() - 100) < 1 else ""
        raise UserError(f"{path}, row {row + 1}: {columns[column]} is {value:g}, not in [0, 1]{hint}")
    sums = probabilities.sum(axis=1)
    error = np.abs(sums - 1)
    if not (error > SUM_TOLERANCE).any():
        return probabilities
    digits = max(-int(Decimal(cell).as_tuple().exponent) for name in columns for cell in set(table[name]))
    rounding = len(columns) * 0.5 * 10.0**-digits if digits > 0 else 0.0  # integers are not rounded probabilities
    off = np.flatnonzero((error > max(SUM_TOLERANCE, rounding + 1e-9)) | (sums == 0))
    if len(off):
        raise UserError(f"{path}, row {off[0] + 1}: the probabilities sum to {sums[off[0]]:.4g}, not to 1")
    return probabilities / sums[:, None]
