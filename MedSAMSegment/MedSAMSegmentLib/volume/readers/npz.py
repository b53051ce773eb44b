"""The ``.npz`` layout of MedSAM and MedSAM2: ``imgs`` [k, j, i], ``gts`` labels, ``spacing`` (x, y, z), and sometimes
``direction`` (nine numbers row by row) and ``origin`` (three), both LPS as SimpleITK gives them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..geometry import Geometry
from ..volume import Volume
from .common import check_size, check_stored_bytes, coloured, display_name, not_three_dimensional, reading, truncated


def read_npz(path: Path, key: str = "imgs") -> Volume:
    """A MedSAM ``.npz`` file.

    Args:
        path: the file.
        key: the array to read: ``"imgs"``, or ``"gts"`` for its labels.

    Raises:
        InputError: ``WRONG_FORMAT`` (without that array), ``RGB_VOLUME``, ``FOUR_DIMENSIONAL``,
            ``BAD_SPACING``, ``BAD_AFFINE``, ``EMPTY_VOLUME``, ``NON_FINITE_VOXELS``, ``TRUNCATED_FILE``,
            ``UNREADABLE_FILE``, ``TOO_BIG``.
    """
    with reading(path, ".npz"):
        try:
            archive = np.load(path, allow_pickle=False)
        except zipfile.BadZipFile:
            raise truncated(path) from None  # the list of contents is at the end of a zip file
        with archive:
            if key not in archive:
                raise InputError(
                    "WRONG_FORMAT",
                    f'{path.name} holds no array "{key}".',
                    'A MedSAM file holds "imgs" and "spacing", and labels in "gts".',
                )
            shape = _declared_shape(path, f"{key}.npy")
            if len(shape) == 4:
                raise coloured(path) if shape[-1] in (3, 4) else not_three_dimensional(path, shape)
            notes = []
            voxels: NDArray[Any] = archive[key]
            if voxels.ndim == 2:
                voxels = voxels[None]
                notes.append("A 2-D image: it was taken as one slice.")
            if "spacing" in archive:
                spacing = np.asarray(archive["spacing"], dtype=np.float64).reshape(-1)
            else:
                spacing = np.ones(3)
                notes.append("The file has no spacing: 1 mm was taken.")
            origin = archive["origin"] if "origin" in archive else np.zeros(3)
            direction = archive["direction"] if "direction" in archive else np.eye(3)
            if voxels.ndim != 3:
                raise not_three_dimensional(path, voxels.shape)
            geometry = Geometry.from_parts(voxels.shape, spacing, origin, direction)
    return Volume(voxels, geometry, name=display_name(path), notes=tuple(notes))


def _declared_shape(path: Path, member: str) -> tuple[int, ...]:
    """The shape an array of the archive claims to have, checked before memory is asked for."""
    with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read_header(stream)
        check_size(path, shape)
        check_stored_bytes(path, int(np.prod(shape, dtype=np.int64)) * kind.itemsize, compressed=True)
    return tuple(shape)
