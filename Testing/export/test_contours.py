"""Outlines fill to the mask they were drawn around."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from MedSAMSegmentLib.export.contours import keyholed, outlines
from MedSAMSegmentLib.volume.readers.segments.polygons import fill_polygon


def filled(mask: np.ndarray) -> np.ndarray:
    result = np.zeros_like(mask)
    for outer, holes in outlines(mask):
        polygon = keyholed(outer, holes)
        result ^= fill_polygon(polygon[:, 0], polygon[:, 1], mask.shape)
    return result


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.1, 0.4, 0.6, 0.9]))
def test_any_mask_with_any_holes_comes_back(seed: int, density: float) -> None:
    mask = np.random.default_rng(seed).random((13, 17)) < density
    assert np.array_equal(filled(mask), mask)


def test_islands_in_holes_are_parts_of_their_own() -> None:
    mask = np.zeros((20, 20), bool)
    mask[1:19, 1:19], mask[4:16, 4:16], mask[7:13, 7:13], mask[9:11, 9:11] = True, False, True, False
    assert len(outlines(mask)) == 2 and np.array_equal(filled(mask), mask)


def test_an_outline_has_the_extent_of_its_pixels_and_few_points() -> None:
    mask = np.zeros((40, 60), bool)
    mask[5:30, 10:50] = True
    ((outer, holes),) = outlines(mask)
    assert not holes and len(outer) == 8
    assert tuple(outer.min(axis=0)) == (4.5, 9.5) and tuple(outer.max(axis=0)) == (29.5, 49.5)


def test_a_single_pixel_is_a_polygon() -> None:
    mask = np.zeros((3, 3), bool)
    mask[2, 2] = True
    assert np.array_equal(filled(mask), mask) and len(outlines(mask)[0][0]) >= 3


@pytest.mark.parametrize("shift", [0.0, 0.25])
def test_half_of_a_square_is_filled_by_pixel_centres(shift: float) -> None:
    rows, columns = np.array([0.0, 0.0, 6.0]) + shift, np.array([0.0, 6.0, 0.0]) + shift
    found = fill_polygon(rows, columns, (8, 8))
    r, c = np.mgrid[:8, :8]
    inside = (r > shift) & (c > shift) & (r + c < 6 + 2 * shift)
    edge = (r == shift) | (c == shift) | (r + c == 6 + 2 * shift)
    assert np.array_equal(found & ~edge, inside & ~edge)
