"""Label maps as NIfTI-1 (https://nifti.nimh.nih.gov/nifti-1): one byte a voxel, the scan's exact position."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..volume import Geometry, Volume
from .atomic import atomic_path
from .objects import ExportedObject, check_objects, label_map

#: NIfTI counts millimetres in RAS+; its first two axes point the other way from LPS.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_SCANNER_COORDINATES = 1


def write_nifti(
    path: str | Path, volume: Volume, objects: Sequence[ExportedObject], labels: np.ndarray | None = None
) -> None:
    """Write the objects as one label map, numbered from 1 in their order.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        volume: the scan whose grid the masks lie on.
        objects: what to write.
        labels: the label map, when overlaps were settled elsewhere; default :func:`objects.label_map`.

    Raises:
        OutputError: the file cannot be written; nothing is left behind.
        UsageError: a mask does not fit the scan.
    """
    check_objects(volume, objects)
    write_nifti_array(path, label_map(objects) if labels is None else labels, volume.geometry, _description(objects))


def write_nifti_array(path: str | Path, array: np.ndarray, geometry: Geometry, description: str = "") -> None:
    """Write any ``(k, j, i)`` array on a grid, in its own type; errors as :func:`write_nifti`.

    The sform holds the exact affine.  The qform, which cannot express shear, holds it too unless the grid is sheared.
    """
    import nibabel

    affine = _LPS_TO_RAS @ geometry.affine
    image = nibabel.Nifti1Image(np.ascontiguousarray(array).transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("ascii", "replace")[:79]
    image.set_sform(affine, _SCANNER_COORDINATES)
    image.set_qform(affine, 0 if geometry.is_sheared() else _SCANNER_COORDINATES)
    with atomic_path(path) as temporary:
        nibabel.save(image, temporary)


def _description(objects: Sequence[ExportedObject]) -> str:
    return "; ".join(f"{number} {item.name}" for number, item in enumerate(objects, start=1))
