"""2-D pictures (PNG, JPEG, TIFF, BMP), by Pillow: one slice with square pixels counted as 1 mm.

Colour photographs and stained microscopy become their luminance (ITU-R BT.601). A TIFF of several grey pages of one
size is read as a stack of slices.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..geometry import Geometry
from ..volume import Volume
from .common import check_size, coloured, display_name, reading, silent_stderr, too_big

_GREY_MODES = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def read_picture(path: Path, as_labels: bool = False) -> Volume:
    """A picture file.

    Args:
        path: the file.
        as_labels: read the stored numbers of a palette, and refuse colours that are not grey, instead of taking
            luminance.

    Raises:
        InputError: ``RGB_VOLUME`` (a stack of colour pages, or colours in a label picture), ``NOT_A_VOLUME`` (pages of
            different size), ``NON_FINITE_VOXELS``, ``TRUNCATED_FILE``, ``UNREADABLE_FILE``, ``TOO_BIG``.
    """
    with reading(path, "picture"):
        from PIL import Image

        try:
            picture = Image.open(path)
        except Image.DecompressionBombError:
            raise too_big(f"{path.name} has more pixels than this program takes.") from None
        notes = ["A picture without physical size: one pixel counts as 1 mm."]
        with picture:
            # Animated PNGs have frames too, but only TIFF pages are slices.
            pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
            check_size(path, (pages, picture.height, picture.width))
            slices = []
            for page in range(pages):
                if pages > 1:
                    picture.seek(page)
                with silent_stderr():
                    picture.load()
                slices.append(_grey(path, picture, pages, as_labels, notes))
                if slices[-1].shape != slices[0].shape or slices[-1].dtype != slices[0].dtype:
                    raise InputError(
                        "NOT_A_VOLUME", f"The pages of {path.name} differ in size or type.", "Save one page on its own."
                    )
    voxels = np.stack(slices) if pages > 1 else slices[0][None]
    geometry = Geometry.from_parts(voxels.shape, (1.0, 1.0, 1.0))
    return Volume(voxels, geometry, name=display_name(path), notes=tuple(notes))


def read_colours(path: Path) -> NDArray[np.uint8] | None:
    """A picture of 8 bits as (rows, columns, 3) red, green and blue, for networks that look at colours.

    ``None`` for a picture that has other than 8 bits a channel, or several pages.

    Raises:
        InputError: ``TRUNCATED_FILE``, ``UNREADABLE_FILE``, ``TOO_BIG``.
    """
    with reading(path, "picture"):
        from PIL import Image

        try:
            picture = Image.open(path)
        except Image.DecompressionBombError:
            raise too_big(f"{path.name} has more pixels than this program takes.") from None
        with picture:
            pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
            if pages > 1 or picture.mode not in _EIGHT_BIT_MODES:
                return None
            with silent_stderr():
                return np.asarray(picture.convert("RGB"))


def _grey(path: Path, picture: Any, pages: int, as_labels: bool, notes: list[str]) -> NDArray[Any]:
    """One page as [row, column]; adds a note when colours were turned to grey."""
    if picture.mode in _GREY_MODES or (as_labels and picture.mode == "P"):
        return np.asarray(picture)
    if picture.mode == "LA":
        return np.asarray(picture.getchannel("L"))
    if pages > 1:
        raise coloured(path)
    colours = np.asarray(picture.convert("RGB"))
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
    if as_labels:
        raise coloured(path)
    notes.append("A colour picture: its luminance was taken.")
    return np.asarray(picture.convert("RGB").convert("L"))
