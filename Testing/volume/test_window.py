"""Windows: presets, typed values, percentiles, and the choice of ``auto``."""

from __future__ import annotations

import numpy as np
import pytest
from MedSAMSegmentLib.errors import UsageError
from MedSAMSegmentLib.volume import CT_PRESETS, Geometry, IntensityRange, Volume, Window


def volume(voxels: np.ndarray, modality: str = "") -> Volume:
    return Volume(voxels, Geometry.from_parts(voxels.shape, (1, 1, 1)), modality)


def head_and_air(dtype: type = np.int16) -> np.ndarray:
    """Air, fat, tissue and bone in Hounsfield units."""
    values = np.array([-1000, -100, 40, 60, 1200])
    return np.random.default_rng(0).choice(values, (8, 20, 20), p=(0.3, 0.2, 0.3, 0.15, 0.05)).astype(dtype)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("abdomen", -160, 240),
        ("liver", -15, 135),
        ("lung", -1350, 150),
        ("mediastinum", -125, 225),
        ("bone", -500, 1500),
        ("brain", 0, 80),
        ("stroke", 20, 60),
        ("40/400", -160, 240),
        ("-600/1500", -1350, 150),
        (" Liver ", -15, 135),
        ("0.5/0.25", 0.375, 0.625),
    ],
)
def test_fixed_windows(name: str, low: float, high: float) -> None:
    assert Window.parse(name).resolve(volume(head_and_air())) == (low, high)


def test_every_preset_can_be_typed_as_level_and_width() -> None:
    scan = volume(head_and_air())
    for name, (width, level) in CT_PRESETS.items():
        assert Window.parse(f"{level}/{width}").resolve(scan) == Window.parse(name).resolve(scan)


@pytest.mark.parametrize("text", ["", "kidney", "400", "40/0", "40/-400", "nan/5", "1/2/3", "a/b", "inf/1", "40/"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as error:
        Window.parse(text)
    assert error.value.code == "BAD_WINDOW" and error.value.hint


def test_auto_by_modality_and_by_values() -> None:
    auto, abdomen = Window.parse("auto"), (-160, 240)
    ct, mr = head_and_air(), np.abs(head_and_air())
    assert auto.resolve(volume(ct, "CT")) == abdomen
    assert auto.resolve(volume(ct)) == abdomen
    assert auto.resolve(volume(ct.astype(np.float32))) == abdomen
    assert auto.resolve(volume(ct, "MR")) != abdomen
    assert auto.resolve(volume(mr)) != abdomen
    z_scored = np.random.default_rng(0).normal(size=(8, 20, 20)).astype(np.float32)
    assert auto.resolve(volume(z_scored)) != abdomen


def test_percentiles_of_voxels_that_are_not_zero() -> None:
    voxels = np.zeros((10, 50, 50), np.float32)
    voxels[:4] = np.random.default_rng(0).uniform(100, 900, (4, 50, 50))
    low, high = Window.parse("auto").resolve(volume(voxels, "MR"))
    np.testing.assert_allclose((low, high), np.percentile(voxels[:4], (0.5, 99.5)))


def test_a_shifted_background_is_background_too() -> None:
    voxels = np.full((10, 50, 50), -3.0, np.float32)
    voxels[:4] = np.random.default_rng(0).uniform(-1, 2, (4, 50, 50))
    np.testing.assert_allclose(
        Window.parse("auto").resolve(volume(voxels, "MR")), np.percentile(voxels[:4], (0.5, 99.5))
    )


def test_percentiles_of_a_large_scan_are_close_and_do_not_alias() -> None:
    # Stripes along i: a regular subsample in step with the rows would see one column only.
    stripes = np.tile(np.arange(1, 257, dtype=np.int16), (64, 256, 1))
    low, high = Window.parse("percentile").resolve(volume(stripes))
    expected = np.percentile(stripes, (0.5, 99.5))
    np.testing.assert_allclose((low, high), expected, atol=2)


@pytest.mark.parametrize("value", [0, 7, -3])
def test_a_constant_scan_has_a_window(value: int) -> None:
    low, high = Window.parse("auto").resolve(volume(np.full((3, 4, 5), value, np.int16)))
    assert low < high and low == value


def test_apply_clips_a_copy() -> None:
    voxels = head_and_air()
    before = voxels.copy()
    grey = Window.parse("abdomen").apply(voxels)
    assert grey.dtype == np.float32 and grey.shape == voxels.shape
    np.testing.assert_array_equal(voxels, before)
    np.testing.assert_allclose(grey[voxels == 40], 0.5)
    np.testing.assert_allclose(grey[voxels == -1000], 0)
    np.testing.assert_allclose(grey[voxels == 1200], 1)
    same = np.linspace(0, 1, 5, dtype=np.float32)
    out = IntensityRange(0.0, 1.0).apply(same)
    assert out is not same and not np.shares_memory(out, same)
    with pytest.raises(UsageError):
        Window.parse("auto").apply(voxels)
