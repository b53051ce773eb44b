"""Regions that end where the box does are found, however little of it they fill."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedSAMSegmentLib.models.box_regions import MOST_REGIONS, box_regions
from MedSAMSegmentLib.models.coarse import CoarseGrid, CoarseNetwork

GRID = CoarseGrid()
PLACE = np.stack(np.meshgrid(*(GRID.place(axis).numpy() for axis in range(3)), indexing="ij"))

GAPS, GOES_ON = 0, 5


def bent_tube() -> np.ndarray:
    """A C that touches all faces of the box from inside and fills an eighth of it."""
    z, y, x = PLACE
    ring = np.abs(np.hypot(y, z) - 0.82) < 0.2
    return ring & ~((y > 0.3) & (np.abs(z) < 0.4)) & (np.abs(x) < 1.0) & (np.abs(x - 0.6 * y) < 0.7)


def pictured(mask: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0.0, 0.02, mask.shape)
    return np.clip(np.where(mask, 0.3, 0.7) + noise, 0.0, 1.0).astype(np.float32)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_a_bent_object_that_fills_little_of_its_box_is_among_the_regions():
    truth = bent_tube()
    assert truth.mean() < 0.125
    found = box_regions(pictured(truth), GRID)
    assert max(overlap(mask, truth) for mask in found.masks[found.known]) > 0.95


def test_a_region_of_middle_grey_between_dark_and_bright_is_found():
    truth = bent_tube()
    image = np.where(truth, 0.5, np.where(PLACE[2] > 0, 0.2, 0.8)).astype(np.float32)
    found = box_regions(image, GRID)
    assert max(overlap(mask, truth) for mask in found.masks[found.known]) > 0.95


def test_what_goes_on_beyond_the_faces_is_told_from_what_ends_there():
    ends = np.abs(PLACE).max(axis=0) <= 1.0
    goes_on = np.hypot(PLACE[0], PLACE[1]) < 1.0
    shares = []
    for truth in (ends, goes_on):
        found = box_regions(pictured(truth), GRID)
        best = max(np.flatnonzero(found.known), key=lambda row: overlap(found.masks[row], truth & ends))
        shares.append(found.traits[best, GOES_ON])
    assert shares[0] < 0.05 < 0.2 < shares[1]


def test_regions_come_the_best_fitting_first_and_never_reach_beyond_the_box():
    found = box_regions(np.random.default_rng(3).random(GRID.cells).astype(np.float32), GRID)
    beyond = np.abs(PLACE).max(axis=0) > 1.0
    assert not found.masks[:, beyond].any()
    order = found.traits[found.known][:, [GAPS, GOES_ON]].sum(axis=1)
    assert (np.diff(order) >= 0).all()
    assert found.known.sum() == found.masks.any(axis=(1, 2, 3)).sum() <= MOST_REGIONS


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_an_even_box_has_no_region_but_itself(value):
    found = box_regions(np.full(GRID.cells, value, dtype=np.float32), GRID)
    for mask, traits in zip(found.masks[found.known], found.traits[found.known], strict=True):
        assert mask.sum() == (np.abs(PLACE).max(axis=0) <= 1.0).sum()
        assert traits[GOES_ON] == 1.0
    assert np.isfinite(found.traits).all()


def test_a_mirrored_box_has_the_mirrored_regions():
    image = pictured(bent_tube())
    here, there = box_regions(image, GRID), box_regions(image[:, ::-1, ::-1], GRID)
    np.testing.assert_allclose(np.sort(here.traits, axis=0), np.sort(there.traits, axis=0), atol=1e-5)


def test_regions_reach_the_mask_and_a_network_without_them_needs_none():
    torch.manual_seed(0)
    image = torch.from_numpy(pictured(bent_tube()))[None]
    step = torch.tensor([0.1])
    network = CoarseNetwork((8, 16, 16, 16)).eval()
    torch.nn.init.normal_(network.head.weight)
    with torch.no_grad():
        regions = network.find_regions(image)
        untrained = network(image, step, regions)
        torch.nn.init.normal_(network.region_stem.weight)
        assert not torch.allclose(network(image, step, regions), untrained)
        with pytest.raises(ValueError, match="regions"):
            network(image, step, None)
        plain = CoarseNetwork((8, 16, 16, 16), regions=False).eval()
        assert plain.find_regions(image) is None
        assert plain(image, step, None).shape == image.shape
