"""A picture of a result: evenly spaced slices through the object with its contour, its box and the scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UsageError
from ..volume import Volume, Window
from .atomic import atomic_path
from .options import SheetStyle
from .terminology import Colour
from .tile import Layer, View, box_outlines, draw_tile, view_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

BACKGROUND: Colour = (16, 20, 24)
TEXT: Colour = (216, 222, 228)
QUIET: Colour = (128, 138, 148)
GAP = 8
TILE_PIXELS = {1: 640, 2: 440, 4: 340}
"""Longer side of one slice's picture when there are at most so many; else 250."""

CONTEXT = 0.18
"""Margin around masks and boxes, as a share of their larger extent."""


def write_contact_sheet(
    path: str | Path, volume: Volume, layers: Sequence[Layer], style: SheetStyle | None = None
) -> None:
    """Draw a contact sheet and save it as PNG; arguments as in :func:`draw_contact_sheet`.

    Raises:
        OutputError: the file cannot be written.
        UsageError: ``MASK_SHAPE`` when a mask is not on the scan's grid.
    """
    picture = draw_contact_sheet(volume, layers, style)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def draw_contact_sheet(volume: Volume, layers: Sequence[Layer], style: SheetStyle | None = None) -> Image:
    """Slices of a scan with objects drawn on them.

    Args:
        volume: the scan; grey values are windowed for display only.
        layers: objects, in drawing order; masks ``(k, j, i)`` on the scan's grid.
        style: slices, grey values and head.

    Raises:
        UsageError: ``MASK_SHAPE``.
    """
    from PIL import Image, ImageDraw

    for layer in layers:
        if layer.mask is not None and layer.mask.shape != volume.voxels.shape:
            raise UsageError("MASK_SHAPE", f"The mask of {layer.name!r} is not on the scan's grid.")
    style = style or SheetStyle()
    axis = volume.geometry.slice_axis if style.axis is None else style.axis
    intensity = (style.window or Window.parse("auto")).resolve(volume)
    outlines = box_outlines(volume.geometry, axis, layers)
    numbers = _slice_numbers(volume, axis, layers, outlines, style.slices)
    view = view_of(volume.geometry, axis, layers, outlines, CONTEXT)
    size = _tile_size(view, len(numbers))
    columns = _columns(len(numbers), size)
    rows = math.ceil(len(numbers) / columns)

    fonts = _fonts()
    head = GAP + 26 * bool(style.title) + 20 * bool(style.subtitle) + 24 * bool(layers)
    width = max(columns * (size[0] + GAP) + GAP, 360)
    sheet = Image.new("RGB", (width, head + rows * (size[1] + GAP) + GAP), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    _draw_head(pen, width, style, layers, fonts)
    for place, number in enumerate(numbers):
        x = GAP + place % columns * (size[0] + GAP)
        y = head + place // columns * (size[1] + GAP)
        tile = draw_tile(volume, view, number, intensity, layers, outlines, size)
        _annotate(ImageDraw.Draw(tile), tile.size, number, volume, view, layers, fonts, letters=place == 0)
        sheet.paste(tile, (x, y))
    return sheet


def _slice_numbers(
    volume: Volume,
    axis: int,
    layers: Sequence[Layer],
    outlines: Sequence[Mapping[int, np.ndarray]],
    slices: int,
) -> list[int]:
    used = {number for polygons in outlines for number in polygons}
    others = tuple(other for other in range(3) if other != axis)
    for layer in layers:
        if layer.mask is not None:
            used.update(int(number) for number in np.flatnonzero(layer.mask.any(axis=others)))
    first, last = (min(used), max(used)) if used else (0, volume.voxels.shape[axis] - 1)
    count = min(slices, last - first + 1)
    return sorted({round(float(number)) for number in np.linspace(first, last, count)})


def _columns(count: int, size: tuple[int, int]) -> int:
    """Columns of a sheet about one and a half times as wide as high, with as few empty places as possible."""
    wanted = min(count, max(1, round(math.sqrt(count * 1.5 * size[1] / size[0]))))
    candidates = range(max(1, wanted - 1), min(count, wanted + 1) + 1)
    return min(candidates, key=lambda columns: (-count % columns, abs(columns - wanted)))


def _tile_size(view: View, count: int) -> tuple[int, int]:
    width, height = view.millimetres
    longer = next((pixels for limit, pixels in TILE_PIXELS.items() if count <= limit), 250)
    scale = longer / max(width, height)
    # A slice of a thick-slice scan may be a thin strip: keep it visible rather than in proportion.
    return max(round(width * scale), 60), max(round(height * scale), 60)


def _fonts() -> tuple[FreeTypeFont | ImageFont, ...]:
    from PIL import ImageFont

    return tuple(ImageFont.load_default(size) for size in (18, 13, 12))


def _draw_head(
    pen: ImageDraw,
    width: int,
    style: SheetStyle,
    layers: Sequence[Layer],
    fonts: tuple[FreeTypeFont | ImageFont, ...],
) -> None:
    y = GAP
    for text, font, colour, height in ((style.title, fonts[0], TEXT, 26), (style.subtitle, fonts[1], QUIET, 20)):
        if text:
            pen.text((GAP, y), _fitted(pen, text, font, width - 2 * GAP), font=font, fill=colour)
            y += height
    x = GAP
    for layer in layers:
        length = pen.textlength(layer.name, font=fonts[1])
        if x > GAP and x + 20 + length > width - 40:
            pen.text((x, y), "…", font=fonts[1], fill=QUIET)
            break
        pen.rounded_rectangle((x, y + 3, x + 11, y + 14), 3, fill=layer.colour)
        pen.text((x + 17, y), layer.name, font=fonts[1], fill=TEXT)
        x += int(17 + length + 16)


def _fitted(pen: ImageDraw, text: str, font: FreeTypeFont | ImageFont, width: int) -> str:
    while len(text) > 1 and pen.textlength(text, font=font) > width:
        text = text[:-2] + "…"
    return text


def _annotate(
    pen: ImageDraw,
    size: tuple[int, int],
    number: int,
    volume: Volume,
    view: View,
    layers: Sequence[Layer],
    fonts: tuple[FreeTypeFont | ImageFont, ...],
    letters: bool,
) -> None:
    """Slice number, scores, and on the first tile the directions at the edges."""
    width, height = size
    font = fonts[2]

    def write(x: float, y: float, text: str, colour: Colour) -> None:
        pen.text((x, y), text, fill=colour, font=font, stroke_width=2, stroke_fill=BACKGROUND)

    write(5, 3, f"{'kji'[view.axis]} {number}", TEXT)
    y = 3
    for layer in layers:
        if layer.scores and number in layer.scores:
            text = f"{layer.scores[number]:.2f}"
            write(width - 5 - pen.textlength(text, font=font), y, text, layer.colour)
            y += 14
    if letters and volume.voxels.shape[0] > 1 and min(size) >= 100:
        left, right, top, bottom = view.letters
        write(4, height / 2 - 7, left, QUIET)
        write(width - 5 - pen.textlength(right, font=font), height / 2 - 7, right, QUIET)
        write(width / 2 - 4, 2, top, QUIET)
        write(width / 2 - 4, height - 17, bottom, QUIET)
