"""What has to be known of a DICOM object to send it: its UIDs, its encoding, and a digest of the file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import InputError
from ..volume.readers.common import reading
from .query import is_uid

LABELMAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"


@dataclass(frozen=True)
class ObjectFacts:
    """One object.

    Attributes:
        sha256: hexadecimal, of the whole file.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    transfer_syntax_uid: str
    sha256: str


def read_facts(path: Path) -> ObjectFacts:
    """The facts of a DICOM file.

    Raises:
        InputError: ``NOT_DICOM`` (no DICOM file, or not the one its header promises), ``UNREADABLE_FILE``.
    """
    if not path.is_file():
        raise InputError("NOT_DICOM", f"{path} is not a file.", "Give DICOM files.")
    with reading(path, "DICOM"):
        from pydicom import dcmread

        with open(path, "rb") as stream:
            digest = _digest(stream)
            stream.seek(0)
            data = dcmread(stream, stop_before_pixels=True)
        meta = data.file_meta
        keywords = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        kind, instance, study, series = (str(data.get(keyword) or "") for keyword in keywords)
        syntax = str(meta.get("TransferSyntaxUID") or "")
        same = (
            meta.get("MediaStorageSOPClassUID") == data.SOPClassUID
            and meta.get("MediaStorageSOPInstanceUID") == data.SOPInstanceUID
        )
    if not same or not all(map(is_uid, (kind, instance, study, series, syntax))):
        raise InputError(
            "NOT_DICOM",
            f"{path.name} lacks an identifier that an archive files it by, or has two that differ.",
            "Export it again.",
        )
    return ObjectFacts(kind, instance, study, series, syntax, digest)


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
