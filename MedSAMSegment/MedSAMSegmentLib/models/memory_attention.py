"""Reading the memory: the embedding of a slice attends to itself and to what was remembered.

Ravi et al., "SAM 2", 2024 (arXiv:2408.00714); rotary position encoding over rows and columns (Heo et al., 2024).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .position_encoding import RotaryTable, rotate

_ROWS_AT_ONCE = 256

Turn = tuple[Tensor, Tensor]
"""Cosines and sines by which tokens are turned, each (1, tokens, dim / heads / 2)."""


class RotaryAttention(nn.Module):
    """Attention whose queries and keys are turned by their place in the grid.

    Official weights pair neighbouring channels (2i, 2i + 1) for the rotation.  Here the rows of the query and key
    projections are reordered on the fly so that the first numbers of all pairs come first: the dot products are the
    same and the rotation works on contiguous halves.

    Args:
        dim: channels of the query and of the result.
        memory_dim: channels of keys and values.
        heads: attention heads.
    """

    def __init__(self, dim: int, memory_dim: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(memory_dim, dim)
        self.v_proj = nn.Linear(memory_dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, query_turn: Turn, key_turn: Turn) -> Tensor:
        """(B, N, dim), (B, M, memory_dim) x 2 -> (B, N, dim); the turns are those of N and of M tokens."""
        q = rotate(self._project(self.q_proj, query), *query_turn)
        k = rotate(self._project(self.k_proj, key), *key_turn)
        if self._values_are_narrow(q):
            attended = self._attend_narrow(q, k, value)
        else:
            v = self.v_proj(value).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            attended = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def _values_are_narrow(self, q: Tensor) -> bool:
        """Whether averaging unprojected values is cheaper: on a processor, where no fused kernel competes."""
        return q.device.type == "cpu" and self.v_proj.in_features < q.shape[-1] and not torch.is_grad_enabled()

    def _attend_narrow(self, q: Tensor, k: Tensor, value: Tensor) -> Tensor:
        """Average the values first and project the averages, which is the same: attention weights sum to one.

        The weights of some rows at a time are held, so that they stay in the processor's cache.
        """
        scaled = k.transpose(-1, -2) * q.shape[-1] ** -0.5
        values = value.unsqueeze(1)
        average = torch.cat([(rows @ scaled).softmax(dim=-1) @ values for rows in q.split(_ROWS_AT_ONCE, dim=2)], dim=2)
        weight = self.v_proj.weight.unflatten(0, (self.heads, -1))
        bias = self.v_proj.bias.unflatten(0, (self.heads, 1, -1))
        return average @ weight.transpose(-1, -2) + bias

    def _project(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """(B, T, *) -> (B, heads, T, dim / heads), pairs split into halves."""
        weight = layer.weight.unflatten(0, (self.heads, -1, 2)).transpose(1, 2).flatten(0, 2)
        bias = layer.bias.unflatten(0, (self.heads, -1, 2)).transpose(1, 2).flatten()
        return F.linear(x, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MemoryAttentionLayer(nn.Module):
    """Self-attention, attention to the memory, perceptron; each normalised before and added after."""

    def __init__(self, dim: int, memory_dim: int, mlp_dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = RotaryAttention(dim, dim, heads)
        self.cross_attn_image = RotaryAttention(dim, memory_dim, heads)
        self.linear1 = nn.Linear(dim, mlp_dim)
        self.linear2 = nn.Linear(mlp_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, placed_memory: Tensor, turn: Turn, memory_turn: Turn) -> Tensor:
        normed = self.norm1(x)
        x = x + self.dropout(self.self_attn(normed, normed, normed, turn, turn))
        x = x + self.dropout(self.cross_attn_image(self.norm2(x), placed_memory, memory, turn, memory_turn))
        hidden = self.dropout(F.relu(self.linear1(self.norm3(x))))
        return x + self.dropout(self.linear2(hidden))


class MemoryAttention(nn.Module):
    """A stack of such layers.

    Args:
        dim: channels of the image embedding.
        memory_dim: channels of the memories.
        layers, heads, mlp_dim: depth, attention heads, inner width of the perceptrons.
        position_weight: how much of the position encoding is added to the embedding at the start.
        dropout: in training only.
    """

    def __init__(
        self,
        dim: int = 256,
        memory_dim: int = 64,
        layers: int = 4,
        heads: int = 1,
        mlp_dim: int = 2048,
        position_weight: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.position_weight = position_weight
        self.rotary = RotaryTable(dim // heads)
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(dim, memory_dim, mlp_dim, heads, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        current: Tensor,
        current_position: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        grid: tuple[int, int],
        pointer_tokens: int = 0,
    ) -> Tensor:
        """Condition (B, h w, dim) on (B, M, memory_dim).

        Args:
            current, current_position: the slice's embedding and its position encoding (batch B or 1), row by row.
            memory, memory_position: remembered slices, each h w tokens, then the pointers' tokens.
            grid: (h, w).
            pointer_tokens: number of the last tokens of ``memory``, which have no place in the grid.
        """
        turn = self.rotary(grid, current)
        repeats = (memory.shape[1] - pointer_tokens) // (grid[0] * grid[1])
        cosine, sine = (part.repeat(repeats, 1) for part in turn)
        still = (pointer_tokens, cosine.shape[1])
        memory_turn = torch.cat([cosine, cosine.new_ones(still)]), torch.cat([sine, sine.new_zeros(still)])
        x = current + self.position_weight * current_position
        turns = (part.unsqueeze(0) for part in (*turn, *memory_turn))
        return self.attend(x, memory, memory + memory_position, *turns)

    def attend(
        self,
        x: Tensor,
        memory: Tensor,
        placed_memory: Tensor,
        cosine: Tensor,
        sine: Tensor,
        memory_cosine: Tensor,
        memory_sine: Tensor,
    ) -> Tensor:
        """All layers, as a function of tensors alone, so that another runtime can compute it.

        Args:
            x: (B, N, dim) the slice, its position added.
            memory, placed_memory: (B, M, memory_dim) without and with positions.
            cosine, sine: (1, N, dim / heads / 2) by how much each token is turned.
            memory_cosine, memory_sine: (1, M, dim / heads / 2) the same of the memory.
        """
        for layer in self.layers:
            x = layer(x, memory, placed_memory, (cosine, sine), (memory_cosine, memory_sine))
        return self.norm(x)
