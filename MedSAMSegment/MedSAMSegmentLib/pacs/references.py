"""Objects that refer to another one which went under a new identifier: reports of a segmentation, above all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..export.atomic import atomic_path
from ..volume.readers.common import reading

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True)
class Move:
    """Where an object is to be found now.

    Attributes:
        segments: its old segment numbers, in the order of the new ones, which count from 1.
    """

    sop_class_uid: str
    sop_instance_uid: str
    segments: tuple[int, ...]


def write_with_moved_references(source: Path, target: Path, moves: Mapping[str, Move]) -> bool:
    """Write an object with its references to moved objects brought up to date, under a SOP Instance UID of its own.

    Args:
        source: a DICOM file.
        target: the file to be written.
        moves: by the old SOP Instance UID.

    Returns:
        False, and nothing is written, where the object refers to none of them.

    Raises:
        InputError: ``UNREADABLE_FILE``.
        OutputError: ``DISK_FULL``, ``WRITE_FAILED``.
    """
    with reading(source, "DICOM"):
        from pydicom import dcmread
        from pydicom.uid import generate_uid

        data = dcmread(source)
        found = [item for item in _items(data) if item.get("ReferencedSOPInstanceUID") in moves]
        for item in found:
            move = moves[item.ReferencedSOPInstanceUID]
            item.ReferencedSOPClassUID = move.sop_class_uid
            item.ReferencedSOPInstanceUID = move.sop_instance_uid
            if "ReferencedSegmentNumber" in item:
                numbers = item["ReferencedSegmentNumber"]
                several = numbers.value if numbers.VM > 1 else [numbers.value]
                item.ReferencedSegmentNumber = [move.segments.index(number) + 1 for number in several]
        if not found:
            return False
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
    with atomic_path(target) as temporary:
        data.save_as(temporary, enforce_file_format=True)
    return True


def _items(data: Dataset) -> Iterator[Dataset]:
    """All items of all sequences, at any depth."""
    for element in data:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from _items(item)
