"""Components found from runs are those found voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from MedSAMSegmentLib.inference.components import Components
from scipy import ndimage

CUBE = np.ones((3, 3, 3), dtype=bool)
MASKS = arrays.arrays(bool, arrays.array_shapes(min_dims=3, max_dims=3, max_side=7))


def labelled(mask: np.ndarray, corners: bool) -> tuple[np.ndarray, int]:
    return ndimage.label(mask, structure=CUBE if corners else None)


@pytest.mark.parametrize("corners", [True, False])
@given(MASKS)
def test_every_component_is_one_of_the_voxel_by_voxel_labels(corners, mask):
    components = Components.of(mask, corners)
    labels, count = labelled(mask, corners)
    assert components.count == count
    expected = {frozenset(map(tuple, np.argwhere(labels == number))) for number in range(1, count + 1)}
    found = {frozenset(map(tuple, np.argwhere(components.mask(np.arange(count) == number)))) for number in range(count)}
    assert found == expected


@pytest.mark.parametrize("corners", [True, False])
@given(MASKS, st.randoms(use_true_random=False))
def test_sizes_places_and_overlaps_speak_of_the_same_components(corners, mask, random):
    components = Components.of(mask, corners)
    other = np.array([random.random() < 0.4 for _ in range(mask.size)]).reshape(mask.shape)
    voxels = [tuple(int(v) for v in voxel) for voxel in np.argwhere(mask)]
    for number in range(components.count):
        part = components.mask(np.arange(components.count) == number)
        assert components.sizes()[number] == part.sum()
        assert components.overlaps(other)[number] == (part & other).sum()
    numbers = components.at(voxels)
    for voxel, number in zip(voxels, numbers, strict=True):
        assert components.mask(np.arange(components.count) == number)[voxel]


def test_voxels_outside_the_mask_belong_to_nothing():
    mask = np.zeros((3, 4, 5), dtype=bool)
    assert len(Components.of(mask, True).at([(0, 0, 0)])) == 0
    mask[1, 1:3, 2] = True
    assert Components.of(mask, True).at([(1, 1, 2), (1, 1, 1), (0, 0, 0), (2, 3, 4)]).tolist() == [0]
