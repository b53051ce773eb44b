"""Reading the ground truth of a case: whole numbers on the scan's own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..volume import read_labelmap, read_volume
from .manifest import LabelSource


def read_labels(path: Path, source: LabelSource) -> np.ndarray:
    """The label map of a case.

    Args:
        path: the file, in any format of ``read_volume``; of a MedSAM ``.npz`` the array ``gts``.
        source: how the manifest says the labels are stored.

    Returns:
        Integers ``(k, j, i)``; 0 is background.

    Raises:
        InputError: what ``read_labelmap`` and ``read_volume`` raise.
    """
    if source.components_above is None:
        return read_labelmap(path).voxels
    from scipy import ndimage

    return ndimage.label(read_volume(path).voxels > source.components_above, np.ones((3, 3, 3)))[0]
