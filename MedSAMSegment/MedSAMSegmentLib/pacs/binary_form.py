"""The BINARY form of a LABELMAP segmentation, for archives that do not take the newer class (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..export.atomic import atomic_path
from ..volume.readers.common import reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_EXPLICIT = "1.2.840.10008.1.2.1"

_SEGMENT_IDENTIFICATION = 0x0062000A
_REFERENCED_SEGMENT_NUMBER = 0x0062000B

#: What describes label values as colours or padding, which bits have not; and the one plane a position of a label map.
_DROPPED = (
    *("PixelPaddingValue", "ICCProfile", "ColorSpace", "PaletteColorLookupTableUID", "DimensionOrganizationType"),
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
)


def write_binary_form(source: Path, target: Path) -> list[int]:
    """Write a LABELMAP segmentation as a BINARY one: same segments, same places, a new SOP Instance UID.

    A frame is written for each segment on each plane where it is; segments are numbered from 1 in their old order.
    What was written is read again and compared with the label map bit by bit before the file gets its name.

    Returns:
        The old segment numbers in the order of the new ones.

    Raises:
        InputError: ``NOT_A_LABELMAP``, ``UNREADABLE_FILE``.
        OutputError: ``DISK_FULL``, ``WRITE_FAILED``.
    """
    with reading(source, "DICOM"):
        from pydicom import dcmread

        labelmap = dcmread(source)
        if labelmap.get("SegmentationType") != "LABELMAP":
            raise InputError("NOT_A_LABELMAP", f"{source.name} is no LABELMAP segmentation.", "Send it as it is.")
        labels = labelmap.pixel_array.reshape(-1, labelmap.Rows, labelmap.Columns)
        numbers = [int(segment.SegmentNumber) for segment in labelmap.SegmentSequence if segment.SegmentNumber != 0]
        frames = [(number, k) for number in numbers for k in range(len(labels)) if (labels[k] == number).any()]
        # An object of no frames cannot be: an empty segmentation is written as the first segment's empty planes.
        frames = frames or [(numbers[0], k) for k in range(len(labels))]
        binary = _described(labelmap, numbers, frames)
        binary.PixelData = _packed(labels, frames)
        binary["PixelData"].VR = "OB"
    with atomic_path(target) as temporary:
        binary.save_as(temporary, enforce_file_format=True)
        _check(temporary, labels, frames)
    return numbers


def _described(labelmap: Dataset, numbers: list[int], frames: list[tuple[int, int]]) -> Dataset:
    """Everything but the pixels."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import generate_uid

    renumbered = {number: position for position, number in enumerate(numbers, 1)}
    changed = ("PixelData", "SegmentSequence", "PerFrameFunctionalGroupsSequence", "DimensionIndexSequence")
    binary = _without(labelmap, (*_DROPPED, *changed))
    binary.file_meta = FileMetaDataset()
    binary.file_meta.update(labelmap.file_meta)
    for keyword, value in {
        "SOPClassUID": _SEGMENTATION,
        "SOPInstanceUID": generate_uid(prefix=None),
        "SegmentationType": "BINARY",
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 1,
        "BitsStored": 1,
        "HighBit": 0,
        "NumberOfFrames": len(frames),
    }.items():
        _set(binary, keyword, value)
    _set(binary.file_meta, "MediaStorageSOPClassUID", binary.SOPClassUID)
    _set(binary.file_meta, "MediaStorageSOPInstanceUID", binary.SOPInstanceUID)
    _set(binary.file_meta, "TransferSyntaxUID", _EXPLICIT)

    segments = [_without(item, ("SegmentNumber",)) for item in labelmap.SegmentSequence if item.SegmentNumber != 0]
    for number, segment in enumerate(segments, 1):
        segment.SegmentNumber = number
    binary.SegmentSequence = segments

    index = Dataset()
    index.DimensionIndexPointer = _REFERENCED_SEGMENT_NUMBER
    index.FunctionalGroupPointer = _SEGMENT_IDENTIFICATION
    index.DimensionOrganizationUID = labelmap.DimensionIndexSequence[0].DimensionOrganizationUID
    index.DimensionDescriptionLabel = "Segment Number"
    binary.DimensionIndexSequence = [index, *labelmap.DimensionIndexSequence]

    planes = labelmap.PerFrameFunctionalGroupsSequence
    binary.PerFrameFunctionalGroupsSequence = [_frame(planes[k], renumbered[number]) for number, k in frames]
    return binary


def _frame(plane: Dataset, number: int) -> Dataset:
    """A plane's functional groups, for one segment."""
    from pydicom.dataset import Dataset

    frame = _without(plane, ("FrameContentSequence",))
    identification = Dataset()
    identification.ReferencedSegmentNumber = number
    frame.SegmentIdentificationSequence = [identification]
    content = _without(plane.FrameContentSequence[0], ("DimensionIndexValues",))
    content.DimensionIndexValues = [number, *_several(plane.FrameContentSequence[0].DimensionIndexValues)]
    frame.FrameContentSequence = [content]
    return frame


def _several(value: Any) -> list[int]:
    """pydicom gives a single value of an element as itself, not as a list."""
    return [int(value)] if isinstance(value, int) else [int(single) for single in value]


def _without(source: Dataset, keywords: tuple[str, ...]) -> Dataset:
    """A data set with the same elements but some; the elements are shared, so their values must not be changed."""
    from pydicom.dataset import Dataset

    kept = Dataset()
    for element in source:
        if element.keyword not in keywords and element.tag.element != 0:
            kept.add(element)
    return kept


def _set(data: Dataset, keyword: str, value: Any) -> None:
    """Put a new element in an old one's place; assigning would change the one that is shared with the source."""
    if keyword in data:
        delattr(data, keyword)
    setattr(data, keyword, value)


def _packed(labels: NDArray[np.integer[Any]], frames: list[tuple[int, int]]) -> bytes:
    """All frames, one bit a pixel, the first in the lowest bit, without gaps between frames (PS3.5 8.1.1)."""
    import numpy as np

    parts = []
    # Eight frames always fill whole bytes, whatever their size.
    for start in range(0, len(frames), 8):
        masks = np.stack([labels[k] == number for number, k in frames[start : start + 8]])
        parts.append(np.packbits(masks.ravel(), bitorder="little").tobytes())
    packed = b"".join(parts)
    return packed + b"\0" * (len(packed) % 2)


def _check(path: Path, labels: NDArray[np.integer[Any]], frames: list[tuple[int, int]]) -> None:
    import numpy as np

    written: Iterator[Any]
    with reading(path, "DICOM"):
        from pydicom.pixels import iter_pixels

        written = iter_pixels(path)
        same = [np.array_equal(frame, labels[k] == number) for (number, k), frame in zip(frames, written, strict=True)]
    if not all(same):
        raise InputError("NOT_A_LABELMAP", "The label map cannot be written as BINARY.", "Export it as BINARY.")
