"""Boxes as a hurried user draws them: the tight box of an object with its in-plane sides moved by a few voxels."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

IndexBox = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Half-open index ranges of a box in array order: ``((k0, k1), (j0, j1), (i0, i1))``."""


def tight_box(mask: np.ndarray) -> IndexBox:
    """The smallest index box that holds a non-empty ``(k, j, i)`` mask."""
    ranges = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        ranges.append((int(used[0]), int(used[-1]) + 1))
    return ranges[0], ranges[1], ranges[2]


def jittered_box(
    box: IndexBox, shape: Sequence[int], slice_axis: int, voxels: int, seed: int, identity: str
) -> IndexBox:
    """Move each of the four in-plane sides by a whole number of voxels drawn evenly from ``-voxels .. voxels``.

    The draw depends on the seed and on the object's identity alone, not on the order of the objects, so a subset of
    the cases gives the same boxes as all of them.  Sides stay inside the image; a box that would close keeps one voxel.

    Args:
        box: the box to move.
        shape: ``(k, j, i)`` size of the image.
        slice_axis: array axis 0, 1 or 2 along which the slices are stacked; its two sides are not moved.
        voxels: largest shift; 0 returns the box as it is.
        seed: of the whole evaluation.
        identity: of the object, e.g. ``"case/object"``.
    """
    if voxels == 0:
        return box
    generator = np.random.default_rng([seed, zlib.crc32(identity.encode())])
    moved = list(box)
    for axis in (axis for axis in range(3) if axis != slice_axis):
        shifts = generator.integers(-voxels, voxels + 1, 2)
        low, high = sorted((box[axis][0] + int(shifts[0]), box[axis][1] + int(shifts[1])))
        low = min(max(low, 0), shape[axis] - 1)
        moved[axis] = (low, max(min(high, shape[axis]), low + 1))
    return moved[0], moved[1], moved[2]
