"""Where a token is: sine, rotary and random-Fourier position encodings.

None of them depends on a fixed image size; the tables of a size are computed once and kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

_TEMPERATURE = 10000.0


def sine_encoding_1d(position: Tensor, dim: int, temperature: float = _TEMPERATURE) -> Tensor:
    """(N,) positions -> (N, dim): the first half sines, the second half cosines (frequencies in equal pairs)."""
    half = dim // 2
    pair = torch.arange(half, device=position.device) // 2
    angle = position[:, None] / temperature ** (2 * pair / half)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class SineEncoding2d(nn.Module):
    """Sine encoding of rows and columns, normalised to the extent (Carion et al., DETR, 2020).

    Args:
        dim: channels; the first half encodes the row, the second the column.
    """

    def __init__(self, dim: int, temperature: float = _TEMPERATURE) -> None:
        super().__init__()
        self.dim = dim
        self.temperature = temperature
        self._tables: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """(B, *, H, W) -> (1, dim, H, W) on the device and of the type of ``x``."""
        height, width = int(x.shape[-2]), int(x.shape[-1])
        key = (height, width, x.device, x.dtype)
        if key not in self._tables:
            with torch.inference_mode(False), torch.no_grad():  # a table made while inferring may serve training
                rows = self._axis(height)[:, :, None].expand(-1, -1, width)
                columns = self._axis(width)[:, None, :].expand(-1, height, -1)
                self._tables[key] = torch.cat([rows, columns]).unsqueeze(0).to(x.device, x.dtype)
        return self._tables[key]

    def _axis(self, length: int) -> Tensor:
        """(dim / 2, length): sines on even, cosines on odd channels."""
        half = self.dim // 2
        position = torch.arange(1, length + 1, dtype=torch.float32)
        position = position / (length + 1e-6) * (2 * math.pi)
        frequency = self.temperature ** (2 * (torch.arange(half) // 2) / half)
        angle = position[None, :] / frequency[:, None]
        even = torch.arange(half)[:, None] % 2 == 0
        return torch.where(even, angle.sin(), angle.cos())


class RotaryTable:
    """Axial rotary encoding (Su et al., RoFormer, 2021): cosines and sines for the tokens of a grid.

    Half of the frequencies turn with the column, half with the row.  Written without complex numbers: a channel pair
    (a, b) of a token at angle t becomes (a cos t - b sin t, a sin t + b cos t).

    Args:
        head_dim: channels of one attention head, a multiple of 4.
    """

    def __init__(self, head_dim: int, theta: float = 10000.0) -> None:
        self.head_dim = head_dim
        self.theta = theta
        self._tables: dict[tuple[int, int, torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def __call__(self, grid: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine, each (h w, head_dim / 2), on the device and of the type of ``like``."""
        key = (*grid, like.device, like.dtype)
        if key not in self._tables:
            with torch.inference_mode(False), torch.no_grad():
                exponent = torch.arange(0, self.head_dim, 4)[: self.head_dim // 4].float() / self.head_dim
                frequency = 1.0 / self.theta**exponent
                token = torch.arange(grid[0] * grid[1])
                column, row = token % grid[1], torch.div(token, grid[1], rounding_mode="floor")
                angle = torch.cat([torch.outer(column.float(), frequency), torch.outer(row.float(), frequency)], dim=1)
                self._tables[key] = (
                    angle.cos().to(like.device, like.dtype),
                    angle.sin().to(like.device, like.dtype),
                )
        return self._tables[key]


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn (..., N, d) whose first d/2 channels hold the first, the last d/2 the second number of each pair."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


class KeptTable:
    """Keeps what is computed from a learned position embedding for the grid last asked for.

    While gradients are wanted it is computed anew; weights that change or move are noticed.
    """

    def __init__(self) -> None:
        self._key: tuple[int, ...] | None = None
        self._table: Tensor | None = None

    def get(self, grid: tuple[int, int], learned: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        """``compute()`` for a grid (h, w), from the parameter ``learned`` and what is changed along with it."""
        if torch.is_grad_enabled() or learned.is_inference():  # changes of the latter cannot be noticed
            return compute()
        key = (*grid, learned.data_ptr(), learned._version)
        if self._table is None or self._key != key:
            with torch.inference_mode(False), torch.no_grad():  # made while inferring, it may serve other modes
                self._key, self._table = key, compute()
        return self._table


class RandomFourierEncoding(nn.Module):
    """Random Fourier features of 2-D positions (Tancik et al., 2020), SAM's encoding of points and of the grid.

    Args:
        dim: channels, half sines and half cosines.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, dim: int, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", scale * torch.randn(2, dim // 2))

    def forward(self, position: Tensor) -> Tensor:
        """(..., 2) positions (x, y), 0 .. 1 across the image -> (..., dim)."""
        angle = 2 * math.pi * ((2 * position - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def grid(self, size: tuple[int, int]) -> Tensor:
        """(1, dim, h, w) for the cell centres of a grid."""
        like = self.positional_encoding_gaussian_matrix
        rows = (torch.arange(size[0], device=like.device, dtype=like.dtype) + 0.5) / size[0]
        columns = (torch.arange(size[1], device=like.device, dtype=like.dtype) + 0.5) / size[1]
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        return self(torch.stack([x, y], dim=-1)).permute(2, 0, 1).unsqueeze(0)
