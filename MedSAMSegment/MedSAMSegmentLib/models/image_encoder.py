"""Trunk and neck together."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .position_encoding import SineEncoding2d


class ImageEncoder(nn.Module):
    """An image -> feature maps of one width, finest first.

    Args:
        trunk: any module that returns a list of feature maps, finest first, and says their ``strides``.
        neck: maps such a list to a list of equally wide maps.
        dim: that width.
        discard: number of coarsest levels that serve the neck only and are dropped from the result.
    """

    def __init__(self, trunk: nn.Module, neck: nn.Module, dim: int, discard: int = 0) -> None:
        super().__init__()
        self.trunk = trunk
        self.neck = neck
        self.discard = discard
        self.position_encoding = SineEncoding2d(dim)
        self.strides: list[int] = list(trunk.strides)[: len(trunk.strides) - discard]
        self.stride = self.strides[-1]
        """Input pixels a cell of the last map returned."""

    def forward(self, image: Tensor, narrow: Sequence[nn.Conv2d] = ()) -> list[Tensor]:
        """(B, 3, H, W) -> [(B, dim, H / stride_s, W / stride_s), ...], finest first.

        Args:
            narrow: see :meth:`.fpn_neck.FPNNeck.forward`.
        """
        levels = self.neck(self.trunk(image), narrow) if narrow else self.neck(self.trunk(image))
        return levels[: len(levels) - self.discard]
