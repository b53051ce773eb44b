"""DICOM RT Structure Sets (PS3.3 A.19): closed planar contours become masks on the scan they were drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ...acquisition import ImagePlane
from ...geometry import FloatArray, Geometry
from .polygons import fill_polygon
from .types import Colour

STRUCTURE_SET_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"

#: A contour belongs to an image plane when no point of it is further off than this share of the slice distance.
_ON_PLANE = 0.25
#: More points than a structure set can sensibly have.
_MOST_POINTS = 50_000_000


@dataclass(frozen=True, eq=False)
class Roi:
    """One region of interest: its contours, each LPS mm (n, 3), with the image each names (or "")."""

    number: int
    name: str
    colour: Colour | None
    contours: tuple[tuple[FloatArray, str], ...]


@dataclass(frozen=True, eq=False)
class StructureSet:
    """An open structure set.

    Attributes:
        frame_of_reference: the UID its coordinates are in; empty when the file does not say.
        rois: in the order of the file.
        skipped: how many contours were no closed planar ones (points, open lines).
    """

    path: Path
    frame_of_reference: str
    rois: tuple[Roi, ...]
    skipped: int


def open_structure_set(path: Path) -> StructureSet:
    """Read a structure set.

    Raises:
        InputError: ``NOT_A_SEGMENTATION``, ``TOO_BIG``.
    """
    import pydicom

    data = pydicom.dcmread(path)
    if str(data.get("SOPClassUID", "")) != STRUCTURE_SET_CLASS:
        raise InputError(
            "NOT_A_SEGMENTATION", f"{path.name} is no structure set.", "Give a file whose modality is RTSTRUCT."
        )
    drawn = {int(item.ReferencedROINumber): item for item in data.get("ROIContourSequence") or ()}
    rois, skipped, points = [], 0, 0
    references: list[str] = []
    for item in data.get("StructureSetROISequence") or ():
        number = int(item.ROINumber)
        references.append(str(item.get("ReferencedFrameOfReferenceUID") or ""))
        contour_item = drawn.get(number)
        contours: list[tuple[FloatArray, str]] = []
        for contour in (contour_item.get("ContourSequence") or ()) if contour_item is not None else ():
            kind = str(contour.get("ContourGeometricType") or "")
            numbers = np.array([float(value) for value in contour.get("ContourData") or ()], np.float64)
            points += numbers.size
            if points > _MOST_POINTS * 3:
                raise InputError("TOO_BIG", f"{path.name} has too many contour points.", "Export fewer regions.")
            if not kind.startswith("CLOSED") or numbers.size % 3 or numbers.size < 9 or not np.isfinite(numbers).all():
                skipped += 1
                continue
            images = contour.get("ContourImageSequence")
            named = str(images[0].get("ReferencedSOPInstanceUID") or "") if images else ""
            contours.append((numbers.reshape(-1, 3), named))
        name = str(item.get("ROIName") or "").strip() or f"region {number}"
        rois.append(Roi(number, name, _colour(contour_item), tuple(contours)))
    frames = {uid for uid in references if uid} or {str(data.get("FrameOfReferenceUID") or "")}
    if len(frames) > 1:
        raise InputError(
            "OTHER_FRAME_OF_REFERENCE",
            f"{path.name} holds regions of several scans.",
            "Export the regions of one scan as a file of their own.",
        )
    return StructureSet(path, frames.pop(), tuple(rois), skipped)


def image_planes(geometry: Geometry) -> list[ImagePlane]:
    """The slices of a grid along k as planes, for scans whose acquired planes are not known."""
    direction = geometry.direction
    rows, columns = geometry.shape[1:]
    return [
        ImagePlane(
            geometry.index_to_lps((0, 0, k)),
            direction[:, 0],
            direction[:, 1],
            (geometry.spacing[1], geometry.spacing[0]),
            (rows, columns),
        )
        for k in range(geometry.shape[0])
    ]


def rasterise(roi: Roi, planes: Sequence[ImagePlane]) -> NDArray[np.bool_]:
    """The mask of a region on image planes.

    Contours on one plane combine by exclusive or, so that an outline inside another one is a hole, whether it is joined
    to it by a keyhole or not.

    Args:
        roi: the region.
        planes: parallel, of one shape.

    Returns:
        (planes, rows, columns) bool.

    Raises:
        InputError: ``OTHER_GRID`` when a contour lies on none of the planes.
    """
    mask = np.zeros((len(planes), *planes[0].shape), bool)
    by_uid = {plane.instance.sop_instance_uid: n for n, plane in enumerate(planes) if plane.instance is not None}
    places = np.array([float(planes[0].distance(plane.position)) for plane in planes])
    gaps = np.diff(np.sort(places))
    tolerance = _ON_PLANE * (float(gaps.min()) if gaps.size and gaps.min() > 0 else 1.0)
    for points, named in roi.contours:
        number = by_uid.get(named)
        if number is None or np.abs(planes[number].distance(points)).max() > tolerance:
            number = int(np.argmin(np.abs(places - float(planes[0].distance(points).mean()))))
        plane = planes[number]
        if np.abs(plane.distance(points)).max() > tolerance:
            raise InputError(
                "OTHER_GRID",
                f"The region {roi.number} has contours between the images of this scan.",
                "Give the regions that were drawn on this series.",
            )
        rows, columns = plane.to_pixels(points)
        mask[number] ^= fill_polygon(rows, columns, plane.shape)
    return mask


def _colour(item: Any) -> Colour | None:
    stored = item.get("ROIDisplayColor") if item is not None else None
    if stored is None or len(stored) != 3:
        return None
    red, green, blue = (min(max(int(value), 0), 255) for value in stored)
    return red, green, blue
