"""A hash that tells scans apart: geometry and voxels, nothing of a file's header."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

if TYPE_CHECKING:
    from ..volume import Volume


# A volume never changes, and a large one takes seconds; the panel opens a session for every change of its settings.
_known: WeakKeyDictionary[Volume, str] = WeakKeyDictionary()


def volume_fingerprint(volume: Volume) -> str:
    """SHA-256 (hexadecimal) of shape, affine and voxels.

    The affine is rounded to a millionth, so that the last bits a file format loses do not count.  Voxels are compared
    as single precision numbers, whatever type holds them.
    """
    if volume not in _known:
        _known[volume] = _computed(volume)
    return _known[volume]


def _computed(volume: Volume) -> str:
    digest = hashlib.sha256()
    digest.update(repr(tuple(int(n) for n in volume.geometry.shape)).encode())
    affine = np.round(np.asarray(volume.geometry.affine, dtype=np.float64), 6) + 0.0  # -0.0 becomes 0.0
    digest.update(affine.astype("<f8").tobytes())
    for part in volume.voxels:
        digest.update(np.ascontiguousarray(part, dtype="<f4").data)
    return digest.hexdigest()
