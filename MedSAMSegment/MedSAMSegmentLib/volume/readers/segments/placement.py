"""Carries the frames of a segmentation onto the grid of a scan: exactly where the pixels coincide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ...acquisition import ImagePlane, mask_from_planes
from ...geometry import FloatArray, Geometry

#: Pixels this close to voxel centres, as a share of a voxel, coincide with them.
_COINCIDE = 0.05
#: Largest departure of a foreign segmentation's planes from an even stack, as a share of the step.
_EVEN = 0.05

PlacedFrame = tuple[ImagePlane, NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class _Lattice:
    """How a plane's pixels sit in the grid: index (i, j, k) = origin + row * down + column * along."""

    origin: FloatArray
    down: FloatArray
    along: FloatArray


def place(
    frames: Sequence[PlacedFrame], geometry: Geometry, planes: Sequence[ImagePlane]
) -> tuple[NDArray[np.uint8], bool]:
    """Frames of one segment as an array on the grid.

    Args:
        frames: planes with their numbers, 0 is background; where two frames cover one voxel the larger number stays.
        geometry: the scan's grid.
        planes: the scan's acquired planes, for grids that were made from uneven or leaning slices; may be empty.

    Returns:
        (k, j, i) uint8, and whether every pixel coincided with a voxel or an acquired pixel; otherwise the nearest one
        was taken.

    Raises:
        InputError: ``OTHER_GRID`` for frames that are neither on the scan's grid nor an even stack of their own.
    """
    if planes:
        images = np.zeros((len(planes), *planes[0].shape), np.uint8)
        if all(_onto_plane(plane, pixels, planes, images) for plane, pixels in frames):
            return mask_from_planes(images, planes, geometry), True
    on_grid = np.zeros(geometry.shape, np.uint8)
    if all(_scatter(plane, pixels, geometry, on_grid) for plane, pixels in frames):
        return on_grid, True
    return _resampled(frames, geometry), False


def _scatter(plane: ImagePlane, pixels: NDArray[np.uint8], geometry: Geometry, target: NDArray[np.uint8]) -> bool:
    """Write a frame's pixels to the voxels they coincide with; False if they lie between voxels."""
    corners = geometry.lps_to_index(plane.corners())
    bottom, right = max(plane.shape[0] - 1, 1), max(plane.shape[1] - 1, 1)
    lattice = _Lattice(corners[0], (corners[2] - corners[0]) / bottom, (corners[1] - corners[0]) / right)
    steps = np.rint(np.stack((lattice.down, lattice.along)))
    if plane.shape[0] == 1 or plane.shape[1] == 1:
        steps = np.rint(geometry.lps_to_index(plane.to_lps(np.array([1, 0]), np.array([0, 1]))) - corners[0])
    rounded = np.rint(corners[0])
    ends = rounded + np.array([(0, 0), (0, 1), (1, 0), (1, 1)]) * (plane.shape[0] - 1, plane.shape[1] - 1) @ steps
    if np.abs(ends - corners).max() > _COINCIDE or np.linalg.matrix_rank(steps) < 2:
        return False
    rows, columns = np.nonzero(pixels)
    index = (rounded + rows[:, None] * steps[0] + columns[:, None] * steps[1]).astype(np.int64)[:, ::-1]
    inside = ((index >= 0) & (index < geometry.shape)).all(axis=1)
    np.maximum.at(target, tuple(index[inside].T), pixels[rows[inside], columns[inside]])
    return True


def _onto_plane(
    plane: ImagePlane, pixels: NDArray[np.uint8], planes: Sequence[ImagePlane], target: NDArray[np.uint8]
) -> bool:
    """Write a frame to the acquired plane it coincides with; False if there is none."""
    if plane.shape != planes[0].shape:
        return False
    corners = plane.corners()
    for number, acquired in enumerate(planes):
        if np.abs(acquired.corners() - corners).max() <= _COINCIDE * min(acquired.spacing):
            np.maximum(target[number], pixels, out=target[number])
            return True
    return False


def _resampled(frames: Sequence[PlacedFrame], geometry: Geometry) -> NDArray[np.uint8]:
    """Nearest pixels of an even stack of frames at the voxels of the grid."""
    first = frames[0][0]
    if any(not _alike(plane, first) for plane, _ in frames):
        raise _other_grid()
    places = np.array([float(first.distance(plane.position)) for plane, _ in frames])
    order = np.argsort(places, kind="stable")
    gaps = np.diff(places[order])
    step = float(np.min(gaps[gaps > 1e-3])) if (gaps > 1e-3).any() else min(geometry.spacing)
    numbers = (places[order] - places[order[0]]) / step
    if np.abs(numbers - np.rint(numbers)).max() > _EVEN:
        raise _other_grid()
    stack = np.zeros((int(np.rint(numbers[-1])) + 1, *first.shape), np.uint8)
    for number, where in zip(np.rint(numbers).astype(int), order, strict=True):
        np.maximum(stack[number], frames[where][1], out=stack[number])
    start = frames[order[0]][0]
    affine = np.eye(4)
    affine[:3, 0] = start.row * start.spacing[1]
    affine[:3, 1] = start.column * start.spacing[0]
    affine[:3, 2] = start.normal * step
    affine[:3, 3] = start.position
    own = Geometry((stack.shape[0], stack.shape[1], stack.shape[2]), affine)
    result = np.zeros(geometry.shape, np.uint8)
    for k in range(geometry.shape[0]):
        index = np.rint(own.lps_to_index(geometry.voxel_centres_lps(0, k))).astype(np.int64)[..., ::-1]
        inside = ((index >= 0) & (index < own.shape)).all(axis=-1)
        result[k][inside] = stack[tuple(index[inside].T)]
    return result


def _alike(plane: ImagePlane, other: ImagePlane) -> bool:
    """Whether two planes differ by a step along their common normal only."""
    offset = plane.position - other.position
    sideways = np.linalg.norm(offset - (offset @ other.normal) * other.normal)
    return bool(
        plane.shape == other.shape
        and np.allclose(plane.row, other.row, atol=1e-4)
        and np.allclose(plane.column, other.column, atol=1e-4)
        and np.allclose(plane.spacing, other.spacing, rtol=1e-4)
        and sideways <= _EVEN * min(other.spacing)
    )


def _other_grid() -> InputError:
    return InputError(
        "OTHER_GRID",
        "The segments lie neither on the images of this scan nor on an even grid of their own.",
        "Give the segments of this scan, or carry them over in a viewer first.",
    )
