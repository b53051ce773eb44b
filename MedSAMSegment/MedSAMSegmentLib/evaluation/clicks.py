"""Where somebody who knows the truth would click next."""

from __future__ import annotations

import numpy as np

from ..prompts.regions import innermost, largest_regions


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
    errors = [
        (region, inside) for inside in (True, False) for region in largest_regions(wrong[box] & (truth[box] == inside))
    ]
    largest, inside = max(errors, key=lambda error: np.count_nonzero(error[0]))
    k, j, i = (at + part.start for at, part in zip(innermost(largest, spacing), box, strict=True))
    return (k, j, i), inside
