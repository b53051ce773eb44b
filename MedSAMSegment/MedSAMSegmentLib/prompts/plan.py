"""From prompts to slices: which slices an object may lie on, where on them, and where to begin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .plane import SlicePlane
from .types import MaskPrompt, PointPrompt

if TYPE_CHECKING:
    from ..volume import Geometry, OrientedBox

Rectangle = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in continuous index coordinates of a slice; the edges, not the outermost pixel centres."""


@dataclass(frozen=True)
class SlicePoint:
    """A click on a slice: (x, y) in continuous index coordinates."""

    x: float
    y: float
    positive: bool


@dataclass(frozen=True)
class SlicePlan:
    """What the tracker is asked to do for one object.

    Attributes:
        plane: how the scan is cut.
        slices: consecutive slice indices the object may lie on, ascending.
        rectangles: for each slice that the box meets, the box's bounding rectangle on it, inside the image.
        key_slice: where tracking begins: the box's middle, where its cross-section is largest and the rectangle is
            tightest; or the drawn mask nearest to it.
        box: the box; grown where the user clicked inside the object but outside the box.
        points: clicks by slice.
        masks: drawn masks (rows, columns) by slice.
    """

    plane: SlicePlane
    slices: tuple[int, ...]
    rectangles: Mapping[int, Rectangle]
    key_slice: int
    box: OrientedBox
    points: Mapping[int, tuple[SlicePoint, ...]] = field(default_factory=dict)
    masks: Mapping[int, np.ndarray] = field(default_factory=dict)

    def bounds(self) -> Rectangle:
        """The rectangle around all slices' rectangles."""
        corners = np.array(list(self.rectangles.values()))
        low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def is_prompted(self, index: int) -> bool:
        """Whether the user said something about that very slice (the box says it about the key slice)."""
        return index == self.key_slice or index in self.points or index in self.masks


def plan_slices(
    geometry: Geometry,
    box: OrientedBox,
    points: Iterable[PointPrompt] = (),
    masks: Iterable[MaskPrompt] = (),
    plane: str = "auto",
    margin_mm: float = 0.0,
    key_slice: int | None = None,
) -> SlicePlan:
    """Lay out the slices of one object.

    Args:
        geometry: of the scan.
        box: around the object.
        points: clicks anywhere on the scan.
        masks: drawn cross-sections, on slices of the plane that is used.
        plane: see :meth:`SlicePlane.of`.
        margin_mm: slices this far beyond the box are tracked too (they have no rectangle).
        key_slice: keep this one (a plan that grows by corrections keeps its beginning), if the box still holds it.

    A positive click or a drawn mask outside the box grows the box: the user knows better.

    Raises:
        InputError: ``BOX_OUTSIDE``, ``BOX_BETWEEN_SLICES``, ``POINT_OUTSIDE_SCAN``, ``MASK_OUTSIDE_SCAN`` or
            ``MASK_OTHER_PLANE``.
        UsageError: ``UNKNOWN_PLANE``.
    """
    cut = SlicePlane.of(geometry, plane)
    points = tuple(points)
    by_slice = _points_by_slice(geometry, cut, points)
    drawn = _masks_by_slice(cut, masks)
    inside = [np.array([point.position]) for point in points if point.positive]
    inside += [geometry.index_to_lps(cut.to_index(_pixels(index, mask))) for index, mask in drawn.items()]
    box = _grown(box, np.concatenate(inside)) if inside else box

    rectangles = _rectangles(geometry, box, cut)
    first, last = min(rectangles), max(rectangles)
    beyond = int(np.floor(margin_mm / cut.slice_spacing + 1e-9))
    first, last = max(first - beyond, 0), min(last + beyond, cut.slices - 1)
    first, last = min([first, *drawn]), max([last, *drawn])

    centre = cut.to_slice(geometry.lps_to_index(np.asarray(box.centre, dtype=np.float64)))[2]
    if key_slice is None or not (key_slice in rectangles or key_slice in drawn):
        key_slice = min(list(drawn) or list(rectangles), key=lambda index: (abs(index - centre), index))
    slices = tuple(range(first, last + 1))
    return SlicePlan(
        plane=cut,
        slices=slices,
        rectangles=MappingProxyType(rectangles),
        key_slice=key_slice,
        box=box,
        points=MappingProxyType({index: found for index, found in by_slice.items() if first <= index <= last}),
        masks=MappingProxyType(drawn),
    )


def _rectangles(geometry: Geometry, box: OrientedBox, cut: SlicePlane) -> dict[int, Rectangle]:
    """The box's rectangle on every slice it meets, cut off at the image's edge, in ascending order."""
    box.check_overlap(geometry, cut.axis)
    return dict(sorted(box.slice_rectangles(geometry, cut.axis).items()))


def _pixels(index: int, mask: np.ndarray) -> np.ndarray:
    """Foreground pixel centres of a drawn mask as (n, 3) points (x, y, slice)."""
    rows, columns = np.nonzero(mask)
    return np.stack([columns, rows, np.full_like(rows, index)], axis=-1).astype(np.float64)


def _grown(box: OrientedBox, points: np.ndarray) -> OrientedBox:
    """The smallest box with the same axes that holds ``box`` and all ``points`` (n, 3) LPS mm."""
    if len(points) == 0:
        return box
    local = np.asarray(box.to_local(points), dtype=np.float64)
    low, high = np.minimum(local.min(axis=0), -1.0), np.maximum(local.max(axis=0), 1.0)
    if (low == -1.0).all() and (high == 1.0).all():
        return box
    size, axes = np.asarray(box.size, dtype=np.float64), np.asarray(box.axes, dtype=np.float64)
    centre = np.asarray(box.centre, dtype=np.float64) + axes @ ((low + high) / 2 * size / 2)
    return type(box)(centre=centre, axes=axes, size=size * (high - low) / 2)


def _points_by_slice(
    geometry: Geometry, cut: SlicePlane, points: tuple[PointPrompt, ...]
) -> dict[int, tuple[SlicePoint, ...]]:
    result: dict[int, tuple[SlicePoint, ...]] = {}
    rows, columns = cut.shape
    for point in points:
        x, y, position = cut.to_slice(geometry.lps_to_index(np.array(point.position)))
        index = int(np.floor(position + 0.5))
        if not (0 <= index < cut.slices and -0.5 <= x <= columns - 0.5 and -0.5 <= y <= rows - 0.5):
            raise InputError("POINT_OUTSIDE_SCAN", "A point lies outside the scan.", "Click inside the image.")
        result[index] = (*result.get(index, ()), SlicePoint(float(x), float(y), point.positive))
    return result


def _masks_by_slice(cut: SlicePlane, masks: Iterable[MaskPrompt]) -> dict[int, np.ndarray]:
    """Drawn masks by slice; of several on one slice the last one counts."""
    result: dict[int, np.ndarray] = {}
    for prompt in masks:
        if prompt.axis != cut.axis:
            raise InputError(
                "MASK_OTHER_PLANE",
                "A mask was drawn on another plane than the one that is segmented.",
                "Draw it on the segmentation plane, or choose that plane for the session.",
            )
        if prompt.mask.shape != cut.shape or not 0 <= prompt.slice_index < cut.slices:
            raise InputError(
                "MASK_OUTSIDE_SCAN",
                f"A drawn mask of {prompt.mask.shape} on slice {prompt.slice_index} does not fit this scan's "
                f"{cut.slices} slices of {cut.shape}.",
                "Draw it on a slice of this scan.",
            )
        result[prompt.slice_index] = prompt.mask
    return result
