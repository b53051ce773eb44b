"""Where the voxels of a scan lie in the patient: the one place that converts between index and millimetres.

Index points are ``(i, j, k)`` floats. An integer is a voxel centre, and a voxel covers ``[i - 0.5, i + 0.5]`` along
each axis. Millimetres are LPS, the patient system of DICOM (PS3.3 C.7.6.2): x to the left, y to the back, z to the
head. Arrays are indexed ``[k, j, i]``. Axes may be oblique, anisotropic, left-handed or sheared; nothing here assumes
otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

FloatArray = NDArray[np.float64]

#: Anatomical plane -> the LPS component of its normal.
_PLANE_NORMALS = {"sagittal": 0, "coronal": 1, "axial": 2}

#: Voxel axes closer to coplanar than this (a volume ratio, 1 when orthogonal) make the affine unusable.
_SMALLEST_VOLUME_RATIO = 1e-4

#: Spacings that differ by less than this fraction count as equal when the coarsest axis is looked for.
_SPACING_TOLERANCE = 0.01

#: An axis this much coarser than k is the one that slices were acquired across.
_REORDERED = 2.5


@dataclass(frozen=True, eq=False)
class Geometry:
    """Shape and position of a voxel grid.

    Args:
        shape: number of voxels along ``(k, j, i)``.
        affine: 4x4 matrix from homogeneous index ``(i, j, k, 1)`` to LPS millimetres. A private read-only copy is kept.

    Raises:
        InputError: ``EMPTY_VOLUME`` (a dimension of zero), ``BAD_SPACING`` (zero), ``BAD_AFFINE`` (not finite,
            singular, not 4x4 or with a last row other than 0 0 0 1).
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(
                "EMPTY_VOLUME",
                f"A volume needs at least one voxel along each of three axes, this one has the shape {shape}.",
                "Check that the right file was chosen and that it was written completely.",
            )
        affine = np.array(self.affine, dtype=np.float64)
        _check_affine(affine)
        affine.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_parts(
        cls,
        shape: Sequence[int],
        spacing: ArrayLike,
        origin: ArrayLike = (0.0, 0.0, 0.0),
        direction: ArrayLike | None = None,
    ) -> Geometry:
        """A geometry from what file formats usually store.

        Args:
            shape: number of voxels along ``(k, j, i)``.
            spacing: distance of neighbouring voxel centres along ``(i, j, k)`` in mm, all positive.
            origin: LPS position of the centre of voxel (0, 0, 0) in mm.
            direction: 3x3 matrix whose columns are the unit directions of i, j and k in LPS, or nine numbers row by
                row; the identity when left out.

        Raises:
            InputError: as the constructor, and ``BAD_SPACING`` for a spacing that is not positive and finite.
        """
        steps = np.asarray(spacing, dtype=np.float64).reshape(-1)
        columns = np.eye(3) if direction is None else np.asarray(direction, dtype=np.float64).reshape(3, 3)
        if steps.size != 3 or not np.isfinite(steps).all() or (steps <= 0).any():
            raise InputError(
                "BAD_SPACING",
                f"The voxel spacing must be three positive numbers, the scan says {_numbers(steps)} mm.",
                "Correct the spacing in the file's header.",
            )
        affine = np.eye(4)
        affine[:3, :3] = columns * steps
        affine[:3, 3] = np.asarray(origin, dtype=np.float64).reshape(3)
        depth, height, width = (int(n) for n in shape)
        return cls((depth, height, width), affine)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Geometry):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))

    def is_close(self, other: Geometry, tolerance: float = 1e-3) -> bool:
        """True if both grids have one shape and no voxel centre differs by more than ``tolerance`` mm."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(self.corners_lps() - other.corners_lps()).max() <= tolerance)

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along ``(i, j, k)`` in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def spacing_kji(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along the array axes ``(k, j, i)`` in mm."""
        i, j, k = self.spacing
        return k, j, i

    @property
    def origin(self) -> FloatArray:
        """LPS position of the centre of voxel (0, 0, 0) in mm, shape (3,)."""
        return self.affine[:3, 3].copy()

    @property
    def direction(self) -> FloatArray:
        """3x3 matrix whose columns are the unit LPS directions of i, j and k."""
        return self.affine[:3, :3] / np.array(self.spacing, dtype=np.float64)

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in cubic millimetres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @cached_property
    def inverse_affine(self) -> FloatArray:
        """4x4 matrix from LPS millimetres to index ``(i, j, k, 1)``, read-only."""
        inverse = np.array(np.linalg.inv(self.affine), dtype=np.float64)
        inverse.flags.writeable = False
        return inverse

    def index_to_lps(self, points: ArrayLike) -> FloatArray:
        """Index points ``(i, j, k)``, shape (..., 3), as LPS millimetres of the same shape."""
        return np.asarray(points, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def lps_to_index(self, points: ArrayLike) -> FloatArray:
        """LPS millimetres, shape (..., 3), as continuous index points ``(i, j, k)`` of the same shape."""
        # Subtracting the origin first keeps far-off origins (table coordinates) from costing digits.
        offsets = np.asarray(points, dtype=np.float64) - self.affine[:3, 3]
        return offsets @ self.inverse_affine[:3, :3].T

    @property
    def is_left_handed(self) -> bool:
        """True if the axes i, j, k form a left-handed system in LPS."""
        return bool(np.linalg.det(self.affine[:3, :3]) < 0)

    def is_sheared(self, tolerance: float = 1e-3) -> bool:
        """True if two voxel axes are not orthogonal.

        Args:
            tolerance: largest cosine between two axes that still counts as orthogonal.
        """
        direction = self.direction
        return bool(np.abs(direction.T @ direction - np.eye(3)).max() > tolerance)

    def corners_lps(self) -> FloatArray:
        """The centres of the eight corner voxels in LPS mm, shape (8, 3); i varies fastest."""
        depth, height, width = self.shape
        corners = [(i, j, k) for k in (0, depth - 1) for j in (0, height - 1) for i in (0, width - 1)]
        return self.index_to_lps(corners)

    @property
    def slice_axis(self) -> int:
        """The array axis (0 = k, 1 = j, 2 = i) across which slices were acquired.

        That is k, unless another axis is 2.5 times as coarse (a sagittal scan whose axes a converter reordered):
        the thin slices of a modern CT are often closer together than its pixels.  Axes within one percent count as
        equal.  A single slice is one along k, whatever thickness the file gives it.
        """
        spacing = np.asarray(self.spacing_kji)
        if self.shape[0] == 1 or spacing.max() < _REORDERED * spacing[0]:
            return 0
        return int(np.argmax(spacing >= spacing.max() * (1 - _SPACING_TOLERANCE)))

    def axis_of_plane(self, plane: str) -> int:
        """The array axis whose slices lie closest to an anatomical plane.

        Args:
            plane: ``"axial"``, ``"coronal"`` or ``"sagittal"``.

        Returns:
            0, 1 or 2 for k, j or i. The three planes of one volume always have three different axes.
        """
        if plane not in _PLANE_NORMALS:
            raise ValueError(f"plane must be one of {sorted(_PLANE_NORMALS)}, not {plane!r}")
        # Slices across an axis are parallel to the two other axes; their normal is a row of the inverse direction.
        normals = np.abs(np.linalg.inv(self.direction))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
        best = max(orders, key=lambda order: sum(normals[axis, component] for component, axis in enumerate(order)))
        return 2 - best[_PLANE_NORMALS[plane]]

    @property
    def orientation_code(self) -> str:
        """The anatomical direction in which i, j and k grow, e.g. ``"LPS"``; the nearest ones when oblique."""
        letters = (("L", "R"), ("P", "A"), ("S", "I"))
        code = ["", "", ""]
        for component, plane in enumerate(("sagittal", "coronal", "axial")):
            axis = 2 - self.axis_of_plane(plane)
            code[axis] = letters[component][0 if self.affine[component, axis] >= 0 else 1]
        return "".join(code)

    def voxel_centres_lps(self, axis: int, index: int) -> FloatArray:
        """Centres of all voxels of one slice.

        Args:
            axis: array axis the slice is perpendicular to, 0 = k, 1 = j, 2 = i.
            index: number of the slice along that axis.

        Returns:
            LPS mm, shape (rows, columns, 3); rows and columns are the remaining array axes in their order.
        """
        row_axis, column_axis = (a for a in range(3) if a != axis)
        steps = self.affine[:3, :3].T[::-1]  # one LPS step for each array axis k, j, i
        rows = np.arange(self.shape[row_axis])[:, None, None] * steps[row_axis]
        columns = np.arange(self.shape[column_axis])[None, :, None] * steps[column_axis]
        return self.affine[:3, 3] + index * steps[axis] + rows + columns


def _check_affine(affine: FloatArray) -> None:
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], (0, 0, 0, 1)):
        raise InputError(
            "BAD_AFFINE",
            "The scan's position in space is not a finite 4x4 matrix with the last row 0 0 0 1.",
            "Correct the orientation in the file's header.",
        )
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if (steps <= 0).any():
        raise InputError(
            "BAD_SPACING",
            f"The voxel spacing must be positive, the scan says {_numbers(steps)} mm.",
            "Correct the spacing in the file's header.",
        )
    if abs(np.linalg.det(affine[:3, :3] / steps)) < _SMALLEST_VOLUME_RATIO:
        raise InputError(
            "BAD_AFFINE",
            "The scan's voxel axes lie in one plane, so its voxels have no volume.",
            "Correct the orientation in the file's header.",
        )


def _numbers(values: FloatArray) -> str:
    return " x ".join(f"{value:g}" for value in values)
