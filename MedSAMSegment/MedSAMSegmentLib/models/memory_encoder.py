"""Writing the memory: a slice's embedding and its mask are fused into a slim feature map.

Ravi et al., "SAM 2", 2024 (arXiv:2408.00714); the fuser's blocks are ConvNeXt's (Liu et al., 2022).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import LayerNorm2d
from .position_encoding import SineEncoding2d


class MaskDownsampler(nn.Module):
    """(B, 1, H, W) -> (B, dim, H / stride, W / stride) by 3 x 3 convolutions that each halve and widen fourfold.

    Args:
        stride: a power of two, that of the image embedding.
    """

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for _ in range(round(math.log2(stride))):
            layers += [
                nn.Conv2d(channels, channels * 4, kernel_size=3, stride=2, padding=1),
                LayerNorm2d(channels * 4),
                nn.GELU(),
            ]
            channels *= 4
        layers.append(nn.Conv2d(channels, dim, kernel_size=1))
        self.encoder = nn.Sequential(*layers)

    def forward(self, mask: Tensor) -> Tensor:
        return self.encoder(mask)


class ConvNeXtBlock(nn.Module):
    """7 x 7 depth-wise convolution, then a perceptron over the channels, scaled and added."""

    def __init__(self, dim: int, kernel: int = 7, layer_scale: float = 1e-6) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = LayerNorm2d(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        hidden = self.gamma * self.pwconv2(F.gelu(self.pwconv1(hidden)))
        return x + hidden.permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """A few such blocks."""

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNeXtBlock(dim) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    """Embedding + mask -> memory.

    Args:
        dim: channels of the image embedding.
        out_dim: channels of a memory.
        stride: input pixels a cell of the embedding.
        fuser_layers: blocks after the sum of the two.
    """

    def __init__(self, dim: int = 256, out_dim: int = 64, stride: int = 16, fuser_layers: int = 2) -> None:
        super().__init__()
        self.out_dim = out_dim
        self.mask_downsampler = MaskDownsampler(dim, stride)
        self.pix_feat_proj = nn.Conv2d(dim, dim, kernel_size=1)
        self.fuser = Fuser(dim, fuser_layers)
        self.out_proj = nn.Conv2d(dim, out_dim, kernel_size=1) if out_dim != dim else nn.Identity()
        self.position_encoding = SineEncoding2d(out_dim)

    def forward(self, embedding: Tensor, mask: Tensor) -> Tensor:
        """(B or 1, dim, h, w) and scaled mask values (B, 1, H, W) -> (B, out_dim, h, w)."""
        fused = self.pix_feat_proj(embedding) + self.mask_downsampler(mask)
        return self.out_proj(self.fuser(fused))
