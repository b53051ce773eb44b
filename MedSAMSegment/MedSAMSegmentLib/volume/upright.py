"""An upright grid for a scan whose slices lean against the stack (gantry tilt)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .geometry import FloatArray, Geometry
from .volume import Volume

#: Shifts within this part of a pixel are taken as whole.
_WHOLE = 1e-3
#: The grid may grow by this factor.
_MOST_GROWTH = 8


def upright(volume: Volume) -> Volume:
    """The scan on a grid whose slices lie straight above one another.

    Each slice keeps its plane, its pixels' size and its source; it is shifted within its plane, by linear interpolation
    between pixels where the shift is not whole. The matrix grows by the way the stack leans, and what was not imaged
    has the scan's lowest value. A scan that does not lean is returned as it is.

    Raises:
        InputError: ``BAD_AFFINE`` when rows and columns themselves are not perpendicular, or the stack lies almost
            within its slices.
    """
    geometry = volume.geometry
    if not geometry.is_sheared():
        return volume
    grid, shifts = _upright_grid(geometry)
    background = volume.voxels.min()
    voxels = np.full(grid.shape, background, volume.voxels.dtype)
    for k, shift in enumerate(shifts):
        _place(volume.voxels[k], shift, voxels[k], background)
    note = "Its leaning slices were shifted onto an upright grid."
    # The reader's remark that the slices were kept as acquired no longer holds.
    notes = tuple(text for text in volume.notes if "--upright" not in text)
    return Volume(voxels, grid, volume.modality, volume.name, (*notes, note), volume.source)


def upright_geometry(geometry: Geometry) -> Geometry:
    """The grid of :func:`upright` for a scan on this one; the same where it does not lean.

    Raises:
        InputError: ``BAD_AFFINE``.
    """
    return _upright_grid(geometry)[0] if geometry.is_sheared() else geometry


def _upright_grid(geometry: Geometry) -> tuple[Geometry, FloatArray]:
    """The upright grid, and where in its slices those of the leaning one begin: (slices, 2), columns and rows."""
    row, column, step = geometry.affine[:3, 0], geometry.affine[:3, 1], geometry.affine[:3, 2]
    width, height = np.linalg.norm(row), np.linalg.norm(column)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    # Along the slices' own axes, in pixels, how far each slice is shifted against the one below.
    drift = np.array([step @ row / width**2, step @ column / height**2])
    depth, rows, columns = geometry.shape
    shifts = np.arange(depth)[:, None] * drift
    first = np.floor(shifts.min(axis=0) + _WHOLE)
    last = np.ceil(shifts.max(axis=0) - _WHOLE)
    grown = (rows + int(last[1] - first[1]), columns + int(last[0] - first[0]))
    if abs(row @ column) > 1e-3 * width * height or grown[0] * grown[1] > _MOST_GROWTH * rows * columns:
        raise InputError(
            "BAD_AFFINE",
            "The scan's axes lean too much for an upright grid.",
            "Leave --upright out, or resample the scan.",
        )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row, column, normal * (step @ normal)
    affine[:3, 3] = geometry.origin + first[0] * row + first[1] * column
    return Geometry((depth, *grown), affine), shifts - first


def _place(plane: NDArray[Any], shift: FloatArray, target: NDArray[Any], background: Any) -> None:
    """Puts a plane into a larger one, shifted by (columns, rows)."""
    moved: NDArray[Any] = plane
    offsets = []
    for axis, amount in ((1, float(shift[0])), (0, float(shift[1]))):
        whole = int(np.floor(amount + _WHOLE))
        part = max(amount - whole, 0.0)
        if part > _WHOLE:
            moved = _shifted(moved, part, axis, background)
        offsets.append(whole)
    if target.dtype.kind in "iu":
        moved = np.rint(moved)
    i, j = offsets
    target[j : j + moved.shape[0], i : i + moved.shape[1]] = moved


def _shifted(plane: NDArray[Any], part: float, axis: int, background: Any) -> NDArray[Any]:
    """A plane moved on by a part of a pixel, one pixel longer."""
    edges = [(0, 0), (0, 0)]
    edges[axis] = (1, 1)
    padded = np.pad(plane.astype(np.float32), edges, constant_values=background)
    ahead = np.take(padded, range(1, padded.shape[axis]), axis)
    behind = np.take(padded, range(padded.shape[axis] - 1), axis)
    between: NDArray[Any] = (1 - part) * ahead + part * behind
    return between
