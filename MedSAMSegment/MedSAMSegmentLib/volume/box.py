"""The three-dimensional box a user draws: free in position, size and rotation, independent of the voxel grid.

A box is affine-mapped exactly to index coordinates, so its cut with a slice plane is an exact convex polygon, also for
oblique, anisotropic, left-handed and sheared grids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from .geometry import FloatArray, Geometry

#: Signs of the eight corners along the three box axes; corner b has bit 0 for the first axis.
_CORNER_SIGNS = np.array([[2 * (b & 1) - 1, (b & 2) - 1, (b & 4) // 2 - 1] for b in range(8)], dtype=np.float64)

#: The twelve edges as pairs of corners: two corners share an edge if they differ in one bit.
_EDGES = np.array([(a, a | bit) for a in range(8) for bit in (1, 2, 4) if not a & bit])

#: Points this far outside (as a fraction of the half size, or in voxels for polygons) still count as on the surface.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class OrientedBox:
    """A box in LPS millimetres.

    Args:
        centre: (3,) LPS mm.
        axes: 3x3, the columns are the unit directions of the box's edges; normalised on construction. They need not be
            orthogonal: a box of voxels of a sheared grid is a parallelepiped.
        size: (3,) lengths of the edges in mm.

    Raises:
        InputError: ``EMPTY_BOX`` (a size that is not positive), ``BAD_BOX`` (not finite, wrong shape, axes in one
            plane).
    """

    centre: FloatArray
    axes: FloatArray
    size: FloatArray

    def __post_init__(self) -> None:
        centre = np.array(self.centre, dtype=np.float64)
        axes = np.array(self.axes, dtype=np.float64)
        size = np.array(self.size, dtype=np.float64)
        finite = all(np.isfinite(part).all() for part in (centre, axes, size))
        if (centre.shape, axes.shape, size.shape) != ((3,), (3, 3), (3,)) or not finite:
            raise InputError(
                "BAD_BOX",
                "A box needs a centre of three, axes of nine and a size of three finite numbers.",
                "Draw the box again.",
            )
        if (size <= 0).any():
            raise InputError(
                "EMPTY_BOX",
                f"The box is empty: its size is {size[0]:g} x {size[1]:g} x {size[2]:g} mm.",
                "Give it a positive size along each axis.",
            )
        lengths = np.linalg.norm(axes, axis=0)
        if (lengths <= 0).any() or abs(np.linalg.det(axes / lengths)) < 1e-4:
            raise InputError("BAD_BOX", "The axes of the box lie in one plane.", "Draw the box again.")
        # Axes that already have unit length are left alone to the last bit.
        axes = np.where(np.abs(lengths - 1) > 1e-12, axes / lengths, axes)
        for name, value in (("centre", centre), ("axes", axes), ("size", size)):
            value.flags.writeable = False
            object.__setattr__(self, name, value)

    @classmethod
    def from_corners_lps(cls, a: ArrayLike, b: ArrayLike) -> OrientedBox:
        """The box along the LPS axes between two opposite corners (mm), given in any order.

        Raises:
            InputError: ``EMPTY_BOX`` if the corners share a coordinate, ``BAD_BOX`` if one is not finite.
        """
        first = np.asarray(a, dtype=np.float64)
        second = np.asarray(b, dtype=np.float64)
        return cls((first + second) / 2, np.eye(3), np.abs(second - first))

    @classmethod
    def from_index_range(
        cls, geometry: Geometry, i0: float, j0: float, k0: float, i1: float, j1: float, k1: float
    ) -> OrientedBox:
        """The box of the voxels ``i0 <= i < i1`` and so on, whole voxels with their outer faces.

        Raises:
            InputError: ``REVERSED_BOX`` (an upper end below its lower end), ``EMPTY_BOX`` (equal ends), ``BAD_BOX``
                (not finite), ``BOX_OUTSIDE`` (not one of its voxels is in the scan).
        """
        lower = np.array([i0, j0, k0], dtype=np.float64)
        upper = np.array([i1, j1, k1], dtype=np.float64)
        if not (np.isfinite(lower).all() and np.isfinite(upper).all()):
            raise InputError("BAD_BOX", "A corner of the box is not a finite number.", "Give six finite numbers.")
        ranges = ", ".join(f"{name} {a:g}..{b:g}" for name, a, b in zip("ijk", lower, upper, strict=True))
        if (upper < lower).any():
            raise InputError(
                "REVERSED_BOX",
                f"The box runs backwards: {ranges}.",
                "Give the lower corner i0,j0,k0 first and then the upper corner i1,j1,k1.",
            )
        if (upper == lower).any():
            raise InputError(
                "EMPTY_BOX",
                f"The box holds no voxel: {ranges}.",
                "The upper end is exclusive: one voxel is i..i+1.",
            )
        size_ijk = np.array(geometry.shape[::-1])
        if (lower >= size_ijk).any() or (upper <= 0).any():
            raise InputError(
                "BOX_OUTSIDE",
                f"The box ({ranges}) lies outside the scan of {size_ijk[0]} x {size_ijk[1]} x {size_ijk[2]} voxels.",
                "Check the order i,j,k and whether the numbers were meant as millimetres.",
            )
        centre = geometry.index_to_lps((lower + upper - 1) / 2)
        return cls(centre, geometry.direction, (upper - lower) * np.asarray(geometry.spacing))

    @property
    def volume(self) -> float:
        """Volume in cubic millimetres."""
        return float(abs(np.linalg.det(self.axes)) * np.prod(self.size))

    def corners_lps(self) -> FloatArray:
        """The eight corners in LPS mm, shape (8, 3); the first box axis varies fastest, from minus to plus."""
        return self.centre + (_CORNER_SIGNS * (self.size / 2)) @ self.axes.T

    def to_local(self, points: ArrayLike) -> FloatArray:
        """LPS mm, shape (..., 3), as coordinates along the box's axes: -1 and 1 are the faces, 0 the centre."""
        offsets = np.asarray(points, dtype=np.float64) - self.centre
        return offsets @ self._local_from_lps().T

    def contains(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Which LPS points (mm), shape (..., 3), lie inside or on the surface; shape (...)."""
        return np.asarray((np.abs(self.to_local(points)) <= 1 + _ROUNDING).all(axis=-1))

    def mask(self, geometry: Geometry) -> NDArray[np.bool_]:
        """The voxels whose centres lie inside or on the surface, array [k, j, i]; empty if the box is elsewhere."""
        mask = np.zeros(geometry.shape, dtype=bool)
        window = self.index_window(geometry)
        if window is None:
            return mask
        block = mask[window]
        # Local coordinates are affine in the index, so each is a sum of one term an axis; only the box's window is
        # visited.
        matrix = self._local_from_lps() @ geometry.affine[:3, :3]
        start = geometry.index_to_lps([part.start for part in reversed(window)])
        base = self.to_local(start)
        depth, height, width = block.shape
        rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
        in_slice = [rows * matrix[n, 1] + columns * matrix[n, 0] + base[n] for n in range(3)]
        for k in range(depth):
            inside = np.abs(in_slice[0] + k * matrix[0, 2]) <= 1 + _ROUNDING
            for n in (1, 2):
                inside &= np.abs(in_slice[n] + k * matrix[n, 2]) <= 1 + _ROUNDING
            block[k] = inside
        return mask

    def expanded(self, millimetres: float | ArrayLike) -> OrientedBox:
        """The box with each face moved outward, by one distance or by one for each box axis; negative ones shrink it.

        Raises:
            InputError: ``EMPTY_BOX`` if nothing is left.
        """
        return OrientedBox(self.centre, self.axes, self.size + 2 * np.asarray(millimetres, dtype=np.float64))

    def is_rectangular(self, tolerance: float = 1e-6) -> bool:
        """True if the edges are orthogonal (``tolerance``: largest cosine between two of them)."""
        return bool(np.abs(self.axes.T @ self.axes - np.eye(3)).max() <= tolerance)

    def index_bounds(self, geometry: Geometry) -> tuple[FloatArray, FloatArray]:
        """Smallest and largest continuous index ``(i, j, k)`` of the box's corners, not clipped to the scan."""
        corners = geometry.lps_to_index(self.corners_lps())
        return corners.min(axis=0), corners.max(axis=0)

    def index_window(self, geometry: Geometry) -> tuple[slice, slice, slice] | None:
        """The smallest block of voxels, as slices for ``array[k, j, i]``, that holds every voxel centre in the box.

        None if there is no voxel centre between the box's extremes within the scan.
        """
        lower, upper = self.index_bounds(geometry)
        start = np.maximum(np.ceil(lower - _ROUNDING), 0).astype(np.int64)
        stop = np.minimum(np.floor(upper + _ROUNDING) + 1, geometry.shape[::-1]).astype(np.int64)
        if (stop <= start).any():
            return None
        i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return k, j, i

    def slice_polygons(self, geometry: Geometry, axis: int) -> dict[int, FloatArray]:
        """The exact cut of the box with every slice plane of the scan that it meets.

        Args:
            geometry: the grid.
            axis: array axis the slices are perpendicular to, 0 = k, 1 = j, 2 = i.

        Returns:
            For each slice number a convex polygon (n, 2), corners in order, as (x, y) in continuous index coordinates
            of the slice's own axes (x along its columns, y along its rows), clipped to the extent of the slice
            ``[-0.5, n - 0.5]``. Slices the box misses, or only touches without area, are left out.
        """
        corners = geometry.lps_to_index(self.corners_lps())
        across, x_axis, y_axis = _index_axes(axis)
        height = corners[:, across]
        first = max(int(np.ceil(height.min() - _ROUNDING)), 0)
        last = min(int(np.floor(height.max() + _ROUNDING)), geometry.shape[axis] - 1)
        extent = (geometry.shape[2 - x_axis] - 0.5, geometry.shape[2 - y_axis] - 0.5)
        in_plane = corners[:, [x_axis, y_axis]]
        polygons: dict[int, FloatArray] = {}
        if _is_upright(in_plane, height):
            # All slices cut it alike.
            polygon = _clip(_cut(in_plane, height - (height.min() + height.max()) / 2), extent)
            if _has_area(polygon):
                polygons = {number: polygon.copy() for number in range(first, last + 1)}
            return polygons
        for number in range(first, last + 1):
            polygon = _clip(_cut(in_plane, height - number), extent)
            if _has_area(polygon):
                polygons[number] = polygon
        return polygons

    def slice_rectangles(self, geometry: Geometry, axis: int) -> dict[int, tuple[float, float, float, float]]:
        """The rectangle round the box's cut with every slice plane of the scan that it meets.

        Args:
            geometry: the grid.
            axis: array axis the slices are perpendicular to, 0 = k, 1 = j, 2 = i.

        Returns:
            For each slice number ``(x0, y0, x1, y1)``, the bounds of the polygon of :meth:`slice_polygons` in the same
            coordinates; for a box of whole voxels these are half-integers. A slice outside the box has no entry.
        """
        rectangles = {}
        for number, polygon in self.slice_polygons(geometry, axis).items():
            (x0, y0), (x1, y1) = polygon.min(axis=0), polygon.max(axis=0)
            rectangles[number] = (float(x0), float(y0), float(x1), float(y1))
        return rectangles

    def check_overlap(self, geometry: Geometry, axis: int) -> None:
        """Make sure that there is something to segment: the box must cut a slice plane of the scan.

        Args:
            geometry: the grid.
            axis: array axis the slices are perpendicular to, 0 = k, 1 = j, 2 = i.

        Raises:
            InputError: ``BOX_OUTSIDE`` if the box and the scan have no common region, ``BOX_BETWEEN_SLICES`` if the box
                is so thin that it lies between two slices.
        """
        if self.slice_polygons(geometry, axis):
            return
        lower, upper = self.index_bounds(geometry)
        across = 2 - axis
        within = (upper > -0.5).all() and (lower < np.array(geometry.shape[::-1]) - 0.5).all()
        if not within or np.floor(upper[across]) >= np.ceil(lower[across]):
            raise InputError(
                "BOX_OUTSIDE",
                "The box lies outside the scan.",
                "Check the coordinate system of the box (voxel index, LPS or RAS) and that it was drawn on this scan.",
            )
        raise InputError(
            "BOX_BETWEEN_SLICES",
            "The box is thinner than the distance of two slices and lies between them.",
            f"Make it at least {geometry.spacing_kji[axis]:.3g} mm thick across the slices.",
        )

    def _local_from_lps(self) -> FloatArray:
        """3x3: LPS offsets from the centre to local coordinates."""
        return np.linalg.inv(self.axes * (self.size / 2)).astype(np.float64, copy=False)


def _index_axes(axis: int) -> tuple[int, int, int]:
    """For slices across an array axis: the index axis (0 = i) across them, along their columns and along their rows."""
    return ((2, 0, 1), (1, 0, 2), (0, 1, 2))[axis]


def _cut(points: FloatArray, height: FloatArray) -> FloatArray:
    """The convex polygon where the plane ``height == 0`` cuts a parallelepiped.

    Args:
        points: (8, 2) in-plane coordinates of the corners.
        height: (8,) signed distance of the corners from the plane, in slices.
    """
    a, b = _EDGES.T
    crossing = np.sign(height[a]) * np.sign(height[b]) < 0
    a, b = a[crossing], b[crossing]
    fraction = (height[a] / (height[a] - height[b]))[:, None]
    candidates = np.concatenate([points[a] + fraction * (points[b] - points[a]), points[np.abs(height) <= _ROUNDING]])
    if len(candidates) < 3:
        return candidates
    # Every candidate is a corner of the convex cut (or a repetition of one), so sorting by angle orders them.
    offsets = candidates - candidates.mean(axis=0)
    polygon = candidates[np.argsort(np.arctan2(offsets[:, 1], offsets[:, 0]), kind="stable")]
    repeated = np.abs(polygon - np.roll(polygon, 1, axis=0)).max(axis=1) <= _ROUNDING
    return polygon[~repeated]


def _is_upright(points: FloatArray, height: FloatArray) -> bool:
    """Whether each edge of a parallelepiped stands upright on the slices or lies in them; arguments as in `_cut`."""
    a, b = _EDGES.T
    upright = np.abs(points[a] - points[b]).max(axis=1) <= _ROUNDING
    return bool((upright | (np.abs(height[a] - height[b]) <= _ROUNDING)).all())


def _clip(polygon: FloatArray, upper: tuple[float, float]) -> FloatArray:
    """A convex polygon clipped to ``[-0.5, upper]`` along both axes (Sutherland and Hodgman, 1974)."""
    for component in (0, 1):
        for sign, limit in ((1.0, -0.5), (-1.0, -upper[component])):
            if len(polygon) == 0:
                return polygon
            depth = sign * polygon[:, component] - limit
            if (depth >= 0).all():
                continue
            kept = []
            for n, point in enumerate(polygon):
                before, inside_before = polygon[n - 1], depth[n - 1] >= 0
                if inside_before != (depth[n] >= 0):
                    kept.append(before + depth[n - 1] / (depth[n - 1] - depth[n]) * (point - before))
                if depth[n] >= 0:
                    kept.append(point)
            polygon = np.array(kept).reshape(-1, 2)
    return polygon


def _has_area(polygon: FloatArray) -> bool:
    return len(polygon) >= 3 and bool((np.ptp(polygon, axis=0) > _ROUNDING).all()) and _area(polygon) > _ROUNDING


def _area(polygon: FloatArray) -> float:
    x, y = (polygon - polygon[0]).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
