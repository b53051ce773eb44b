"""Resampling of 8-bit images exactly as the libraries do that the official programs resize with.

A different filter changes a grey level here and there, and with it every number that follows; results that shall be
compared with published ones need the same filter.  All functions take (H, W) or (H, W, C) uint8 and return uint8.
"""

from __future__ import annotations

import numpy as np


def resize(image: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    """The image at ``size`` (rows, columns).

    Args:
        method: a filter of ``Preprocessing``, except "antialiased-bilinear", which does not return to 8 bits.
    """
    if method.startswith("pillow-"):
        return resize_as_pillow(image, size, method.removeprefix("pillow-"))
    return {"spline-bicubic": resize_by_spline, "area": resize_by_area}[method](image, size)


def resize_as_pillow(image: np.ndarray, size: tuple[int, int], kernel: str) -> np.ndarray:
    """Pillow's ``bilinear`` or ``bicubic`` convolution, which widens with reduction."""
    from PIL import Image

    if image.shape[:2] == size:
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize(size[::-1], Image.Resampling[kernel.upper()]))


def resize_by_spline(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cubic splines, after a Gaussian where the image shrinks; then cut (not rounded) to whole grey levels.

    This is ``skimage.transform.resize`` of order 3 with ``preserve_range`` and ``anti_aliasing``.
    """
    from scipy import ndimage

    values = image.astype(np.float64)
    factors = np.array(image.shape[:2]) / size
    sigma = np.maximum(0.0, (factors - 1) / 2)
    rest = (1,) * (image.ndim - 2)
    if sigma.any():
        values = ndimage.gaussian_filter(values, (*sigma, *(0 for _ in rest)), mode="mirror")
    # Channels are an axis like the others, so that the last bits agree: cutting makes them count.
    values = ndimage.zoom(values, (*(1 / factors), *rest), order=3, mode="mirror", grid_mode=True)
    return np.clip(values, image.min(), image.max()).astype(np.uint8)


def resize_by_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each pixel is the mean of the area it covers; this is OpenCV's ``INTER_AREA``.

    Where one side does not shrink, OpenCV takes the nearest pixel instead, blended with the next one where a pixel of
    the result lies across their border.
    """
    rows, columns = image.shape[:2]
    if size[0] > rows or size[1] > columns:
        return _blended(image, size)
    across = _weighted(np.moveaxis(image, 1, 0), _area_weights(columns, size[1]))
    values = _weighted(np.moveaxis(across, 0, 1), _area_weights(rows, size[0]))
    # Halves of a grey level: upwards where four pixels become one, to the even one otherwise.
    halved = rows == 2 * size[0] and columns == 2 * size[1]
    values = np.floor(values + 0.5) if halved else np.rint(values)
    return np.clip(values, 0, 255).astype(np.uint8)


def _weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``weights @ values`` along the first axis, summed in single precision from the first value to the last: where a
    sum comes close to half a grey level, its last bit decides.
    """
    first = np.argmax(weights > 0, axis=1)
    width = int((weights > 0).sum(axis=1).max())
    rest = (1,) * (values.ndim - 1)
    total = np.zeros((len(weights), *values.shape[1:]), np.float32)
    for step in range(width):
        place = np.minimum(first + step, weights.shape[1] - 1)
        share = np.where(first + step < weights.shape[1], weights[np.arange(len(weights)), place], 0)
        total += share.astype(np.float32).reshape(-1, *rest) * values[place].astype(np.float32)
    return total


def _area_weights(length: int, target: int) -> np.ndarray:
    """(target, length): the share of each old pixel in each new one; OpenCV ignores less than a thousandth of one."""
    scale = length / target
    begin = np.arange(target)[:, None] * scale
    old = np.arange(length)
    overlap = np.minimum(begin + scale, old + 1) - np.maximum(begin, old)
    return np.where(overlap > 1e-3, overlap, 0.0) / np.minimum(scale, length - begin)


def _blended(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarged in whole numbers as OpenCV does it: weights are 2048ths, and intermediate digits are dropped."""
    rows, columns = image.shape[:2]
    rest = (1,) * (image.ndim - 2)
    left, share = _blending(columns, size[1])
    share = share.reshape(1, -1, *rest)
    values = image.astype(np.int64)
    across = values[:, left] * (2048 - share) + values[:, np.minimum(left + 1, columns - 1)] * share
    top, share = _blending(rows, size[0])
    share = share.reshape(-1, 1, *rest)
    upper, lower = across[top] >> 4, across[np.minimum(top + 1, rows - 1)] >> 4
    total = ((upper * (2048 - share)) >> 16) + ((lower * share) >> 16)
    return np.clip((total + 2) >> 2, 0, 255).astype(np.uint8)


def _blending(length: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """For each new pixel the old one it begins in, and how many 2048ths of it reach into the next."""
    new = np.arange(target)
    first = np.floor(new * (length / target)).astype(int)
    reach = ((new + 1) - (first + 1) * (target / length)).astype(np.float32)
    share = np.where(reach <= 0, 0, reach - np.floor(reach))
    share = np.where(first >= length - 1, 0, share)
    return np.minimum(first, length - 1), np.rint(share * 2048).astype(np.int64)
