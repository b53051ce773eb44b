"""Outlines of masks: polygons whose filling is the mask again, pixel for pixel."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def outlines(mask: np.ndarray) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """The outline of every connected part of a mask, and of its holes.

    Contours run at the level of one half between pixel centres (marching squares), half a pixel outside the outermost
    centres, so a polygon has the extent of its pixels, and whichever way corners are cut, no centre changes sides.

    Args:
        mask: bool (rows, columns).

    Returns:
        For each part its outer ring and the rings of its holes, (n, 2) fractional row and column, not closed; points on
        straight lines are left out.
    """
    from contourpy import FillType, contour_generator

    used_rows, used_columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not used_rows.size:
        return []
    top, left = int(used_rows[0]), int(used_columns[0])
    part = np.pad(mask[top : used_rows[-1] + 1, left : used_columns[-1] + 1].astype(np.float64), 1)
    polygons, offsets = contour_generator(z=part, fill_type=FillType.OuterOffset).filled(0.5, 2.0)
    result = []
    for points, starts in zip(polygons, offsets, strict=True):
        rings = [_corners(points[first : last - 1, ::-1] + (top - 1, left - 1)) for first, last in pairwise(starts)]
        result.append((rings[0], rings[1:]))
    return result


def keyholed(outer: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """One polygon of an outline and its holes, each joined to it by a cut that is walked both ways.

    This is how a structure set expresses a hole (PS3.3 C.8.8.6.3, keyhole technique).

    Args:
        outer, holes: rings (n, 2), not closed.

    Returns:
        (m, 2), not closed.
    """
    polygon = outer
    for hole in sorted(holes, key=lambda ring: (float(ring[:, 0].min()), float(ring[:, 1].min()))):
        distances = ((polygon[:, None] - hole[None]) ** 2).sum(axis=-1)
        at, start = np.unravel_index(int(distances.argmin()), distances.shape)
        way = np.roll(hole, -int(start), axis=0)
        polygon = np.concatenate((polygon[: at + 1], way, way[:1], polygon[at:]))
    return polygon


def _corners(ring: np.ndarray) -> np.ndarray:
    """A ring without the points that lie on a straight line between their neighbours."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return ring[np.abs(turns) > 1e-9]
