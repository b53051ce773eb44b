"""The plain geometry of automatic mask generation: point grids, crops, duplicates, edges, specks and holes.

Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643), appendix B.  Boxes are (n, 4) as x0, y0, x1, y1: first and
last column and row of a mask, as in the paper's program, so that a box one pixel wide has no area.  Crops are
(x0, y0, x1, y1) with exclusive ends.
"""

from __future__ import annotations

import math

import numpy as np

Crop = tuple[int, int, int, int]

EDGE_TOLERANCE = 20.0
"""A mask whose box comes this close (pixels) to a cut edge of a crop was probably cut off by it."""


def point_grid(points_per_side: int) -> np.ndarray:
    """(points_per_side**2, 2) places (x, y) in 0..1, row by row, each in the middle of its cell."""
    steps = (np.arange(points_per_side) + 0.5) / points_per_side
    x, y = np.meshgrid(steps, steps)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def crop_boxes(shape: tuple[int, int], layers: int, overlap_ratio: float) -> list[tuple[int, Crop]]:
    """(layer, crop) for an image of ``shape`` (rows, columns): the whole image, then 2 x 2, 4 x 4 ... crops.

    Args:
        layers: how many layers beside the whole image.
        overlap_ratio: by which part of the image's shorter side the crops of the first layer overlap; half of it in
            the second, a quarter in the third ...
    """
    rows, columns = shape
    crops: list[tuple[int, Crop]] = [(0, (0, 0, columns, rows))]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(shape) * (2 / count))
        width, height = (math.ceil((overlap * (count - 1) + side) / count) for side in (columns, rows))
        for number in range(count * count):
            across, down = divmod(number, count)
            x0, y0 = (width - overlap) * across, (height - overlap) * down
            crops.append((layer, (x0, y0, min(x0 + width, columns), min(y0 + height, rows))))
    return crops


def keep_best(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Non-maximum suppression: indices of the boxes to keep, best score first.

    A box goes when its intersection over union with a better one that stays is above ``threshold``.  Of equal scores
    the earlier box counts as the better one.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    x0, y0, x1, y1 = boxes.T
    areas = (x1 - x0) * (y1 - y0)
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        width = np.minimum(x1[best], x1[order]) - np.maximum(x0[best], x0[order])
        height = np.minimum(y1[best], y1[order]) - np.maximum(y0[best], y0[order])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        # Written without a quotient: boxes without area have no overlap with anything.
        order = order[shared <= threshold * (areas[best] + areas[order] - shared)]
    return np.array(kept, dtype=np.int64)


def touches_cut_edge(boxes: np.ndarray, crop: Crop, shape: tuple[int, int]) -> np.ndarray:
    """(n,) bool: boxes of the image that come near an edge of ``crop`` which is no edge of the image (rows, columns).

    Args:
        boxes: (n, 4) in coordinates of the image.
    """
    rows, columns = shape
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    near_crop = np.abs(boxes - np.array(crop)) <= EDGE_TOLERANCE
    near_image = np.abs(boxes - np.array([0, 0, columns, rows])) <= EDGE_TOLERANCE
    return (near_crop & ~near_image).any(axis=1)


def without_small_regions(mask: np.ndarray, smallest_area: int) -> tuple[np.ndarray, bool]:
    """The mask (rows, columns) without holes, and then without islands, of fewer than ``smallest_area`` pixels.

    Pixels touch at edges and corners.  Where every island is small the largest one stays.

    Returns:
        The mask, and whether anything was changed.
    """
    from scipy import ndimage

    neighbours = np.ones((3, 3))
    background, count = ndimage.label(~mask, structure=neighbours)
    sizes = np.bincount(background.ravel(), minlength=count + 1)
    small = np.flatnonzero(sizes < smallest_area)
    holes = small[small > 0]
    filled = mask | np.isin(background, holes)

    islands, count = ndimage.label(filled, structure=neighbours)
    sizes = np.bincount(islands.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = np.flatnonzero(sizes >= smallest_area)
    kept = kept[kept > 0]
    if kept.size == 0 and count:
        kept = np.array([np.argmax(sizes)])
    return np.isin(islands, kept), bool(holes.size or kept.size < count)
