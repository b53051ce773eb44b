"""Where somebody who knows the truth would click next."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def next_click(
    truth: np.ndarray, mask: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[tuple[int, int, int], bool] | None:
    """The middle of the largest error: its voxel furthest from its border.

    This is the robot user of the interactive segmentation challenges (Isensee et al., "nnInteractive", 2025, among
    others); people click less regularly.

    Args:
        truth, mask: (k, j, i) bool.
        spacing: of the voxels along (k, j, i), mm.

    Returns:
        (k, j, i) and whether it lies in the object (was missed); ``None`` where nothing is wrong.
    """
    wrong = truth != mask
    if not wrong.any():
        return None
    box = tuple(slice(max(int(at.min()) - 1, 0), int(at.max()) + 2) for at in np.nonzero(wrong))
    best, missed = None, False
    for inside in (True, False):
        regions, count = ndimage.label(wrong[box] & (truth[box] == inside))
        if count:
            sizes = np.bincount(regions.ravel())
            sizes[0] = 0
            largest = int(sizes.argmax())
            if best is None or sizes[largest] > best.sum():
                best, missed = regions == largest, inside
    assert best is not None
    # A border of the scan is one of the region, too.
    depth = ndimage.distance_transform_edt(np.pad(best, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    k, j, i = (
        int(at) + part.start for at, part in zip(np.unravel_index(depth.argmax(), depth.shape), box, strict=True)
    )
    return (k, j, i), missed
