"""The plain vision transformer with windows: image encoder of SAM and, without relative positions, of EfficientTAM.

Dosovitskiy et al., 2020 (arXiv:2010.11929) as Li et al., "Exploring Plain Vision Transformer Backbones for Object
Detection", 2022 (arXiv:2203.16527), adapt it: most blocks attend within windows, a few to the whole image.
Inside this file images are channels-last, (B, H, W, C).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .embedding_neck import EmbeddingNeck
from .layers import LinearPair, MultilayerPerceptron
from .windows import partition, unpartition

_NORM_EPS = 1e-6
_BIAS_ELEMENTS = 2**25
"""Attention with relative positions works on so many query-key pairs at once: 128 MiB in single precision, where a
whole SAM image of 1024 pixels would ask for 800 MiB and more."""


class PatchEmbedding(nn.Module):
    """Adjoining patches: (B, 3, H, W) -> (B, H / patch, W / patch, C)."""

    def __init__(self, in_channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel_size=patch, stride=patch)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).permute(0, 2, 3, 1)


class GridAttention(nn.Module):
    """Self-attention over all tokens of an image or window.

    Args:
        relative_grid: side of the grid whose relative positions are learned for rows and columns; 0 for none.
    """

    def __init__(self, dim: int, heads: int, relative_grid: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative = relative_grid > 0
        if self.relative:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * relative_grid - 1, dim // heads))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * relative_grid - 1, dim // heads))

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, dim = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, H W, d)
        if self.relative:
            attended = self._with_relative_positions(query, key, value, height, width)
        else:
            attended = F.scaled_dot_product_attention(query, key, value)
        return self.proj(attended.transpose(1, 2).reshape(batch, height, width, dim))

    def _with_relative_positions(self, query: Tensor, key: Tensor, value: Tensor, height: int, width: int) -> Tensor:
        """Attention whose logits also know how far apart two tokens are; as many heads at a time as memory allows."""
        rows = relative_table(self.rel_pos_h, height).transpose(1, 2)  # (h, d, h')
        columns = relative_table(self.rel_pos_w, width).transpose(1, 2)
        shape, tokens = query.shape, height * width
        parts = [part.flatten(0, 1).split(max(1, _BIAS_ELEMENTS // tokens**2)) for part in (query, key, value)]
        attended = []
        for q, k, v in zip(*parts, strict=True):
            grid = q.unflatten(1, (height, width))
            along_rows = grid @ rows  # (n, h, w, h'), of the query before it is scaled
            along_columns = (grid.transpose(1, 2) @ columns).transpose(1, 2)  # (n, h, w, w')
            bias = (along_rows[..., :, None] + along_columns[..., None, :]).reshape(len(q), tokens, tokens)
            attended.append(F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=bias[None])[0])
        return torch.cat(attended).view(shape)


class Block(nn.Module):
    """Attention and perceptron, each after a normalisation and added.

    Args:
        window: side of the attention window in tokens, 0 for the whole image.
    """

    def __init__(self, dim: int, window: int, attention: GridAttention, perceptron: nn.Module) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(dim, eps=_NORM_EPS)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, eps=_NORM_EPS)
        self.mlp = perceptron

    def forward(self, x: Tensor) -> Tensor:
        size = (int(x.shape[1]), int(x.shape[2]))
        normalised = self.norm1(x)
        if self.window:
            attended = unpartition(self.attn(partition(normalised, self.window)), size)
        else:
            attended = self.attn(normalised)
        x = x + attended
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """One feature map at the stride of the patches.

    Args:
        embed_dim, depth, heads: channels, blocks, attention heads.
        global_attention_blocks: indices of the blocks that attend to the whole image.
        window: side of the other blocks' windows, in tokens.
        patch: side of a patch in pixels.
        position_grid: side of the grid of the absolute position embedding; it is stretched over other grids.
        class_token_position: that embedding is a list which begins with a class token, as from pretraining.
        relative_positions: each block also learns relative positions (SAM).
        perceptron_keys: "lin" for ``lin1`` and ``lin2`` (SAM), "layers" for ``layers.0`` and ``layers.1``.
        neck_dim: SAM's neck is part of its image encoder: the channels it brings the map to; 0 for no neck.
    """

    def __init__(
        self,
        embed_dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        global_attention_blocks: Sequence[int] = (2, 5, 8, 11),
        window: int = 14,
        patch: int = 16,
        position_grid: int = 64,
        class_token_position: bool = False,
        relative_positions: bool = True,
        perceptron_keys: str = "lin",
        in_channels: int = 3,
        mlp_ratio: float = 4.0,
        neck_dim: int = 0,
    ) -> None:
        super().__init__()
        if perceptron_keys not in ("lin", "layers"):
            raise ValueError(f"perceptron_keys is {perceptron_keys!r}")
        self.patch_embed = PatchEmbedding(in_channels, embed_dim, patch)
        self.position_grid = position_grid
        grid = (position_grid**2 + 1,) if class_token_position else (position_grid, position_grid)
        self.pos_embed = nn.Parameter(torch.zeros(1, *grid, embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

        hidden = int(embed_dim * mlp_ratio)
        self.blocks = nn.ModuleList()
        for index in range(depth):
            side = 0 if index in global_attention_blocks else window
            relative_grid = (side or position_grid) if relative_positions else 0
            perceptron = (
                LinearPair(embed_dim, hidden)
                if perceptron_keys == "lin"
                else MultilayerPerceptron(embed_dim, hidden, embed_dim, layers=2, activation=nn.GELU)
            )
            self.blocks.append(Block(embed_dim, side, GridAttention(embed_dim, heads, relative_grid), perceptron))
        self.neck = EmbeddingNeck(embed_dim, neck_dim) if neck_dim else None
        self.channels = [neck_dim or embed_dim]
        self.strides = [patch]

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> [(B, embed_dim or neck_dim, H / patch, W / patch)]."""
        x = self.patch_embed(image)
        x = x + self._position(int(x.shape[1]), int(x.shape[2]))
        for block in self.blocks:
            x = block(x)
        level = x.permute(0, 3, 1, 2)
        return [level if self.neck is None else self.neck(level)]

    def _position(self, height: int, width: int) -> Tensor:
        """(1, H, W, C): the absolute position embedding, stretched where the grid is another."""
        side = self.position_grid
        table = self.pos_embed.flatten(1, -2)[:, -(side**2) :].unflatten(1, (side, side))
        if (height, width) == (side, side):
            return table
        stretched = F.interpolate(table.permute(0, 3, 1, 2), size=(height, width), mode="bicubic", align_corners=False)
        return stretched.permute(0, 2, 3, 1)


def relative_table(table: Tensor, length: int) -> Tensor:
    """(length, length, d): the learned vector of the way from each key (second axis) to each query (first axis).

    A table made for another length is stretched linearly.
    """
    if len(table) != 2 * length - 1:
        table = F.interpolate(table.T[None], size=2 * length - 1, mode="linear")[0].T
    place = torch.arange(length, device=table.device)
    return table[place[:, None] - place[None, :] + length - 1]
