"""The plane in which a scan is cut into slices, and the coordinates inside such a slice.

A slice is an array ``[row, column]``: the two array axes of the scan that remain when the plane's own axis is taken
away, in their order.  A point on a slice is ``(x, y)`` in continuous index coordinates: x counts columns, y rows, a
pixel centre sits on the integer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UsageError

if TYPE_CHECKING:
    from ..volume import Geometry

PLANE_NAMES = ("auto", "axial", "sagittal", "coronal")


@dataclass(frozen=True)
class SlicePlane:
    """One of the three ways to cut a scan along its own grid.

    Attributes:
        axis: array axis (0 = k, 1 = j, 2 = i) that counts the slices.
        slices: number of slices of the scan.
        shape: (rows, columns) of one slice.
        slice_spacing: mm between neighbouring slices.
        row_spacing: mm between neighbouring rows (along y).
        column_spacing: mm between neighbouring columns (along x).
    """

    axis: int
    slices: int
    shape: tuple[int, int]
    slice_spacing: float
    row_spacing: float
    column_spacing: float

    @classmethod
    def of(cls, geometry: Geometry, plane: str = "auto") -> SlicePlane:
        """The plane of that name.

        Args:
            geometry: of the scan.
            plane: ``"auto"`` is the acquisition plane, see :attr:`Geometry.slice_axis`; ``"axial"``, ``"sagittal"``
                and ``"coronal"`` are the grid planes nearest to these anatomical planes.

        Raises:
            UsageError: ``UNKNOWN_PLANE``.
        """
        if plane == "auto":
            return cls.along(geometry, geometry.slice_axis)
        if plane not in PLANE_NAMES:
            raise UsageError("UNKNOWN_PLANE", f"There is no plane {plane!r}.", f"Use one of {', '.join(PLANE_NAMES)}.")
        return cls.along(geometry, geometry.axis_of_plane(plane))

    @classmethod
    def along(cls, geometry: Geometry, axis: int) -> SlicePlane:
        """The plane whose slices are counted by array axis ``axis`` (0, 1 or 2)."""
        rows, columns = (a for a in range(3) if a != axis)
        spacing = geometry.spacing_kji
        return cls(
            axis=axis,
            slices=int(geometry.shape[axis]),
            shape=(int(geometry.shape[rows]), int(geometry.shape[columns])),
            slice_spacing=float(spacing[axis]),
            row_spacing=float(spacing[rows]),
            column_spacing=float(spacing[columns]),
        )

    def to_slice(self, points_ijk: np.ndarray) -> np.ndarray:
        """Index points (..., 3) as (i, j, k) -> (..., 3) as (x, y, slice)."""
        points = np.asarray(points_ijk, dtype=np.float64)
        return points[..., self._components()]

    def to_index(self, points: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`to_slice`: (..., 3) as (x, y, slice) -> (i, j, k)."""
        points = np.asarray(points, dtype=np.float64)
        result = np.empty_like(points)
        result[..., self._components()] = points
        return result

    def _components(self) -> list[int]:
        rows, columns = (a for a in range(3) if a != self.axis)
        return [2 - columns, 2 - rows, 2 - self.axis]
