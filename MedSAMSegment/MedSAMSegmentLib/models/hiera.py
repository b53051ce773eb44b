"""Hiera, the hierarchical vision transformer that SAM 2 looks through.

Ryali et al., "Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles", 2023 (arXiv:2306.00989), with
the window and position embeddings of Bolya et al., "Window Attention is Bugged", 2023 (arXiv:2311.05613).
Inside this file images are channels-last, (B, H, W, C).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import MultilayerPerceptron
from .position_encoding import KeptTable
from .windows import partition, unpartition

_NORM_EPS = 1e-6


class PatchEmbedding(nn.Module):
    """Overlapping patches: (B, 3, H, W) -> (B, H/4, W/4, C)."""

    def __init__(self, in_channels: int, dim: int, kernel: int = 7, stride: int = 4, padding: int = 3) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel, stride, padding)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).permute(0, 2, 3, 1)


class MultiScaleAttention(nn.Module):
    """Self-attention over all tokens of an image or window; the queries may be max-pooled 2 x 2 beforehand."""

    def __init__(self, dim: int, out_dim: int, heads: int, pool: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pool = pool
        self.qkv = nn.Linear(dim, 3 * out_dim)
        self.proj = nn.Linear(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        if self.pool:
            query = _max_pool(query)
            height, width = query.shape[1:3]
        attended = F.scaled_dot_product_attention(self._split(query), self._split(key), self._split(value))
        return self.proj(attended.transpose(1, 2).reshape(batch, height, width, -1))

    def _split(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, heads, H W, C / heads)."""
        return x.reshape(x.shape[0], x.shape[1] * x.shape[2], self.heads, -1).transpose(1, 2)


class MultiScaleBlock(nn.Module):
    """A transformer block; the first one of a stage halves the grid and widens the channels.

    Args:
        window: side of the attention window in tokens before pooling, 0 for the whole image.
        pool: halve the grid.
    """

    def __init__(self, dim: int, out_dim: int, heads: int, window: int, pool: bool, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.window = window
        self.pool = pool
        self.norm1 = nn.LayerNorm(dim, eps=_NORM_EPS)
        self.attn = MultiScaleAttention(dim, out_dim, heads, pool)
        self.norm2 = nn.LayerNorm(out_dim, eps=_NORM_EPS)
        self.mlp = MultilayerPerceptron(out_dim, int(out_dim * mlp_ratio), out_dim, layers=2, activation=nn.GELU)
        self.proj = nn.Linear(dim, out_dim) if dim != out_dim else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.norm1(x)
        if self.proj is not None:
            shortcut = self.proj(x)
            if self.pool:
                shortcut = _max_pool(shortcut)
        size = (int(shortcut.shape[1]), int(shortcut.shape[2]))
        if self.window:
            windows = partition(x, self.window)
            x = unpartition(self.attn(windows), size)
        else:
            x = self.attn(x)
        x = shortcut + x
        return x + self.mlp(self.norm2(x))


class Hiera(nn.Module):
    """The trunk: four feature maps at strides 4, 8, 16 and 32, finest first.

    Args:
        embed_dim, heads: channels and attention heads of the first stage; both double from stage to stage.
        stages: blocks in each stage.
        global_attention_blocks: indices of the blocks that attend to the whole image.
        windows: side of the attention windows of each stage, in tokens.
        background_size: grid (rows, columns) of the position embedding that is stretched over the image.
    """

    def __init__(
        self,
        embed_dim: int = 96,
        heads: int = 1,
        stages: Sequence[int] = (1, 2, 7, 2),
        global_attention_blocks: Sequence[int] = (5, 7, 9),
        windows: Sequence[int] = (8, 4, 14, 7),
        background_size: Sequence[int] = (7, 7),
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(in_channels, embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, embed_dim, *background_size))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, embed_dim, windows[0], windows[0]))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.pos_embed_window, std=0.02)

        self._kept = KeptTable()

        self.blocks = nn.ModuleList()
        self.stage_ends: list[int] = []
        dim = embed_dim
        for stage, depth in enumerate(stages):
            for position in range(depth):
                first_of_later_stage = stage > 0 and position == 0
                # Windows are counted before pooling: the block that pools still has the grid of the stage before.
                window = windows[stage - 1] if first_of_later_stage else windows[stage]
                if len(self.blocks) in global_attention_blocks:
                    window = 0
                out_dim = embed_dim * 2**stage
                self.blocks.append(MultiScaleBlock(dim, out_dim, heads * 2**stage, window, pool=first_of_later_stage))
                dim = out_dim
            self.stage_ends.append(len(self.blocks) - 1)

        self.channels = [embed_dim * 2**stage for stage in range(len(stages))]
        self.strides = [4 * 2**stage for stage in range(len(stages))]

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> one (B, C_s, H / stride_s, W / stride_s) a stage, finest first."""
        x = self.patch_embed(image)
        height, width = int(x.shape[1]), int(x.shape[2])
        x = x + self._kept.get((height, width), self.pos_embed, lambda: self._position(height, width))
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                levels.append(x.permute(0, 3, 1, 2))
        return levels

    def _position(self, height: int, width: int) -> Tensor:
        """(1, H, W, C): the stretched embedding plus the one that repeats in every window."""
        stretched = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        window = int(self.pos_embed_window.shape[-1])
        repeats = (1, 1, -(-height // window), -(-width // window))
        tiled = self.pos_embed_window.tile(repeats)[..., :height, :width]
        return (stretched + tiled).permute(0, 2, 3, 1)


def _max_pool(x: Tensor) -> Tensor:
    """2 x 2 maximum of (B, H, W, C)."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), kernel_size=2, stride=2).permute(0, 2, 3, 1)
