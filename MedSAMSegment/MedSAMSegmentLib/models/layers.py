"""Small layers that several parts share."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of (B, C, H, W); ``weight`` and ``bias`` are (C,)."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=1, keepdim=True)
        variance = centred.square().mean(dim=1, keepdim=True)
        scale = torch.rsqrt(variance + self.eps)
        return centred * scale * self.weight[:, None, None] + self.bias[:, None, None]


def convolve3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, ...] = (1, 1, 1),
    padding: tuple[int, ...] = (0, 0, 0),
) -> Tensor:
    """``F.conv3d`` that is fast for a single small image on a CPU, too.

    There torch takes its plain algorithm and not that of oneDNN, which is seven times as fast.
    """
    if not _quick_on_cpu(x) or not torch.backends.mkldnn.is_available():
        return F.conv3d(x, weight, bias, stride, padding)
    if max(weight.shape[2:]) == 1 and max(stride) == 1 and max(padding) == 0:
        return F.linear(x.movedim(1, -1), weight[:, :, 0, 0, 0], bias).movedim(-1, 1)
    return torch.mkldnn_convolution(x, weight, bias, padding, stride, (1, 1, 1), 1)


def _quick_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled()


class Convolution3d(nn.Conv3d):
    """``nn.Conv3d`` as :func:`convolve3d` computes it: no dilation, no groups, zeros about the image."""

    def forward(self, x: Tensor) -> Tensor:
        return convolve3d(x, self.weight, self.bias, self.stride, self.padding)


def enlarge(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A transposed convolution whose kernel is as large as its stride: one product of matrices, and sorting.

    Args:
        x: (B, *grid, C), channels last.
        weight: (C, O, *kernel), as torch keeps it.
        bias: (O,).

    Returns:
        (B, *(grid * kernel), O): every cell has become a block of cells.
    """
    kernel, axes = weight.shape[2:], weight.ndim - 2
    parts = F.linear(x, weight.permute(*range(2, 2 + axes), 1, 0).flatten(0, -2)).unflatten(-1, (*kernel, -1))
    if bias is not None:
        parts = parts.add_(bias)
    order = [axis for pair in zip(range(1, 1 + axes), range(1 + axes, 1 + 2 * axes), strict=True) for axis in pair]
    larger = parts.permute(0, *order, -1)
    return larger.reshape(len(x), *(n * k for n, k in zip(x.shape[1:-1], kernel, strict=True)), -1)


class Enlargement3d(nn.ConvTranspose3d):
    """``nn.ConvTranspose3d`` as :func:`enlarge` computes it on a CPU, where torch is slow."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not _quick_on_cpu(x):
            return super().forward(x, output_size)
        return enlarge(x.movedim(1, -1), self.weight, self.bias).movedim(-1, 1)


class Enlargement2d(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` as :func:`enlarge` computes it on a CPU."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not _quick_on_cpu(x):
            return super().forward(x, output_size)
        return enlarge(x.movedim(1, -1), self.weight, self.bias).movedim(-1, 1)


class MultilayerPerceptron(nn.Module):
    """``layers`` linear layers with an activation between them.

    Keys: ``layers.0``, ``layers.1``, ... as in SAM's heads and in all of SAM 2.
    """

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int,
        out_dim: int,
        layers: int,
        activation: type[nn.Module] = nn.ReLU,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        dims = [in_dim, *[hidden_dim] * (layers - 1), out_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(dims))
        self.activation = activation()
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        x = self.layers[-1](x)
        return x.sigmoid() if self.sigmoid else x


class LinearPair(nn.Module):
    """A two-layer perceptron under the keys ``lin1`` and ``lin2``, as in SAM."""

    def __init__(self, dim: int, hidden_dim: int, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden_dim)
        self.activation = activation()
        self.lin2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.activation(self.lin1(x)))


def channels_last(network: nn.Module) -> None:
    """Store the weights of convolutions with channels last, which CPUs and tensor cores are faster with.

    ``network.to(memory_format=...)`` cannot do this for 2-D and 3-D convolutions in one network.
    """
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in network.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
