"""Segments from files of other formats than DICOM: Slicer's ``.seg.nrrd``, and plain label maps.

A ``.seg.nrrd`` (https://teem.sourceforge.net/nrrd/format.html with Slicer's keys) may be cropped to what is segmented,
have its axes in any order, and hold layers as a first axis where segments overlap.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ...geometry import Geometry
from ...volume import Volume
from ..common import check_size, silent_stderr
from .placement import place
from .rtstruct import image_planes
from .types import Code, Colour, SegmentCodes, StoredSegment, StoredSegments

#: A label map with more labels than this is no label map but an image.
_MOST_LABELS = 1000
_TERMINOLOGY = "TerminologyEntry:"


@dataclass(frozen=True, eq=False)
class _Entry:
    """One segment: what the file says about it, and where its voxels are."""

    name: str
    layer: int
    label: int
    colour: Colour | None = None
    codes: SegmentCodes = field(default_factory=SegmentCodes)


def read_label_file(file: Path, kind: str, volume: Volume) -> StoredSegments:
    """The segments of a NRRD, NIfTI, MetaImage or other label map, on the grid of a scan.

    Args:
        file: with Slicer's segment keys, each of its segments has its name; without, each label is a segment.
        kind: as :func:`~..detect_format` gives it.
        volume: the scan.

    Raises:
        InputError: as :func:`~..read_labelmap`, and ``OTHER_GRID``.
    """
    if kind == "nrrd":
        layers, geometry, entries = _slicer_file(file)
        if entries:
            return _placed(layers, geometry, entries, volume, named=True)
    from .. import read_labelmap

    labels = read_labelmap(file)
    numbers = [int(n) for n in np.unique(labels.voxels) if n != 0]
    if len(numbers) > _MOST_LABELS:
        raise InputError(
            "NOT_A_LABELMAP", f"{file.name} holds {len(numbers)} different values.", "Give a label map, not an image."
        )
    found = [_Entry(labels.name if len(numbers) == 1 else f"label {n}", 0, n) for n in numbers]
    return _placed(labels.voxels[None], labels.geometry, found, volume, named=False)


def _placed(
    layers: NDArray[Any], geometry: Geometry, entries: list[_Entry], volume: Volume, named: bool
) -> StoredSegments:
    planes = image_planes(geometry)
    segments, moved = [], 0
    for number, entry in enumerate(entries, start=1):
        mask = layers[entry.layer] == entry.label
        used = np.flatnonzero(mask.any(axis=(1, 2)))
        placed, exact = place([(planes[k], mask[k].view(np.uint8)) for k in used], volume.geometry, ())
        moved += not exact
        segments.append(StoredSegment(entry.name, placed.astype(bool), number, colour=entry.colour, codes=entry.codes))
    notes = []
    if moved:
        notes.append(f"{moved} segment(s) lie on another grid and were carried over by the nearest voxel.")
    return StoredSegments(tuple(segments), tuple(notes), named)


def _slicer_file(file: Path) -> tuple[NDArray[Any], Geometry, list[_Entry]]:
    """Layers (layer, k, j, i), their grid, and the segments; none for a NRRD without Slicer's keys."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.SetImageIO("NrrdImageIO")
    with silent_stderr():
        reader.ReadImageInformation()
    keys = set(reader.GetMetaDataKeys())
    numbers = sorted(int(found[1]) for key in keys if (found := re.fullmatch(r"Segment(\d+)_(?:ID|Name)", key)))
    count = reader.GetNumberOfComponents()
    size = tuple(int(n) for n in reader.GetSize())
    if not numbers or len(size) != 3:
        return np.zeros((0, 0, 0, 0), np.uint8), Geometry.from_parts((1, 1, 1), (1, 1, 1)), []
    check_size(file, (count, *size))

    def value(number: int, key: str) -> str:
        name = f"Segment{number}_{key}"
        return str(reader.GetMetaData(name)) if name in keys else ""

    with silent_stderr():
        image = reader.Execute()
    stored = sitk.GetArrayFromImage(image)
    layers = stored[None] if count == 1 else np.moveaxis(stored, -1, 0)
    geometry = Geometry.from_parts(
        (size[2], size[1], size[0]),
        np.array(reader.GetSpacing()),
        np.array(reader.GetOrigin()),
        np.array(reader.GetDirection()).reshape(3, 3),
    )
    entries = [_entry(number, partial(value, number)) for number in dict.fromkeys(numbers)]
    if any(not 0 <= entry.layer < count for entry in entries):
        raise InputError("NOT_A_SEGMENTATION", f"{file.name} contradicts itself.", "Save the segmentation again.")
    return layers, geometry, entries


def _entry(number: int, value: Callable[[str], str]) -> _Entry:
    # Slicer before 4.11 wrote one segment a layer, and no numbers.
    layer, label = value("Layer"), value("LabelValue")
    return _Entry(
        _unescaped(value("Name")).strip() or f"segment {number + 1}",
        int(layer) if layer.isdigit() else number,
        int(label) if label.isdigit() else 1,
        _colour(value("Color")),
        slicer_codes(next((t for t in value("Tags").split("|") if t.startswith(_TERMINOLOGY)), "")),
    )


def _unescaped(text: str) -> str:
    """NRRD escapes backslashes and line ends in values; ITK hands them over as they stand."""
    return text.replace("\\n", " ").replace("\\\\", "\\")


def _colour(text: str) -> Colour | None:
    parts = text.split()
    try:
        red, green, blue = (round(min(max(float(part), 0.0), 1.0) * 255) for part in parts)
    except ValueError:
        return None
    return red, green, blue


def slicer_codes(entry: str) -> SegmentCodes:
    """The codes of Slicer's ``TerminologyEntry`` tag: context, category, type, modifier, context, region, modifier."""
    parts = entry.removeprefix(_TERMINOLOGY).split("~")
    if len(parts) != 7:
        return SegmentCodes()
    category, kind, modifier, region, region_modifier = (_code(parts[n]) for n in (1, 2, 3, 5, 6))
    return SegmentCodes(category, kind, modifier, region, region_modifier)


def _code(text: str) -> Code | None:
    parts = text.split("^")
    return (parts[1], parts[0], parts[2]) if len(parts) == 3 and parts[0] and parts[1] else None
