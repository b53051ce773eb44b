"""From prompts to slices: which slices an object may lie on, where on them, and where to begin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from .between import rectangles_between
from .on_slices import Rectangle, SlicePoint, prompts_on_slices
from .plane import SlicePlane
from .region import ends_are_told, region_of
from .types import LinePrompt, MaskPrompt, PointPrompt, ScribblePrompt, SliceBoxPrompt

if TYPE_CHECKING:
    from ..volume import Geometry, OrientedBox


@dataclass(frozen=True)
class SlicePlan:
    """What the tracker is asked to do for one object.

    Attributes:
        plane: how the scan is cut.
        slices: consecutive slice indices the object may lie on, ascending.
        rectangles: for each slice that the box meets, the box's bounding rectangle on it, inside the image.
        key_slice: where tracking begins: the box's middle, where its cross-section is largest and the rectangle is
            tightest; or the drawn mask, or else the rectangle drawn on a slice, that is nearest to it.  Without a drawn
            box it is a slice the user said something about.
        box: the box, its axes along columns, rows and slices; grown where the user clicked inside the object but
            outside the box.
        points: clicks by slice, those of scribbles and diameters among them.
        masks: drawn masks (rows, columns) by slice.
        boxes: rectangles drawn on single slices; without a drawn box also the squares of diameters.
        between: without a drawn box, what lies between rectangles drawn on slices before and after, where the user said
            nothing else.
        box_is_drawn: the user drew the box; otherwise it only says where the object may lie.
        ends_are_told: the user said on which slices the object begins and ends, by the box or by rectangles.
    """

    plane: SlicePlane
    slices: tuple[int, ...]
    rectangles: Mapping[int, Rectangle]
    key_slice: int
    box: OrientedBox
    points: Mapping[int, tuple[SlicePoint, ...]] = field(default_factory=dict)
    masks: Mapping[int, np.ndarray] = field(default_factory=dict)
    boxes: Mapping[int, Rectangle] = field(default_factory=dict)
    between: Mapping[int, Rectangle] = field(default_factory=dict)
    box_is_drawn: bool = True
    ends_are_told: bool = True

    def rectangle(self, index: int) -> Rectangle | None:
        """The rectangle that may be shown to a network as a box around the object's cross-section."""
        drawn = self.drawn_rectangle(index)
        return drawn if drawn is not None or not self.box_is_drawn else self.rectangles.get(index)

    def drawn_rectangle(self, index: int) -> Rectangle | None:
        """The rectangle drawn on the slice, or on slices before and after it."""
        return self.boxes.get(index, self.between.get(index))

    def is_rectangle_alone(self, index: int) -> bool:
        """Whether no more was said of a slice than a rectangle drawn on it, or on slices before and after it."""
        drawn = self.drawn_rectangle(index) is not None
        return drawn and index not in self.points and index not in self.masks

    @property
    def is_sized(self) -> bool:
        """Whether the user said how large the object is, on one slice at least; clicks alone don't."""
        return self.box_is_drawn or bool(self.boxes) or any(mask.any() for mask in self.masks.values())

    def bounds(self) -> Rectangle:
        """The rectangle around all slices' rectangles."""
        corners = np.array(list(self.rectangles.values()))
        low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def outward(self) -> list[int]:
        """The slices, the key slice first and then those nearest to it."""
        return sorted(self.slices, key=lambda index: (abs(index - self.key_slice), index))

    def is_prompted(self, index: int) -> bool:
        """Whether the user said something about that very slice (the box says it about the key slice)."""
        return index == self.key_slice or any(index in told for told in (self.points, self.masks, self.boxes))


