"""DICOM Segmentation objects (PS3.3 A.51): BINARY, FRACTIONAL and LABELMAP, opened frame by frame.

Nothing is trusted that can be computed: every frame lies where its own functional groups say, in whatever order and
number the frames come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ...acquisition import ImagePlane, functional_plane
from ..common import check_size, truncated
from .types import Code, Colour, SegmentCodes

#: Segmentation Storage and Label Map Segmentation Storage (PS3.4 B.5).
SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")

#: IEC 61966-2-1, white point D65.
_XYZ_TO_SRGB = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
)


@dataclass(frozen=True)
class SegmentEntry:
    """One item of the Segment Sequence."""

    number: int
    name: str
    colour: Colour | None
    codes: SegmentCodes
    tracking_uid: str


@dataclass(frozen=True, eq=False)
class SegmentationFrame:
    """One frame: its place, the segment it is of (``None`` in a label map), and what it was made from: SOP Instance UID
    and frame number (``None`` for single-frame images) of every source."""

    number: int
    plane: ImagePlane
    segment: int | None
    sources: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, eq=False)
class SegmentationFile:
    """An open segmentation; its pixels are decoded as they are asked for.

    Attributes:
        path: the file.
        kind: ``"BINARY"``, ``"FRACTIONAL"`` or ``"LABELMAP"``.
        maximum: the number that stands for 1 in a fractional segmentation; else 1.
        frame_of_reference: its UID.
        shape: rows and columns of every frame.
        segments: in the order of the file, without a background.
        frames: in the order of the file.
        data: the data set.
    """

    path: Path
    kind: str
    maximum: int
    frame_of_reference: str
    shape: tuple[int, int]
    segments: tuple[SegmentEntry, ...]
    frames: tuple[SegmentationFrame, ...]
    data: Any

    def pixels(self) -> Iterator[tuple[SegmentationFrame, NDArray[Any]]]:
        """Every frame with its stored numbers, (rows, columns), uint8 or uint16.

        Raises:
            InputError: ``TRUNCATED_FILE``; whatever a decoder raises passes through.
        """
        if int(self.data.BitsAllocated) == 1:
            yield from zip(self.frames, self._unpacked(), strict=True)
            return
        from pydicom.pixels import iter_pixels

        yield from zip(self.frames, iter_pixels(self.data, raw=True), strict=True)

    def _unpacked(self) -> Iterator[NDArray[np.uint8]]:
        """Frames of one bit a pixel: they follow each other without padding, lowest bit first (PS3.5 8.1.1)."""
        size = self.shape[0] * self.shape[1]
        packed = np.frombuffer(self.data.PixelData, np.uint8)
        if packed.size * 8 < size * len(self.frames):
            raise truncated(self.path)
        for number in range(len(self.frames)):
            first, last = number * size, (number + 1) * size
            bits = np.unpackbits(packed[first // 8 : -(-last // 8)], bitorder="little")
            yield bits[first % 8 : first % 8 + size].reshape(self.shape)


def open_segmentation(path: Path) -> SegmentationFile:
    """Read everything but the pixels' decoding.

    Raises:
        InputError: ``NOT_A_SEGMENTATION``, ``TOO_BIG``, ``NO_GEOMETRY``, ``TRUNCATED_FILE``.
    """
    import pydicom

    data = pydicom.dcmread(path)
    if str(data.get("SOPClassUID", "")) not in SEGMENTATION_CLASSES:
        raise InputError(
            "NOT_A_SEGMENTATION",
            f"{path.name} is no DICOM segmentation.",
            "Give a file whose modality is SEG or RTSTRUCT.",
        )
    shape = (int(data.Rows), int(data.Columns))
    kind = str(data.SegmentationType)
    count = int(data.get("NumberOfFrames", 1))
    check_size(path, (count, *shape))
    groups = data.get("PerFrameFunctionalGroupsSequence") or ()
    if len(groups) < count or "PixelData" not in data:
        raise truncated(path)
    if len(groups) != count or kind not in ("BINARY", "FRACTIONAL", "LABELMAP") or int(data.SamplesPerPixel) != 1:
        raise InputError("NOT_A_SEGMENTATION", f"{path.name} contradicts itself.", "Export the segmentation again.")
    shared = data.SharedFunctionalGroupsSequence[0]
    try:
        frames = tuple(_frame(number, group, shared, shape, kind) for number, group in enumerate(groups, start=1))
    except (AttributeError, IndexError, TypeError, ValueError):
        raise InputError(
            "NO_GEOMETRY",
            f"A frame of {path.name} has no position, orientation or pixel spacing, or belongs to no segment.",
            "Segmentations of slides and of pictures are not read.",
        ) from None
    entries = tuple(_entry(item) for item in data.SegmentSequence)
    return SegmentationFile(
        path,
        kind,
        int(data.MaximumFractionalValue) if kind == "FRACTIONAL" else 1,
        str(data.get("FrameOfReferenceUID", "")),
        shape,
        tuple(entry for entry in entries if entry.number > 0),
        frames,
        data,
    )


def _frame(number: int, group: Any, shared: Any, shape: tuple[int, int], kind: str) -> SegmentationFrame:
    segment = None
    if kind != "LABELMAP":
        holder = group if "SegmentIdentificationSequence" in group else shared
        segment = int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    sources: list[tuple[str, int | None]] = []
    for derivation in group.get("DerivationImageSequence") or ():
        for source in derivation.get("SourceImageSequence") or ():
            numbers = source.get("ReferencedFrameNumber")
            uid = str(source.ReferencedSOPInstanceUID)
            if numbers is None:
                sources.append((uid, None))
            else:
                sources += [(uid, int(n)) for n in (numbers if isinstance(numbers, Sequence) else [numbers])]
    return SegmentationFrame(number, functional_plane(shared, group, shape), segment, tuple(sources))


def _entry(item: Any) -> SegmentEntry:
    kind = _first(item, "SegmentedPropertyTypeCodeSequence")
    region = _first(item, "AnatomicRegionSequence")
    number = int(item.SegmentNumber)
    return SegmentEntry(
        number,
        str(item.get("SegmentLabel") or "").strip() or f"segment {number}",
        _colour(item.get("RecommendedDisplayCIELabValue")),
        SegmentCodes(
            _code(_first(item, "SegmentedPropertyCategoryCodeSequence")),
            _code(kind),
            _code(_first(kind, "SegmentedPropertyTypeModifierCodeSequence")),
            _code(region),
            _code(_first(region, "AnatomicRegionModifierSequence")),
        ),
        str(item.get("TrackingUID") or ""),
    )


def _first(item: Any, name: str) -> Any:
    sequence = None if item is None else item.get(name)
    return sequence[0] if sequence else None


def _code(item: Any) -> Code | None:
    if item is None:
        return None
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    return str(value), str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeMeaning") or "")


def _colour(stored: Any) -> Colour | None:
    """CIELab as DICOM scales it (PS3.3 C.10.7.1.1) to sRGB, with the white point D65 that writers of segmentations
    use in practice."""
    if stored is None or len(stored) != 3:
        return None
    lightness, a, b = (float(value) / 65535 for value in stored)
    lightness, a, b = lightness * 100, a * 255 - 128, b * 255 - 128
    middle = (lightness + 16) / 116
    curve = np.array([middle + a / 500, middle, middle - b / 200])
    xyz = np.where(curve > 6 / 29, curve**3, (curve - 4 / 29) * 3 * (6 / 29) ** 2) * (0.95047, 1.0, 1.08883)
    linear = np.clip(_XYZ_TO_SRGB @ xyz, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (round(float(value) * 255) for value in encoded)
    return red, green, blue
