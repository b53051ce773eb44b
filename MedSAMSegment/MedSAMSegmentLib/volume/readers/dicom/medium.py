"""The files a DICOMDIR lists (PS3.3 F.3), none outside its own folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....errors import InputError

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_LARGEST_DIRECTORY = 64 << 20


@dataclass
class Medium:
    """What a DICOMDIR lists: files that are there, and images by series that are not."""

    files: list[Path] = field(default_factory=list)
    missing: dict[str, int] = field(default_factory=dict)


def is_medium(file: Path) -> bool:
    """Whether a DICOM file is a DICOMDIR."""
    from pydicom.filereader import read_file_meta_info

    try:
        return str(read_file_meta_info(file).get("MediaStorageSOPClassUID") or "") == MEDIA_DIRECTORY
    except Exception:
        return False


def read_medium(directory: Path, is_image: Callable[[str], bool], most_files: int) -> Medium:
    """Follows the records of a DICOMDIR.

    Args:
        directory: the DICOMDIR.
        is_image: tells of a SOP Class UID whether it is one this program reads.
        most_files: more records than this are refused.

    Raises:
        InputError: ``TOO_BIG``, ``TOO_MANY_FILES``, ``UNSAFE_PATH``, ``UNREADABLE``.
    """
    import pydicom

    if directory.stat().st_size > _LARGEST_DIRECTORY:
        raise InputError("TOO_BIG", "The DICOMDIR is larger than 64 MB.", "Choose the folder of one study or series.")
    try:
        records = pydicom.dcmread(directory).get("DirectoryRecordSequence") or []
        listed = [
            (
                str(record.get("DirectoryRecordType") or ""),
                str(record.get("SeriesInstanceUID") or ""),
                str(record.get("ReferencedSOPClassUIDInFile") or ""),
                _components(record.get("ReferencedFileID")),
            )
            for record in records
        ]
    except Exception:
        raise InputError(
            "UNREADABLE", "The DICOMDIR is damaged.", "Choose the folder with the images instead."
        ) from None
    if len(listed) > most_files:
        raise InputError(
            "TOO_MANY_FILES",
            f"The DICOMDIR lists more than {most_files} records.",
            "Choose the folder of one study or series.",
        )
    medium, series = Medium(), ""
    for kind, uid, sop_class, components in listed:
        if kind == "SERIES":
            # Records stand in the order of the tree on all media this program has met; a file's own header decides
            # which series it belongs to, so that only the count of missing files rests on it.
            series = uid
        if not components:
            continue
        file = _inside(directory.parent, components)
        if file is not None:
            medium.files.append(file)
        elif is_image(sop_class):
            medium.missing[series] = medium.missing.get(series, 0) + 1
    return medium


def _components(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else [str(part) for part in value]


def _inside(root: Path, components: list[str]) -> Path | None:
    """The file of a record; None where there is none.

    Names on discs are upper case, and copies of discs are often lower case.
    """
    if any(part in ("", ".", "..") or set(part) & set("/\\:\0") for part in components):
        raise InputError(
            "UNSAFE_PATH",
            "The DICOMDIR names a file outside its own folder.",
            "Choose the folder with the images instead.",
        )
    place = root
    for part in components:
        place = next((p for p in (place / part, place / part.lower()) if p.exists()), place / part)
        if place.is_symlink():
            return None
    return place if place.is_file() else None
