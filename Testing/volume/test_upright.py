"""An upright grid for leaning stacks: the same picture at the same places, and slices straight above one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_variants import write_variant
from MedSAMSegmentLib.errors import InputError
from MedSAMSegmentLib.volume import Geometry, Volume, read_volume
from MedSAMSegmentLib.volume.upright import upright


def leaning(step: tuple[float, float, float], voxels: np.ndarray) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = np.array([(0.7, 0, 0), (0, 0.8, 0), step]).T
    affine[:3, 3] = (-30, -40, 100)
    return Volume(voxels, Geometry(voxels.shape, affine))


@pytest.mark.parametrize("step", [(0, 0.9, 2.5), (0, -0.9, 2.5), (0.4, -0.33, 2.5), (-1.4, 0, 2.5)])
def test_a_linear_picture_stays_exact(step: tuple[float, float, float]) -> None:
    """Values that rise evenly in space are what linear interpolation must reproduce everywhere."""
    shape = (7, 30, 26)
    empty = leaning(step, np.zeros(shape, np.float32))
    k, j, i = np.indices(shape)
    places = empty.geometry.index_to_lps(np.stack([i, j, k], axis=-1))
    slope = np.array([3.0, -2.0, 5.0])
    volume = leaning(step, (places @ slope + 1000).astype(np.float32))
    straight = upright(volume)
    assert not straight.geometry.is_sheared() and straight.geometry.shape[0] == shape[0]
    assert straight.geometry.spacing == pytest.approx((0.7, 0.8, 2.5))
    k, j, i = np.indices(straight.geometry.shape)
    places = straight.geometry.index_to_lps(np.stack([i, j, k], axis=-1))
    index = volume.geometry.lps_to_index(places)
    inside = ((index >= 0) & (index <= np.array(shape[::-1]) - 1)).all(axis=-1)
    assert inside.mean() > 0.6
    np.testing.assert_allclose(straight.voxels[inside], (places @ slope + 1000)[inside], atol=2e-3)
    outside = ((index < -1) | (index > shape[::-1])).any(axis=-1)
    assert (straight.voxels[outside] == volume.voxels.min()).all()


def test_whole_shifts_move_pixels_unchanged() -> None:
    voxels = np.random.default_rng(0).integers(-1000, 1000, (5, 12, 14)).astype(np.int16)
    straight = upright(leaning((0, 1.6, 2.5), voxels))
    assert straight.voxels.dtype == np.int16 and straight.geometry.shape == (5, 12 + 8, 14)
    for k in range(5):
        np.testing.assert_array_equal(straight.voxels[k, 2 * k : 2 * k + 12], voxels[k])


def test_every_voxel_of_a_tilted_series_keeps_its_source(tmp_path: Path) -> None:
    series = write_variant("gantry tilt", tmp_path / "s")
    volume = read_volume(series.path)
    straight = upright(volume)
    assert straight.source == volume.source
    assert any("upright grid" in note for note in straight.notes)
    assert not any("--upright" in note for note in straight.notes)


def test_a_straight_scan_is_returned_as_it_is(tmp_path: Path) -> None:
    volume = read_volume(write_variant("oblique", tmp_path / "s").path)
    assert upright(volume) is volume


def test_a_stack_that_lies_in_its_slices_is_refused() -> None:
    with pytest.raises(InputError) as error:
        upright(leaning((0, 60, 2.5), np.zeros((40, 12, 14), np.int16)))
    assert error.value.code == "BAD_AFFINE"
