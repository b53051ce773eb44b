"""What the user said, slice by slice: clicks, drawn masks and rectangles, wherever they came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .plane import SlicePlane
from .strokes import line_clicks, line_on_slice, line_rectangle, scribble_clicks
from .types import LinePrompt, MaskPrompt, PointPrompt, ScribblePrompt, SliceBoxPrompt

if TYPE_CHECKING:
    from ..volume import Geometry

Rectangle = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in continuous index coordinates of a slice; the edges, not the outermost pixel centres."""


@dataclass(frozen=True)
class SlicePoint:
    """A click on a slice: (x, y) in continuous index coordinates."""

    x: float
    y: float
    positive: bool


@dataclass(frozen=True)
class SlicePrompts:
    """Prompts by slice; scribbles have become clicks, diameters clicks and squares.

    Attributes:
        points: clicks.
        masks: drawn masks (rows, columns); of several on one slice the last one.
        boxes: rectangles; of several on one slice the last one.
        squares: about diameters; they stand for a box where none was drawn.
        inside: (n, 3) all places (x, y, slice) that the user says belong to the object, or to its rectangle.
    """

    points: Mapping[int, tuple[SlicePoint, ...]] = field(default_factory=dict)
    masks: Mapping[int, np.ndarray] = field(default_factory=dict)
    boxes: Mapping[int, Rectangle] = field(default_factory=dict)
    squares: Mapping[int, Rectangle] = field(default_factory=dict)
    inside: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))

    @property
    def slices(self) -> tuple[int, ...]:
        """All slices that the user said something about, ascending."""
        return tuple(sorted(self.points.keys() | self.masks.keys() | self.boxes.keys() | self.squares.keys()))


def prompts_on_slices(
    geometry: Geometry,
    plane: SlicePlane,
    points: Iterable[PointPrompt] = (),
    masks: Iterable[MaskPrompt] = (),
    boxes: Iterable[SliceBoxPrompt] = (),
    scribbles: Iterable[ScribblePrompt] = (),
    lines: Iterable[LinePrompt] = (),
) -> SlicePrompts:
    """Sort prompts by slice.

    Raises:
        InputError: ``POINT_OUTSIDE_SCAN``, ``MASK_OUTSIDE_SCAN``, ``BOX_OUTSIDE``, ``OTHER_PLANE`` (drawn on slices of
            another plane), ``LINE_ACROSS_SLICES``.
    """
    clicks = [(plane.to_slice(geometry.lps_to_index(np.array(p.position)))[None], p.positive) for p in points]
    clicks += [(scribble_clicks(geometry, plane, stroke), stroke.positive) for stroke in scribbles]
    rectangles = {prompt.slice_index: _checked_box(plane, prompt) for prompt in boxes}
    squares: dict[int, Rectangle] = {}
    for line in lines:
        index, ends = line_on_slice(geometry, plane, line)
        squares[index] = _within(plane, line_rectangle(plane, ends))
        on_line = line_clicks(ends)
        clicks.append((np.concatenate([on_line, np.full((len(on_line), 1), index)], axis=1), True))
    by_slice: dict[int, tuple[SlicePoint, ...]] = {}
    for places, positive in clicks:
        _add_clicks(by_slice, plane, places, positive)
    drawn = {prompt.slice_index: _checked_mask(plane, prompt) for prompt in masks}
    inside = [places for places, positive in clicks if positive]
    inside += [_foreground(index, mask) for index, mask in drawn.items()]
    inside += [np.array([[x0, y0, k], [x1, y1, k]]) for k, (x0, y0, x1, y1) in rectangles.items()]
    return SlicePrompts(
        points=MappingProxyType(by_slice),
        masks=MappingProxyType(drawn),
        boxes=MappingProxyType(rectangles),
        squares=MappingProxyType(squares),
        inside=np.concatenate([np.zeros((0, 3)), *inside]),
    )


def _add_clicks(
    by_slice: dict[int, tuple[SlicePoint, ...]], plane: SlicePlane, places: np.ndarray, positive: bool
) -> None:
    rows, columns = plane.shape
    for x, y, position in places.tolist():
        index = int(np.floor(position + 0.5))
        if not (0 <= index < plane.slices and -0.5 <= x <= columns - 0.5 and -0.5 <= y <= rows - 0.5):
            raise InputError("POINT_OUTSIDE_SCAN", "A point lies outside the scan.", "Click inside the image.")
        by_slice[index] = (*by_slice.get(index, ()), SlicePoint(x, y, positive))


def _checked_mask(plane: SlicePlane, prompt: MaskPrompt) -> np.ndarray:
    _check_plane(plane, prompt.axis)
    if prompt.mask.shape != plane.shape or not 0 <= prompt.slice_index < plane.slices:
        raise InputError(
            "MASK_OUTSIDE_SCAN",
            f"A drawn mask of {prompt.mask.shape} on slice {prompt.slice_index} does not fit this scan's "
            f"{plane.slices} slices of {plane.shape}.",
            "Draw it on a slice of this scan.",
        )
    return prompt.mask


def _checked_box(plane: SlicePlane, prompt: SliceBoxPrompt) -> Rectangle:
    _check_plane(plane, prompt.axis)
    x0, y0, x1, y1 = _within(plane, prompt.rectangle)
    if not 0 <= prompt.slice_index < plane.slices or x0 >= x1 or y0 >= y1:
        raise InputError(
            "BOX_OUTSIDE",
            f"A rectangle on slice {prompt.slice_index} lies outside the scan.",
            f"The plane has the slices 0 to {plane.slices - 1} of {plane.shape} pixels.",
        )
    return x0, y0, x1, y1


def _within(plane: SlicePlane, rectangle: Rectangle) -> Rectangle:
    """The part of a rectangle that lies in the image."""
    rows, columns = plane.shape
    x0, y0, x1, y1 = rectangle
    return max(x0, -0.5), max(y0, -0.5), min(x1, columns - 0.5), min(y1, rows - 0.5)


def _check_plane(plane: SlicePlane, axis: int) -> None:
    if axis != plane.axis:
        raise InputError(
            "OTHER_PLANE",
            "A mask or a rectangle was drawn on another plane than the one that is segmented.",
            "Draw it on the segmentation plane, or choose that plane for the session.",
        )


def _foreground(index: int, mask: np.ndarray) -> np.ndarray:
    """Foreground pixel centres of a drawn mask as (n, 3) points (x, y, slice)."""
    rows, columns = np.nonzero(mask)
    return np.stack([columns, rows, np.full_like(rows, index)], axis=-1).astype(np.float64)
