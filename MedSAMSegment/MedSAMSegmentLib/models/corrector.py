"""The whole box, looked at again by somebody who was told where the mask is wrong.

A click on one slice says something about the whole object: which of the things in the box is meant, or that a part of
it is not.  This network is the coarse one (`models/coarse.py`) with clicks as further inputs; it begins with the mask
that was found and answers with a corrected one on the same grid.

What a click means is worked out before the network sees it, as convolutions hardly can: how much a cell's grey value is
like those clicked on, whether a path through like cells leads to them (the widest path; Pollack, 1960), which regions
that fit the box (`models/box_regions.py`) hold all clicks inside and none outside, and what the coarse network would
have found had it known of the clicks from the beginning: where the mask is wholly wrong, it is no place to begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .box_regions import RegionBatch
from .coarse import CoarseGrid, CoarseNetwork, SeenBox, said_already, smoothed
from .layers import Convolution3d

# How far around a click its cell speaks for others, in cells: surely, and perhaps.
_NEAR, _FAR = 1.5, 8.0

# Grey values (of 0..1) so far apart are hardly the same tissue.
_ALIKE = 0.06

# The axes are swept over so many times for paths; each turn of a path takes another sweep.
_SWEEPS = 3

# What a click itself says, as a logit.
_CLICKED = 4.0

_AT_ONCE = 16

# An answer that contradicts a click is changed to this logit about it, and on paths at least so wide (grey values
# within 0.03), unless they lead through more than this part of the box.
_OBEYED, _PLAINLY, _MOST_OF_BOX = 3.0, 0.9, 0.6

# A part of the mask that is more of it than this is not rejected as a whole.
_MOST_OF_MASK = 0.8

# Maps of each kind of click: near, far, alike, on a path, within what was wrong; and what is seen afresh.
_MAPS, _AFRESH = 5, 3

# What these maps say of a cell before anything is learned: the object's logit.
_FIRST_SAID = ((_CLICKED, 0.0, 0.0, 1.0, 0.0), (-_CLICKED, 0.0, 0.0, 0.0, -6.0))


@dataclass(frozen=True, eq=False)
class BoxClicks:
    """Clicks in B boxes, up to N in each.

    Attributes:
        places: (B, N, 3) along the grid's slices, rows and columns; -1 and 1 are the faces.
        labels: (B, N) 1 inside the object, 0 outside, -1 no click.
    """

    places: Tensor
    labels: Tensor

    def of(self, label: int) -> Tensor:
        """(B, N) bool: the clicks of a kind."""
        return self.labels == label


def consistent_regions(regions: RegionBatch, clicks: BoxClicks, grid: CoarseGrid) -> RegionBatch:
    """Only the regions that hold every click inside and none outside; where there is none such, those that hold one."""
    cells = grid.cells_of(clicks.places)
    at = (cells[..., 0] * grid.cells[1] + cells[..., 1]) * grid.cells[2] + cells[..., 2]
    held = regions.masks.flatten(2).gather(2, at[:, None].expand(-1, regions.masks.shape[1], -1))
    inside, outside = clicks.of(1)[:, None], clicks.of(0)[:, None]
    free = regions.known & ~(held & outside).any(dim=2)
    every = free & (held | ~inside).all(dim=2)
    some = free & ((held & inside).any(dim=2) | ~inside.any(dim=2))
    known = torch.where(every.any(dim=1, keepdim=True), every, some)
    return replace(regions, known=known)


def click_maps(smooth: Tensor, believed: Tensor, clicks: BoxClicks, grid: CoarseGrid) -> Tensor:
    """What clicks say of every cell: near them, far from them, alike, on a path of like cells from one, and within.

    *Within* is joined to a click by cells that were as wrong: of the mask, for clicks outside the object, and else of
    what is not of the mask.

    Args:
        smooth: (B, *cells) smoothed intensities in 0..1.
        believed: (B, *cells) logits of the mask that was clicked on.
        clicks: in these boxes.
        grid: with these cells.

    Returns:
        (B, 10, *cells) in 0..1, first of the clicks inside, then of those outside.
    """
    said = smooth.new_zeros(len(smooth), 2, 3, *grid.cells)
    # A scribble is hundreds of clicks, each of which says something of every cell.
    for first in range(0, clicks.labels.shape[1], _AT_ONCE):
        some = BoxClicks(clicks.places[:, first : first + _AT_ONCE], clicks.labels[:, first : first + _AT_ONCE])
        each = _said_by_each(smooth, grid.cells_of(some.places), grid)
        for kind, label in enumerate((1, 0)):
            those = (each * some.of(label)[:, None, :, None, None, None]).amax(dim=2)
            said[:, kind] = torch.maximum(said[:, kind], those)
    maps = []
    for kind, wrong in enumerate((-believed, believed)):
        near, far, alike = said[:, kind].unbind(dim=1)
        within = widest_paths(near, wrong.sigmoid()) * far.sqrt()
        maps += [near, far, alike, widest_paths(near, alike), within]
    return torch.stack(maps, dim=1)


def _said_by_each(smooth: Tensor, cells: Tensor, grid: CoarseGrid) -> Tensor:
    """(B, 3, N, *cells) near, far and alike, for clicks in cells (B, N, 3)."""
    axes = [torch.arange(count, device=smooth.device) for count in grid.cells]
    squares = [(axes[number] - cells[..., number, None]).square().float() for number in range(3)]
    distance = squares[0][..., :, None, None] + squares[1][..., None, :, None] + squares[2][..., None, None, :]
    row = torch.arange(len(smooth), device=smooth.device)[:, None]
    clicked = smooth[row, cells[..., 0], cells[..., 1], cells[..., 2]]
    unlike = (smooth[:, None] - clicked[..., None, None, None]).square()
    return torch.stack(
        [
            torch.exp(-distance / (2.0 * _NEAR**2)),
            torch.exp(-distance.sqrt() / _FAR),
            torch.exp(-unlike / (2.0 * _ALIKE**2)),
        ],
        dim=1,
    )


def widest_paths(start: Tensor, width: Tensor) -> Tensor:
    """How wide the widest path from the start to every cell is, where a path is as wide as its narrowest cell.

    Args:
        start: (B, *cells) how surely a path begins in a cell.
        width: (B, *cells) of the cells.

    Returns:
        (B, *cells); paths that turn too often are found narrower.
    """
    reached = torch.minimum(start, width)
    for _ in range(_SWEEPS):
        for axis in (1, 2, 3):
            layers, widths = list(reached.unbind(axis)), width.unbind(axis)
            last = len(layers) - 1
            for order in (range(1, last + 1), range(last - 1, -1, -1)):
                for number in order:
                    onwards = torch.minimum(layers[number - order.step], widths[number])
                    layers[number] = torch.maximum(layers[number], onwards)
            reached = torch.stack(layers, dim=axis)
    return reached


@torch.no_grad()
def obeying(logits: Tensor, intensities: Tensor, believed: Tensor, clicks: BoxClicks, grid: CoarseGrid) -> Tensor:
    """An answer that contradicts no click.

    Where it says that a place clicked on inside is not of the object, all cells of nearly its grey value in the box
    that a path joins to it become object, unless one was clicked on as not of it, or they are most of the box: the
    network may never have seen such an object (it takes what is black for air), the click is true all the same.  Else
    only the cells nearest to a click are set.  A part of the mask that stands apart and was clicked on in its middle as
    not of the object goes as a whole.

    Args:
        logits, intensities: (B, *cells).
        believed: (B, *cells) logits of the mask that was clicked on.
        clicks: in these boxes.
        grid: with these cells.

    Returns:
        (B, *cells) logits.
    """
    smooth = smoothed(intensities)
    cells = grid.cells_of(clicks.places)
    inner = torch.zeros(grid.cells, dtype=torch.bool, device=logits.device)
    inner[grid.between_faces()] = True
    result = logits.clone()
    for box in range(len(result)):
        rejected = _rejected_part(believed[box], cells[box], clicks.labels[box])
        result[box] = result[box].masked_fill(rejected, -_OBEYED)
    for box, number in torch.nonzero(clicks.labels >= 0).tolist():
        inside = bool(clicks.labels[box, number])
        if bool(result[(box, *cells[box, number])] > 0) == inside:
            continue
        near, _, alike = _said_by_each(smooth[box : box + 1], cells[box : box + 1, number : number + 1], grid)[0]
        region = near[0] > 0.5
        if inside:
            joined = (widest_paths(near, alike)[0] > _PLAINLY) & inner
            others = cells[box][clicks.labels[box] == 0]
            free = not bool(joined[others[:, 0], others[:, 1], others[:, 2]].any())
            if free and joined.sum() < _MOST_OF_BOX * inner.sum():
                region = region | joined
        surely = result.new_full((), _OBEYED if inside else -_OBEYED)
        result[box] = torch.where(region, surely, result[box])
    return result


def _rejected_part(believed: Tensor, cells: Tensor, labels: Tensor) -> Tensor:
    """(cells) bool: parts of the mask that stand apart from the others and were clicked on in the middle as not of it.

    Not a part that was also clicked on as of the object, and not all there is.
    """
    from scipy import ndimage

    mask = (believed > 0).cpu().numpy()
    parts, count = ndimage.label(mask)
    rejected = torch.zeros_like(believed, dtype=torch.bool)
    if count < 2:
        return rejected
    outside, inside = (tuple(cells[labels == label].cpu().numpy().T) for label in (0, 1))
    for number in set(parts[outside].tolist()) - set(parts[inside].tolist()) - {0}:
        part = parts == number
        if part.sum() <= _MOST_OF_MASK * mask.sum():
            depth = ndimage.distance_transform_edt(part)
            if (depth[outside] >= 0.5 * depth.max()).any():
                rejected |= torch.from_numpy(part).to(rejected.device)
    return rejected


class CorrectingNetwork(CoarseNetwork):
    """A coarse network that is told of clicks.

    Args:
        channels, grid: those of the network it corrects.
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 64, 128), grid: CoarseGrid | None = None) -> None:
        super().__init__(channels, grid, regions=True, looks_again=True)
        self.click_stem = Convolution3d(2 * _MAPS + _AFRESH, channels[0], 3, padding=1, bias=False)
        nn.init.zeros_(self.click_stem.weight)
        # Clicks are few and say much: what they say reaches the answer on a short way, too.
        self.click_head = Convolution3d(2 * _MAPS + _AFRESH, 1, 1, bias=False)
        with torch.no_grad():
            said = torch.tensor([*_FIRST_SAID[0], *_FIRST_SAID[1], *[0.0] * _AFRESH])
            self.click_head.weight.copy_(said.view(1, -1, 1, 1, 1))

    def correct(
        self,
        coarse: CoarseNetwork,
        intensities: Tensor,
        slice_step: Tensor,
        regions: RegionBatch,
        believed: Tensor,
        clicks: BoxClicks,
    ) -> Tensor:
        """A mask in the light of clicks.

        Args:
            coarse: the network that is corrected; it learns nothing from this.
            intensities, slice_step, regions: see :meth:`CoarseNetwork.see`.
            believed: (B, *cells) logits of the mask.
            clicks: all there are in these boxes.

        Returns:
            (B, *cells) logits.
        """
        grid = self.grid_of(intensities)
        regions = consistent_regions(regions, clicks, grid)
        seen = self.see(intensities, slice_step, regions)
        maps = click_maps(seen.images[:, 1], believed, clicks, grid)
        clicked = _CLICKED * (maps[:, 0] - maps[:, _MAPS])
        with torch.no_grad():
            afresh = _afresh(coarse, coarse.see(intensities, slice_step, regions), maps, clicked)
        said = torch.cat([maps, afresh], dim=1)
        evidence = self.evidence(seen, believed + 2.0 * clicked)
        x = self.begun(seen, evidence, believed).add(self.click_stem(said))
        return self.finished(x) + said_already(seen.prior, evidence) + self.click_head(said)[:, 0]


def _afresh(coarse: CoarseNetwork, seen: SeenBox, maps: Tensor, clicked: Tensor) -> Tensor:
    """What would be believed if the clicks had been known from the beginning, for masks that are wholly wrong.

    Returns:
        (B, 3, *cells): the evidence of both images, and the mask.
    """
    near, far, _, path, _ = maps[:, :_MAPS].unbind(dim=1)
    not_near, not_far, _, not_path, _ = maps[:, _MAPS:].unbind(dim=1)
    inside, outside = path * far.sqrt() + near, not_path * not_far.sqrt() + not_near
    evidence = coarse.evidence(seen, 0.5 * seen.prior + 2.0 * _CLICKED * (inside - outside))
    found = coarse.finished(coarse.begun(seen, evidence, None)) + said_already(seen.prior, evidence)
    mask = (found + clicked).sigmoid() - seen.prior.sigmoid()
    return torch.cat([evidence.clamp(-4.0, 4.0) / 2.0, mask[:, None]], dim=1)
