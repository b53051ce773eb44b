"""Polygons become pixels: a pixel belongs to a polygon when its centre does, by the even-odd rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...geometry import FloatArray


def fill_polygon(rows: FloatArray, columns: FloatArray, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of a closed polygon.

    Args:
        rows, columns: its corners in fractional pixel indices, pixel centres on whole numbers; (n,) each. The last
            corner is joined to the first.
        shape: rows and columns of the image.

    Returns:
        (rows, columns) bool. An edge walked twice, as where a hole is joined to its outline, changes nothing.
    """
    inside = np.zeros(shape, bool)
    next_rows, next_columns = np.roll(rows, -1), np.roll(columns, -1)
    first = max(0, int(np.ceil(rows.min())))
    last = min(shape[0] - 1, int(np.floor(rows.max())))
    for row in range(first, last + 1):
        # Half-open, so that a corner exactly on a line of pixels is counted once.
        crossing = (rows <= row) != (next_rows <= row)
        if not crossing.any():
            continue
        y0, y1 = rows[crossing], next_rows[crossing]
        x0, x1 = columns[crossing], next_columns[crossing]
        at = np.sort(x0 + (row - y0) / (y1 - y0) * (x1 - x0))
        starts = np.clip(np.ceil(at), 0, shape[1]).astype(np.int64)
        for start, end in zip(starts[0::2], starts[1::2], strict=True):
            inside[row, start:end] ^= True
    return inside
