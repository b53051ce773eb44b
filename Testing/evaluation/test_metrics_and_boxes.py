"""Scores are what they claim to be; boxes of a seed are always the same."""

from __future__ import annotations

import numpy as np
import pytest
from MedSAMSegmentLib.evaluation.jitter import jittered_box, tight_box
from MedSAMSegmentLib.evaluation.metrics import agreement, dice

pytest.importorskip("monai", reason="surface distances come from MONAI (extra 'evaluation')")


def cube(start: int, size: int = 10, shape: tuple[int, int, int] = (30, 30, 30)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[start : start + size, 8:18, 8:18] = True
    return mask


def test_dice_of_known_overlap() -> None:
    assert dice(cube(5), cube(5)) == 1.0
    assert dice(cube(5), cube(10)) == pytest.approx(0.5)
    assert dice(cube(0), cube(15)) == 0.0
    assert dice(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)) == 1.0


def test_distances_are_millimetres_of_the_scan() -> None:
    """Shifted by one slice of 3 mm, only the two end faces are 3 mm away; with 1 mm slices everything is near."""
    far = agreement(cube(6), cube(5), (3.0, 1.0, 1.0), tolerance_mm=2.0)
    near = agreement(cube(6), cube(5), (1.0, 1.0, 1.0), tolerance_mm=2.0)
    assert near.nsd == 1.0 and 0.5 < far.nsd < 1.0
    assert far.hd95 == pytest.approx(3.0)
    assert agreement(cube(6), cube(5), (3.0, 1.0, 1.0), tolerance_mm=3.0).nsd == 1.0


def test_a_large_scan_around_the_masks_changes_nothing() -> None:
    small, large = (np.zeros(shape, bool) for shape in ((12, 14, 16), (40, 60, 50)))
    small[3:8, 2:9, 4:11] = True
    truth = np.roll(small, 1, axis=1)
    big_mask, big_truth = large.copy(), large.copy()
    big_mask[20:32, 30:44, 20:36], big_truth[20:32, 30:44, 20:36] = small, truth
    assert agreement(big_mask, big_truth, (2, 1, 1)) == agreement(small, truth, (2, 1, 1))


def test_empty_masks() -> None:
    nothing = np.zeros((30, 30, 30), bool)
    missed = agreement(nothing, cube(5), (1, 1, 1))
    assert (missed.dice, missed.nsd, missed.hd95) == (0.0, 0.0, None)
    assert agreement(nothing, nothing, (1, 1, 1)).nsd == 1.0
    assert agreement(cube(5), cube(5), None).nsd is None


def test_the_tight_box_touches_all_sides() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[2, 3, 4] = mask[6, 5, 8] = True
    assert tight_box(mask) == ((2, 7), (3, 6), (4, 9))


def test_jitter_moves_the_sides_in_the_plane_only() -> None:
    box = ((2, 7), (20, 40), (30, 60))
    moved = {jittered_box(box, (10, 64, 64), 0, 5, seed, "case/object") for seed in range(200)}
    assert len(moved) > 190
    shifts = np.array([[b[axis][side] - box[axis][side] for axis in (1, 2) for side in (0, 1)] for b in moved])
    assert {b[0] for b in moved} == {(2, 7)}
    assert shifts.min() == -5, "sides move outwards as far as asked"
    assert shifts[:, [0, 2]].max() == 5 and set(np.unique(shifts[:, 0])) == set(range(-5, 6))
    assert all(0 <= low < high <= 64 for b in moved for low, high in b[1:])


def test_boxes_depend_on_seed_and_object_alone() -> None:
    box = ((0, 4), (10, 30), (10, 30))
    arguments = (box, (4, 64, 64), 0, 5)
    assert jittered_box(*arguments, 3, "a/b") == jittered_box(*arguments, 3, "a/b")
    assert jittered_box(*arguments, 3, "a/b") != jittered_box(*arguments, 3, "a/c")
    assert jittered_box(*arguments, 3, "a/b") != jittered_box(*arguments, 4, "a/b")


def test_small_objects_keep_a_box_inside_the_image() -> None:
    for seed in range(100):
        moved = jittered_box(((0, 1), (0, 2), (61, 64)), (1, 64, 64), 0, 5, seed, "x")
        assert all(0 <= low < high <= size for (low, high), size in zip(moved, (1, 64, 64), strict=True))
