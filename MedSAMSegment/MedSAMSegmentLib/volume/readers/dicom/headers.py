"""Finds DICOM files and reads the few header elements that decide where a slice lies and whether it may be used."""

from __future__ import annotations

import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import InputError
from ...geometry import FloatArray
from ..common import too_big

#: SOP classes of single-frame slices and of multi-frame objects (PS3.4 B.5), with the modality each stands for.
SLICE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
}
MULTI_FRAME_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "MR",
    "1.2.840.10008.5.1.4.1.1.130": "PT",
    "1.2.840.10008.5.1.4.1.1.128.1": "PT",
}

MOST_FILES = 20_000
LARGEST_FILE = 2 << 30
#: A deflated data set is inflated in one piece by the library, so its size is measured first.
LARGEST_INFLATED = 64 << 20

_DEFLATED = "1.2.840.10008.1.2.1.99"
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*\Z")

_ELEMENTS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "FrameOfReferenceUID",
    "Modality",
    "ImageType",
    "AcquisitionNumber",
    "AcquisitionTime",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "EchoTime",
    "DiffusionBValue",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
]

#: Elements that tell the phases, echoes or reconstructions of one series apart.
PHASE_ELEMENTS = (
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "EchoTime",
    "DiffusionBValue",
    "ImageType",
    "AcquisitionTime",
)


@dataclass(frozen=True)
class SliceHeader:
    """One file of a series. A geometric value the file lacks, or that is not a number, is None."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    modality: str
    rows: int
    columns: int
    frames: int
    is_grey: bool
    is_localizer: bool
    position: FloatArray | None
    orientation: FloatArray | None
    pixel_spacing: FloatArray | None
    thickness: float | None
    slope: float | None
    intercept: float | None
    frame_of_reference: str
    patient_and_study: tuple[str, str]
    phase: dict[str, str]


@dataclass
class FoundFiles:
    """What a folder holds.

    Attributes:
        root: the folder, or the single file.
        series: headers of slices and multi-frame objects by Series Instance UID, in the order they were found.
        skipped: how many files were passed over, by reason: ``"copy"`` (identical file), ``"other"`` (DICOM, no CT, MR
            or PET image), ``"unreadable"``, ``"link"``, ``"uid"`` (malformed UID).
    """

    root: Path
    series: dict[str, list[SliceHeader]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def doubtful(self) -> int:
        """Files that could have been slices but were not readable as such."""
        return self.skipped["unreadable"] + self.skipped["link"] + self.skipped["uid"]


def scan_files(path: Path) -> FoundFiles:
    """Headers of all images under a folder, or of one file.

    Raises:
        InputError: ``UNREADABLE_DIRECTORY``, ``TOO_MANY_FILES``, ``TOO_BIG`` (a file over 2 GB), ``BOMB`` (a deflated
            data set that grows beyond 64 MB).
    """
    found = FoundFiles(path)
    by_uid: dict[str, Path] = {}
    for file in _files(path, found):
        if not _is_dicom(file):
            if file.suffix.lower() in (".dcm", ".ima") or file.stat().st_size == 0:
                found.skipped["unreadable"] += 1
            continue
        try:
            header = read_header(file)
        except InputError:
            raise
        except Exception:
            found.skipped["unreadable"] += 1
            continue
        if header is None:
            found.skipped["other"] += 1
        elif not all(is_uid(uid) for uid in (header.series_uid, header.sop_instance_uid)):
            found.skipped["uid"] += 1
        elif _is_copy(file, by_uid.get(header.sop_instance_uid)):
            found.skipped["copy"] += 1
        else:
            if header.sop_instance_uid:
                by_uid[header.sop_instance_uid] = file
            found.series.setdefault(header.series_uid, []).append(header)
    if len(found.series) > 1 and "" in found.series:
        # Images without a series beside others with one: damaged headers, which may belong to any of them.
        found.skipped["uid"] += len(found.series.pop(""))
    return found


def read_header(file: Path) -> SliceHeader | None:
    """What matters of one file's header, or None if it is not a CT, MR or PET image."""
    import pydicom

    _refuse_bombs(file)
    data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_ELEMENTS)
    sop_class = str(data.get("SOPClassUID") or "")
    modality = SLICE_CLASSES.get(sop_class) or MULTI_FRAME_CLASSES.get(sop_class)
    if modality is None and not sop_class and data.get("Modality") in ("CT", "MR", "PT"):
        modality = str(data.Modality)  # some anonymisers blank the class
    if modality is None:
        return None
    multi_frame = sop_class in MULTI_FRAME_CLASSES
    frames = _number(data, "NumberOfFrames", 1.0)
    return SliceHeader(
        path=file,
        sop_class_uid=sop_class,
        sop_instance_uid=str(data.get("SOPInstanceUID") or ""),
        series_uid=str(data.get("SeriesInstanceUID") or ""),
        modality=modality,
        rows=int(_number(data, "Rows", 0.0) or 0),
        columns=int(_number(data, "Columns", 0.0) or 0),
        frames=max(2, int(frames or 0)) if multi_frame else int(frames or 0),
        is_grey=_number(data, "SamplesPerPixel", 1.0) == 1
        and str(data.get("PhotometricInterpretation") or "MONOCHROME2") in ("MONOCHROME1", "MONOCHROME2"),
        is_localizer="LOCALIZER" in _text(data, "ImageType").upper().split("\\"),
        position=_numbers(data, "ImagePositionPatient", 3),
        orientation=_numbers(data, "ImageOrientationPatient", 6),
        pixel_spacing=_numbers(data, "PixelSpacing", 2),
        thickness=_number(data, "SliceThickness", None) or _number(data, "SpacingBetweenSlices", None),
        slope=_number(data, "RescaleSlope", 1.0),
        intercept=_number(data, "RescaleIntercept", 0.0),
        frame_of_reference=_text(data, "FrameOfReferenceUID"),
        patient_and_study=(_text(data, "PatientID"), _text(data, "StudyInstanceUID")),
        phase={name: _text(data, name) for name in PHASE_ELEMENTS},
    )


