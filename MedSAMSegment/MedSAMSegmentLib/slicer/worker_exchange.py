"""How the voxels get to the worker process: one private file, written in steps and mapped into memory by the worker.

The folder is readable by its owner only and locked for as long as Slicer lives.  It is removed when the worker is shut
down; by the worker itself when Slicer is gone all of a sudden; and if both were killed, by the next Slicer, which finds
the lock free.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, OutputError

if TYPE_CHECKING:
    from ..volume import Volume

PREFIX = "medsamsegment-worker-"
_LOCK = "lock"
_STEP_BYTES = 4 << 20
"""Written at a time: a few milliseconds, so that the GUI never waits."""
_YOUNG_SECONDS = 60.0
"""A folder without a lock may be just being made."""


class ExchangeFolder:
    """A private folder; folders of others that are gone are removed first.

    Args:
        root: where to make it; the system's temporary folder by default.

    Raises:
        OutputError: ``NO_EXCHANGE_FOLDER``.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        parent = Path(tempfile.gettempdir() if root is None else root)
        sweep(parent)
        self._count = 0
        try:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            self._lock = open(self.path / _LOCK, "wb")  # noqa: SIM115  (held as long as this object)
            _try_lock(self._lock.fileno())
        except OSError as error:
            raise OutputError(
                "NO_EXCHANGE_FOLDER",
                f"There is no room for temporary files: {error.strerror}.",
                "Check the temporary folder, its permissions and the space left.",
            ) from error

    def writer(self, volume: Volume) -> VolumeWriter:
        """Begin to write a volume; the one before is removed."""
        for file in self.path.glob("volume-*"):
            with contextlib.suppress(OSError):
                file.unlink()
        self._count += 1
        return VolumeWriter(self.path / f"volume-{self._count}.raw", volume)

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


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


def sweep(root: str | os.PathLike[str]) -> None:
    """Remove the folders in ``root`` whose owners are gone."""
    for folder in Path(root).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or (hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()):
                continue
            lock = folder / _LOCK
            if not lock.exists():
                if time.time() - folder.stat().st_mtime > _YOUNG_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            with open(lock, "r+b") as file:
                free = _try_lock(file.fileno())
            if free:
                shutil.rmtree(folder, ignore_errors=True)


_BINARY = getattr(os, "O_BINARY", 0)

if sys.platform == "win32":

    def _try_lock(descriptor: int) -> bool:
        """Take the lock if nobody has it; it is given back when the file is closed or the process ends."""
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(descriptor: int) -> bool:
        """Take the lock if nobody has it; it is given back when the file is closed or the process ends."""
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
