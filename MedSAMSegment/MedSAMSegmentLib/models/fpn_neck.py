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

    def forward(self, levels: Sequence[Tensor], finest: nn.Conv2d | None = None) -> list[Tensor]:
        """Levels (B, C_s, h_s, w_s), finest first -> the same with ``dim`` channels.

        Args:
            finest: a 1 x 1 convolution; the finest level of the result is what it makes of that level. The level's own
                ``dim`` channels, most of the neck's work, are then never computed.
        """
        result: list[Tensor] = []
        coarser: Tensor | None = None
        for index in range(len(levels) - 1, -1, -1):
            lateral = self.convs[len(levels) - 1 - index].conv
            weight, bias = lateral.weight, lateral.bias
            if index == 0 and finest is not None:
                weight = torch.einsum("oc,cihw->oihw", finest.weight[:, :, 0, 0], weight)
                bias = finest.weight[:, :, 0, 0] @ bias + finest.bias
                coarser = None if coarser is None else F.conv2d(coarser, finest.weight)
            level = F.conv2d(levels[index], weight, bias)
            if coarser is not None and index in self.top_down_levels:
                level = level + F.interpolate(coarser, size=level.shape[-2:], mode="nearest")
            coarser = level
            result.insert(0, level)
        return result
