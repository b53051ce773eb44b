"""The planes a DICOM scan was acquired on, and how masks move between them and the scan's grid.

DICOM results (segmentations, structure sets) speak of acquired images: one plane a source instance, at the position and
orientation its own header gives (PS3.3 C.7.6.2).  Where the grid of a :class:`Volume` is those planes, a mask moves
unchanged.  Where the grid was made from them, because the gantry was tilted or the slices are uneven, the nearest voxel
decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .geometry import FloatArray, Geometry
from .volume import SourceInstance, Volume

#: A plane is a slice of the grid when no corner lies further off than this share of a pixel or of the step.
_SAME_PLANE = 0.05


@dataclass(frozen=True, eq=False)
class ImagePlane:
    """One image plane in the patient.

    Attributes:
        position: LPS mm of the centre of the first pixel, shape (3,).
        row, column: unit LPS directions in which the column index and the row index grow, shape (3,) each.
        spacing: distance of neighbouring pixel centres down a column and along a row, mm, as DICOM's Pixel Spacing.
        shape: number of rows and of columns.
        instance: the image that was acquired there, where known.
    """

    position: FloatArray
    row: FloatArray
    column: FloatArray
    spacing: tuple[float, float]
    shape: tuple[int, int]
    instance: SourceInstance | None = None

    @property
    def normal(self) -> FloatArray:
        """Unit LPS direction across the plane, row x column."""
        normal: FloatArray = np.cross(self.row, self.column)
        return normal / np.linalg.norm(normal)

    def to_lps(self, rows: FloatArray, columns: FloatArray) -> FloatArray:
        """Positions of (fractional) pixels, LPS mm, shape (..., 3)."""
        down = np.asarray(rows, np.float64)[..., None] * self.column * self.spacing[0]
        along = np.asarray(columns, np.float64)[..., None] * self.row * self.spacing[1]
        return self.position + down + along

    def to_pixels(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Fractional row and column indices of LPS points, shape (..., 3), seen along the normal."""
        offsets = np.asarray(points, np.float64) - self.position
        return offsets @ self.column / self.spacing[0], offsets @ self.row / self.spacing[1]

    def distance(self, points: FloatArray) -> FloatArray:
        """Signed distance of LPS points, shape (..., 3), from the plane in mm."""
        return (np.asarray(points, np.float64) - self.position) @ self.normal

    def corners(self) -> FloatArray:
        """Centres of the four corner pixels, LPS mm, shape (4, 3)."""
        bottom, right = self.shape[0] - 1, self.shape[1] - 1
        return self.to_lps(np.array([0, 0, bottom, bottom]), np.array([0, right, 0, right]))


def acquired_planes(volume: Volume) -> list[ImagePlane]:
    """The planes of the images a scan was read from, in the order of ``volume.source``.

    Raises:
        InputError: ``NO_DICOM_SOURCE`` when the scan does not come from DICOM or its images have no identity,
            ``SOURCE_GONE`` when an image file is no longer there or has lost its geometry.
    """
    if volume.source is None:
        raise InputError(
            "NO_DICOM_SOURCE",
            "This scan was not read from DICOM images that a DICOM result could refer to.",
            "Write .seg.nrrd or .nii.gz, or segment the DICOM series itself.",
        )
    headers: dict[str, Any] = {}
    planes = []
    for instance in dict.fromkeys(volume.source):
        if instance.path not in headers:
            headers[instance.path] = read_source_header(instance.path)
        planes.append(_plane(headers[instance.path], instance))
    return planes


def read_source_header(path: str) -> Any:
    """The data set of a source image without its pixels.

    Raises:
        InputError: ``SOURCE_GONE``.
    """
    import pydicom

    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except Exception:
        raise _source_gone(path) from None


def _plane(data: Any, instance: SourceInstance) -> ImagePlane:
    try:
        shared, own = data, data
        if instance.frame_number is not None:
            own = data.PerFrameFunctionalGroupsSequence[instance.frame_number - 1]
            shared = data.SharedFunctionalGroupsSequence[0]
        return functional_plane(shared, own, (int(data.Rows), int(data.Columns)), instance)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise _source_gone(instance.path) from None


