"""What an object looks like to an image encoder, and whether a mask on another slice still shows the same.

A network without memory draws a mask into any box, also where the object has ended or the mask has slid onto its
neighbour.  Its embedding knows better: each of its cells under the new mask is compared with the mean of the object and
the mean of its surroundings on slices segmented before (nearest prototype, as in few-shot segmentation: Wang et al.,
"PANet", ICCV 2019, arXiv:1908.06391).  No threshold on absolute similarities is needed, which differ from model to
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Appearance:
    """An object and its surroundings on one slice.

    Attributes:
        inside, around: (C,) unit vectors, mean embeddings.
        purity: the part of the object's own cells that are nearer to ``inside``; low for objects of several tissues.
    """

    inside: Tensor
    around: Tensor
    purity: float


def coverage(logits: Tensor, grid: tuple[int, int]) -> Tensor:
    """(h, w): the share of each cell of the embedding that the mask ``logits > 0`` (s, s) covers."""
    return F.interpolate((logits > 0).float()[None, None], size=grid, mode="area")[0, 0]


def appearance_of(embedding: Tensor, covered: Tensor) -> Appearance | None:
    """What is under a mask and around it.

    Args:
        embedding: (C, h, w).
        covered: (h, w), see :func:`coverage`.

    Returns:
        ``None`` where the mask is empty or leaves nothing around it to compare with.
    """
    around = _surroundings(covered)
    if not (covered > 0).any() or not (around > 0).any():
        return None
    cells = _directions(embedding)
    inside_mean, around_mean = (F.normalize((cells * weight).sum(dim=(1, 2)), dim=0) for weight in (covered, around))
    alone = Appearance(inside_mean, around_mean, 1.0)
    return Appearance(inside_mean, around_mean, _share(cells, covered, [alone]))


def likeness(embedding: Tensor, covered: Tensor, remembered: Sequence[Appearance]) -> float:
    """How much of what is under a mask looks like the remembered object rather than like its surroundings.

    Args:
        embedding: (C, h, w) of the new slice.
        covered: (h, w) of the new mask.
        remembered: of earlier slices, at least one.

    Returns:
        0..1, where 1 is as much as on the remembered slices themselves.
    """
    if not (covered > 0).any():
        return 0.0
    purity = max(min(item.purity for item in remembered), 1e-3)
    return min(_share(_directions(embedding), covered, remembered) / purity, 1.0)


def _directions(embedding: Tensor) -> Tensor:
    """(C, h, w) unit vectors: what sets each cell apart from the picture's mean, which all cells share."""
    centred = embedding.float() - embedding.float().mean(dim=(1, 2), keepdim=True)
    return F.normalize(centred, dim=0)


def _share(cells: Tensor, covered: Tensor, remembered: Sequence[Appearance]) -> float:
    """The part of the covered area whose cells are nearer to an object than to any surroundings."""
    inside = torch.stack([item.inside for item in remembered])
    around = torch.stack([item.around for item in remembered])
    nearer = torch.einsum("nc,chw->nhw", inside, cells).amax(0) > torch.einsum("nc,chw->nhw", around, cells).amax(0)
    return float((covered * nearer).sum() / covered.sum())


def _surroundings(covered: Tensor) -> Tensor:
    """(h, w) of 0 and 1: cells the mask does not touch, no further from its bounding box than half the box's side."""
    around = torch.zeros_like(covered)
    rows, columns = (covered > 0).any(dim=1).nonzero(), (covered > 0).any(dim=0).nonzero()
    if len(rows) == 0:
        return around
    (top, bottom), (left, right) = ((int(found.min()), int(found.max())) for found in (rows, columns))
    reach = max(2, (max(bottom - top, right - left) + 1) // 2)
    around[max(top - reach, 0) : bottom + reach + 1, max(left - reach, 0) : right + reach + 1] = 1.0
    return around * (covered == 0)
