"""From a path to a :class:`Volume`: one file a format, chosen by content and not by suffix alone."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import numpy as np

from ...errors import InputError, UsageError
from ..volume import Volume
from .common import truncated

__all__ = ["read_labelmap", "read_volume"]

#: Labels further than this from a whole number are not labels.
_LABEL_TOLERANCE = 1e-3

_PICTURE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM")

_SUFFIXES = {
    ".nii": "nifti",
    ".hdr": "nifti",
    ".img": "nifti",
    ".mgh": "freesurfer",
    ".mgz": "freesurfer",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "metaimage",
    ".mhd": "metaimage",
    ".gipl": "gipl",
    ".npz": "npz",
    ".png": "picture",
    ".jpg": "picture",
    ".jpeg": "picture",
    ".tif": "picture",
    ".tiff": "picture",
    ".bmp": "picture",
    ".dcm": "dicom",
    ".ima": "dicom",
    ".zip": "dicom",
}


_TITLES = {
    "nifti": "NIfTI",
    "freesurfer": "FreeSurfer",
    "nrrd": "NRRD",
    "metaimage": "MetaImage",
    "gipl": "GIPL",
    "npz": "NumPy .npz",
    "dicom": "DICOM",
}


def read_volume(
    path: str | os.PathLike[str],
    series: str | int | None = None,
    *,
    phase: int | None = None,
    skip_unreadable: bool = False,
) -> Volume:
    """Read a scan.

    Args:
        path: a folder of DICOM files, one such file, a DICOMDIR or a .zip of DICOM files; NIfTI (.nii, .nii.gz,
            .hdr/.img), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), GIPL, FreeSurfer (.mgh, .mgz), MedSAM .npz, or a
            picture (PNG, JPEG, TIFF, BMP; one slice).
        series: for a DICOM folder with several series, the one to take: its number in the list that the refusal
            ``AMBIGUOUS`` shows, or its Series Instance UID.
        phase: for a DICOM series with several phases, echoes or time points the one to take, counted from 1.
        skip_unreadable: for DICOM, leave out files that cannot be read and fill missing slices from their neighbours.

    Returns:
        The volume, at least one slice, in the file's own units and its own voxel grid: nothing is resampled or turned,
        except that DICOM slices at uneven distances are put on an even grid (a note says so).

    Raises:
        InputError: the scan was refused; ``code`` says why (each reader lists its codes). General ones:
            ``FILE_NOT_FOUND``, ``UNREADABLE_FILE``, ``EMPTY_FILE``, ``TRUNCATED_FILE``, ``UNSUPPORTED_FORMAT``,
            ``WRONG_FORMAT`` (the suffix promises another format).
        UsageError: ``SERIES_WITHOUT_DICOM`` when a series or phase is asked of a file that is not DICOM.
    """
    file = Path(path)
    kind = detect_format(file)
    if kind != "dicom":
        if series is not None or phase is not None:
            raise UsageError(
                "SERIES_WITHOUT_DICOM",
                f"{file.name} is not DICOM, so it has no series and no phases.",
                "Leave the series and the phase out.",
            )
        return _read(file, kind)
    from .dicom import read_dicom

    return read_dicom(file, series, phase, skip_unreadable)


def read_labelmap(path: str | os.PathLike[str]) -> Volume:
    """Read a label map: a volume whose voxels are whole numbers, 0 where nothing is labelled.

    Args:
        path: as :func:`read_volume`, without DICOM; from a MedSAM .npz its ``gts`` are read, from a picture the stored
            palette numbers.

    Returns:
        A volume of an integer type.

    Raises:
        InputError: as :func:`read_volume`, and ``NOT_A_LABELMAP`` when a voxel is not a whole number.
    """
    file = Path(path)
    kind = detect_format(file)
    if kind == "npz":
        from .npz import read_npz

        volume = read_npz(file, key="gts")
    elif kind == "picture":
        from .picture import read_picture

        volume = read_picture(file, as_labels=True)
    elif kind == "dicom":
        raise InputError(
            "NOT_A_LABELMAP", f"{file.name} is DICOM; a label map is a file of another format.", "Give NIfTI or NRRD."
        )
    else:
        volume = _read(file, kind)
    if volume.voxels.dtype.kind in "iu":
        return volume
    labels = np.rint(volume.voxels)
    if np.abs(labels - volume.voxels).max() > _LABEL_TOLERANCE or np.abs(labels).max() >= 2**31:
        raise InputError(
            "NOT_A_LABELMAP",
            f"{file.name} holds numbers that are not whole, so it is no label map.",
            "Give the labels.",
        )
    return Volume(labels.astype(np.int32), volume.geometry, volume.modality, volume.name, volume.notes)


def detect_format(path: Path) -> str:
    """The format of a file or folder, by its first bytes.

    Returns:
        ``"dicom"``, ``"nifti"``, ``"freesurfer"``, ``"nrrd"``, ``"metaimage"``, ``"gipl"``, ``"npz"`` or ``"picture"``.

    Raises:
        InputError: ``FILE_NOT_FOUND``, ``UNREADABLE_FILE``, ``EMPTY_FILE``, ``TRUNCATED_FILE``, ``UNSUPPORTED_FORMAT``,
            ``WRONG_FORMAT``.
    """
    try:
        if path.is_dir():
            return "dicom"
        with path.open("rb") as stream:
            start = stream.read(1024)
    except FileNotFoundError:
        raise InputError("FILE_NOT_FOUND", f"There is no file or folder {path.name}.", "Check the path.") from None
    except (OSError, ValueError):
        raise InputError(
            "UNREADABLE_FILE", f"{path.name} cannot be opened.", "Check the path and its permissions."
        ) from None
    if not start:
        raise InputError("EMPTY_FILE", f"{path.name} is empty.", "Copy or export the file again.")
    promised = promised_format(path)
    found = _by_content(path, start, promised)
    if found is not None:
        return found
    if promised is None:
        raise InputError(
            "UNSUPPORTED_FORMAT",
            f"{path.name} is not a scan this program can read.",
            "It reads DICOM, NIfTI, NRRD, MetaImage, GIPL, FreeSurfer, MedSAM .npz and pictures (PNG, JPEG, TIFF).",
        )
    raise InputError(
        "WRONG_FORMAT",
        f"{path.name} is named like a {_TITLES.get(promised, promised)} file but holds something else.",
        "Check that it was copied completely and has the right suffix.",
    )


def promised_format(path: Path) -> str | None:
    """The format the file's suffix stands for (``.gz`` in front of it is passed over), or None."""
    name = path.name.lower().removesuffix(".gz")
    return _SUFFIXES.get(Path(name).suffix)