def is_uid(uid: str) -> bool:
    """True for a well-formed unique identifier (PS3.5 chapter 9), and for none at all."""
    return not uid or (len(uid) <= 64 and bool(_UID.match(uid)))


def _files(path: Path, found: FoundFiles) -> Iterator[Path]:
    """The regular files under a folder in a stable order; hidden ones are passed over, links are counted, not
    followed."""
    if path.is_file():
        yield path
        return

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


def _is_dicom(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _is_copy(file: Path, other: Path | None) -> bool:
    """True if another file is the same byte for byte; the same UID alone does not prove it."""
    if other is None or file.stat().st_size != other.stat().st_size:
        return False
    return file.read_bytes() == other.read_bytes()


def _refuse_bombs(file: Path) -> None:
    if file.stat().st_size > LARGEST_FILE:
        raise too_big("A DICOM file is larger than 2 GB.")
    from pydicom.filereader import read_file_meta_info

    meta = read_file_meta_info(file)
    if meta.get("TransferSyntaxUID") != _DEFLATED:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    with file.open("rb") as stream:
        # Preamble and mark, then the group length element itself, then as many bytes of meta information as it says.
        stream.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
        while chunk := inflater.unconsumed_tail or stream.read(1 << 16):
            total += len(inflater.decompress(chunk, 1 << 20))
            if total > LARGEST_INFLATED:
                raise InputError(
                    "BOMB",
                    "A deflated DICOM file grows beyond the limit when it is opened.",
                    "Do not open files from a source you do not trust.",
                )


def _text(data: Any, name: str) -> str:
    value = data.get(name)
    if value is None:
        return ""
    return str(value) if isinstance(value, str) or not hasattr(value, "__iter__") else "\\".join(map(str, value))


def _numbers(data: Any, name: str, count: int) -> FloatArray | None:
    """A numeric element with several values; None if it is missing, of another length, or not finite."""
    try:
        values = np.array([float(value) for value in data[name].value], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def _number(data: Any, name: str, missing: float | None) -> float | None:
    """A numeric element with one value; ``missing`` if it is absent or empty, None if it is not a finite number."""
    try:
        value = data.get(name)
        if value is None or value == "":
            return missing
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
