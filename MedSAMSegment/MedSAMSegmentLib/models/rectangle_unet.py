"""A slice on which the user drew a rectangle: a small 2-D U-Net that outlines what lies in it.

The promptable slice network (`models/embedded.py`) answers at half the crop's resolution and was trained last on what
is found in whole boxes; it makes little of a rectangle alone. A plain U-Net (Ronneberger, Fischer and Brox, MICCAI
2015) with the rectangle as further channels learns that from far fewer slices, once it need not count: as for whole
boxes, how often each grey value occurs inside and outside is computed (`grey_value_evidence`), beginning with what a
rectangle says by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .coarse import INTENSITY_MEAN, INTENSITY_SCALE, grey_value_evidence, inside_evidence
from .layers import Enlargement2d

# Three slices; four edges, inside, slice step, the picture itself; evidence.
_CHANNELS = 3 + 7 + 3

# What a rectangle says by itself: the object nearly fills it, rounded at the corners (a superellipse of this power).
_PRIOR_RADIUS, _PRIOR_POWER, _PRIOR_SLOPE = 0.95, 4, 6.0

# No belief is surer than this (a logit), and no evidence stronger.
_CERTAIN, _STRONGEST = 6.0, 4.0


class RectangleUNet(nn.Module):
    """Pictures (B, 3, S, S) in [0, 1], each a slice between its neighbours, -> logits (B, S, S).

    Args:
        channels: width of every level; each level halves the picture, so S is a multiple of 2 ** (levels - 1).
    """

    def __init__(self, channels: Sequence[int] = (16, 40, 96, 160)) -> None:
        super().__init__()
        widths = [_CHANNELS, *channels]
        self.down = nn.ModuleList(_two_convolutions(given, width) for given, width in itertools.pairwise(widths))
        pairs = list(itertools.pairwise(channels))[::-1]
        self.enlarge = nn.ModuleList(Enlargement2d(deep, fine, 2, stride=2) for fine, deep in pairs)
        self.up = nn.ModuleList(_two_convolutions(2 * fine, fine) for fine, _ in pairs)
        self.head = nn.Conv2d(channels[0], 1, 1)

    def forward(self, pictures: Tensor, places: Tensor, slice_step: Tensor) -> Tensor:
        """The masks' logits at the pictures' resolution.

        Args:
            pictures: see the class.
            places: (B, 2, S, S) of the pixels in the rectangle along columns and rows; -1 and 1 are its edges.
            slice_step: (B,) distance between slices over half the depth of the object's box.
        """
        maps = [rectangle_maps(places, slice_step), evidence_maps(pictures, places)]
        x = torch.cat([(pictures - INTENSITY_MEAN) / INTENSITY_SCALE, *maps], dim=1)
        x = x.contiguous(memory_format=torch.channels_last)
        levels: list[Tensor] = []
        for convolutions in self.down:
            x = convolutions(F.max_pool2d(x, 2) if levels else x)
            levels.append(x)
        levels.pop()
        for enlarge, convolutions in zip(self.enlarge, self.up, strict=True):
            x = convolutions(torch.cat([enlarge(x), levels.pop()], dim=1))
        return self.head(x)[:, 0]


def rectangle_maps(places: Tensor, slice_step: Tensor) -> Tensor:
    """(B, 7, S, S): distances to the edges, inside, slice step, and ones, which end where the picture does."""
    edges = torch.cat([1.0 - places, 1.0 + places], dim=1).clamp(-1.0, 2.0)
    inside = (places.abs().amax(dim=1, keepdim=True) <= 1.0).to(places.dtype)
    step = slice_step.clamp(0.0, 2.0).view(-1, 1, 1, 1).expand_as(inside)
    return torch.cat([edges, inside, step, torch.ones_like(inside)], dim=1)


@torch.no_grad()
def evidence_maps(pictures: Tensor, places: Tensor) -> Tensor:
    """(B, 3, S, S): how much more often grey values, sharp and smoothed, occur in the object, and in the rectangle."""
    inside = (places.abs().amax(dim=1) <= 1.0).to(places.dtype)
    radius = places.pow(_PRIOR_POWER).sum(dim=1).pow(1.0 / _PRIOR_POWER)
    believed = ((_PRIOR_RADIUS - radius) * _PRIOR_SLOPE).clamp(min=-_CERTAIN)
    believed = torch.where(inside > 0, believed, torch.full_like(believed, -_CERTAIN))
    mean = F.pad(pictures.mean(dim=1, keepdim=True), (2, 2, 2, 2), mode="replicate")
    sharp, smooth = pictures[:, 1], F.avg_pool2d(mean, 5, stride=1)[:, 0]
    evidence = [grey_value_evidence(sharp, believed), grey_value_evidence(smooth, believed)]
    evidence.append(inside_evidence(smooth, inside))
    return torch.stack(evidence, dim=1).clamp(-_STRONGEST, _STRONGEST) / 2.0


def _two_convolutions(given: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (given, width):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.GroupNorm(8, width),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
