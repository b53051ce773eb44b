"""One slice as a picture: grey values, mask contours, box outline, in true proportions and patient orientation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..volume import Geometry, OrientedBox, Volume
from .terminology import Colour

if TYPE_CHECKING:
    from PIL.Image import Image


#: Names of the ends of the LPS axes: towards plus and towards minus.
_DIRECTION_LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))

#: On screen, x grows to the patient's left or back, y to the back or the feet: the radiological view from the feet.
_SCREEN_SIGNS = (1, 1, -1)


@dataclass(frozen=True)
class Layer:
    """An object to draw.

    Attributes:
        name: for the legend.
        mask: boolean ``(k, j, i)``; ``None`` draws the box only.
        colour: 8-bit red, green, blue.
        box: its prompt; ``None`` draws no box.
        fill: opacity of the mask's area, 0..1; 0 draws the contour only.
        scores: a confidence 0..1 for some slices.
    """

    name: str
    mask: np.ndarray | None
    colour: Colour
    box: OrientedBox | None = None
    fill: float = 0.18
    scores: dict[int, float] | None = None


@dataclass(frozen=True)
class View:
    """How the slices of one array axis appear on screen.

    Attributes:
        geometry: of the scan.
        axis: array axis across the slices.
        rows, columns: half-open index ranges of the part that is shown, along the slice's own two axes.
    """

    geometry: Geometry
    axis: int
    rows: tuple[int, int]
    columns: tuple[int, int]

    @cached_property
    def _orientation(self) -> tuple[bool, bool, bool, tuple[str, str, str, str]]:
        """Transpose?, then flip vertically?, flip horizontally?, and the letters left, right, top, bottom."""
        in_plane = [axis for axis in range(3) if axis != self.axis]
        # Columns of the direction matrix belong to i, j, k: array axis a is column 2 - a.
        steps = [self.geometry.direction[:, 2 - axis] for axis in in_plane]
        components = [int(np.abs(step).argmax()) for step in steps]
        # The head-foot direction is always vertical; in an axial slice the front-back direction is.
        transpose = components[0] < components[1]
        if transpose:
            steps.reverse()
            components.reverse()
        flips, letters = [], []
        for step, component in zip(steps, components, strict=True):
            towards = step[component] > 0
            forward = towards == (_SCREEN_SIGNS[component] > 0)
            flips.append(not forward)
            plus, minus = _DIRECTION_LETTERS[component]
            letters.append((minus, plus) if _SCREEN_SIGNS[component] > 0 else (plus, minus))
        (top, bottom), (left, right) = letters
        return transpose, flips[0], flips[1], (left, right, top, bottom)

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Anatomical directions at the left, right, top and bottom edge of the screen."""
        return self._orientation[3]

    @property
    def millimetres(self) -> tuple[float, float]:
        """Width and height of the shown part on screen, mm."""
        spacing = [self.geometry.spacing_kji[axis] for axis in range(3) if axis != self.axis]
        height = (self.rows[1] - self.rows[0]) * spacing[0]
        width = (self.columns[1] - self.columns[0]) * spacing[1]
        return (height, width) if self._orientation[0] else (width, height)

    def on_screen(self, array: np.ndarray) -> np.ndarray:
        """The shown part of a slice ``[row, column]``, turned as the screen has it."""
        part = array[self.rows[0] : self.rows[1], self.columns[0] : self.columns[1]]
        transpose, flip_vertical, flip_horizontal, _ = self._orientation
        part = part.T if transpose else part
        return part[:: -1 if flip_vertical else 1, :: -1 if flip_horizontal else 1]

    def points_on_screen(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Continuous slice coordinates ``(x, y)``, shape (n, 2), as pixels of a picture of ``size`` (width, height)."""
        x = (points[:, 0] + 0.5 - self.columns[0]) / (self.columns[1] - self.columns[0])
        y = (points[:, 1] + 0.5 - self.rows[0]) / (self.rows[1] - self.rows[0])
        transpose, flip_vertical, flip_horizontal, _ = self._orientation
        if transpose:
            x, y = y, x
        x = 1 - x if flip_horizontal else x
        y = 1 - y if flip_vertical else y
        return np.stack((x * size[0], y * size[1]), axis=1)


def box_outlines(geometry: Geometry, axis: int, layers: Sequence[Layer]) -> list[dict[int, np.ndarray]]:
    """For every layer the polygons of its box by slice number; none for a layer without a box."""
    return [{} if layer.box is None else layer.box.slice_polygons(geometry, axis) for layer in layers]


def view_of(
    geometry: Geometry,
    axis: int,
    layers: Sequence[Layer],
    outlines: Sequence[Mapping[int, np.ndarray]],
    margin: float,
) -> View:
    """The smallest view that shows all masks and boxes; the whole slice when there are none.

    Args:
        geometry: of the scan.
        axis: array axis across the slices.
        layers: objects to show.
        outlines: see :func:`box_outlines`.
        margin: added on each side, as a share of the larger extent.
    """
    in_plane = [other for other in range(3) if other != axis]
    extents: list[list[float]] = [[], []]
    for layer, polygons in zip(layers, outlines, strict=True):
        if layer.mask is not None and layer.mask.any():
            for extent, across in zip(extents, in_plane, strict=True):
                used = np.flatnonzero(layer.mask.any(axis=tuple(other for other in range(3) if other != across)))
                extent += [float(used[0]), float(used[-1] + 1)]
        for polygon in polygons.values():
            for extent, coordinate in zip(extents, (1, 0), strict=True):
                extent += [float(value) + 0.5 for value in polygon[:, coordinate]]
    shape = [geometry.shape[across] for across in in_plane]
    spacing = [geometry.spacing_kji[across] for across in in_plane]
    if not extents[0]:
        return View(geometry, axis, (0, shape[0]), (0, shape[1]))
    widest = max((max(extent) - min(extent)) * step for extent, step in zip(extents, spacing, strict=True))
    ranges = []
    for extent, length, step in zip(extents, shape, spacing, strict=True):
        border = margin * widest / step
        first = max(math.floor(min(extent) - border), 0)
        ranges.append((first, min(math.ceil(max(extent) + border), length)))
    return View(geometry, axis, ranges[0], ranges[1])


def draw_tile(
    volume: Volume,
    view: View,
    index: int,
    intensity: tuple[float, float],
    layers: Sequence[Layer],
    outlines: Sequence[Mapping[int, np.ndarray]],
    size: tuple[int, int],
) -> Image:
    """Draw one slice.

    Args:
        volume: the scan.
        view: the part to show.
        index: slice number along ``view.axis``.
        intensity: values shown black and white.
        layers: objects on top, in drawing order.
        outlines: for every layer the polygons of its box by slice number, as ``OrientedBox.slice_polygons`` gives them.
        size: width and height of the picture in pixels; should have the proportions of ``view.millimetres``.
    """
    from PIL import Image

    values = view.on_screen(volume.slice_array(view.axis, index)).astype(np.float32)
    low, high = intensity
    grey = np.clip((values - low) / (high - low), 0, 1) * 255
    picture = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
    canvas = np.repeat(np.clip(picture, 0, 255)[..., None], 3, axis=2)
    for layer in layers:
        if layer.mask is not None:
            where: list[int | slice] = [slice(None)] * 3
            where[view.axis] = index
            _paint_mask(canvas, view.on_screen(layer.mask[tuple(where)]), layer, size)
    image = Image.fromarray(np.rint(canvas).astype(np.uint8))
    cuts = [
        (polygons[index], layer.colour) for polygons, layer in zip(outlines, layers, strict=True) if index in polygons
    ]
    return _draw_polygons(image, view, cuts) if cuts else image


def _paint_mask(canvas: np.ndarray, mask: np.ndarray, layer: Layer, size: tuple[int, int]) -> None:
    """Blend a mask's area and its anti-aliased contour into the canvas, in place."""
    from PIL import Image

    if not mask.any():
        return
    field = np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    gradient = np.hypot(*np.gradient(field))
    # First-order distance from the 0.5 level in pixels; flat regions are far away.
    distance = np.abs(field - 0.5) / np.maximum(gradient, 1e-4)
    line = np.clip(1.6 - distance, 0, 1)
    alpha = np.maximum(np.clip((field - 0.5) * 8, 0, 1) * layer.fill, line)[..., None]
    canvas *= 1 - alpha
    canvas += alpha * np.asarray(layer.colour, np.float32)


def _draw_polygons(image: Image, view: View, cuts: Sequence[tuple[np.ndarray, Colour]]) -> Image:
    """Outline the cuts of boxes with the slice, anti-aliased by drawing at three times the size."""
    from PIL import Image, ImageDraw

    factor = 3
    overlay = Image.new("RGBA", (image.width * factor, image.height * factor), (0, 0, 0, 0))
    pen = ImageDraw.Draw(overlay)
    for polygon, colour in cuts:
        corners = view.points_on_screen(polygon, overlay.size)
        closed = [tuple(point) for point in np.vstack((corners, corners[:1]))]
        light = tuple(int(255 - (255 - channel) * 0.45) for channel in colour)
        pen.line(closed, fill=(*light, 235), width=4, joint="curve")
    overlay = overlay.resize(image.size, Image.Resampling.BOX)
    return Image.alpha_composite(image.convert("RGBA"), overlay).convert("RGB")
