"""How far an object without a 3-D box reaches across the slices.

A rectangle, a diameter or a drawn slice says how large the object is on one slice; that it is as large across the
slices is a guess (`prompts/region.py`).  A glance at the region in which it may lie tells more: where the object ends
before the region does, so does the region; where it does not end, the region is made larger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..prompts.region import between_slices
from .coarse import CoarseMask

if TYPE_CHECKING:
    from ..prompts import SlicePlan
    from ..volume import Geometry, OrientedBox

# The region grows by this part of the way from the key slice to its end, where the object goes on.
_GROWTH = 0.5

# A slice is taken along from this part of its thickness on, a little more than that as numbers are not exact.
_LEAST_PART = 0.25 + 1e-6


def region_found(found: CoarseMask, geometry: Geometry, plan: SlicePlan) -> OrientedBox:
    """The plan's region, as far across the slices as the object seems to reach.

    Args:
        found: in the plan's region.
        geometry: of the scan.
        plan: of an object without a drawn box; slices that the user said something about stay in the region.

    Returns:
        a box in LPS mm with the axes of the plan's, within the scan.
    """
    occupied = np.flatnonzero((found.logits > 0).flatten(1).any(dim=1).cpu().numpy())
    if not occupied.size:
        return plan.box
    box, plane = plan.box, plan.plane
    # The last axis of a plan's box is that of the slices, counted as these are.
    ends = np.asarray(box.centre) + [[0.0], [0.5]] * np.asarray(box.axes)[:, 2] * box.size[2]
    middle, end = plane.to_slice(np.asarray(geometry.lps_to_index(ends)))[:, 2]
    half, places = end - middle, found.grid.place(0).double().numpy()
    cell = places[1] - places[0]
    # Where the region's faces are is -1 and 1.
    low, high = places[occupied[[0, -1]]] + [-cell / 2, cell / 2]
    key = (plan.key_slice - middle) / half
    low = -1.0 - _GROWTH * (key + 1.0) if low < -1.0 + 1.01 * cell else low
    high = 1.0 + _GROWTH * (1.0 - key) if high > 1.0 - 1.01 * cell else high
    told = [plan.key_slice, *plan.points, *plan.masks, *plan.boxes]
    first = int(np.floor(middle + low * half + 0.5 + _LEAST_PART))
    last = int(np.ceil(middle + high * half - 0.5 - _LEAST_PART))
    first, last = max(min(first, *told), 0), min(max(last, *told), plane.slices - 1)
    return between_slices(geometry, plane, box, first, last)
