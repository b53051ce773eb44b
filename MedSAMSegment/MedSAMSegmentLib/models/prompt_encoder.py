"""SAM's prompt encoder: points and boxes become tokens, an earlier mask becomes a dense embedding.

Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .layers import LayerNorm2d
from .position_encoding import RandomFourierEncoding

NOT_A_POINT = -1
OUTSIDE, INSIDE, FIRST_CORNER, SECOND_CORNER = 0, 1, 2, 3


class PromptEncoder(nn.Module):
    """Prompts -> sparse tokens and a dense embedding.

    Args:
        dim: channels of the image embedding.
        mask_channels: width of the mask branch before its last layer.
    """

    def __init__(self, dim: int = 256, mask_channels: int = 16) -> None:
        super().__init__()
        self.dim = dim
        self.pe_layer = RandomFourierEncoding(dim)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def forward(
        self,
        points: Tensor | None,
        labels: Tensor | None,
        mask: Tensor | None,
        grid: Sequence[int],
        image_size: Sequence[int],
        pad: bool,
    ) -> tuple[Tensor, Tensor]:
        """Embed one set of prompts for each of B objects.

        Args:
            points: (B, N, 2), (x, y) in input pixels; the two corners of a box count as points.
            labels: (B, N) of ``OUTSIDE``, ``INSIDE``, ``FIRST_CORNER``, ``SECOND_CORNER``, ``NOT_A_POINT``.
            mask: (B, 1, 4h, 4w) logits.
            grid: (h, w) of the image embedding.
            image_size: (H, W) of the input.
            pad: append a padding point (SAM 2 always, SAM 1 where no box is given).

        Returns:
            Sparse (B, N (+ 1), dim) and dense (B or 1, dim, h, w) embeddings.
        """
        if points is None or labels is None:
            batch = 1 if mask is None else mask.shape[0]
            sparse = self.no_mask_embed.weight.new_zeros(batch, 0, self.dim)
        else:
            sparse = self.embed_points(points, labels, image_size, pad)
        return sparse, self.embed_mask(mask, grid)

    def embed_points(self, points: Tensor, labels: Tensor, image_size: Sequence[int], pad: bool) -> Tensor:
        """(B, N (+ 1), dim): where each point is, plus what kind it is; a padding point has no position."""
        if pad:
            points = torch.cat([points, points.new_zeros(points.shape[0], 1, 2)], dim=1)
            labels = torch.cat([labels, labels.new_full((labels.shape[0], 1), NOT_A_POINT)], dim=1)
        extent = points.new_tensor([image_size[1], image_size[0]])
        position = self.pe_layer((points + 0.5) / extent)
        kinds = torch.cat([self.not_a_point_embed.weight, *[e.weight for e in self.point_embeddings]])
        real = (labels != NOT_A_POINT)[..., None]
        return torch.where(real, position, 0.0) + kinds[labels.long() + 1]

    def embed_mask(self, mask: Tensor | None, grid: Sequence[int]) -> Tensor:
        """(B, dim, h, w) of a mask, or (1, dim, h, w) that says that there is none."""
        if mask is not None:
            return self.mask_downscaling(mask)
        return self.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(-1, -1, grid[0], grid[1])

    def dense_position(self, grid: Sequence[int]) -> Tensor:
        """(1, dim, h, w): the encoding of points, at the centres of the embedding's cells."""
        return self.pe_layer.grid((int(grid[0]), int(grid[1])))