def plan_slices(
    geometry: Geometry,
    box: OrientedBox | None,
    points: Iterable[PointPrompt] = (),
    masks: Iterable[MaskPrompt] = (),
    plane: str = "auto",
    margin_mm: float = 0.0,
    key_slice: int | None = None,
    boxes: Iterable[SliceBoxPrompt] = (),
    scribbles: Iterable[ScribblePrompt] = (),
    lines: Iterable[LinePrompt] = (),
    region: OrientedBox | None = None,
) -> SlicePlan:
    """Lay out the slices of one object.

    Args:
        geometry: of the scan.
        box: around the object; ``None`` where other prompts say where it is, see
            :func:`~MedSAMSegmentLib.prompts.region.region_of`.
        points: clicks anywhere on the scan.
        masks: drawn cross-sections, on slices of the plane that is used.
        plane: see :meth:`SlicePlane.of`.
        margin_mm: slices this far beyond the box are tracked too (they have no rectangle).
        key_slice: keep this one (a plan that grows by corrections keeps its beginning), if the box still holds it.
        boxes: rectangles on slices of the plane that is used.
        scribbles: strokes anywhere on the scan; they become clicks.
        lines: diameters; each becomes clicks on its slice and, without a drawn box, a square.
        region: without a box, where the object is known to lie by now.

    A positive click, a rectangle or a drawn mask outside the box grows the box: the user knows better.

    Raises:
        InputError: ``BOX_OUTSIDE``, ``BOX_BETWEEN_SLICES``, ``NOTHING_PROMPTED``, and what
            :func:`~MedSAMSegmentLib.prompts.on_slices.prompts_on_slices` refuses.
        UsageError: ``UNKNOWN_PLANE``.
    """
    cut = SlicePlane.of(geometry, plane)
    told = prompts_on_slices(geometry, cut, points, masks, boxes, scribbles, lines)
    drawn = box is not None
    rectangles_drawn = told.boxes if drawn else MappingProxyType({**told.squares, **told.boxes})
    if box is None:
        box = region_of(geometry, cut, told) if region is None else region
    box = _along_slices(_grown(box, told.inside, geometry, cut), geometry, cut)

    rectangles = _rectangles(geometry, box, cut)
    first, last = min(rectangles), max(rectangles)
    beyond = int(np.floor(margin_mm / cut.slice_spacing + 1e-9))
    first, last = max(first - beyond, 0), min(last + beyond, cut.slices - 1)
    first, last = min([first, *told.masks]), max([last, *told.masks])

    if key_slice is None or not (key_slice in rectangles or key_slice in told.masks):
        centre = cut.to_slice(geometry.lps_to_index(np.asarray(box.centre, dtype=np.float64)))[2]
        clicked = [index for index, found in told.points.items() if any(point.positive for point in found)]
        candidates = list(told.masks) or list(rectangles_drawn) or ([] if drawn else clicked) or list(rectangles)
        key_slice = min(candidates, key=lambda index: (abs(index - centre), index))
    return SlicePlan(
        plane=cut,
        slices=tuple(range(first, last + 1)),
        rectangles=MappingProxyType(rectangles),
        key_slice=key_slice,
        box=box,
        points=MappingProxyType({index: found for index, found in told.points.items() if first <= index <= last}),
        masks=told.masks,
        boxes=rectangles_drawn,
        between=MappingProxyType({} if drawn else rectangles_between(told.boxes, told.masks)),
        box_is_drawn=drawn,
        ends_are_told=drawn or ends_are_told(told.boxes),
    )


def _rectangles(geometry: Geometry, box: OrientedBox, cut: SlicePlane) -> dict[int, Rectangle]:
    """The box's rectangle on every slice it meets, cut off at the image's edge, in ascending order."""
    rectangles = box.slice_rectangles(geometry, cut.axis)
    if not rectangles:
        box.check_overlap(geometry, cut.axis)
    return dict(sorted(rectangles.items()))


def _along_slices(box: OrientedBox, geometry: Geometry, cut: SlicePlane) -> OrientedBox:
    """The same box with its axes as near as can be to columns, rows and slices, in this order, counted as these are.

    Networks are shown places in the box along its axes: what they make of it must not depend on how it was drawn.
    """
    axes = np.asarray(box.axes, dtype=np.float64)
    along = axes.T @ cut.to_slice(geometry.direction / np.linalg.norm(geometry.direction, axis=0))
    slices = int(np.abs(along[:, 2]).argmax())
    rows, columns = sorted({0, 1, 2} - {slices}, key=lambda axis: -abs(along[axis, 1]))
    order = [columns, rows, slices]
    signs = np.where(along[order, [0, 1, 2]] < 0, -1.0, 1.0)
    if order == [0, 1, 2] and (signs > 0).all():
        return box
    return type(box)(box.centre, axes[:, order] * signs, np.asarray(box.size, dtype=np.float64)[order])


def _grown(box: OrientedBox, points: np.ndarray, geometry: Geometry, cut: SlicePlane) -> OrientedBox:
    """The smallest box with the same axes that holds ``box`` and all ``points`` (n, 3) as (x, y, slice)."""
    if len(points) == 0:
        return box
    local = np.asarray(box.to_local(geometry.index_to_lps(cut.to_index(points))), dtype=np.float64)
    low, high = np.minimum(local.min(axis=0), -1.0), np.maximum(local.max(axis=0), 1.0)
    if (low == -1.0).all() and (high == 1.0).all():
        return box
    size, axes = np.asarray(box.size, dtype=np.float64), np.asarray(box.axes, dtype=np.float64)
    centre = np.asarray(box.centre, dtype=np.float64) + axes @ ((low + high) / 2 * size / 2)
    return type(box)(centre=centre, axes=axes, size=size * (high - low) / 2)
