"""NIfTI-1 and NIfTI-2 (``.nii``, ``.nii.gz``, ``.hdr``/``.img``) and FreeSurfer (``.mgh``, ``.mgz``), by nibabel.

Their millimetres are RAS; the affine is turned to LPS here, on the way in. A NIfTI sform is preferred to the qform, as
the standard leaves open and most programs do; a note says so when the two disagree.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..geometry import Geometry
from ..volume import Volume
from .common import (
    check_size,
    check_stored_bytes,
    coloured,
    display_name,
    not_three_dimensional,
    reading,
    rescaled,
    truncated,
)

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

#: NIfTI's spatial unit codes other than millimetres.
_UNITS_IN_MM = {1: ("metres", 1e3), 3: ("micrometres", 1e-3)}

#: sform and qform that put a voxel further apart than this (mm) are worth a note.
_FORM_TOLERANCE = 0.1


def read_nifti(path: Path) -> Volume:
    """A NIfTI file.

    Raises:
        InputError: ``FOUR_DIMENSIONAL``, ``RGB_VOLUME``, ``UNSUPPORTED_VOXELS``, ``BAD_SPACING``, ``BAD_AFFINE``,
            ``EMPTY_VOLUME``, ``NON_FINITE_VOXELS``, ``TRUNCATED_FILE``, ``UNREADABLE_FILE``, ``TOO_BIG``.
    """
    with reading(path, "NIfTI"):
        import nibabel

        _check_spacing(path)
        image: Any = nibabel.load(path, mmap=False)
        header = image.header
        affine = np.asarray(image.affine, dtype=np.float64)
        notes = []
        unit = _UNITS_IN_MM.get(int(header["xyzt_units"]) & 7)
        if unit is not None:
            affine = np.diag([unit[1], unit[1], unit[1], 1.0]) @ affine
            notes.append(f"The file is in {unit[0]}; positions were converted to mm.")
        codes = int(header["sform_code"]), int(header["qform_code"])
        if codes == (0, 0):
            notes.append("The file has no position in space; left and right are assumed as in old Analyze files.")
        elif all(codes):
            corners = np.array((*image.shape, 1, 1)[:3])[:, None] * np.indices((2, 2, 2)).reshape(3, -1)
            distance = np.abs((header.get_sform() - header.get_qform())[:3] @ np.vstack([corners, np.ones(8)])).max()
            if distance > _FORM_TOLERANCE:
                notes.append(
                    f"Its two positions in space (sform, qform) differ by {distance:.1f} mm; the sform was taken."
                )
        return _volume(path, image, affine, notes)


def read_freesurfer(path: Path) -> Volume:
    """A FreeSurfer ``.mgh`` or ``.mgz`` file; errors as :func:`read_nifti`."""
    with reading(path, "FreeSurfer"):
        import nibabel

        image: Any = nibabel.load(path, mmap=False)
        return _volume(path, image, np.asarray(image.affine, dtype=np.float64), [])


def _check_spacing(path: Path) -> None:
    """Refuses a zero spacing, which nibabel would quietly replace by one."""
    import nibabel
    from nibabel.openers import ImageOpener

    header_file = path.with_suffix(".hdr") if path.suffix.lower() == ".img" else path
    with ImageOpener(str(header_file), "rb") as stream:
        start = stream.read(540)
    classes = (nibabel.Nifti1Header, nibabel.Nifti2Header)
    kind = next((c for c in classes if c.may_contain_header(start)), None)
    if kind is None:
        raise InputError(
            "WRONG_FORMAT", f"{path.name} is not a NIfTI file.", "Check the suffix: it does not fit the content."
        )
    header = kind(start[: kind.template_dtype.itemsize], check=False)
    dimensions = int(np.clip(header["dim"][0], 1, 3))
    spacing = header["pixdim"][1 : 1 + dimensions].astype(np.float64)
    if not np.isfinite(spacing).all() or (spacing == 0).any():
        raise InputError(
            "BAD_SPACING",
            f"{path.name} has the voxel spacing {' x '.join(f'{v:g}' for v in spacing)}, which must be positive.",
            "Correct the spacing in the file's header.",
        )


def _volume(path: Path, image: Any, affine: NDArray[np.float64], notes: list[str]) -> Volume:
    """The volume of an opened image whose header was read but not its voxels; ``affine`` is index to RAS mm."""
    shape = tuple(int(n) for n in image.shape)
    if len(shape) == 5 and shape[3] == 1 and shape[4] > 1:
        raise coloured(path)  # how NIfTI stores vectors
    if len(shape) > 3 and max(shape[3:]) > 1:
        raise not_three_dimensional(path, shape)
    if len(shape) > 3:
        notes.append("The empty fourth dimension was dropped.")
    width, height, depth = (*shape, 1, 1)[:3]
    kind = image.get_data_dtype()
    if kind.fields is not None:
        raise coloured(path)
    if kind.kind not in "iuf":
        raise InputError(
            "UNSUPPORTED_VOXELS", f"The voxels of {path.name} are complex numbers.", "Save the magnitude as a file."
        )
    geometry = Geometry((depth, height, width), _RAS_TO_LPS @ affine)
    check_size(path, geometry.shape)
    proxy = image.dataobj
    stored = _stored(Path(image.file_map["image"].filename), proxy.offset, np.dtype(proxy.dtype), geometry.shape)
    if geometry.is_sheared():
        notes.append("Its voxel axes are not at right angles.")
    voxels = rescaled(stored, float(proxy.slope), float(proxy.inter))
    return Volume(voxels, geometry, name=display_name(path), notes=tuple(notes))


def _stored(file: Path, offset: int, kind: np.dtype[Any], shape: tuple[int, int, int]) -> NDArray[Any]:
    """The numbers in the file as [k, j, i], unscaled.

    A compressed file is read to its end, which is what makes gzip compare its checksum: damage must not become voxels.
    """
    with file.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    needed = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    check_stored_bytes(file, needed, compressed)
    voxels = np.empty(shape, kind)
    with gzip.open(file) if compressed else file.open("rb") as stream:
        stream.seek(offset)
        buffer = voxels.reshape(-1).view(np.uint8).data
        filled = 0
        while filled < needed:
            count = stream.readinto(buffer[filled:])
            if not count:
                raise truncated(file)
            filled += count
        while compressed and stream.read(1 << 20):
            pass
    return voxels
