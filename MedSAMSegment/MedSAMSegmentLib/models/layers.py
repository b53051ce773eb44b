"""Small layers that several parts share."""

from __future__ import annotations

from itertools import pairwise

import torch
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


class Convolution3d(nn.Conv3d):
    """``nn.Conv3d`` that is fast for a single small image on a CPU, too.

    There torch takes its plain algorithm and not that of oneDNN, which is seven times as fast.
    """

    def forward(self, x: Tensor) -> Tensor:
        fast = x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available()
        if not fast or torch.is_grad_enabled() or self.padding_mode != "zeros":
            return super().forward(x)
        return torch.mkldnn_convolution(
            x, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )


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
