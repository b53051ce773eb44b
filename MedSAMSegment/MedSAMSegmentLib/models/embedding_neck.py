"""The neck of single-level encoders: a trunk's last map is brought to the width of the image embedding.

Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", 2022 (arXiv:2203.16527); used by SAM,
MobileSAM and EfficientTAM.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from .layers import LayerNorm2d


class EmbeddingNeck(nn.Sequential):
    """1 x 1 and 3 x 3 convolution without bias, each followed by a normalisation over the channels.

    Args:
        in_channels, dim: width of the trunk's map and of the embedding.
        names: keys of the four layers.
    """

    def __init__(self, in_channels: int, dim: int, names: Sequence[str] = ("0", "1", "2", "3")) -> None:
        layers = (
            nn.Conv2d(in_channels, dim, kernel_size=1, bias=False),
            LayerNorm2d(dim),
            nn.Conv2d(dim, dim, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(dim),
        )
        super().__init__(OrderedDict(zip(names, layers, strict=True)))


class SingleLevelNeck(nn.Module):
    """The same as a neck of :class:`~.image_encoder.ImageEncoder`, under EfficientTAM's keys."""

    def __init__(self, dim: int, channels: Sequence[int]) -> None:
        super().__init__()
        names = ("conv_1x1", "norm_0", "conv_3x3", "norm_1")
        self.convs = nn.ModuleList([EmbeddingNeck(channels[-1], dim, names)])

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """[..., (B, C, h, w)] -> [(B, dim, h, w)]."""
        return [self.convs[0](levels[-1])]
