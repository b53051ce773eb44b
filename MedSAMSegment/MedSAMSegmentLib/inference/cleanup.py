"""From a block of logits to a mask: clip, smooth, keep what belongs together, fill holes.

Every step works on the block around the object only, respects the spacing, and can be switched off.  Thin structures
survive: smoothing decides only where the network is in doubt, and components touch at corners, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .components import Components
from .settings import CleanupSettings

EMPTY_LOGIT = -16.0
"""Logit of a voxel that no slice said anything about; logits are clamped to +- this value before they are stored."""

# Where |logit| is below this (a probability between 0.18 and 0.82) the network is in doubt.
_DOUBT = 1.5

# Beyond this a logit only says "sure"; how sure must not outweigh the neighbours when smoothing.
_SURE = 4.0

# The Gaussian ends after so many standard deviations.
_TRUNCATE = 3.0

_SLICES_AT_ONCE = 32

# A part of the key slice's mask counts as the object when it has this fraction of the largest part's area.
_PART_OF_KEY = 0.1

Voxel = tuple[int, int, int]


def clean_up(
    logits: np.ndarray,
    spacing: tuple[float, float, float],
    settings: CleanupSettings,
    clip: np.ndarray | None = None,
    seed: np.ndarray | None = None,
    inside: Sequence[Voxel] = (),
    outside: Sequence[Voxel] = (),
) -> np.ndarray:
    """The mask of one object.

    Args:
        logits: (slices, rows, columns) float; > 0 is the object.
        spacing: mm along these axes.
        settings: which steps.
        clip: bool of the same shape, where the object may lie.
        seed: bool of the same shape, what surely belongs to the object (the key slice's mask, drawn masks).
        inside, outside: voxels the user clicked as object and as not object.

    Returns:
        bool of the same shape.
    """
    window = _interesting(logits)
    result = np.zeros(logits.shape, dtype=bool)
    if window is None:
        return result
    sigma_mm = settings.smoothing_mm if settings.smooth else 0.0
    mask = smooth_mask(logits[window], spacing, sigma_mm) if sigma_mm > 0 else logits[window] > 0
    if settings.clip and clip is not None:
        mask &= clip[window]
    if settings.keep_component:
        mask = connected_to(mask, None if seed is None else seed[window], _shifted(inside, window))
    if settings.fill_holes:
        mask = without_holes(mask, settings.largest_hole, _shifted(outside, window))
    result[window] = mask
    return result


def smooth_mask(logits: np.ndarray, spacing: tuple[float, float, float], sigma_mm: float) -> np.ndarray:
    """Where logits are positive, smoothed by a Gaussian of ``sigma_mm`` where they are in doubt, else as they are."""
    sigma = [sigma_mm / step for step in spacing]
    # A few slices at a time, with those the filter reaches: it needs several copies of what it works on.
    reach = int(_TRUNCATE * sigma[0] + 0.5)
    across = [
        _gaussian(np.arange(count), count, width) for count, width in zip(logits.shape[1:], sigma[1:], strict=True)
    ]
    result = np.empty(logits.shape, dtype=bool)
    for first in range(0, len(logits), _SLICES_AT_ONCE):
        low, last = max(first - reach, 0), min(first + _SLICES_AT_ONCE, len(logits))
        block = torch.from_numpy(logits[low : last + reach]).float()
        here = block[first - low : last - low]
        # Filtering as products with matrices: of all ways to do it the fastest on a processor.
        along = _gaussian(np.arange(first - low, last - low), len(block), sigma[0])
        soft = (along @ block.clamp(-_SURE, _SURE).flatten(1)).unflatten(1, block.shape[1:])
        soft = across[0] @ soft @ across[1].T
        result[first:last] = (torch.where(here.abs() < _DOUBT, soft, here) > 0).numpy()
    return result


def _gaussian(places: np.ndarray, count: int, sigma: float) -> torch.Tensor:
    """Weights with which ``count`` values in a row make up smoothed ones at ``places`` (n,): (n, count) float32.

    ``sigma`` is in voxels; what lies beyond either end is like the value there.
    """
    reach = int(_TRUNCATE * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    result = np.zeros((len(places), count), dtype=np.float32)
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        result[np.arange(len(places)), np.clip(places + offset, 0, count - 1)] += weight
    return torch.from_numpy(result)


def connected_to(mask: np.ndarray, seed: np.ndarray | None, inside: Sequence[Voxel] = ()) -> np.ndarray:
    """The components of ``mask`` that meet the seed or a click; the largest one when none does.

    Voxels that touch at a corner are connected.  Specks of the seed are ignored.
    """
    components = Components.of(mask, corners=True)
    if components.count <= 1:
        return mask
    keep = np.zeros(components.count, dtype=bool)
    keep[components.at(inside)] = True
    if seed is not None:
        areas = components.overlaps(seed)
        keep |= (areas > 0) & (areas >= _PART_OF_KEY * areas.max())
    if not keep.any():
        keep[components.sizes().argmax()] = True
    return components.mask(keep)


def without_holes(mask: np.ndarray, largest: float, outside: Sequence[Voxel] = ()) -> np.ndarray:
    """Fill enclosed cavities of at most ``largest`` x the object's volume that hold no click saying "not object"."""
    around = np.ones([count + 2 for count in mask.shape], dtype=bool)
    np.logical_not(mask, out=around[1:-1, 1:-1, 1:-1])
    background = Components.of(around, corners=False)
    del around
    if background.count <= 1:
        return mask
    fill = background.sizes() <= largest * np.count_nonzero(mask)
    fill[background.at([(0, 0, 0)])] = False  # the surroundings
    fill[background.at([(k + 1, row + 1, column + 1) for k, row, column in outside])] = False
    if not fill.any():
        return mask
    return np.logical_or(mask, background.mask(fill)[1:-1, 1:-1, 1:-1])


def _interesting(logits: np.ndarray) -> tuple[slice, slice, slice] | None:
    """The block of all voxels not surely outside, or ``None``: smoothing can create nothing beyond it."""
    # PyTorch compares half-precision numbers three times as fast as NumPy.
    candidates = (torch.from_numpy(logits) > -_DOUBT).numpy()
    bounds = []
    for axis in range(3):
        hit = np.flatnonzero(candidates.any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size == 0:
            return None
        bounds.append(slice(max(int(hit[0]) - 2, 0), min(int(hit[-1]) + 3, logits.shape[axis])))
    return bounds[0], bounds[1], bounds[2]


def _shifted(voxels: Sequence[Voxel], window: tuple[slice, slice, slice]) -> list[Voxel]:
    """Voxels in the coordinates of ``window``; those outside are dropped."""
    return [
        (k - window[0].start, j - window[1].start, i - window[2].start)
        for k, j, i in voxels
        if window[0].start <= k < window[0].stop
        and window[1].start <= j < window[1].stop
        and window[2].start <= i < window[2].stop
    ]
