"""Where an object may lie, for objects that the user drew no 3-D box around."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .on_slices import Rectangle, SlicePrompts
from .plane import SlicePlane

if TYPE_CHECKING:
    from ..volume import Geometry, OrientedBox


def region_of(geometry: Geometry, plane: SlicePlane, prompts: SlicePrompts) -> OrientedBox:
    """The box that stands in for one that was not drawn.

    Rectangles, diameters and drawn masks tell the object's size: the region holds all of them, and across the slices it
    reaches as far beyond them as half their longest side.  Rectangles on several slices also tell where it begins and
    ends.  Clicks alone tell no size: the region is the whole scan.

    Raises:
        InputError: ``NOTHING_PROMPTED`` when nothing says where the object is.
    """
    rectangles = [*prompts.boxes.items(), *prompts.squares.items()]
    corners = [np.array([[x0, y0, k], [x1, y1, k]]) for k, (x0, y0, x1, y1) in rectangles]
    for index, mask in prompts.masks.items():
        rows, columns = np.nonzero(mask)
        if rows.size:
            corners.append(
                np.array(
                    [
                        [columns.min() - 0.5, rows.min() - 0.5, index],
                        [columns.max() + 0.5, rows.max() + 0.5, index],
                    ]
                )
            )
    height, width = plane.shape
    first, last = np.array([-0.5, -0.5, -0.5]), np.array([width - 0.5, height - 0.5, plane.slices - 0.5])
    if corners:
        places = np.concatenate(corners)
        low, high = places.min(axis=0), places.max(axis=0)
        longest = max((high[0] - low[0]) * plane.column_spacing, (high[1] - low[1]) * plane.row_spacing)
        reach = 0.5 if ends_are_told(prompts.boxes) else max(longest / 2 / plane.slice_spacing, 0.5)
        low[2], high[2] = low[2] - reach, high[2] + reach
        low, high = np.maximum(low, first), np.minimum(high, last)
    elif len(prompts.inside):
        low, high = first, last
    else:
        raise InputError(
            "NOTHING_PROMPTED",
            "Nothing says where the object is.",
            "Draw a box, a diameter, a mask or a rectangle, or click inside the object.",
        )
    return _from_slices(geometry, plane, low, high)


def ends_are_told(rectangles: Mapping[int, Rectangle]) -> bool:
    """Whether rectangles drawn on slices say where the object begins and ends: several do, one does not."""
    return len(rectangles) > 1


def between_slices(geometry: Geometry, plane: SlicePlane, region: OrientedBox, first: int, last: int) -> OrientedBox:
    """A plan's box that lies along the scan's own axes, from one slice to another instead (both included)."""
    corner = np.asarray(region.axes) @ (np.asarray(region.size) / 2)
    low, high = plane.to_slice(np.asarray(geometry.lps_to_index(region.centre + np.stack([-corner, corner]))))
    low[2], high[2] = first - 0.5, last + 0.5
    return _from_slices(geometry, plane, low, high)


def _from_slices(geometry: Geometry, plane: SlicePlane, low: np.ndarray, high: np.ndarray) -> OrientedBox:
    """The box between two corners (x, y, slice)."""
    from ..volume import OrientedBox

    # A box of voxels i0 <= i < i1 has its faces half a voxel before the first and behind the last centre.
    lower, upper = plane.to_index(low) + 0.5, plane.to_index(high) + 0.5
    return OrientedBox.from_index_range(geometry, *lower, *upper)
