"""What the user said about single slices, as clicks in the whole box.

A click counts as it is.  A drawn slice says where the mask of the whole box is wrong on it: it counts as clicks in the
middle of the largest errors there, and one in the middle of what was right.  So does what the network makes of a
rectangle, which is nearly as good as drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..prompts.on_slices import SlicePoint
from ..prompts.plan import SlicePlan
from ..prompts.regions import innermost, largest_regions
from .coarse import Click, CoarseMask
from .crop import CropFrame
from .crop_prompts import array_key

if TYPE_CHECKING:
    from ..volume import Geometry

# A drawn slice stands for so many clicks of each kind; errors smaller than this part of both masks stand for none.
_MOST, _LEAST_SHARE = 3, 0.02


def told_in_box(plan: SlicePlan) -> frozenset[Hashable]:
    """What a plan says that a mask of the whole box can take account of, in a form that can be compared."""
    points = {("point", index, point) for index, clicked in plan.points.items() for point in clicked}
    drawn = {("drawn", index, array_key(mask)) for index, mask in plan.masks.items()}
    return frozenset(points | drawn | {_told_by_rectangle(plan, index) for index in _rectangles(plan)})


def new_clicks(
    plan: SlicePlan,
    found: CoarseMask,
    geometry: Geometry,
    frame: CropFrame,
    in_rectangle: Callable[[int], np.ndarray],
) -> tuple[Click, ...]:
    """The clicks, and those that drawn slices and rectangles stand for, that ``found`` takes no account of; by slice.

    Args:
        plan, geometry, frame: what the user said, of the scan, of the crop.
        found: in the whole box.
        in_rectangle: the number of a slice with a rectangle -> (s, s) bool, what the network makes of that.
    """
    new: list[tuple[int, SlicePoint]] = []
    rectangles = _rectangles(plan)
    for index in sorted({*plan.points, *plan.masks, *rectangles}):
        new += [(index, p) for p in plan.points.get(index, ()) if ("point", index, p) not in found.told]
        mask = plan.masks.get(index)
        drawn: np.ndarray | None = None
        if mask is not None and ("drawn", index, array_key(mask)) not in found.told:
            drawn = frame.sample(mask) > 0.5
        elif index in rectangles and _told_by_rectangle(plan, index) not in found.told:
            drawn = in_rectangle(index)
        if drawn is not None:
            seen = found.on_slices(geometry, plan, frame)(index - plan.key_slice).cpu().numpy() > 0
            for (row, column), inside in clicks_on_drawn(seen, drawn):
                x, y = frame.to_slice(np.array([column, row], dtype=np.float64)).tolist()
                new.append((index, SlicePoint(x, y, inside)))
    clicks = []
    for index, point in new:
        x, y, z = geometry.index_to_lps(plan.plane.to_index(np.array([point.x, point.y, index]))).tolist()
        clicks.append(Click((x, y, z), point.positive))
    return tuple(clicks)


def _rectangles(plan: SlicePlan) -> set[int]:
    """Slices of which the user said nothing but a rectangle."""
    return plan.boxes.keys() - plan.points.keys() - plan.masks.keys()


def _told_by_rectangle(plan: SlicePlan, index: int) -> Hashable:
    return ("rectangle", index, plan.boxes[index])


def clicks_on_drawn(found: np.ndarray, drawn: np.ndarray) -> Iterator[tuple[tuple[int, int], bool]]:
    """Clicks (row, column), and whether inside, that say of a mask ``found`` (s, s) what ``drawn`` says of it."""
    least = max(1.0, _LEAST_SHARE * np.count_nonzero(found | drawn))
    said = ((drawn & ~found, _MOST, True), (found & ~drawn, _MOST, False), (drawn & found, 1, True))
    for mask, most, inside in said:
        for region in largest_regions(mask, most, least):
            row, column = innermost(region)
            yield (row, column), inside
