"""How the voxels get to the worker process: one private file, written in steps and mapped into memory by the worker.

The folder is readable by its owner only and locked for as long as Slicer lives.  It is removed when the worker is shut
down; by the worker itself when Slicer is gone all of a sudden; and if both were killed, by the next Slicer, which finds
the lock free.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, OutputError
from ..private_folder import PrivateFolder

if TYPE_CHECKING:
    from ..volume import Volume

_STEP_BYTES = 4 << 20
"""Written at a time: a few milliseconds, so that the GUI never waits."""


class ExchangeFolder:
    """A private folder; folders of others that are gone are removed first.

    Args:
        root: where to make it; the system's temporary folder by default.

    Attributes:
        path: the folder; the worker removes it when Slicer is gone.

    Raises:
        OutputError: ``NO_FOLDER``, ``DISK_FULL``, ``NO_TEMPORARY_FOLDER``.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self._folder = PrivateFolder(root)
        self.path = self._folder.path
        self._count = 0

    def writer(self, volume: Volume) -> VolumeWriter:
        """Begin to write a volume; the one before is removed."""
        for file in self._folder.files.glob("volume-*"):
            with contextlib.suppress(OSError):
                file.unlink()
        self._count += 1
        return VolumeWriter(self._folder.files / f"volume-{self._count}.raw", volume)

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        self._folder.remove()


class VolumeWriter:
    """Writes the voxels step by step.

    Args:
        path: the file.
        volume: the scan; it is immutable, so it may be written while it is shown.

    Attributes:
        description: what :func:`read_volume` needs, plain values.
        done: whether everything is written.
    """

    def __init__(self, path: Path, volume: Volume) -> None:
        voxels = volume.voxels
        self.description: dict[str, Any] = {
            "path": str(path),
            "type": voxels.dtype.str,
            "shape": list(volume.geometry.shape),
            "affine": volume.geometry.affine.tolist(),
            "modality": volume.modality,
        }
        self.done = False
        self._path = path
        self._bytes = memoryview(voxels.reshape(-1).view(np.uint8))
        self._written = 0

    def step(self) -> None:
        """Write a little more.

        Raises:
            OutputError: ``NO_EXCHANGE_FOLDER``: the disk is full, or the folder has gone.
        """
        part = self._bytes[self._written : self._written + _STEP_BYTES]
        try:
            with open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY, 0o600), "wb") as file:
                file.write(part)
        except OSError as error:
            raise OutputError(
                "NO_EXCHANGE_FOLDER",
                f"The scan could not be handed over: {error.strerror}.",
                "Check the space left in the temporary folder.",
            ) from error
        self._written += len(part)
        self.done = self._written >= len(self._bytes)


def read_volume(description: Mapping[str, Any]) -> Volume:
    """The volume of a :class:`VolumeWriter`, its voxels mapped from the file.

    Raises:
        InputError: ``SCAN_NOT_RECEIVED``.
    """
    from ..volume import Geometry, Volume

    try:
        kind, shape = np.dtype(str(description["type"])), tuple(int(n) for n in description["shape"])
        voxels = np.memmap(description["path"], dtype=kind, mode="r", shape=shape)
        affine = np.array(description["affine"], dtype=np.float64)
        modality = str(description["modality"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            "SCAN_NOT_RECEIVED", "The scan did not arrive at the segmentation process.", "Try again."
        ) from error
    return Volume(voxels, Geometry((shape[0], shape[1], shape[2]), affine), modality)


_BINARY = getattr(os, "O_BINARY", 0)
