"""The images a scan was read from, de-identified: what results with the same key belong to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, OutputError, write_failed
from ..private_folder import keep, not_empty, private_folder
from ..volume import Volume, read_volume
from .deidentify import Deidentification, Identity, check_deidentified, identity_of
from .dicom_source import making, quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom.dataset import FileDataset

_BURNED_IN = "YES"


def write_deidentified_series(
    target: str | Path,
    volume: Volume,
    deidentification: Deidentification,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the images of a scan, with their pixels as they are stored, into a new folder.

    The folder appears complete or not at all, after it was read back: the same voxels at the same places, and nothing
    of the patient in any element.

    Args:
        target: a folder that does not exist yet, or is empty.
        volume: a scan read from DICOM.
        deidentification: key and profile.
        progress: told how many files of how many are written.

    Returns:
        The number of files.

    Raises:
        InputError: ``NO_DICOM_SOURCE``, ``SOURCE_GONE``, ``BURNED_IN_TEXT``.
        OutputError: ``NOT_DEIDENTIFIED``, ``READ_BACK_FAILED``, ``FOLDER_NOT_EMPTY``, or files cannot be written.
    """
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise not_empty(target)
    if volume.source is None:
        raise InputError(
            "NO_DICOM_SOURCE", "This scan was not read from DICOM images.", "Other formats hold no patient's data."
        )
    paths = list(dict.fromkeys(instance.path for instance in volume.source))
    with private_folder(target.absolute().parent) as folder, making(target, "de-identified series"):
        identity = Identity()
        for number, path in enumerate(paths, start=1):
            data = _opened(path)
            own = identity_of(data)
            identity |= own
            deidentification.apply(data, own)
            _with_plain_meta(data)
            try:
                data.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
            except OSError as error:
                raise write_failed(target, error) from None
            if progress is not None:
                progress(number, len(paths))
        _check(folder, volume, identity)
        keep(folder, target)
    return len(paths)


def _opened(path: str) -> FileDataset:
    import pydicom

    try:
        data = pydicom.dcmread(path)
    except Exception:
        raise InputError(
            "SOURCE_GONE", "An image file of the scan cannot be read any more.", "Read it again."
        ) from None
    if str(data.get("BurnedInAnnotation") or "").upper() == _BURNED_IN:
        raise InputError(
            "BURNED_IN_TEXT",
            "The images say that text is burned into their pixels, which may name the patient.",
            "Remove it with a program made for that first.",
        )
    return data


def _with_plain_meta(data: FileDataset) -> None:
    """File meta information of this program: the original's names its sender, and its preamble may hold anything."""
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = data.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta, data.preamble = meta, b"\0" * 128
    if not data.get("SpecificCharacterSet", "none"):
        del data.SpecificCharacterSet


def _check(folder: Path, volume: Volume, identity: Identity) -> None:
    import pydicom

    with quiet():
        for path in folder.iterdir():
            check_deidentified(pydicom.dcmread(path, stop_before_pixels=True), identity)
    read = read_volume(folder, skip_unreadable=True)
    same = np.array_equal(read.voxels, volume.voxels) and np.allclose(read.geometry.affine, volume.geometry.affine)
    if not same or read.modality != volume.modality:
        raise OutputError(
            "READ_BACK_FAILED",
            "The de-identified images did not read back as the same scan, so they were not kept.",
            "Report the scanner's make and model.",
        )
