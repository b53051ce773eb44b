"""The whole box at a glance: a small 3-D U-Net that tells roughly where in the box the object is.

A slice alone does not say how far through the box the object reaches; the whole box does. This network sees the box
and a margin about it, always resampled onto the same grid along the box's own axes, so every box, long or flat,
upright or rotated, looks alike to it: its faces are always at the same cells. The result is a coarse mask that the
slice network (`models/embedded.py`) is given on every slice and refines there.

A U-Net (Ronneberger et al., 2015; Çiçek et al., 2016) with residual blocks and sums in place of concatenations. What
lies outside the box is surely background, and the middle of the box most likely is not: how often each grey value
occurs here and there tells much about every voxel (GrabCut; Rother et al., 2004). Convolutions hardly learn to count,
so that evidence is computed (:func:`grey_value_evidence`), and the network learns how to improve on it. Nor do they see
whether a region ends where the box does; regions that do are given with numbers that say how well they fit
(`models/box_regions.py`).

The network looks again, knowing what it believed before: the evidence then begins with that mask instead of an
ellipsoid, which for thin and bent objects is far from the truth (auto-context; Tu and Bai, 2010). Its first look is a
glance, on a coarser grid, as somebody waits for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .box_regions import RegionBatch, RegionScorer
from .conv_trunk import group_norm, norm_relu
from .layers import Convolution3d, Enlargement3d, convolve3d

INTENSITY_MEAN, INTENSITY_SCALE = 0.45, 0.27
"""Typical mean and standard deviation of a windowed crop in [0, 1]."""

# The ellipsoid expected in a box: its radius (the faces are at 1), how fast certainty falls off, how sure it ever is.
_PRIOR_RADIUS, _PRIOR_SLOPE, _CERTAIN = 0.85, 6.0, 6.0

# Grey values told apart, and how often histograms and probabilities are estimated in turns.
_BINS, _ROUNDS = 32, 3

GLANCE_CELLS = (16, 24, 24)
"""The grid of the first look, which takes a third of the time."""

NOTHING_LOGIT = -8.0
"""What is said of places beyond the grid."""

# Evidence is computed from the image as it is and from the smoothed one.
_EVIDENCE = 2


@dataclass(frozen=True)
class CoarseGrid:
    """The grid about a box on which the coarse network works.

    Attributes:
        cells: number of cells along the slice axis, the rows and the columns.
        margin: what is shown beyond each face, as a fraction of the box's size along that axis.
    """

    cells: tuple[int, int, int] = (24, 40, 40)
    margin: float = 0.2

    @property
    def reach(self) -> float:
        """How far the grid reaches along every axis, where 1 is the faces."""
        return 1.0 + 2.0 * self.margin

    def place(self, axis: int) -> Tensor:
        """(cells,) where the cell centres of one axis (0 slices, 1 rows, 2 columns) lie; -1 and 1 are the faces."""
        count = self.cells[axis]
        return ((torch.arange(count) + 0.5) / count * 2.0 - 1.0) * self.reach

    def places(self) -> Tensor:
        """(3, *cells) where all cell centres lie, along the slices, the rows and the columns."""
        return torch.stack(torch.meshgrid(*(self.place(axis) for axis in range(3)), indexing="ij"))

    def cells_of(self, places: Tensor) -> Tensor:
        """(..., 3) the cells that hold places along the slices, the rows and the columns; at its edge those beyond."""
        counts = torch.tensor(self.cells, device=places.device)
        at = (places / self.reach + 1.0) / 2.0 * counts
        return at.floor().long().clamp(min=0).minimum(counts - 1)

    def between_faces(self) -> tuple[slice, slice, slice]:
        """The cells whose centres lie between the faces."""
        parts = []
        for axis, count in enumerate(self.cells):
            first = int((self.place(axis) < -1.0).sum())
            parts.append(slice(first, count - first))
        return parts[0], parts[1], parts[2]


def resampled(values: Tensor, cells: tuple[int, int, int]) -> Tensor:
    """(B, *cells) of any grid about a box on another grid about it."""
    if tuple(values.shape[1:]) == cells:
        return values
    return F.interpolate(values[None], size=cells, mode="trilinear", align_corners=False)[0]


def read_at(logits: Tensor, places: Tensor) -> Tensor:
    """Values of grids (B, *cells) between their cells; beyond the grid there is nothing of the object.

    Args:
        places: (B, slices, rows, columns, 3) along the grid's columns, rows and slices; -1 and 1 are its ends.

    Returns:
        (B, slices, rows, columns) logits.
    """
    read = F.grid_sample(logits[:, None], places, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
    return read.masked_fill_(places.abs().amax(dim=-1) > 1.0, NOTHING_LOGIT)


def box_prior(grid: CoarseGrid) -> Tensor:
    """(cells) logits of the object before anything is seen: an ellipsoid that nearly fills the box."""
    place = grid.places()
    logits = (_PRIOR_RADIUS - place.square().sum(dim=0).sqrt()) * _PRIOR_SLOPE
    return torch.where(place.abs().amax(dim=0) <= 1.0, logits, torch.full_like(logits, -_CERTAIN)).clamp(min=-_CERTAIN)


def smoothed(intensities: Tensor) -> Tensor:
    """(B, *cells) means over the 27 cells about each."""
    return F.avg_pool3d(F.pad(intensities[:, None], (1,) * 6, mode="replicate"), 3, stride=1)[:, 0]


@torch.no_grad()
def grey_value_evidence(intensities: Tensor, prior: Tensor) -> Tensor:
    """How much more often a voxel's grey value occurs in the object than around it.

    Histograms of the object and of the rest and the probability of every voxel are estimated in turns
    (expectation-maximisation), beginning with the prior.

    Args:
        intensities: (B, *cells) in [0, 1].
        prior: (B or 1, *cells) logits, see :func:`box_prior`.

    Returns:
        (B, *cells) logarithms of the ratio of both frequencies.
    """
    value = _binned(intensities)
    evidence = torch.zeros_like(intensities).flatten(1)
    for _ in range(_ROUNDS):
        probability = (prior.flatten(1) + evidence).sigmoid()
        frequencies = [_frequencies(value, weight) for weight in (probability, 1.0 - probability)]
        evidence = (frequencies[0] / frequencies[1]).log().gather(1, value)
    return evidence.unflatten(1, intensities.shape[1:])


@torch.no_grad()
def box_evidence(intensities: Tensor, grid: CoarseGrid) -> Tensor:
    """How much more often a voxel's grey value occurs in the box than just outside.

    Args:
        intensities: (B, *cells) in [0, 1].
        grid: with these cells.

    Returns:
        (B, *cells) logarithms of the ratio of both frequencies.
    """
    inside = torch.zeros_like(intensities)
    inside[(slice(None), *grid.between_faces())] = 1.0
    return inside_evidence(intensities, inside)


@torch.no_grad()
def inside_evidence(intensities: Tensor, inside: Tensor) -> Tensor:
    """How much more often a grey value occurs in a part of an image than in the rest of it.

    Args:
        intensities: (B, *cells) in [0, 1].
        inside: (B, *cells) 1 in that part, 0 elsewhere.

    Returns:
        (B, *cells) logarithms of the ratio of both frequencies.
    """
    value, inside = _binned(intensities), inside.flatten(1)
    frequencies = [_frequencies(value, weight) for weight in (inside, 1.0 - inside)]
    return (frequencies[0] / frequencies[1]).log().gather(1, value).unflatten(1, intensities.shape[1:])


def _binned(intensities: Tensor) -> Tensor:
    """(B, voxels) numbers of the grey value's bin."""
    return (intensities.clamp(0.0, 1.0) * (_BINS - 1)).round().long().flatten(1)


