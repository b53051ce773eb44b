"""The whole box at a glance: a small 3-D U-Net that tells roughly where in the box the object is.

A slice alone does not say how far through the box the object reaches; the whole box does. This network sees the box
and a margin about it, always resampled onto the same grid along the box's own axes, so every box, long or flat,
upright or rotated, looks alike to it: its faces are always at the same cells. The result is a coarse mask that the
slice network (`models/embedded.py`) is given on every slice and refines there.

A U-Net (Ronneberger et al., 2015; Çiçek et al., 2016) with residual blocks and sums in place of concatenations.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv_trunk import group_norm

INTENSITY_MEAN, INTENSITY_SCALE = 0.45, 0.27
"""Typical mean and standard deviation of a windowed crop in [0, 1]."""


@dataclass(frozen=True)
class CoarseGrid:
    """The grid about a box on which the coarse network works.

    Attributes:
        cells: number of cells along the slice axis, the rows and the columns.
        margin: what is shown beyond each face, as a fraction of the box's size along that axis.
    """

    cells: tuple[int, int, int] = (32, 56, 56)
    margin: float = 0.2

    def place(self, axis: int) -> Tensor:
        """(cells,) where the cell centres of one axis (0 slices, 1 rows, 2 columns) lie; -1 and 1 are the faces."""
        count = self.cells[axis]
        return ((torch.arange(count) + 0.5) / count * 2.0 - 1.0) * (1.0 + 2.0 * self.margin)


class ResidualBlock3d(nn.Module):
    """Two 3 x 3 x 3 convolutions around a shortcut (He et al., 2016), with group normalisation and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = group_norm(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = group_norm(channels)
        # The block starts as the identity, which keeps the first steps of training stable.
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(hidden)))


class CoarseNetwork(nn.Module):
    """Intensities in and about a box -> logits of the object on the same grid.

    Args:
        channels: width of every level; each level halves the grid.
        grid: the cells; each number must be divisible by 2 ** (levels - 1).
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 64, 128), grid: CoarseGrid | None = None) -> None:
        super().__init__()
        self.grid = CoarseGrid() if grid is None else grid
        inputs = 5
        self.stem = nn.Sequential(
            nn.Conv3d(inputs, channels[0], 3, padding=1, bias=False),
            group_norm(channels[0]),
            nn.ReLU(),
            ResidualBlock3d(channels[0]),
        )
        pairs = list(itertools.pairwise(channels))
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv3d(fine, deep, 2, stride=2, bias=False), group_norm(deep), nn.ReLU(), block)
            for fine, deep, block in ((a, b, ResidualBlock3d(b)) for a, b in pairs)
        )
        self.up = nn.ModuleList(nn.ConvTranspose3d(deep, fine, 2, stride=2) for fine, deep in reversed(pairs))
        self.refine = nn.ModuleList(ResidualBlock3d(fine) for fine, _ in reversed(pairs))
        self.head = nn.Conv3d(channels[0], 1, 1)

    def forward(self, intensities: Tensor, slice_step: Tensor) -> Tensor:
        """Where the object is.

        Args:
            intensities: (B, *cells) windowed to [0, 1]; the grid may be finer or coarser than the network's own.
            slice_step: (B,) distance between the scan's slices over half the box's depth: how finely the grid's
                slice axis was really seen.

        Returns:
            (B, *cells) logits.
        """
        batch = intensities.shape[0]
        step = slice_step.clamp(0.0, 2.0).view(-1, 1, 1, 1, 1).expand(-1, 1, *intensities.shape[1:])
        grid = replace(self.grid, cells=(intensities.shape[1], intensities.shape[2], intensities.shape[3]))
        place = torch.stack(torch.meshgrid(*(grid.place(axis) for axis in range(3)), indexing="ij"))
        place = place.to(intensities).expand(batch, -1, -1, -1, -1)
        image = ((intensities - INTENSITY_MEAN) / INTENSITY_SCALE)[:, None]
        x = self.stem(torch.cat([image, place, step], dim=1).contiguous(memory_format=torch.channels_last_3d))
        levels = [x]
        for stage in self.down:
            x = stage(x)
            levels.append(x)
        levels.pop()
        for enlarge, refine in zip(self.up, self.refine, strict=True):
            x = refine(enlarge(x) + levels.pop())
        return self.head(x)[:, 0]
