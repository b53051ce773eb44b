"""Clean-up repairs a mask without hurting thin structures, and each step can be switched off."""

from __future__ import annotations

import numpy as np
import pytest
from MedSAMSegmentLib.inference import CleanupSettings
from MedSAMSegmentLib.inference.cleanup import clean_up, smooth_mask
from scipy import ndimage

SPACING = (2.0, 0.8, 0.8)


def ball(shape=(20, 50, 50), centre=(10, 25, 25), radius_mm=12.0) -> np.ndarray:
    grid = np.indices(shape)
    return sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, SPACING, strict=True)) < radius_mm**2


def logits_of(mask: np.ndarray, strength: float = 6.0) -> np.ndarray:
    return np.where(mask, strength, -strength).astype(np.float16)


def only(**steps) -> CleanupSettings:
    return CleanupSettings(**{"clip": False, "smooth": False, "keep_component": False, "fill_holes": False, **steps})


def test_without_clean_up_the_mask_is_what_the_network_said():
    logits = np.random.default_rng(0).normal(size=(6, 20, 20))
    np.testing.assert_array_equal(clean_up(logits, SPACING, CleanupSettings.none()), logits > 0)


def test_nothing_comes_of_nothing():
    assert not clean_up(np.full((4, 8, 8), -16.0), SPACING, CleanupSettings()).any()


@pytest.mark.parametrize("radius", [0.9, 1.4])
def test_a_vessel_of_two_or_three_voxels_survives_all_steps(radius):
    depth = 24
    k, row, column = np.indices((depth, 40, 40))
    vessel = (row - 12 - 0.6 * k) ** 2 + (column - 20) ** 2 <= radius**2
    rng = np.random.default_rng(1)
    noisy = logits_of(vessel, 3.5).astype(np.float32) + rng.normal(0, 0.8, vessel.shape)
    seed = np.zeros_like(vessel)
    seed[12] = vessel[12]
    cleaned = clean_up(noisy, (1.0, 0.8, 0.8), CleanupSettings(clip=False), seed=seed)
    assert cleaned[vessel].mean() > 0.97
    assert (cleaned & ~vessel).sum() < 0.05 * vessel.sum()


@pytest.mark.parametrize("spacing", [(0.5, 0.8, 0.8), (5.0, 0.7, 0.7)])
def test_a_long_object_is_smoothed_as_one(spacing):
    """Memory is saved by working on some slices at a time, which must not show."""
    logits = np.random.default_rng(0).normal(0.0, 3.0, (150, 12, 10)).astype(np.float16)
    whole = logits.astype(np.float32)
    soft = ndimage.gaussian_filter(
        np.clip(whole, -4.0, 4.0), [1.0 / step for step in spacing], mode="nearest", truncate=3.0
    )
    expected = np.where(np.abs(whole) < 1.5, soft, whole)
    np.testing.assert_array_equal(smooth_mask(logits, spacing, 1.0), expected > 0)


def test_smoothing_settles_doubt_and_leaves_certainty_alone():
    truth = ball()
    rng = np.random.default_rng(2)
    distance = np.where(truth, 6.0, -6.0)
    doubtful = rng.random(truth.shape) < 0.15
    logits = np.where(doubtful, rng.normal(0, 0.5, truth.shape), distance)
    before = ((logits > 0) != truth).sum()
    cleaned = clean_up(logits, SPACING, only(smooth=True))
    assert (cleaned != truth).sum() < 0.25 * before
    np.testing.assert_array_equal(cleaned[~doubtful], truth[~doubtful])


def test_only_what_hangs_together_with_the_key_mask_stays():
    main, island = ball(), ball(centre=(10, 25, 46), radius_mm=2.5)
    seed = np.zeros_like(main)
    seed[10] = main[10]
    cleaned = clean_up(logits_of(main | island), SPACING, only(keep_component=True), seed=seed)
    np.testing.assert_array_equal(cleaned, main)


def test_a_second_part_that_was_clicked_stays():
    main, island = ball(), ball(centre=(10, 25, 46), radius_mm=2.5)
    seed = np.zeros_like(main)
    seed[10] = main[10]
    cleaned = clean_up(logits_of(main | island), SPACING, only(keep_component=True), seed=seed, inside=[(10, 25, 46)])
    np.testing.assert_array_equal(cleaned, main | island)


def test_without_any_seed_the_largest_part_stays():
    main, island = ball(), ball(centre=(10, 25, 46), radius_mm=2.5)
    cleaned = clean_up(logits_of(main | island), SPACING, only(keep_component=True), seed=np.zeros_like(main))
    np.testing.assert_array_equal(cleaned, main)


def test_a_small_cavity_is_filled_but_not_one_the_user_excluded_nor_a_large_one():
    whole = ball()
    cavity = ball(radius_mm=2.5)
    hollow = logits_of(whole & ~cavity)
    np.testing.assert_array_equal(clean_up(hollow, SPACING, only(fill_holes=True)), whole)
    kept = clean_up(hollow, SPACING, only(fill_holes=True), outside=[(10, 25, 25)])
    np.testing.assert_array_equal(kept, whole & ~cavity)
    shell = whole & ~ball(radius_mm=9.0)
    np.testing.assert_array_equal(clean_up(logits_of(shell), SPACING, only(fill_holes=True)), shell)


def test_a_tunnel_that_is_open_at_its_ends_is_not_a_hole():
    tube = ball()
    tube[:, 24:27, 24:27] = False
    np.testing.assert_array_equal(clean_up(logits_of(tube), SPACING, only(fill_holes=True)), tube)


def test_what_lies_outside_the_clip_is_cut_off():
    whole = ball()
    clip = np.zeros_like(whole)
    clip[5:15, 20:30, 20:30] = True
    np.testing.assert_array_equal(clean_up(logits_of(whole), SPACING, only(clip=True), clip=clip), whole & clip)
