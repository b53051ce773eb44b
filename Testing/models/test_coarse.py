"""The network that sees the whole box, looking a second time with what it believed in mind."""

from __future__ import annotations

import pytest
import torch
from MedSAMSegmentLib.models.coarse import CoarseGrid, CoarseNetwork, box_prior
from torch import Tensor

GRID = CoarseGrid((16, 24, 24))


def overlap(logits: Tensor, truth: Tensor) -> float:
    found = logits > 0
    return 2.0 * float((found & truth).sum()) / float(found.sum() + truth.sum())


@pytest.fixture
def corner() -> tuple[Tensor, Tensor]:
    """A dark bar along two edges of the box, another one of middle grey through its middle, and the bar's mask."""
    place = GRID.places()
    inside = place.abs().amax(dim=0) <= 1.0
    bar = inside & (((place[0] > 0.5) & (place[1] > 0.4)) | ((place[1] > 0.4) & (place[2] > 0.4)))
    image = torch.full(GRID.cells, 0.9)
    image[place[1:].square().sum(dim=0) < 0.3] = 0.5
    image[bar] = 0.2
    return (image + 0.02 * torch.randn(GRID.cells, generator=torch.Generator().manual_seed(0)))[None], bar


def test_evidence_that_begins_with_a_rough_mask_finds_the_grey_values_of_an_object_in_a_corner(
    corner: tuple[Tensor, Tensor],
) -> None:
    """Untrained, the network says what the evidence says: an ellipsoid takes what fills the middle of the box."""
    image, truth = corner
    network = CoarseNetwork((8, 8), GRID, regions=False).eval()
    half = truth & (GRID.places()[2] < 0.6)
    with torch.no_grad():
        first = network(image, torch.tensor([0.1]), None)
        second = network(image, torch.tensor([0.1]), None, torch.where(half, 4.0, -4.0)[None])
    assert overlap(first[0], truth) < 0.4
    assert overlap(second[0], truth) > overlap(first[0], truth) + 0.3


def test_believing_what_is_expected_of_any_box_changes_nothing(corner: tuple[Tensor, Tensor]) -> None:
    image, truth = corner
    network = CoarseNetwork((8, 8), GRID, regions=False).eval()
    for weight in (network.head.weight, network.belief_stem.weight):
        torch.nn.init.normal_(weight)
    with torch.no_grad():
        first = network(image, torch.tensor([0.1]), None)
        torch.testing.assert_close(network(image, torch.tensor([0.1]), None, box_prior(GRID)[None]), first)
        assert not torch.allclose(network(image, torch.tensor([0.1]), None, 8.0 * truth[None] - 4.0), first)