def functional_plane(
    shared: Any, own: Any, shape: tuple[int, int], instance: SourceInstance | None = None
) -> ImagePlane:
    """The plane of a single-frame data set (given twice), or of a frame by its functional groups (PS3.3 C.7.6.16).

    Raises:
        AttributeError, IndexError, TypeError, ValueError: an element is missing or no number.
    """

    def values(group: str, element: str, count: int) -> FloatArray:
        for holder in (own, shared):
            holder = holder[group][0] if group in holder else holder
            if element in holder:
                numbers = np.array([float(value) for value in holder[element].value], np.float64)
                if numbers.shape != (count,) or not np.isfinite(numbers).all():
                    raise ValueError(element)
                return numbers
        raise AttributeError(element)

    orientation = values("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = values("PixelMeasuresSequence", "PixelSpacing", 2)
    position = values("PlanePositionSequence", "ImagePositionPatient", 3)
    row, column = orientation[:3], orientation[3:]
    return ImagePlane(
        position,
        row / np.linalg.norm(row),
        column / np.linalg.norm(column),
        (float(spacing[0]), float(spacing[1])),
        shape,
        instance,
    )


def slice_of_plane(geometry: Geometry, plane: ImagePlane) -> int | None:
    """The slice k of a grid that has the same pixels as a plane at the same places; ``None`` if there is none."""
    if plane.shape != geometry.shape[1:]:
        return None
    index = geometry.lps_to_index(plane.corners())
    k = round(float(index[0, 2]))
    bottom, right = plane.shape[0] - 1, plane.shape[1] - 1
    expected = np.array([(0, 0, k), (right, 0, k), (0, bottom, k), (right, bottom, k)], np.float64)
    inside = 0 <= k < geometry.shape[0]
    return k if inside and np.abs(index - expected).max() <= _SAME_PLANE else None


def mask_on_planes(mask: NDArray[Any], geometry: Geometry, planes: Sequence[ImagePlane]) -> NDArray[Any]:
    """What a mask on the grid is on acquired planes.

    Args:
        mask: (k, j, i), any type.
        geometry: its grid.
        planes: of one shape.

    Returns:
        (planes, rows, columns) of the same type; 0 where a plane leaves the grid.
    """
    result = np.zeros((len(planes), *planes[0].shape), mask.dtype)
    for number, plane in enumerate(planes):
        k = slice_of_plane(geometry, plane)
        if k is not None:
            result[number] = mask[k]
            continue
        rows, columns = np.mgrid[: plane.shape[0], : plane.shape[1]].astype(np.float64)
        index = np.rint(geometry.lps_to_index(plane.to_lps(rows, columns))).astype(np.int64)[..., ::-1]
        inside = ((index >= 0) & (index < geometry.shape)).all(axis=-1)
        result[number][inside] = mask[tuple(index[inside].T)]
    return result


def mask_from_planes(images: NDArray[Any], planes: Sequence[ImagePlane], geometry: Geometry) -> NDArray[Any]:
    """The inverse of :func:`mask_on_planes`: every slice of the grid takes its nearest plane.

    Args:
        images: (planes, rows, columns), any type.
        planes: parallel, of one shape, in any order.
        geometry: the grid, its slices parallel to the planes.

    Returns:
        (k, j, i) of the same type.
    """
    result = np.zeros(geometry.shape, images.dtype)
    same = {slice_of_plane(geometry, plane): number for number, plane in enumerate(planes)}
    for k in range(geometry.shape[0]):
        if k in same:
            result[k] = images[same[k]]
            continue
        centres = geometry.voxel_centres_lps(0, k)
        middle = centres[centres.shape[0] // 2, centres.shape[1] // 2]
        number = int(np.argmin([abs(float(plane.distance(middle))) for plane in planes]))
        rows, columns = (np.rint(values).astype(np.int64) for values in planes[number].to_pixels(centres))
        height, width = planes[number].shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        result[k][inside] = images[number][rows[inside], columns[inside]]
    return result


def _source_gone(path: str) -> InputError:
    return InputError(
        "SOURCE_GONE",
        f"The source image {Path(path).name} cannot be read any more, so no DICOM result can refer to it.",
        "Leave the scan's files in place until the result is written.",
    )
