"""A light convolutional trunk: it learns from little data and runs fast on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalisation that does not depend on the batch: training and inference behave alike."""
    return nn.GroupNorm(max(1, channels // 8), channels)


def norm_relu(channels: int) -> tuple[nn.Module, nn.Module]:
    """What follows a convolution; in place, as on a CPU fetching memory for another copy takes as long as the work."""
    return group_norm(channels), nn.ReLU(inplace=True)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut (He et al., 2016), with group normalisation and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = group_norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = group_norm(channels)
        # The block starts as the identity, which keeps the first steps of training stable.
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(hidden)).add_(x), inplace=True)


class ConvTrunk(nn.Module):
    """Feature maps at strides 2, 4, 8, ... of the input, finest first.

    Args:
        channels: width of every level.
        blocks: residual blocks of every level.
        in_channels: channels of the picture.
    """

    def __init__(self, channels: Sequence[int], blocks: Sequence[int], in_channels: int = 3) -> None:
        super().__init__()
        self.channels = list(channels)
        self.strides = [2 ** (level + 1) for level in range(len(channels))]
        self.stages = nn.ModuleList()
        previous = in_channels
        for width, depth in zip(channels, blocks, strict=True):
            kernel = 5 if previous == in_channels else 3
            reduce = nn.Conv2d(previous, width, kernel, stride=2, padding=kernel // 2, bias=False)
            residual = [ResidualBlock(width) for _ in range(depth)]
            self.stages.append(nn.Sequential(reduce, *norm_relu(width), *residual))
            previous = width

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, in_channels, H, W) -> one (B, C_s, H / stride_s, W / stride_s) a level."""
        levels = []
        for stage in self.stages:
            image = stage(image)
            levels.append(image)
        return levels
