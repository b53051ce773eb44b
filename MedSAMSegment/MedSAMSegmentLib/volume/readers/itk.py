"""NRRD (``.nrrd``, ``.nhdr``), MetaImage (``.mha``, ``.mhd``) and GIPL (``.gipl``), by SimpleITK.

ITK's millimetres are LPS already.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..geometry import Geometry
from ..volume import Volume
from .common import (
    check_size,
    coloured,
    display_name,
    not_three_dimensional,
    reading,
    silent_stderr,
    truncated,
)

FORMATS = {"nrrd": ("NRRD", "NrrdImageIO"), "metaimage": ("MetaImage", "MetaImageIO"), "gipl": ("GIPL", "GiplImageIO")}


#: Length of a GIPL header in bytes, and bits a voxel by its type code.
_GIPL_HEADER = 256
_GIPL_BITS = {1: 1, 7: 8, 8: 8, 15: 16, 16: 16, 31: 32, 32: 32, 64: 32, 65: 64}


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

        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.SetImageIO(reader_name)
        with silent_stderr():
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
        if kind == "gipl":
            _check_gipl(path, size)
        with silent_stderr():
            image = reader.Execute()
        voxels = sitk.GetArrayFromImage(image).reshape(geometry.shape)
    if geometry.is_sheared():
        notes.append("Its voxel axes are not at right angles.")
    return Volume(voxels, geometry, name=display_name(path), notes=tuple(notes))


def _check_gipl(path: Path, size: tuple[int, ...]) -> None:
    """Refuses an incomplete GIPL file: ITK would leave what is missing as it finds it in memory."""
    with path.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    with gzip.open(path) if compressed else path.open("rb") as stream:
        header = stream.read(_GIPL_HEADER)
        bits = _GIPL_BITS.get(int.from_bytes(header[8:10], "big"), 0)
        held = 0
        while chunk := stream.read(1 << 20):
            held += len(chunk)
    if held * 8 < math.prod(size) * bits:
        raise truncated(path)


def _geometry(reader: Any, size: tuple[int, ...]) -> tuple[Geometry, list[str]]:
    """The first three dimensions of the file's geometry; a 2-D image becomes one slice 1 mm thick."""
    count = len(size)
    kept = min(count, 3)
    spacing, origin, direction = np.ones(3), np.zeros(3), np.eye(3)
    spacing[:kept] = reader.GetSpacing()[:kept]
    origin[:kept] = reader.GetOrigin()[:kept]
    direction[:kept, :kept] = np.array(reader.GetDirection()).reshape(count, count)[:kept, :kept]
    notes = []
    if count > 3:
        notes.append("The empty fourth dimension was dropped.")
    if count == 2:
        notes.append("A 2-D image: it was taken as one slice 1 mm thick.")
    i, j, k = (*size, 1)[:3]
    return Geometry.from_parts((k, j, i), spacing, origin, direction), notes
