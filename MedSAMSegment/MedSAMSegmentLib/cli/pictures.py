"""What an image network is shown of a scan: 8-bit slices through a window, or a picture in its own colours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ..prompts import SlicePlane
    from ..volume import IntensityRange, Volume

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def is_picture_file(scan: Path, volume: Volume) -> bool:
    """Whether a scan is a two-dimensional picture; a TIFF of several pages is a volume."""
    return scan.is_file() and scan.name.lower().endswith(PICTURE_SUFFIXES) and volume.voxels.shape[0] == 1


def picture_colours(scan: Path, volume: Volume, window: str) -> np.ndarray | None:
    """The colours (rows, columns, 3) uint8 of a picture that is read as one slice, unless a window was chosen.

    ``None`` for everything else: volumes, and pictures with other than 8 bits a channel.
    """
    if window != "auto" or not is_picture_file(scan, volume):
        return None
    from ..volume.readers.picture import read_colours

    return read_colours(scan)


def remarks(volume: Volume, colours: np.ndarray | None) -> list[str]:
    """What reading the scan was remarked on; not that colours were turned to grey where the colours are shown."""
    return [text for text in volume.notes if colours is None or "luminance" not in text]


def whole_slice(volume: Volume, window: IntensityRange) -> np.ndarray:
    """(rows, columns) uint8: the only slice of a picture through a window."""
    from ..inference.automatic_volume import slice_picture
    from ..prompts import SlicePlane

    return slice_picture(volume, SlicePlane.along(volume.geometry, 0), 0, window)


def shown_slices(
    volume: Volume, plane: SlicePlane, indices: list[int], window: IntensityRange, colours: np.ndarray | None
) -> dict[int, Callable[[], np.ndarray]]:
    """By slice, what makes its picture: (rows, columns) or (rows, columns, 3) uint8.

    Args:
        volume: the scan.
        plane: how it is cut.
        indices: the slices wanted.
        window: the grey values shown as black and white.
        colours: see :func:`picture_colours`; shown instead of the only slice.
    """
    from ..inference.automatic_volume import slice_picture

    if colours is not None and plane.axis == 0:
        return {0: lambda: colours}
    return {index: partial(slice_picture, volume, plane, index, window) for index in indices}