def _by_content(path: Path, start: bytes, promised: str | None) -> str | None:
    if start[128:132] == b"DICM":
        return "dicom"
    if start.startswith(_PICTURE_STARTS):
        return "picture"
    if start.startswith(b"NRRD000"):
        return "nrrd"
    if start.startswith(b"PK\x03\x04"):
        return promised if promised in ("npz", "dicom") else None
    if start.startswith(b"\x1f\x8b"):
        start = _inflated_start(path)
    if start[344:347] in (b"ni1", b"n+1") or start[4:7] in (b"ni2", b"n+2"):
        return "nifti"
    if promised == "nifti" and path.suffix.lower() == ".img":
        return "nifti"  # the voxels of a pair have no mark of their own; its header is checked when it is read
    if promised == "freesurfer" and start[:4] == b"\0\0\0\1":
        return "freesurfer"
    if promised == "metaimage" and b"ElementType" in start:
        return "metaimage"
    if promised == "gipl" and len(start) >= 256 and start[252:256] in (b"\xef\xff\xe9\xb0", b"\x2a\xe3\x89\xb8"):
        return "gipl"
    return None


def _inflated_start(path: Path) -> bytes:
    """The first bytes inside a gzip file."""
    try:
        with gzip.open(path) as stream:
            return stream.read(1024)
    except EOFError:
        raise truncated(path) from None
    except (OSError, zlib.error):
        raise InputError(
            "UNREADABLE_FILE", f"{path.name} is a damaged gzip file.", "Copy or download the file again."
        ) from None


def _read(file: Path, kind: str) -> Volume:
    # Imported here, each in its turn, so that reading one format costs nothing of the others.
    if kind == "nifti":
        from .nifti import read_nifti

        return read_nifti(file)
    if kind == "freesurfer":
        from .nifti import read_freesurfer

        return read_freesurfer(file)
    if kind == "npz":
        from .npz import read_npz

        return read_npz(file)
    if kind == "picture":
        from .picture import read_picture

        return read_picture(file)
    from .itk import read_itk

    return read_itk(file, kind)
