"""The computed abdomen is the same for everyone, looks like a CT, and its truth fits its picture."""

from __future__ import annotations

import numpy as np
import pytest
from MedSAMSegmentLib.phantom import ORGANS, Phantom, make_phantom, phantom_geometry
from scipy import ndimage

COARSE = phantom_geometry((32, 120, 120), (3.0, 3.0, 6.0))


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(0, COARSE)


def test_a_seed_decides_everything(phantom: Phantom) -> None:
    again, other = make_phantom(0, COARSE), make_phantom(1, COARSE)
    assert np.array_equal(again.volume.voxels, phantom.volume.voxels)
    assert np.array_equal(again.labels, phantom.labels)
    assert not np.array_equal(other.labels, phantom.labels)


def test_every_structure_is_there_in_many_people() -> None:
    for seed in range(4):
        assert make_phantom(seed, COARSE).names == tuple(ORGANS)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("liver", 95, 130),
        ("liver tumour", 30, 85),
        ("spleen", 110, 135),
        ("left kidney", 110, 190),
        ("aorta", 155, 200),
        ("gallbladder", -10, 45),
        ("pancreas", 60, 110),
        ("spine", 120, 400),
    ],
)
def test_organs_have_realistic_hounsfield_units(phantom: Phantom, name: str, low: float, high: float) -> None:
    inner = phantom.mask(name)
    inner = ndimage.binary_erosion(inner) if inner.sum() > 400 else inner
    assert low < np.median(phantom.volume.voxels[inner]) < high


def test_air_fat_and_noise(phantom: Phantom) -> None:
    voxels = phantom.volume.voxels
    assert voxels[:, :3, :].mean() == pytest.approx(-1000, abs=15)
    assert 4 < voxels[ndimage.binary_erosion(phantom.mask("spleen"))].std() < 30
    share_of_fat = ((voxels > -130) & (voxels < -70)).mean()
    assert 0.08 < share_of_fat < 0.5


def test_the_liver_holds_its_tumour_and_other_organs_do_not_overlap(phantom: Phantom) -> None:
    liver, tumour = phantom.mask("liver"), phantom.mask("liver tumour")
    assert tumour.any() and not (tumour & ~liver).any()
    assert not (liver & phantom.mask("right kidney")).any()
    with pytest.raises(KeyError):
        phantom.mask("appendix")


def test_left_is_left_and_up_is_up(phantom: Phantom) -> None:
    def centre(name: str) -> np.ndarray:
        k, j, i = (axis.mean() for axis in np.nonzero(phantom.mask(name)))
        return phantom.volume.geometry.index_to_lps((i, j, k))

    assert centre("left kidney")[0] > 30 and centre("right kidney")[0] < -30 and centre("liver")[0] < -30
    assert centre("spleen")[2] > centre("gallbladder")[2]
    assert centre("spine")[1] > centre("aorta")[1] > centre("stomach")[1]


@pytest.mark.parametrize("left_handed", [False, True])
def test_another_grid_scans_the_same_person(phantom: Phantom, left_handed: bool) -> None:
    oblique = make_phantom(0, phantom_geometry((40, 130, 110), (2.8, 2.6, 5.0), (25, -15, 30), left_handed))
    assert oblique.volume.geometry.is_left_handed is left_handed
    k, j, i = np.nonzero(np.ones(oblique.labels.shape, bool))
    points = oblique.volume.geometry.index_to_lps(np.stack((i, j, k), axis=1)[::97])
    nearest = np.rint(COARSE.lps_to_index(points)).astype(int)
    inside = ((nearest >= 0) & (nearest < COARSE.shape[::-1])).all(axis=1)
    ours = phantom.labels[tuple(nearest[inside].T[::-1])]
    theirs = oblique.labels.reshape(-1)[::97][inside]
    organ = (ours > 0) | (theirs > 0)
    assert (ours == theirs)[organ].mean() > 0.8, "they differ at the borders only, by the coarse grids"