def _frequencies(value: Tensor, weight: Tensor) -> Tensor:
    """(B, bins) how often each grey value occurs; (B, voxels) bin numbers and weights."""
    smoother = weight.new_tensor([[[1.0, 2.0, 3.0, 2.0, 1.0]]]) / 9.0
    counts = weight.new_zeros(value.shape[0], _BINS).scatter_add_(1, value, weight)
    counts = F.conv1d(counts[:, None], smoother, padding=2)[:, 0] + 1.0
    return counts / counts.sum(dim=1, keepdim=True)


class ResidualBlock3d(nn.Module):
    """Two 3 x 3 x 3 convolutions around a shortcut (He et al., 2016), with group normalisation and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Convolution3d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = group_norm(channels)
        self.conv2 = Convolution3d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = group_norm(channels)
        # The block starts as the identity, which keeps the first steps of training stable.
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(hidden)).add_(x), inplace=True)


@dataclass(frozen=True, eq=False)
class SeenBox:
    """What of B boxes is the same however often they are looked at.

    Attributes:
        images: (B, 2, *cells) intensities as they are and smoothed.
        prior: (1, *cells) logits, see :func:`box_prior`.
        features: (B, C, *cells) what the first layer makes of everything but the evidence and what was believed.
    """

    images: Tensor
    prior: Tensor
    features: Tensor


class CoarseNetwork(nn.Module):
    """Intensities in and about a box -> logits of the object on the same grid.

    Args:
        channels: width of every level; each level halves the grid.
        grid: the cells; each number must be divisible by 2 ** (levels - 1).
        regions: whether it is told of regions that fit the box.
        looks_again: whether it is shown what it believed before; otherwise only the evidence begins with that.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128),
        grid: CoarseGrid | None = None,
        regions: bool = True,
        looks_again: bool = True,
    ) -> None:
        super().__init__()
        self.grid = CoarseGrid() if grid is None else grid
        # The image, the evidence, the place and the slice step; :meth:`see` and :meth:`look` share this layer.
        self.stem = nn.Sequential(
            Convolution3d(5 + _EVIDENCE, channels[0], 3, padding=1, bias=False),
            *norm_relu(channels[0]),
            ResidualBlock3d(channels[0]),
        )
        self.region_scorer = RegionScorer() if regions else None
        self.region_stem = Convolution3d(3, channels[0], 3, padding=1, bias=False) if regions else None
        self.belief_stem = Convolution3d(1, channels[0], 3, padding=1, bias=False) if looks_again else None
        for added in (self.region_stem, self.belief_stem):
            if added is not None:
                # A network that was trained without goes on from what it knows.
                nn.init.zeros_(added.weight)
        pairs = list(itertools.pairwise(channels))
        self.down = nn.ModuleList(
            nn.Sequential(Convolution3d(fine, deep, 2, stride=2, bias=False), *norm_relu(deep), block)
            for fine, deep, block in ((a, b, ResidualBlock3d(b)) for a, b in pairs)
        )
        self.up = nn.ModuleList(Enlargement3d(deep, fine, 2, stride=2) for fine, deep in reversed(pairs))
        self.refine = nn.ModuleList(ResidualBlock3d(fine) for fine, _ in reversed(pairs))
        # At first the network says what the evidence says.
        self.head = Convolution3d(channels[0], 1, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def find_regions(self, intensities: Tensor) -> RegionBatch | None:
        """Regions in boxes (B, *cells), as :meth:`forward` wants them; None where it wants none."""
        return None if self.region_scorer is None else RegionBatch.of(list(intensities), self.grid_of(intensities))

    def grid_of(self, intensities: Tensor) -> CoarseGrid:
        """The network's grid with the cells of boxes (B, *cells)."""
        return replace(self.grid, cells=(intensities.shape[1], intensities.shape[2], intensities.shape[3]))

    def forward(
        self, intensities: Tensor, slice_step: Tensor, regions: RegionBatch | None, believed: Tensor | None = None
    ) -> Tensor:
        """Where the object is: one look at boxes, see :meth:`see` and :meth:`look`."""
        return self.look(self.see(intensities, slice_step, regions), believed)

    def see(self, intensities: Tensor, slice_step: Tensor, regions: RegionBatch | None) -> SeenBox:
        """Boxes, ready to be looked at.

        Args:
            intensities: (B, *cells) windowed to [0, 1]; the grid may be finer or coarser than the network's own.
            slice_step: (B,) distance between the scan's slices over half the box's depth: how finely the grid's
                slice axis was really seen.
            regions: from :meth:`find_regions`.
        """
        grid = self.grid_of(intensities)
        place = grid.places().to(intensities).expand(len(intensities), -1, -1, -1, -1)
        step = slice_step.clamp(0.0, 2.0).view(-1, 1, 1, 1, 1).expand(-1, 1, *intensities.shape[1:])
        smooth = smoothed(intensities)
        inputs = [((intensities - INTENSITY_MEAN) / INTENSITY_SCALE)[:, None], place, step]
        weights = [self.stem[0].weight[:, :1], self.stem[0].weight[:, 1 + _EVIDENCE :]]
        if self.region_scorer is not None and self.region_stem is not None:
            if regions is None:
                raise ValueError("this network is to be told of regions")
            around = box_evidence(smooth, grid).clamp(-4.0, 4.0)[:, None] / 2.0
            inputs += [self.region_scorer.maps(regions), around]
            weights.append(self.region_stem.weight)
        features = _convolved(torch.cat(inputs, dim=1), torch.cat(weights, dim=1))
        return SeenBox(torch.stack([intensities, smooth], dim=1), box_prior(grid).to(intensities)[None], features)

    def look(self, seen: SeenBox, believed: Tensor | None = None) -> Tensor:
        """Where the object is.

        Args:
            seen: from :meth:`see`.
            believed: (B, *cells) logits of an earlier look; by default what :func:`box_prior` says.

        Returns:
            (B, *cells) logits.
        """
        before = seen.prior if believed is None else believed
        evidence = self.evidence(seen, before)
        x = self.begun(seen, evidence, None if believed is None else before)
        return self.finished(x) + said_already(seen.prior, evidence)

    @staticmethod
    def evidence(seen: SeenBox, before: Tensor) -> Tensor:
        """(B, 2, *cells) :func:`grey_value_evidence` of both images."""
        return torch.stack([grey_value_evidence(image, before) for image in seen.images.unbind(dim=1)], dim=1)

    def begun(self, seen: SeenBox, evidence: Tensor, believed: Tensor | None) -> Tensor:
        """(B, C, *cells) the first convolution of everything that is known."""
        inputs, weights = [evidence.clamp(-4.0, 4.0) / 2.0], [self.stem[0].weight[:, 1 : 1 + _EVIDENCE]]
        if self.belief_stem is not None and believed is not None:
            inputs.append((believed.sigmoid() - seen.prior.sigmoid())[:, None])
            weights.append(self.belief_stem.weight)
        return _convolved(torch.cat(inputs, dim=1), torch.cat(weights, dim=1)).add_(seen.features)

    def finished(self, x: Tensor) -> Tensor:
        """(B, *cells) what the network adds to what the evidence says."""
        for layer in self.stem[1:]:
            x = layer(x)
        levels = [x]
        for stage in self.down:
            x = stage(x)
            levels.append(x)
        levels.pop()
        for enlarge, refine in zip(self.up, self.refine, strict=True):
            x = refine(enlarge(x).add_(levels.pop()))
        return self.head(x)[:, 0]


def said_already(prior: Tensor, evidence: Tensor) -> Tensor:
    """(B, *cells) logits of the object from grey values and place alone."""
    return 0.5 * (prior + evidence.mean(dim=1)).clamp(-_CERTAIN, _CERTAIN)


def _convolved(inputs: Tensor, weight: Tensor) -> Tensor:
    """3 x 3 x 3 convolution with a part of a layer's weights; (B, channels, *cells)."""
    inputs = inputs.contiguous(memory_format=torch.channels_last_3d)
    return convolve3d(inputs, weight.contiguous(memory_format=torch.channels_last_3d), padding=(1, 1, 1))
