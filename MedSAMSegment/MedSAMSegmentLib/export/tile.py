"""One slice as a picture: grey values, mask contours, box outline, in true proportions and patient orientation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..volume import Geometry, OrientedBox, Volume

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]

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
    fill: float = 0.22
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


def view_of(geometry: Geometry, axis: int, layers: Sequence[Layer], margin_mm: float) -> View:
    """The smallest view that shows all masks and boxes with a margin; the whole slice when there are none."""
    in_plane = [other for other in range(3) if other != axis]
    shape, spacing = geometry.shape, geometry.spacing_kji
    low = [float("inf")] * 2
    high = [float("-inf")] * 2
    for layer in layers:
        if layer.mask is not None and layer.mask.any():
            for place, across in enumerate(in_plane):
                used = np.flatnonzero(layer.mask.any(axis=tuple(other for other in range(3) if other != across)))
                low[place], high[place] = min(low[place], used[0]), max(high[place], used[-1] + 1)
        if layer.box is not None:
            for x0, y0, x1, y1 in layer.box.slice_rectangles(geometry, axis).values():
                for place, (first, last) in enumerate(((y0, y1), (x0, x1))):
                    low[place], high[place] = min(low[place], first + 0.5), max(high[place], last + 0.5)
    ranges = []
    for place, across in enumerate(in_plane):
        if low[place] > high[place]:
            ranges.append((0, shape[across]))
            continue
        margin = margin_mm / spacing[across]
        first = max(int(np.floor(low[place] - margin)), 0)
        ranges.append((first, min(int(np.ceil(high[place] + margin)), shape[across])))
    return View(geometry, axis, ranges[0], ranges[1])


def draw_tile(
    volume: Volume,
    view: View,
    index: int,
    intensity: tuple[float, float],
    layers: Sequence[Layer],
    size: tuple[int, int],
) -> Image:
    """Draw one slice.

    Args:
        volume: the scan.
        view: the part to show.
        index: slice number along ``view.axis``.
        intensity: values shown black and white.
        layers: objects on top, in drawing order.
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
    return _draw_boxes(image, view, index, layers)


def _paint_mask(canvas: np.ndarray, mask: np.ndarray, layer: Layer, size: tuple[int, int]) -> None:
    """Blend a mask's area and its anti-aliased contour into the canvas, in place."""
    from PIL import Image

    if not mask.any():
        return
    # One voxel of air around it, so that a mask that ends at the picture's edge is closed there, too.
    field = np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    gradient = np.hypot(*np.gradient(field))
    # First-order distance from the 0.5 level in pixels; flat regions are far away.
    distance = np.abs(field - 0.5) / np.maximum(gradient, 1e-4)
    line = np.clip(1.6 - distance, 0, 1)
    alpha = np.maximum(np.clip((field - 0.5) * 8, 0, 1) * layer.fill, line)[..., None]
    canvas *= 1 - alpha
    canvas += alpha * np.asarray(layer.colour, np.float32)


def _draw_boxes(image: Image, view: View, index: int, layers: Sequence[Layer]) -> Image:
    """Outline the cut of every box with the slice, anti-aliased by drawing at three times the size."""
    from PIL import Image, ImageDraw

    factor = 3
    overlay = Image.new("RGBA", (image.width * factor, image.height * factor), (0, 0, 0, 0))
    pen = ImageDraw.Draw(overlay)
    drawn = False
    for layer in layers:
        polygon = None if layer.box is None else layer.box.slice_polygons(view.geometry, view.axis).get(index)
        if polygon is None:
            continue
        corners = view.points_on_screen(np.asarray(polygon), overlay.size)
        closed = [tuple(point) for point in np.vstack((corners, corners[:1]))]
        light = tuple(int(255 - (255 - channel) * 0.45) for channel in layer.colour)
        pen.line(closed, fill=(*light, 235), width=4, joint="curve")
        drawn = True
    if not drawn:
        return image
    overlay = overlay.resize(image.size, Image.Resampling.LANCZOS)
    return Image.alpha_composite(image.convert("RGBA"), overlay).convert("RGB")
