"""Boxes and positions as the command line takes them: numbers in one of three coordinate systems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError
from .prompted import Position

if TYPE_CHECKING:
    from ..volume import Geometry, OrientedBox

SPACES = ("ijk", "lps", "ras")


def check_space(space: str) -> None:
    """Raises ``UsageError`` (``UNKNOWN_SPACE``)."""
    if space not in SPACES:
        raise UsageError("UNKNOWN_SPACE", f"There is no coordinate system {space!r}.", f"Use {', '.join(SPACES)}.")


def box_from_text(geometry: Geometry, text: str, space: str) -> OrientedBox:
    """A box from six numbers with commas; see :func:`box_from_numbers`.

    On a picture (a scan of one slice) four numbers x0, y0, x1, y1 will do: the first and the last column and row, as
    MedSAM's program takes them.

    Raises:
        UsageError: ``BAD_BOX_TEXT``.
        InputError: the box is empty, reversed or outside the scan.
    """
    numbers = _numbers(text)
    if len(numbers) == 4 and space == "ijk" and geometry.shape[0] == 1:
        x0, y0, x1, y1 = numbers
        numbers = [x0, y0, 0, x1 + 1, y1 + 1, 1]
    if len(numbers) != 6:
        hint = "Write six numbers with commas: i0,j0,k0,i1,j1,k1; of a picture x0,y0,x1,y1 will do."
        raise UsageError("BAD_BOX_TEXT", f"{text!r} is not a box.", hint)
    return box_from_numbers(geometry, numbers, space)


def box_from_numbers(geometry: Geometry, numbers: Sequence[float], space: str) -> OrientedBox:
    """A box from six numbers.

    Args:
        geometry: of the scan.
        numbers: ``i0, j0, k0, i1, j1, k1`` (upper end exclusive) for ``ijk``; two opposite corners in mm otherwise.
        space: ``"ijk"``, ``"lps"`` or ``"ras"``.

    Raises:
        InputError: ``EMPTY_BOX``, ``REVERSED_BOX``, ``BAD_BOX``, ``BOX_OUTSIDE``.
    """
    from ..volume import OrientedBox

    if space == "ijk":
        return OrientedBox.from_index_range(geometry, *numbers)
    return OrientedBox.from_corners_lps(to_lps(geometry, numbers[:3], space), to_lps(geometry, numbers[3:], space))


def positions_from_text(geometry: Geometry, text: str, space: str) -> tuple[Position, ...]:
    """Positions from numbers with commas, one position after the other with semicolons.

    On a picture x,y will do.

    Raises:
        UsageError: ``BAD_POSITION_TEXT``.
    """
    positions = []
    for part in text.split(";"):
        numbers = _numbers(part)
        if len(numbers) == 2 and space == "ijk" and geometry.shape[0] == 1:
            numbers = [*numbers, 0.0]
        if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
            hint = "Write x,y,z, and a semicolon between positions."
            raise UsageError("BAD_POSITION_TEXT", f"{part!r} is not a position.", hint)
        positions.append(to_lps(geometry, numbers, space))
    return tuple(positions)


def slice_box_from_text(text: str) -> tuple[int, tuple[float, float, float, float]]:
    """A slice and a rectangle's edges on it from ``SLICE:x0,y0,x1,y1``: ranges, upper end exclusive.

    Raises:
        UsageError: ``BAD_BOX_TEXT``.
    """
    index, _, rest = text.partition(":")
    numbers = _numbers(rest)
    if not index.isdigit() or len(numbers) != 4:
        hint = "Write SLICE:x0,y0,x1,y1 with columns x and rows y of that slice."
        raise UsageError("BAD_BOX_TEXT", f"{text!r} is not a rectangle on a slice.", hint)
    return int(index), slice_edges(numbers)


def slice_edges(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    """Edges (x0, y0, x1, y1) in continuous indices of ranges x0, y0, x1, y1, upper end exclusive."""
    x0, y0, x1, y1 = (float(value) - 0.5 for value in numbers)
    return x0, y0, x1, y1


def to_lps(geometry: Geometry, position: Sequence[float], space: str) -> Position:
    """A position (x, y, z) of one of the spaces in LPS mm."""
    import numpy as np

    from ..volume.markups import RAS_TO_LPS

    if space == "ijk":
        point = geometry.index_to_lps(position)
    else:
        point = RAS_TO_LPS @ np.asarray(position) if space == "ras" else np.asarray(position)
    return float(point[0]), float(point[1]), float(point[2])


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return []
