"""What is found on a few slices is followed to all others."""

from __future__ import annotations

import numpy as np
import pytest
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib.errors import CancelledError
from MedSAMSegmentLib.inference.automatic import FoundMask
from MedSAMSegmentLib.inference.automatic_tracking import track_masks
from MedSAMSegmentLib.volume import Geometry, Volume
from small_networks import small_model

SHAPE = (16, 40, 48)


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    grid = np.stack(np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]], axis=-1)
    return ((grid - centre) ** 2).sum(axis=-1) < radius**2


def seen(mask: np.ndarray) -> FoundMask:
    rows, columns = mask.shape
    whole = FoundMask(
        (rows, columns), slice(0, rows), slice(0, columns), mask, 0.9, 0.98, (0, 0), (0, 0, columns, rows)
    )
    return whole.with_mask(mask)


@pytest.fixture
def balls() -> list[np.ndarray]:
    return [ball((7, 12, 12), 6.4), ball((8, 26, 34), 5.4)]


@pytest.fixture
def volume(balls: list[np.ndarray]) -> Volume:
    return Volume((balls[0] | balls[1]).astype(np.int16) * 100, Geometry.from_parts(SHAPE, (1.0, 1.0, 2.0)), "MR")


def test_every_object_is_followed_once(balls: list[np.ndarray], volume: Volume) -> None:
    masks = {index: [seen(item[index]) for item in balls if item[index].any()] for index in (5, 9)}
    told: list[tuple[int, int]] = []
    objects = list(
        track_masks(volume, IntensityPredictor(), masks, "50/100", progress=lambda *state: told.append(state))
    )
    assert len(objects) == 2 and told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for item, truth in zip(objects, balls, strict=True):
        mask = item.mask(SHAPE)
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9 and mask.sum() == item.voxels
        assert list(item.found) == [5] == [item.best_slice] and (mask[5] == truth[5]).all()
        assert set(item.scores) == set(item.blocks) and item.scores[5] == pytest.approx(0.9 * 0.98)


def test_cancelling_keeps_what_is_complete(balls: list[np.ndarray], volume: Volume) -> None:
    masks = {7: [seen(item[7]) for item in balls]}
    kept = []
    with pytest.raises(CancelledError):
        for item in track_masks(volume, IntensityPredictor(), masks, "50/100", cancel=lambda: bool(kept)):
            kept.append(item)
    assert len(kept) == 1 and kept[0].voxels > 0


@pytest.mark.parametrize("architecture", ["sam2", "sam"])
def test_networks_with_and_without_memory_can_follow(
    architecture: str, balls: list[np.ndarray], volume: Volume
) -> None:
    masks = {7: [seen(balls[0][7])]}
    (item,) = track_masks(volume, small_model(architecture), masks)
    assert (item.mask(SHAPE)[7] == balls[0][7]).all()
