"""SAM's two-way transformer: prompt tokens look at the image, the image looks back.

Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643), appendix A.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import LinearPair, MultilayerPerceptron

FeedForwardFactory = Callable[[int, int], nn.Module]
"""(dim, hidden dim) -> the block's two-layer perceptron; families name its keys differently."""


def relu_feed_forward(dim: int, hidden_dim: int) -> nn.Module:
    """SAM 2's choice: keys ``layers.0`` and ``layers.1``."""
    return MultilayerPerceptron(dim, hidden_dim, dim, layers=2)


def sam_feed_forward(dim: int, hidden_dim: int) -> nn.Module:
    """SAM's: keys ``lin1`` and ``lin2``."""
    return LinearPair(dim, hidden_dim, nn.ReLU)


class Attention(nn.Module):
    """Multi-head attention with separate projections, optionally narrower inside.

    Args:
        downsample: inner width = dim / downsample.
    """

    def __init__(self, dim: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = dim // downsample
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, N, dim), (B, M, dim), (B, M, dim) -> (B, N, dim); an image may be (1, ...), the same for all B.

        A few prompt tokens and a whole image: then the image is not projected at all, but the tokens are, both ways
        (the products of matrices are taken in another order), and what is the same for all B is computed once.
        """
        inner = self.q_proj.out_features
        if self.heads * query.shape[1] < inner and 4 * query.shape[1] <= key.shape[1]:
            return self._by_few(query, key, value)
        if self.heads * key.shape[1] < inner and 4 * key.shape[1] <= query.shape[1]:
            return self._to_few(query, key, value)
        split = [self._split(layer(x)) for layer, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))]
        batch = max(len(part) for part in split)
        attended = F.scaled_dot_product_attention(*(part.expand(batch, -1, -1, -1) for part in split))
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def _by_few(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Few tokens look at the image; the keys' bias shifts all scores of a token alike and plays no part."""
        asked = self._split(self.q_proj(query)) @ self._by_head(self.k_proj.weight)
        share = (_times(asked.flatten(1, 2), key.transpose(1, 2)) * self._scale).softmax(dim=-1)
        seen = _times(share, value).unflatten(1, (self.heads, -1)) @ self._by_head(self.v_proj.weight).transpose(1, 2)
        attended = seen.transpose(1, 2).flatten(2) + self.v_proj.bias
        return self.out_proj(attended)

    def _to_few(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The image looks at few tokens."""
        keys, values = self._split(self.k_proj(key)), self._split(self.v_proj(value))
        offered = (keys @ self._by_head(self.q_proj.weight)).flatten(1, 2)
        offset = (keys @ self._by_head(self.q_proj.bias)[..., None]).flatten(1, 2)
        scores = (_times(offered, query.transpose(1, 2)) + offset) * self._scale
        share = scores.unflatten(1, (self.heads, -1)).softmax(dim=2).flatten(1, 2)
        answers = (values @ self._by_head(self.out_proj.weight.T)).flatten(1, 2)
        return share.transpose(1, 2) @ answers + self.out_proj.bias

    @property
    def _scale(self) -> float:
        return float(self.q_proj.out_features // self.heads) ** -0.5

    def _by_head(self, weight: Tensor) -> Tensor:
        """(inner, ...) -> (heads, inner / heads, ...)."""
        return weight.unflatten(0, (self.heads, -1))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _times(left: Tensor, right: Tensor) -> Tensor:
    """(B, K, C) @ (B or 1, C, N); one product of two matrices where ``right`` is the same for all B."""
    if len(right) == len(left):
        return left @ right
    return (left.flatten(0, 1) @ right[0]).unflatten(0, left.shape[:2])


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves and to the image, pass a perceptron, and the image attends to the tokens.

    Args:
        first: the first block; its self-attention sees no position and replaces the tokens.
    """

    def __init__(
        self, dim: int, heads: int, mlp_dim: int, downsample: int, first: bool, feed_forward: FeedForwardFactory
    ) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads, downsample)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = feed_forward(dim, mlp_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads, downsample)

    def forward(
        self, tokens: Tensor, image: Tensor, token_position: Tensor, image_position: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            query = tokens + token_position
            tokens = tokens + self.self_attn(query, query, tokens)
        tokens = self.norm1(tokens)

        key = image + image_position
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_position, key, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(key, tokens + token_position, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """The mask decoder's transformer.

    Args:
        dim, heads, depth, mlp_dim: width, attention heads, blocks, inner width of the perceptrons.
        downsample: narrowing of the attention between tokens and image.
        feed_forward: makes the perceptron of a block.
    """

    def __init__(
        self,
        dim: int = 256,
        heads: int = 8,
        depth: int = 2,
        mlp_dim: int = 2048,
        downsample: int = 2,
        feed_forward: FeedForwardFactory = relu_feed_forward,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(dim, heads, mlp_dim, downsample, index == 0, feed_forward) for index in range(depth)
        )
        self.final_attn_token_to_image = Attention(dim, heads, downsample)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, image: Tensor, image_position: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, dim), image and its position (B or 1, N, dim) -> both in each other's light, (B, ...)."""
        token_position = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_position, image_position)
        attended = self.final_attn_token_to_image(tokens + token_position, image + image_position, image)
        return self.norm_final_attn(tokens + attended), image
