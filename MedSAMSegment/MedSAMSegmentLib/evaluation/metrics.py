"""Overlap and surface agreement of two masks.

Dice: 2 |A ∩ B| / (|A| + |B|).

Normalised surface Dice (NSD; Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for
radiotherapy", J Med Internet Res 2021): the share of both surfaces that lies within a tolerance of the other one.
Surfaces and distances are those of MONAI's ``compute_surface_dice``: the surface is the layer of mask voxels that has a
background voxel (or the end of the image) among its face neighbours, distances run between voxel centres in
millimetres, and every surface voxel counts once, whatever the spacing.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """How well a mask matches the truth.

    Attributes:
        dice: 0..1; 1 when both masks are empty.
        nsd: normalised surface Dice at the tolerance, 0..1; ``None`` when the spacing is not known.
        hd95: 95th percentile of the symmetric surface distance, mm; ``None`` when the spacing is not known or exactly
            one of the masks is empty.
    """

    dice: float
    nsd: float | None
    hd95: float | None


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Dice overlap of two boolean arrays of one shape; 1 when both are empty."""
    total = int(np.count_nonzero(mask)) + int(np.count_nonzero(truth))
    return 1.0 if total == 0 else 2.0 * int(np.count_nonzero(mask & truth)) / total


def agreement(
    mask: np.ndarray, truth: np.ndarray, spacing_kji: Sequence[float] | None, tolerance_mm: float = 2.0
) -> Agreement:
    """Compare a mask with the truth.

    Args:
        mask, truth: boolean ``(k, j, i)`` of one shape.
        spacing_kji: voxel spacing in mm in array order; ``None`` skips the surface measures.
        tolerance_mm: distance that still counts as the same surface.
    """
    overlap = dice(mask, truth)
    if spacing_kji is None:
        return Agreement(overlap, None, None)
    if not mask.any() or not truth.any():
        both_empty = not mask.any() and not truth.any()
        return Agreement(overlap, 1.0 if both_empty else 0.0, 0.0 if both_empty else None)

    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    region = _common_region(mask, truth)
    ours, theirs = (torch.from_numpy(np.ascontiguousarray(array[region]))[None, None] for array in (mask, truth))
    spacing = [float(value) for value in spacing_kji]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI deprecates an argument it passes to itself
        nsd = compute_surface_dice(ours, theirs, [tolerance_mm], include_background=True, spacing=spacing)
        hd95 = compute_hausdorff_distance(ours, theirs, include_background=True, percentile=95, spacing=spacing)
    return Agreement(overlap, float(nsd), float(hd95))


def _common_region(mask: np.ndarray, truth: np.ndarray) -> tuple[slice, ...]:
    """Bounding box of both masks with one voxel of air, so that a large scan costs no more than its object."""
    union = mask | truth
    region = []
    for axis, length in enumerate(union.shape):
        others = tuple(other for other in range(union.ndim) if other != axis)
        used = np.flatnonzero(union.any(axis=others))
        region.append(slice(max(int(used[0]) - 1, 0), min(int(used[-1]) + 2, length)))
    return tuple(region)
