"""TinyViT, the small image encoder of MobileSAM and LiteMedSAM.

Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", 2022 (arXiv:2207.10666), as Zhang et
al., "Faster Segment Anything", 2023 (arXiv:2306.14289), put it under SAM's decoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .embedding_neck import EmbeddingNeck
from .windows import partition, unpartition


class NormalisedConvolution(nn.Module):
    """A convolution without bias and its batch normalisation, under the keys ``c`` and ``bn``."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.c(x))


class PatchEmbedding(nn.Module):
    """(B, 3, H, W) -> (B, dim, H / stride², W / stride²), by two convolutions."""

    def __init__(self, in_channels: int, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            NormalisedConvolution(in_channels, dim // 2, kernel, stride),
            nn.GELU(),
            NormalisedConvolution(dim // 2, dim, kernel, stride),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.seq(image)


class InvertedBottleneck(nn.Module):
    """MobileNet's block: widen, look at the neighbours, narrow, add (Sandler et al., 2018)."""

    def __init__(self, dim: int, expansion: int = 4) -> None:
        super().__init__()
        self.conv1 = NormalisedConvolution(dim, dim * expansion, 1)
        self.conv2 = NormalisedConvolution(dim * expansion, dim * expansion, 3, groups=dim * expansion)
        self.conv3 = NormalisedConvolution(dim * expansion, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class PatchMerging(nn.Module):
    """To the next stage's channels and, with a stride of 2, to half its grid."""

    def __init__(self, dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = NormalisedConvolution(dim, out_dim, 1)
        self.conv2 = NormalisedConvolution(out_dim, out_dim, 3, stride, groups=out_dim)
        self.conv3 = NormalisedConvolution(out_dim, out_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class BiasedAttention(nn.Module):
    """Attention within windows, with a learned bias for every distance in rows and columns."""

    distances: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window**2))
        token = torch.arange(window**2)
        row, column = token // window, token % window
        distances = (row[:, None] - row).abs() * window + (column[:, None] - column).abs()
        self.register_buffer("distances", distances, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, dim), the N tokens of a window -> the same."""
        # Query, key and value of a head lie side by side, head by head.
        query, key, value = self.qkv(self.norm(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2).chunk(3, dim=-1)
        bias = self.attention_biases[:, self.distances]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(attended.transpose(1, 2).flatten(2))


class NormalisedPerceptron(nn.Module):
    """Normalisation and two linear layers: keys ``norm``, ``fc1``, ``fc2``."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class WindowBlock(nn.Module):
    """Attention within windows, a depth-wise convolution across their borders, a perceptron."""

    def __init__(self, dim: int, heads: int, window: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.window = window
        self.attn = BiasedAttention(dim, heads, window)
        self.local_conv = NormalisedConvolution(dim, dim, 3, groups=dim)
        self.mlp = NormalisedPerceptron(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> the same."""
        size = (int(x.shape[2]), int(x.shape[3]))
        windows = partition(x.permute(0, 2, 3, 1), self.window)
        attended = self.attn(windows.flatten(1, 2)).view_as(windows)
        x = self.local_conv(x + unpartition(attended, size).permute(0, 3, 1, 2))
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks on one grid, then the way to the next stage's, if there is one."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViT(nn.Module):
    """TinyViT and its neck.

    Args:
        neck_dim: channels of the embedding.
        channels, depths, heads, windows: of each stage; the first one is convolutional and has no heads or windows.
        merge_strides: stride between the stages.
        patch_kernel, patch_stride: of the two convolutions before the first stage.
        classes: MobileSAM's file still holds the classifier it was pretrained with, which nothing uses; 0 for none.
    """

    def __init__(
        self,
        neck_dim: int = 256,
        channels: Sequence[int] = (64, 128, 160, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (2, 4, 5, 10),
        windows: Sequence[int] = (7, 7, 14, 7),
        merge_strides: Sequence[int] = (2, 2, 1),
        patch_kernel: int = 3,
        patch_stride: int = 2,
        classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(in_channels, channels[0], patch_kernel, patch_stride)
        self.layers = nn.ModuleList()
        stride = patch_stride**2
        for index, (dim, depth) in enumerate(zip(channels, depths, strict=True)):
            blocks: list[nn.Module] = [
                WindowBlock(dim, heads[index], windows[index]) if index else InvertedBottleneck(dim)
                for _ in range(depth)
            ]
            last = index == len(channels) - 1
            merging = None if last else PatchMerging(dim, channels[index + 1], merge_strides[index])
            stride *= 1 if last else merge_strides[index]
            self.layers.append(Stage(blocks, merging))
        if classes:
            self.norm_head = nn.LayerNorm(channels[-1])
            self.head = nn.Linear(channels[-1], classes)
        self.neck = EmbeddingNeck(channels[-1], neck_dim)
        self.channels = [neck_dim]
        self.strides = [stride]

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> [(B, neck_dim, H / stride, W / stride)]."""
        x = self.patch_embed(image)
        for stage in self.layers:
            x = stage(x)
        return [self.neck(x)]
