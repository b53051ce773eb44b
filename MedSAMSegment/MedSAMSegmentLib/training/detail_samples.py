"""Training samples of single slices together with the whole box that they lie in.

In use a slice is worked out from what the coarse network found in the whole box, right or wrong. So a small scan about
the box is computed and read as at inference: onto the coarse network's grid, and slice by slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.box_regions import RegionBatch
from ..models.coarse import GLANCE_CELLS, CoarseGrid, resampled
from .appearance import native_size, render
from .drawn_boxes import DrawnBox, draw_box
from .fields import Randomness
from .options import BODIES
from .samples import box_coordinates, field_of_view, stacked

# How many slices a target covers at most, and how often a careless box also begins or ends on a wrong one.
_MOST_SLICES, _CARELESS_ENDS = 30.0, 0.3

# Side of the crop over the longer side of the box: usually as at inference, sometimes more.
_CROP, _WIDE_CROP, _USUAL = (1.45, 1.8), (1.8, 2.6), 0.85

# How often a slice just beyond the box is asked for, and of the others one of the two outermost at either end.
_BEYOND, _AT_END = 0.04, 0.3

# Scans with fewer pixels of the object are left out.
_LEAST_PIXELS = 40.0


@dataclass(frozen=True)
class DetailBatch:
    """B boxes, T slices of each, S pixels.

    Attributes:
        intensities: (B, *cells) the boxes in [0, 1], see :class:`CoarseGrid`.
        regions, glance_regions: that fit the boxes, on that grid and on the one of a glance.
        pictures: (B, T, 3, S, S) in [0, 1], every slice between its neighbours.
        masks: (B, T, 3, S, S) 0 or 1.
        box_coordinates: (B, T, 3, S/2, S/2) place of the pixels of a half-resolution grid in the box: -1 and 1 are its
            faces (x, y, z of the box's own axes).
        slice_step: (B,) distance of slices over the half-depth of the box.
    """

    intensities: Tensor
    regions: RegionBatch
    glance_regions: RegionBatch
    pictures: Tensor
    masks: Tensor
    box_coordinates: Tensor
    slice_step: Tensor


def make_detail_batch(
    seed: int,
    step: int,
    count: int,
    slices: int,
    size: int,
    grid: CoarseGrid,
    device: torch.device | str = "cpu",
    looks: int = 2,
    bodies: float = BODIES,
) -> DetailBatch:
    """Batch number ``step`` of the endless stream of a seed; the same on every run and on any machine.

    Args:
        count, slices, size: boxes, slices of each, pixels.
        grid: of the coarse network.
        looks: boxes made of one anatomy; contrast, texture and noise differ.
        bodies: how often the object is part of a computed body instead of a random shape.
    """
    device = torch.device(device)
    batch = stacked(
        seed, step, count, looks, lambda stream: make_samples(stream, grid, slices, size, looks, device, bodies)
    )
    intensities = batch["intensities"]
    glance = resampled(intensities, GLANCE_CELLS)
    return DetailBatch(
        **batch,
        regions=RegionBatch.of(list(intensities), grid),
        glance_regions=RegionBatch.of(list(glance), CoarseGrid(GLANCE_CELLS, grid.margin)),
    )


def make_samples(
    randomness: Randomness,
    grid: CoarseGrid,
    slices: int,
    size: int,
    looks: int,
    device: torch.device,
    bodies: float,
) -> list[dict[str, Tensor]]:
    """Samples of one anatomy, ``looks`` of them; the keys are those fields of `DetailBatch` that are tensors."""
    drawn = draw_box(randomness, device, bodies, _MOST_SLICES, _CARELESS_ENDS)
    # All slices that the grid reaches, and the neighbours of those just beyond the object.
    heights = (drawn.along(2, grid.cells[0], grid.reach) - drawn.first) / drawn.step
    lowest = min(int(heights[0].floor()), -2)
    numbers = torch.arange(lowest, max(int(heights[-1].ceil()), drawn.depth + 1) + 1)

    side = 2.0 * max(drawn.half(0), drawn.half(1))
    side *= randomness.uniform(*_CROP) if randomness.chance(_USUAL) else randomness.uniform(*_WIDE_CROP)
    middle_x, middle_y = (drawn.centre(axis) + randomness.uniform(-0.02, 0.02) * side for axis in (0, 1))
    pixel = side / size
    x, y = middle_x + _offsets(size) * side, middle_y + _offsets(size) * side
    # Half of the crops are magnified views of few pixels: compute no finer than needed.
    fine = _offsets(min(size, max(48, -(-native_size(size, randomness) // 16) * 16))) * side
    axes = (drawn.heights(numbers).to(device), (middle_y + fine).to(device), (middle_x + fine).to(device))
    images, mask = render(drawn.scene, axes, drawn.step, size, looks, randomness)
    mask = drawn.labelled(mask, numbers)
    images, mask = field_of_view(images, mask, (x, y), drawn.target, randomness)
    if float(mask.sum()) < _LEAST_PIXELS:
        return make_samples(randomness, grid, slices, size, looks, device, bodies)

    across, down = (drawn.along(axis, grid.cells[2 - axis], grid.reach) for axis in (0, 1))
    cells = (heights - lowest, (down - y[0]) / pixel, (across - x[0]) / pixel)
    chosen = torch.tensor([_any_slice(drawn.depth, randomness) for _ in range(slices)])
    shown = chosen[:, None] - lowest + torch.tensor([-1, 0, 1])
    common = {
        "masks": mask[shown],
        "box_coordinates": _box_coordinates(drawn, chosen, (middle_x, middle_y), side, size).to(device),
        "slice_step": torch.tensor(drawn.slice_step, device=device),
    }
    return [{"intensities": sampled(image, cells), "pictures": image[shown], **common} for image in images]


def _offsets(count: int) -> Tensor:
    """(count,) where the pixels of a crop lie about its middle, its side being 1."""
    return (torch.arange(count) - (count - 1) / 2.0) / count


def _any_slice(depth: int, randomness: Randomness) -> int:
    if randomness.chance(_BEYOND):
        return -1 if randomness.chance(0.5) else depth
    if not randomness.chance(_AT_END):
        return randomness.integer(0, depth - 1)
    from_below = randomness.chance(0.5)
    inwards = min(depth - 1, randomness.integer(0, 1))
    return inwards if from_below else depth - 1 - inwards


def _box_coordinates(drawn: DrawnBox, chosen: Tensor, middle: tuple[float, float], side: float, size: int) -> Tensor:
    """(T, 3, S/2, S/2), see :class:`DetailBatch`."""
    offsets = _offsets(size // 2) * side
    x, y = ((middle[axis] + offsets - drawn.centre(axis)) / drawn.half(axis) for axis in (0, 1))
    z = (drawn.first + chosen * drawn.step - drawn.centre(2)) * (drawn.slice_step / drawn.step)
    return box_coordinates(x, y, z)


def sampled(image: Tensor, places: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Values of a scan on a grid along its axes, averaged over blocks where cells are coarser than voxels.

    As `inference/coarse.py` reads scans; beyond the scan its edge repeats.

    Args:
        image: (slices, rows, columns).
        places: evenly spaced voxel numbers of the grid's slices, rows and columns.

    Returns:
        (*cells).
    """
    block = [max(1, int(float(place[1] - place[0]) + 1e-4)) for place in places]
    reduced = F.avg_pool3d(image[None, None], block, stride=block, ceil_mode=True, count_include_pad=False)[0, 0]
    ends = zip(places, block, reduced.shape, strict=True)
    z, y, x = torch.meshgrid(*((place + 0.5) / size / count * 2.0 - 1.0 for place, size, count in ends), indexing="ij")
    at = torch.stack([x, y, z], dim=-1).to(reduced)
    return F.grid_sample(reduced[None, None], at[None], padding_mode="border", align_corners=False)[0, 0]
