"""Finds the DICOM files under a folder, behind a DICOMDIR or in an archive, and sorts their images by series."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ....errors import InputError
from .archive import unpack
from .headers import SliceHeader, is_image_class, is_uid, read_headers
from .medium import is_medium, read_medium

MOST_FILES = 20_000

_IMAGE_SUFFIXES = (".dcm", ".ima")


@dataclass
class FoundFiles:
    """What a folder holds.

    Attributes:
        root: the folder, the single file, the DICOMDIR or the archive.
        series: headers of images and frames by Series Instance UID, in the order they were found.
        skipped: how many files were passed over, by reason: ``"copy"`` (identical file), ``"other"`` (DICOM, no CT, MR
            or PET image), ``"unreadable"``, ``"link"``, ``"uid"`` (malformed UID), ``"foreign"`` (no DICOM at all).
        missing: images that a DICOMDIR lists and that are not there, by series.
    """

    root: Path
    series: dict[str, list[SliceHeader]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    missing: dict[str, int] = field(default_factory=dict)

    def doubtful(self, series: str | None = None) -> int:
        """Files that could be images (of a series) but were not readable as such."""
        lost = sum(self.missing.values()) if series is None else self.missing.get(series, 0)
        return self.skipped["unreadable"] + self.skipped["link"] + self.skipped["uid"] + lost


def scan_files(path: Path) -> FoundFiles:
    """Headers of all images under a folder, behind a DICOMDIR, in a zip archive, or of one file.

    Raises:
        InputError: ``UNREADABLE_DIRECTORY``, ``TOO_MANY_FILES``, ``TOO_BIG``, ``BOMB``, ``UNSAFE_ARCHIVE``,
            ``UNSAFE_PATH``, ``UNREADABLE`` (a damaged archive or DICOMDIR), ``NO_SPACE``.
    """
    found = FoundFiles(path)
    by_uid: dict[str, Path] = {}
    for file in _files(path, found):
        start = _start(file)
        if start[128:132] != b"DICM":
            found.skipped["unreadable" if _was_meant_as_image(file, start) else "foreign"] += 1
            continue
        try:
            headers = read_headers(file)
        except InputError:
            raise
        except Exception:
            found.skipped["unreadable"] += 1
            continue
        if not headers:
            if not is_medium(file):
                found.skipped["other"] += 1
            continue
        first = headers[0]
        if not all(is_uid(uid) for uid in (first.series_uid, first.sop_instance_uid)):
            found.skipped["uid"] += 1
        elif _is_copy(file, by_uid.get(first.sop_instance_uid)):
            found.skipped["copy"] += 1
        else:
            if first.sop_instance_uid:
                by_uid[first.sop_instance_uid] = file
            found.series.setdefault(first.series_uid, []).extend(headers)
    if len(found.series) > 1 and "" in found.series:
        # Images without a series beside others with one: damaged headers, which may belong to any of them.
        found.skipped["uid"] += len(found.series.pop(""))
    return found


def _files(path: Path, found: FoundFiles) -> Iterator[Path]:
    """The regular files behind a path in a stable order."""
    if not path.is_file():
        yield from _walk(path, found)
    elif _start(path)[:2] == b"PK":
        yield from sorted(unpack(path).iterdir())
    elif is_medium(path):
        medium = read_medium(path, is_image_class, MOST_FILES)
        found.missing = medium.missing
        yield from medium.files
    else:
        yield path


def _walk(path: Path, found: FoundFiles) -> Iterator[Path]:
    """The regular files under a folder; hidden ones are passed over, links are counted, not followed."""

    def refuse(error: OSError) -> None:
        raise InputError(
            "UNREADABLE_DIRECTORY",
            f"The folder {Path(error.filename or path).name} cannot be opened.",
            "Check its permissions.",
        )

    count = 0
    for folder, folders, names in os.walk(path, onerror=refuse, followlinks=False):
        visible = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in visible if not Path(folder, name).is_symlink()]
        found.skipped["link"] += len(visible) - len(folders)
        for name in sorted(names):
            file = Path(folder, name)
            if name.startswith("."):
                continue
            count += 1
            if count > MOST_FILES:
                raise InputError(
                    "TOO_MANY_FILES",
                    f"The folder holds more than {MOST_FILES} files.",
                    "Choose the folder of one study or series.",
                )
            if file.is_symlink():
                found.skipped["link"] += 1
            elif file.is_file():
                yield file


def _start(file: Path) -> bytes:
    """The first bytes of a file; none if it cannot be opened."""
    try:
        with file.open("rb") as stream:
            return stream.read(132)
    except OSError:
        return b""


def _was_meant_as_image(file: Path, start: bytes) -> bool:
    """Whether a file that is no DICOM file may have been one.

    Empty and closed files, those named as images, those that begin with the empty preamble of DICOM, and data sets
    without it (the first element is of group 0002 or 0008).
    """
    if not start or file.suffix.lower() in _IMAGE_SUFFIXES:
        return True
    if not any(start[:128]):
        return True
    return start[:2] in (b"\x02\x00", b"\x08\x00") and start[3:4] == b"\x00"


def _is_copy(file: Path, other: Path | None) -> bool:
    """True if another file is the same byte for byte; the same UID alone does not prove it."""
    if other is None or file.stat().st_size != other.stat().st_size:
        return False
    return file.read_bytes() == other.read_bytes()
