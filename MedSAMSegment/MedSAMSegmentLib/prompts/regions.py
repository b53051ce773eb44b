"""Where in a region somebody would click who means all of it."""

from __future__ import annotations

import numpy as np


def largest_regions(mask: np.ndarray, most: int = 1, least: float = 1.0) -> list[np.ndarray]:
    """The largest connected regions (neighbours share a face) of a bool array, the largest first.

    Args:
        mask: of any dimension.
        most: so many at most.
        least: elements that a region must have.
    """
    from scipy import ndimage

    regions, count = ndimage.label(mask)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")[:most]
    return [regions == number + 1 for number in order if sizes[number] >= least]


def innermost(region: np.ndarray, spacing: tuple[float, ...] | None = None) -> tuple[int, ...]:
    """The index of the element of a bool region that is furthest from its border; the array's edge is one, too.

    Args:
        region: of any dimension, not empty.
        spacing: between the elements along every axis; by default 1.
    """
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(region, 1), sampling=spacing)[(slice(1, -1),) * region.ndim]
    return tuple(int(at) for at in np.unravel_index(int(depth.argmax()), depth.shape))
