"""Training samples of the coarse network: a whole box and its margin on the network's grid (`models/coarse.py`).

The same scenes, slices and careless boxes as `training/samples.py`; what differs is that the box is seen as a whole,
stretched along its own axes to the cells of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.box_regions import RegionBatch
from ..models.coarse import CoarseGrid
from .appearance import native_size, render
from .drawn_boxes import draw_box
from .fields import Randomness
from .losses import soft_dice_loss
from .options import BODIES
from .samples import field_of_view, stacked

# How many slices a target covers at most, and how often a careless box also begins or ends on a wrong one.
_MOST_SLICES, _CARELESS_ENDS = 60.0, 0.5

# Fewer cells of the object than this are left where a scan ends inside of it: another one is taken.
_LEAST_CELLS = 30.0

# How many cells of a layer tell whether the object is in it, and how much that counts beside the voxels.
_SUREST, _PRESENCE = 4, 0.5


@dataclass(frozen=True)
class VolumeBatch:
    """Samples ready for the coarse network; B samples.

    Attributes:
        intensities: (B, *cells) in [0, 1].
        masks: (B, *cells) share of the cell that is the object's, 0..1.
        slice_step: (B,) distance of slices over the half-depth of the box.
        regions: that fit the boxes.
    """

    intensities: Tensor
    masks: Tensor
    slice_step: Tensor
    regions: RegionBatch


def make_volume_samples(
    randomness: Randomness, grid: CoarseGrid, looks: int, device: torch.device, bodies: float
) -> list[dict[str, Tensor]]:
    """Samples of one anatomy, ``looks`` of them; the keys are the fields of `VolumeBatch`.

    Args:
        bodies: how often the object is part of a computed body instead of a random shape.
    """
    drawn = draw_box(randomness, device, bodies, _MOST_SLICES, _CARELESS_ENDS)

    def along(axis: int, count: int) -> Tensor:
        """Scene coordinates of ``count`` cells across the shown part of a box axis (0 x, 1 y, 2 z)."""
        return drawn.along(axis, count, grid.reach)

    # Finer slices than cells need not be computed: the cell's own place stands for them.
    cells = along(2, grid.cells[0])
    cell_depth = float(cells[1] - cells[0])
    if drawn.step > cell_depth:
        position = (cells - drawn.first) / drawn.step
        numbers = torch.arange(int(position[0].floor()), int(position[-1].floor()) + 2)
        thickness = drawn.step
    else:
        numbers = (cells - drawn.first) / drawn.step
        position = torch.arange(len(cells), dtype=torch.float32)
        thickness = cell_depth
    size = grid.cells[1]
    fine = min(size, max(32, -(-native_size(size, randomness) // 8) * 8))
    axes = (drawn.heights(numbers).to(device), along(1, fine).to(device), along(0, fine).to(device))
    images, mask = render(drawn.scene, axes, thickness, size, looks, randomness)
    mask = drawn.labelled(mask, numbers)
    images, mask = field_of_view(images, mask, (along(0, size), along(1, size)), drawn.target, randomness)
    if drawn.step > cell_depth:
        images = [_between(image, position - numbers[0]) for image in images]
        mask = _between(mask, position - numbers[0])
    if float(mask.sum()) < _LEAST_CELLS:
        return make_volume_samples(randomness, grid, looks, device, bodies)
    slice_step = torch.tensor(drawn.slice_step, device=device)
    return [{"intensities": image, "masks": mask, "slice_step": slice_step} for image in images]


def _between(slices: Tensor, position: Tensor) -> Tensor:
    """Linear interpolation of slices (n, rows, columns) at fractional slice numbers (cells,)."""
    position = position.to(slices.device).clamp(0.0, len(slices) - 1.0)
    below = position.floor().long().clamp(max=max(len(slices) - 2, 0))
    above = (below + 1).clamp(max=len(slices) - 1)
    return torch.lerp(slices[below], slices[above], (position - below)[:, None, None])


def make_volume_batch(
    seed: int,
    step: int,
    count: int,
    grid: CoarseGrid,
    device: torch.device | str = "cpu",
    looks: int = 2,
    bodies: float = BODIES,
) -> VolumeBatch:
    """Batch number ``step`` of the endless stream of a seed; the same on every run and on any machine."""
    device = torch.device(device)
    batch = stacked(seed, step, count, looks, lambda stream: make_volume_samples(stream, grid, looks, device, bodies))
    # Mirror images are anatomy as good as any; a scene costs more than a flip.
    flips = Randomness.from_seed(seed, step, count)
    axes = [axis for axis in (1, 2, 3) if flips.chance(0.5)]
    intensities = batch["intensities"].flip(axes)
    regions = RegionBatch.of(list(intensities), grid)
    return VolumeBatch(intensities, batch["masks"].flip(axes), batch["slice_step"], regions)


def region_loss(scores: Tensor, regions: RegionBatch, masks: Tensor) -> Tensor:
    """How far the overlaps expected of regions are from the true ones: scalar.

    Args:
        scores: (B, R) logits of the expected Dice overlap.
        masks: (B, *cells) 0..1.
    """
    inside = regions.masks.flatten(2).to(masks.dtype)
    truth = masks.flatten(1)
    both = torch.einsum("brn,bn->br", inside, truth)
    dice = 2.0 * both / (inside.sum(dim=2) + truth.sum(dim=1)[:, None]).clamp(min=1.0)
    error = (scores.sigmoid() - dice).square() * regions.known
    return 4.0 * error.sum() / regions.known.sum().clamp(min=1)


def presence_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """How wrongly the object is said to be present in every layer of cells across each axis: scalar.

    A drawn box says little more than this: the object is found in every layer between two faces and in none beyond
    (the box's tightness; Lempitsky et al., 2009). The error of single voxels hardly counts a thin end that is missing.
    A layer's answer is the mean of its surest cells, as the projections of BoxInst (Tian et al., 2021).

    Args:
        logits: (B, *cells).
        masks: (B, *cells) 0..1.
    """
    total = torch.zeros((), device=logits.device)
    for axis in (1, 2, 3):
        found, true = (value.movedim(axis, 1).flatten(2) for value in (logits, masks))
        surest = found.topk(_SUREST, dim=2).values.mean(dim=2)
        present = true.topk(_SUREST, dim=2).values.mean(dim=2)
        total = total + F.binary_cross_entropy_with_logits(surest, present)
    return total / 3.0


def volume_loss(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy, soft Dice and presence, the first two also coarser, and the Dice overlap reached: scalar, (B,).

    Args:
        logits: (B, *cells).
        masks: (B, *cells) 0..1.
    """
    total = torch.zeros((), device=logits.device)
    for weight, factor in ((1.0, 1), (0.5, 4)):
        predicted, truth = logits, masks
        if factor > 1:
            predicted, truth = (F.avg_pool3d(value[:, None], factor)[:, 0] for value in (logits, masks))
        cross_entropy = F.binary_cross_entropy_with_logits(predicted, truth)
        total = total + weight * (2.0 * cross_entropy + soft_dice_loss(predicted, truth).mean())
    total = total + _PRESENCE * presence_loss(logits, masks)
    with torch.no_grad():
        found, true = logits > 0, masks > 0.5
        both = (found & true).sum(dim=(1, 2, 3)).float()
        dice = 2.0 * both / (found.sum(dim=(1, 2, 3)) + true.sum(dim=(1, 2, 3))).clamp(min=1)
    return total, dice
