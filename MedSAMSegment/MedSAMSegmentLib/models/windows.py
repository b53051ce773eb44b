"""Cutting a grid of tokens into attention windows, and putting it together again.

Images are channels-last here, (B, H, W, C).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def partition(x: Tensor, window: int) -> Tensor:
    """Cut (B, H, W, C), zero-padded at the far ends as needed, into (B * windows, window, window, C)."""
    batch, height, width, channels = x.shape
    rows, columns = -(-height // window), -(-width // window)
    x = F.pad(x, (0, 0, 0, columns * window - width, 0, rows * window - height))
    x = x.view(batch, rows, window, columns, window, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window, window, channels)


def unpartition(windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Put windows (from :func:`partition`, perhaps pooled since) back together as (B, H, W, C)."""
    window, channels = int(windows.shape[1]), int(windows.shape[3])
    rows, columns = -(-size[0] // window), -(-size[1] // window)
    x = windows.view(-1, rows, columns, window, window, channels).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, rows * window, columns * window, channels)[:, : size[0], : size[1]]
