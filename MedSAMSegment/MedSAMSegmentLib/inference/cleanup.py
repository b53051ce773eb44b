"""From a block of logits to a mask: clip, smooth, keep what belongs together, fill holes.

Every step works on the block around the object only, respects the spacing, and can be switched off.  Thin structures
survive: smoothing decides only where the network is in doubt, and components touch at corners, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .settings import CleanupSettings

EMPTY_LOGIT = -16.0
"""Logit of a voxel that no slice said anything about; logits are clamped to +- this value before they are stored."""

# Where |logit| is below this (a probability between 0.18 and 0.82) the network is in doubt.
_DOUBT = 1.5

# Beyond this a logit only says "sure"; how sure must not outweigh the neighbours when smoothing.
_SURE = 4.0

# The Gaussian ends after so many standard deviations.
_TRUNCATE = 3.0

_SLICES_AT_ONCE = 64

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
    from scipy import ndimage

    sigma = [sigma_mm / step for step in spacing]
    # A few slices at a time, with those the filter reaches: it needs several copies of what it works on.
    reach = int(_TRUNCATE * sigma[0] + 0.5)
    result = np.empty(logits.shape, dtype=bool)
    for first in range(0, len(logits), _SLICES_AT_ONCE):
        low, last = max(first - reach, 0), first + _SLICES_AT_ONCE
        block = np.asarray(logits[low : last + reach], dtype=np.float32)
        soft = ndimage.gaussian_filter(np.clip(block, -_SURE, _SURE), sigma, mode="nearest", truncate=_TRUNCATE)
        within = slice(first - low, min(last, len(logits)) - low)
        result[first:last] = np.where(np.abs(block[within]) < _DOUBT, soft[within], block[within]) > 0
    return result


def connected_to(mask: np.ndarray, seed: np.ndarray | None, inside: Sequence[Voxel] = ()) -> np.ndarray:
    """The components of ``mask`` that meet the seed or a click; the largest one when none does.

    Voxels that touch at a corner are connected.  Specks of the seed are ignored.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3), dtype=bool))
    if count <= 1:
        return mask
    wanted: set[int] = {int(labels[voxel]) for voxel in inside}
    if seed is not None:
        areas = np.bincount(labels[seed & mask], minlength=count + 1)
        areas[0] = 0
        if areas.max() > 0:
            wanted |= set(np.flatnonzero(areas >= _PART_OF_KEY * areas.max()).tolist())
    wanted.discard(0)
    if not wanted:
        sizes = _sizes(labels, count)
        sizes[0] = 0
        wanted = {int(sizes.argmax())}
    keep = np.zeros(count + 1, dtype=bool)
    keep[list(wanted)] = True
    return keep[labels]


def without_holes(mask: np.ndarray, largest: float, outside: Sequence[Voxel] = ()) -> np.ndarray:
    """Fill enclosed cavities of at most ``largest`` x the object's volume that hold no click saying "not object"."""
    from scipy import ndimage

    labels, count = ndimage.label(~np.pad(mask, 1))
    if count <= 1:
        return mask
    sizes = _sizes(labels, count)
    fill = sizes <= largest * int(mask.sum())
    fill[0] = False  # the object itself
    fill[labels[0, 0, 0]] = False  # the surroundings
    for slice_index, row, column in outside:
        fill[labels[slice_index + 1, row + 1, column + 1]] = False
    return mask | fill[labels][1:-1, 1:-1, 1:-1]


def _sizes(labels: np.ndarray, count: int) -> np.ndarray:
    """Number of voxels of each label from 0 to ``count``; slice by slice, as NumPy counts a copy of 8 bytes a voxel."""
    return np.asarray(sum(np.bincount(part.ravel(), minlength=count + 1) for part in labels))


def _interesting(logits: np.ndarray) -> tuple[slice, slice, slice] | None:
    """The block of all voxels not surely outside, or ``None``: smoothing can create nothing beyond it."""
    candidates = logits > -_DOUBT
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
