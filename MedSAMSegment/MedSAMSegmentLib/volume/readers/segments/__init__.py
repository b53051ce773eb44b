"""Segments from files, on the grid of a scan: yesterday's result, or another program's.

``medsamsegment`` continues from them and takes them as prompts; the writers of :mod:`MedSAMSegmentLib.export` read
every file back with what is here before they give it its name.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ....errors import InputError
from ...acquisition import ImagePlane, acquired_planes, mask_from_planes, read_source_header
from ...volume import Volume
from ..common import reading
from .types import SegmentCodes, StoredSegment, StoredSegments

__all__ = ["SegmentCodes", "StoredSegment", "StoredSegments", "read_segments"]


def read_segments(path: str | os.PathLike[str], volume: Volume) -> StoredSegments:
    """The segments of a DICOM Segmentation or RT Structure Set, a ``.seg.nrrd`` or a label map, on the grid of a scan.

    Args:
        path: the file.
        volume: the scan the segments belong to. Segments of the same images come back voxel for voxel; segments on
            another grid of the same frame of reference are carried over by the nearest voxel, with a note.

    Raises:
        InputError: ``FILE_NOT_FOUND``, ``NOT_A_SEGMENTATION``, ``OTHER_FRAME_OF_REFERENCE`` (made on another scan),
            ``OTHER_GRID``, ``NO_SEGMENTS``, ``NO_GEOMETRY``, ``TOO_BIG``, ``TRUNCATED_FILE``, ``UNREADABLE_FILE``,
            ``NOT_A_LABELMAP``, and those of finding a file's format (:func:`~MedSAMSegmentLib.volume.read_volume`).
    """
    file = Path(path)
    if not file.is_file():
        raise InputError("FILE_NOT_FOUND", f"There is no file {file.name}.", "Check the path.")
    kind = _format(file)
    with reading(file, "DICOM" if kind == "dicom" else "label map"):
        stored = _from_dicom(file, volume) if kind == "dicom" else _from_label_file(file, kind, volume)
    if not stored.segments:
        raise InputError("NO_SEGMENTS", f"{file.name} holds no segment.", "Choose another file.")
    return stored


def _format(file: Path) -> str:
    """As :func:`~..detect_format`; what looks like nothing else may be DICOM without its preamble."""
    from .. import detect_format

    try:
        return detect_format(file)
    except InputError as error:
        if error.code not in ("UNSUPPORTED_FORMAT", "WRONG_FORMAT"):
            raise
        return "dicom"


def _from_dicom(file: Path, volume: Volume) -> StoredSegments:
    import pydicom

    from .rtstruct import STRUCTURE_SET_CLASS

    kind = pydicom.dcmread(file, specific_tags=["SOPClassUID"], stop_before_pixels=True)
    planes = acquired_planes(volume) if volume.source is not None else []
    if str(kind.get("SOPClassUID", "")) == STRUCTURE_SET_CLASS:
        return _from_structure_set(file, volume, planes)
    return _from_segmentation(file, volume, planes)


def _from_label_file(file: Path, kind: str, volume: Volume) -> StoredSegments:
    from .label_files import read_label_file

    return read_label_file(file, kind, volume)


def _from_segmentation(file: Path, volume: Volume, planes: list[ImagePlane]) -> StoredSegments:
    from .dicom_seg import open_segmentation
    from .placement import PlacedFrame, place

    opened = open_segmentation(file)
    _check_frame_of_reference(opened.frame_of_reference, volume, file)
    frames: dict[int, list[PlacedFrame]] = {entry.number: [] for entry in opened.segments}
    for frame, pixels in opened.pixels():
        if frame.segment is not None:
            if frame.segment in frames:
                frames[frame.segment].append((frame.plane, pixels.astype(np.uint8)))
            continue
        for label in np.unique(pixels):
            if int(label) in frames:
                frames[int(label)].append((frame.plane, (pixels == label).astype(np.uint8)))
    segments, moved = [], 0
    for entry in opened.segments:
        placed, exact = place(frames.pop(entry.number), volume.geometry, planes)
        moved += not exact
        fractional = opened.kind == "FRACTIONAL"
        segments.append(
            StoredSegment(
                entry.name,
                placed >= (opened.maximum + 1) // 2,
                entry.number,
                placed.astype(np.float32) / opened.maximum if fractional else None,
                entry.colour,
                entry.codes,
                entry.tracking_uid,
            )
        )
    notes = []
    if moved:
        notes.append(f"{moved} segment(s) lie on another grid and were carried over by the nearest voxel.")
    return StoredSegments(tuple(segments), tuple(notes))


def _from_structure_set(file: Path, volume: Volume, planes: list[ImagePlane]) -> StoredSegments:
    from .rtstruct import image_planes, open_structure_set, rasterise

    opened = open_structure_set(file)
    _check_frame_of_reference(opened.frame_of_reference, volume, file)
    on = planes or image_planes(volume.geometry)
    segments = [
        StoredSegment(
            roi.name, mask_from_planes(rasterise(roi, on), on, volume.geometry), roi.number, colour=roi.colour
        )
        for roi in opened.rois
        if roi.contours
    ]
    notes = []
    if opened.skipped:
        notes.append(f"{opened.skipped} contour(s) that are points or open lines were passed over.")
    return StoredSegments(tuple(segments), tuple(notes))


def _check_frame_of_reference(uid: str, volume: Volume, file: Path) -> None:
    """Coordinates of another frame of reference mean nothing here; a scan without one is taken at its geometry."""
    if volume.source is None or not uid:
        return
    own = str(read_source_header(volume.source[0].path).get("FrameOfReferenceUID") or "")
    if own and own != uid:
        raise InputError(
            "OTHER_FRAME_OF_REFERENCE",
            f"The segments of {file.name} were made on another scan.",
            "Give the scan they belong to.",
        )
