"""The neck that brings a trunk's levels to one width: a feature pyramid (Lin et al., 2017) as SAM 2 trims it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Lateral(nn.Sequential):
    """One 1 x 1 convolution under the key ``conv``."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv2d(in_channels, out_channels, kernel_size=1))


class FPNNeck(nn.Module):
    """A 1 x 1 convolution a level; some levels also receive the next coarser one, enlarged.

    Args:
        dim: channels of every output level.
        channels: channels of the trunk's levels, finest first.
        top_down_levels: levels (0 = finest) that take part in the top-down pathway; the others are lateral only.
    """

    def __init__(self, dim: int, channels: Sequence[int], top_down_levels: Sequence[int] = (2, 3)) -> None:
        super().__init__()
        # Official checkpoints count the convolutions from the coarsest level.
        self.convs = nn.ModuleList(_Lateral(width, dim) for width in reversed(channels))
        self.top_down_levels = frozenset(top_down_levels)

    def forward(self, levels: Sequence[Tensor], narrow: Sequence[nn.Conv2d] = ()) -> list[Tensor]:
        """Levels (B, C_s, h_s, w_s), finest first -> the same with ``dim`` channels.

        Args:
            narrow: 1 x 1 convolutions, for the finest levels; those of the result are what they make of the levels.
                Two such convolutions in a row are one, so the levels' own ``dim`` channels, most of the neck's work,
                are then never computed.
        """
        result: list[Tensor] = []
        coarser: Tensor | None = None
        kernels = [convolution.weight[:, :, 0, 0] for convolution in narrow]
        for index in range(len(levels) - 1, -1, -1):
            lateral = self.convs[len(levels) - 1 - index].conv
            weight, bias = lateral.weight, lateral.bias
            own = len(weight)
            if index < len(narrow):
                # What this level is asked for, then what finer ones will ask of it.
                asked = torch.cat(kernels[index::-1])
                own = len(kernels[index])
                weight = torch.einsum("oc,cihw->oihw", asked, weight)
                bias = asked @ bias + F.pad(narrow[index].bias, (0, len(asked) - own))
                if coarser is not None and index == len(narrow) - 1:
                    coarser = F.conv2d(coarser, asked[:, :, None, None])
            level = F.conv2d(levels[index], weight, bias)
            if coarser is not None and index in self.top_down_levels:
                level = _with_coarser(level, coarser)
            coarser = level if own == len(weight) else level[:, own:]
            result.insert(0, level[:, :own])
        return result


def _with_coarser(level: Tensor, coarser: Tensor) -> Tensor:
    """The sum of a level, which may be changed, and a coarser one, each cell of which is repeated."""
    rows, columns = coarser.shape[-2:]
    doubles = tuple(level.shape[-2:]) == (2 * rows, 2 * columns)
    if doubles and level.is_contiguous(memory_format=torch.channels_last) and not torch.jit.is_tracing():
        blocks = level.unflatten(3, (columns, 2)).unflatten(2, (rows, 2))
        blocks.add_(coarser[:, :, :, None, :, None])
        return level
    return level + F.interpolate(coarser, size=level.shape[-2:], mode="nearest")
