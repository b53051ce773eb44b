"""Every kind of DICOM series: each acquired pixel has its value at its place, and each slice knows its image."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from dicom_variants import PRIVATE_WORDS, STEP, VARIANTS, VariantSeries, write_variant
from MedSAMSegmentLib.volume import Volume, read_volume
from MedSAMSegmentLib.volume.acquisition import acquired_planes


def values_at(volume: Volume, places: np.ndarray) -> tuple[np.ndarray, float]:
    """Values of the nearest voxels at LPS places, and how far off the centres the places are, in voxels."""
    index = volume.geometry.lps_to_index(places)
    nearest = np.rint(index).astype(int)
    return volume.voxels[nearest[..., 2], nearest[..., 1], nearest[..., 0]], float(np.abs(index - nearest).max())


def check_planes(volume: Volume, series: VariantSeries) -> None:
    for plane in series.planes:
        values, off = values_at(volume, plane.pixel_places())
        assert off < 0.01
        np.testing.assert_array_equal(values, plane.values)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_acquired_pixel_is_exact(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    series = write_variant(name, tmp_path / "s")
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = read_volume(series.path, **series.options)
    assert capfd.readouterr() == ("", "")
    if series.grid == "resampled":
        # Between two planes the value is between theirs.
        low, high = (np.array([f(plane.values) for plane in series.planes]) for f in (np.min, np.max))
        assert low.min() <= volume.voxels.min() and volume.voxels.max() <= high.max()
        for plane in (series.planes[0], series.planes[-1]):
            values, off = values_at(volume, plane.pixel_places())
            assert off < 0.01
            np.testing.assert_array_equal(values, plane.values)
    else:
        check_planes(volume, series)
    assert not volume.geometry.is_left_handed
    assert volume.geometry.is_sheared() == (series.grid == "sheared")
    if series.grid in ("planes", "sheared"):
        assert volume.voxels.shape[0] == len(series.planes)
    assert volume.source is not None
    named = dict.fromkeys((s.sop_instance_uid, s.frame_number) for s in volume.source)
    assert list(named) == [(plane.sop_instance_uid, plane.frame_number) for plane in series.planes]
    for plane, true in zip(acquired_planes(volume), series.planes, strict=True):
        np.testing.assert_allclose(plane.position, true.position, atol=1e-9)
    for word in PRIVATE_WORDS:
        assert not any(word in text for text in (*volume.notes, volume.name))


def test_planes_at_two_distances_lie_on_a_grid_of_the_smaller_one(tmp_path: Path) -> None:
    series = write_variant("two distances", tmp_path / "s")
    volume = read_volume(series.path)
    assert volume.geometry.shape[0] == 10 and volume.geometry.spacing[2] == pytest.approx(STEP)
    assert any("3 of 10 slices" in note for note in volume.notes)
    middle = (volume.voxels[3].astype(float) + volume.voxels[5]) / 2
    np.testing.assert_allclose(volume.voxels[4], middle, atol=0.5)


def test_a_missing_slice_is_filled_only_when_asked(tmp_path: Path) -> None:
    series = write_variant("slice missing", tmp_path / "s")
    volume = read_volume(series.path, skip_unreadable=True)
    assert volume.geometry.shape[0] == 8
    assert any("interpolated" in note for note in volume.notes)


def test_uneven_planes_are_resampled_in_order(tmp_path: Path) -> None:
    """A ramp along the stack stays a ramp whatever the distances of the planes."""
    from dicom_phantom import write_series

    places = (0, 1, 2.3, 3.4, 4.9, 6, 7.2)

    def ramp(data, n):
        data.PixelData = np.full((data.Rows, data.Columns), round(1000 * places[n]), "<u2").tobytes()

    write_series(tmp_path / "s", places=places, change=ramp)
    volume = read_volume(tmp_path / "s")
    heights = volume.geometry.index_to_lps([(0, 0, k) for k in range(volume.geometry.shape[0])])[:, 2]
    np.testing.assert_allclose(volume.voxels[:, 5, 5] + 1024, (heights - 100) / 2.5 * 1000, atol=1)


def test_each_phase_can_be_chosen(tmp_path: Path) -> None:
    series = write_variant("enhanced MR of two times", tmp_path / "s")
    first, second = (read_volume(series.path, phase=number) for number in (1, 2))
    check_planes(second, series)
    assert not np.array_equal(first.voxels, second.voxels)
    assert any("Phase 1 of 2" in note and "time point" in note for note in first.notes)


def test_padding_does_not_outshine_the_scan(tmp_path: Path) -> None:
    series = write_variant("padding", tmp_path / "s")
    volume = read_volume(series.path)
    assert volume.voxels.max() < 2000
    assert any("padding" in note for note in volume.notes)
