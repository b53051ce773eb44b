"""NRRD (``.nrrd``, ``.nhdr``), MetaImage (``.mha``, ``.mhd``) and GIPL (``.gipl``), by SimpleITK.

ITK's millimetres are LPS already.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import InputError
from ..geometry import Geometry
from ..volume import Volume
from .common import check_size, coloured, display_name, not_three_dimensional, reading

FORMATS = {"nrrd": ("NRRD", "NrrdImageIO"), "metaimage": ("MetaImage", "MetaImageIO"), "gipl": ("GIPL", "GiplImageIO")}


def read_itk(path: Path, kind: str) -> Volume:
    """An NRRD, MetaImage or GIPL file.

    Args:
        path: the file, or the header file where voxels lie in another one.
        kind: ``"nrrd"``, ``"metaimage"`` or ``"gipl"``.

    Raises:
        InputError: ``FOUR_DIMENSIONAL``, ``RGB_VOLUME``, ``UNSUPPORTED_VOXELS``, ``BAD_SPACING``, ``BAD_AFFINE``,
            ``EMPTY_VOLUME``, ``NON_FINITE_VOXELS``, ``TRUNCATED_FILE``, ``UNREADABLE_FILE``, ``TOO_BIG``.
    """
    title, reader_name = FORMATS[kind]
    with reading(path, title):
        import SimpleITK as sitk

        warned = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            reader.SetImageIO(reader_name)
            reader.ReadImageInformation()
            size = tuple(int(n) for n in reader.GetSize())
            if reader.GetNumberOfComponents() > 1:
                raise coloured(path)
            if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
                raise InputError(
                    "UNSUPPORTED_VOXELS", f"The voxels of {path.name} are complex numbers.", "Save the magnitude."
                )
            if len(size) > 3 and max(size[3:]) > 1:
                raise not_three_dimensional(path, size)
            check_size(path, size)
            geometry, notes = _geometry(reader, size)
            voxels = sitk.GetArrayFromImage(reader.Execute()).reshape(geometry.shape)
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(warned)
    if geometry.is_sheared():
        notes.append("Its voxel axes are not at right angles.")
    return Volume(voxels, geometry, name=display_name(path), notes=tuple(notes))


def _geometry(reader: object, size: tuple[int, ...]) -> tuple[Geometry, list[str]]:
    """The first three dimensions of the file's geometry; a 2-D image becomes one slice 1 mm thick."""
    count = len(size)
    affine = np.eye(4)
    spacing = np.array(reader.GetSpacing())  # type: ignore[attr-defined]
    direction = np.array(reader.GetDirection()).reshape(count, count)  # type: ignore[attr-defined]
    kept = min(count, 3)
    affine[:kept, :kept] = (direction * spacing)[:kept, :kept]
    affine[:kept, 3] = reader.GetOrigin()[:kept]  # type: ignore[attr-defined]
    notes = []
    if count > 3:
        notes.append("The empty fourth dimension was dropped.")
    if count == 2:
        notes.append("A 2-D image: it was taken as one slice 1 mm thick.")
    i, j, k = (*size, 1)[:3]
    return Geometry((k, j, i), affine), notes
