"""One square picture of the object's surroundings, and the exact way back to the scan's own grid.

A :class:`CropFrame` is a rectangle on the slices of one plane, cut into ``size`` x ``size`` crop pixels.  Both sides
use continuous index coordinates (a pixel centre sits on the integer), so a point keeps its place to the last bit of a
float whichever way it goes.  Images are resampled with a triangle filter as wide as the coarser of the two grids
(bilinear interpolation when the crop magnifies, anti-aliased when it reduces); outside the image its
edge repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from ..prompts.plan import Rectangle
from ..prompts.plane import SlicePlane


@dataclass(frozen=True)
class CropSettings:
    """How a network wants to see an object.

    Attributes:
        context: what is shown on each side of the box, as a fraction of the box's longer side.
        sizes: sizes (pixels) the network accepts, ascending; the smallest that loses no resolution is taken.
        largest_magnification: an object of few pixels is shown with more context rather than magnified further.
        full_slice_size: the whole slice is brought to this many pixels in the full-slice mode.
        keeps_aspect: its longer side is; otherwise both are, and it is stretched.
    """

    context: float = 0.5
    sizes: tuple[int, ...] = (96, 128, 160, 192, 256)
    largest_magnification: float = 3.0
    full_slice_size: int = 256
    keeps_aspect: bool = False


@dataclass(frozen=True)
class CropFrame:
    """The rectangle (x0, y0, x1, y1) of a slice that ``size`` x ``size`` crop pixels show.

    The edges are continuous index coordinates of the slice; crop pixel ``(u, v)`` covers
    ``x0 + (x1 - x0) * [u, u + 1] / size`` and likewise in y.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    size: int

    @classmethod
    def around(cls, bounds: Rectangle, plane: SlicePlane, settings: CropSettings) -> CropFrame:
        """The frame of one object: square in millimetres, its box in the middle, context on each side."""
        x0, y0, x1, y1 = bounds
        finest = min(plane.row_spacing, plane.column_spacing)
        longest = max((x1 - x0) * plane.column_spacing, (y1 - y0) * plane.row_spacing)
        side = max(
            longest * (1 + 2 * settings.context),
            settings.sizes[0] * finest / settings.largest_magnification,
        )
        size = next((n for n in settings.sizes if side / n <= finest), settings.sizes[-1])
        half_x, half_y = side / plane.column_spacing / 2, side / plane.row_spacing / 2
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        return cls(x - half_x, y - half_y, x + half_x, y + half_y, size)

    @classmethod
    def whole(cls, plane: SlicePlane, settings: CropSettings) -> CropFrame:
        """The whole slice: as the official programs show it, stretched to a square or filled up to one."""
        rows, columns = plane.shape
        if settings.keeps_aspect:
            rows = columns = max(rows, columns)
        return cls(-0.5, -0.5, columns - 0.5, rows - 0.5, settings.full_slice_size)

    def holds(self, bounds: Rectangle) -> bool:
        """Whether a rectangle of the slice lies inside the frame."""
        x0, y0, x1, y1 = bounds
        return self.x0 <= x0 and self.y0 <= y0 and x1 <= self.x1 and y1 <= self.y1

    def to_crop(self, points: np.ndarray, size: int | None = None) -> np.ndarray:
        """Slice points (..., 2) as (x, y) -> crop points (u, v) on a grid of ``size`` (default the frame's own)."""
        n = self.size if size is None else size
        low, high = np.array([self.x0, self.y0]), np.array([self.x1, self.y1])
        return (np.asarray(points, dtype=np.float64) - low) / (high - low) * n - 0.5

    def to_slice(self, points: np.ndarray, size: int | None = None) -> np.ndarray:
        """The inverse of :meth:`to_crop`."""
        n = self.size if size is None else size
        low, high = np.array([self.x0, self.y0]), np.array([self.x1, self.y1])
        return low + (np.asarray(points, dtype=np.float64) + 0.5) * (high - low) / n

    def window(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of a slice of ``shape`` whose pixel centres lie inside the frame (may be empty)."""
        return (_inside(self.y0, self.y1, shape[0]), _inside(self.x0, self.x1, shape[1]))

    def source_window(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of a slice that :meth:`sample` reads."""
        rows = _footprint(self.y0, self.y1, self.size, shape[0])
        columns = _footprint(self.x0, self.x1, self.size, shape[1])
        return rows, columns

    def sample(self, image: np.ndarray, rows: slice | None = None, columns: slice | None = None) -> np.ndarray:
        """The crop, (size, size) float32, of a slice.

        Args:
            image: (rows, columns) the whole slice; or only the part ``rows``, ``columns`` that
                :meth:`source_window` names.
            rows, columns: where ``image`` sits on the slice.
        """
        row0 = rows.start if rows is not None else 0
        column0 = columns.start if columns is not None else 0
        down = _weights(self.y0 - row0, self.y1 - row0, self.size, image.shape[0])
        across = _weights(self.x0 - column0, self.x1 - column0, self.size, image.shape[1])
        return _resampled(np.asarray(image, dtype=np.float32), down, across)

    def paste(self, picture: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """The way back: values of a crop picture at the pixel centres of a part of the slice.

        Args:
            picture: (n, m) float, the whole frame at any resolution (a network's logits are coarser than its input).
            rows, columns: which part of the slice; pixels outside the frame get the nearest edge's value.

        Returns:
            (rows, columns) float32.
        """
        down = _back_weights(self.y0, self.y1, picture.shape[0], rows.start, rows.stop)
        across = _back_weights(self.x0, self.x1, picture.shape[1], columns.start, columns.stop)
        return _resampled(np.asarray(picture, dtype=np.float32), down, across)


def _resampled(picture: np.ndarray, down: sparse.csr_array, across: sparse.csr_array) -> np.ndarray:
    """``down @ picture @ across.T``, where each row of the weights holds a few numbers only."""
    columns: np.ndarray = across @ np.ascontiguousarray((down @ picture).T)
    return np.ascontiguousarray(columns.T)


def _inside(low: float, high: float, length: int) -> slice:
    start = min(max(int(np.ceil(low)), 0), length)
    return slice(start, max(min(int(np.floor(high)) + 1, length), start))


def _footprint(low: float, high: float, size: int, length: int) -> slice:
    """Image pixels under the filter of all crop pixels; at least one, so that the edge can be repeated."""
    reach = max((high - low) / size, 1.0)
    start = min(max(int(np.floor(low - reach)), 0), length - 1)
    return slice(start, max(min(int(np.ceil(high + reach)) + 1, length), start + 1))


@lru_cache(maxsize=64)
def _weights(low: float, high: float, size: int, length: int) -> sparse.csr_array:
    """(size, length): each crop pixel's weights on the image pixels of one axis."""
    step = (high - low) / size
    return _triangle(low + (np.arange(size) + 0.5) * step, max(step, 1.0), length)


@lru_cache(maxsize=64)
def _back_weights(low: float, high: float, size: int, start: int, stop: int) -> sparse.csr_array:
    """(stop - start, size): each image pixel's weights on the crop pixels of one axis."""
    step = (high - low) / size
    return _triangle((np.arange(start, stop) - low) / step - 0.5, max(1.0 / step, 1.0), size)


def _triangle(positions: np.ndarray, width: float, length: int) -> sparse.csr_array:
    """Weights (positions, length) float32 of a triangle of half-width ``width`` around each position.

    What the triangle would take from outside ``0 .. length - 1`` it takes from the edge.
    """
    taps = np.arange(int(np.ceil(2 * width)) + 1)
    first = np.ceil(positions - width).astype(np.int64)
    index = first[:, None] + taps[None, :]
    weight = np.maximum(1.0 - np.abs(index - positions[:, None]) / width, 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(positions.size), taps.size)
    places = rows, np.clip(index, 0, length - 1).ravel()
    # Converting adds up what is taken from the same pixel.
    matrix = sparse.coo_array((weight.ravel(), places), shape=(positions.size, length)).tocsr()
    matrix.eliminate_zeros()
    return matrix.astype(np.float32)
