"""What an object looks like to an image encoder, and whether a mask on another slice still shows the same.

A network without memory draws a mask into any box, also where the object has ended or the mask has slid onto its
neighbour.  Its embedding knows better: each of its cells under the new mask is compared with the object and with its
surroundings on slices segmented before (nearest prototype, as in few-shot segmentation: Wang et al., "PANet", ICCV
2019, arXiv:1908.06391).  The object has a prototype for each quarter and its surroundings one for each of eight
directions: its neighbours differ, and one mean of them all would be like none.  No threshold on absolute similarities
is needed, which differ from model to model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_INSIDE_PARTS, _AROUND_PARTS = 4, 8

# An object that hardly differs from its surroundings cannot be told from them; its share is not blown up further.
_LEAST_PURITY = 0.1


@dataclass(frozen=True)
class Appearance:
    """An object and its surroundings on one slice.

    Attributes:
        inside, around: (C, n) unit vectors, mean embeddings of the object's parts and of its surroundings' parts.
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
    inside = _means(cells, covered, _sectors(covered, _INSIDE_PARTS))
    outside = _means(cells, around, _sectors(covered, _AROUND_PARTS))
    return Appearance(inside, outside, _share(cells, covered, inside, outside))


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
    inside = torch.cat([item.inside for item in remembered], dim=1)
    around = torch.cat([item.around for item in remembered], dim=1)
    purity = max(min(item.purity for item in remembered), _LEAST_PURITY)
    return min(_share(_directions(embedding), covered, inside, around) / purity, 1.0)


def _directions(embedding: Tensor) -> Tensor:
    """(C, h, w) unit vectors: what sets each cell apart from the picture's mean, which all cells share."""
    centred = embedding.float() - embedding.float().mean(dim=(1, 2), keepdim=True)
    return F.normalize(centred, dim=0)


def _share(cells: Tensor, covered: Tensor, inside: Tensor, around: Tensor) -> float:
    """The part of the covered area whose cells are nearer to the object than to its surroundings."""
    nearest_inside, nearest_around = (torch.einsum("cn,chw->nhw", kind, cells).amax(0) for kind in (inside, around))
    return float((covered * (nearest_inside > nearest_around)).sum() / covered.sum())


def _means(cells: Tensor, weights: Tensor, sectors: Tensor) -> Tensor:
    """(C, n) unit vectors: the mean cell of each sector that has a weight."""
    parts = [weights * (sectors == number) for number in sectors.unique()]
    return torch.stack([F.normalize((cells * part).sum(dim=(1, 2)), dim=0) for part in parts if part.any()], dim=1)


def _sectors(covered: Tensor, count: int) -> Tensor:
    """(h, w): in which of ``count`` directions from the mask's middle each cell lies."""
    rows, columns = (torch.arange(side, dtype=covered.dtype, device=covered.device) for side in covered.shape)
    total = covered.sum()
    row, column = (covered.sum(dim=1) * rows).sum() / total, (covered.sum(dim=0) * columns).sum() / total
    turn = torch.atan2(rows[:, None] - row, columns[None, :] - column) / (2 * torch.pi) + 0.5
    return (turn * count).long().clamp(0, count - 1)


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
