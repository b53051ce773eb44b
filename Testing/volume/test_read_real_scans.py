"""Real scans from many scanners and programs: right, or refused with a code, never a crash or a name on the screen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from MedSAMSegmentLib.errors import InputError
from MedSAMSegmentLib.volume import Window, read_labelmap, read_volume
from MedSAMSegmentLib.volume.upright import upright

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the evaluation scans (../shared/data) are not here")


def test_one_brain_in_seven_axis_orders_is_one_brain() -> None:
    volumes = [read_volume(path) for path in sorted((DATA / "odd_nifti/niivue/tests/images/nifti_space").glob("*"))]
    assert len(volumes) >= 7
    assert len({volume.geometry.orientation_code for volume in volumes}) >= 7
    first = volumes[0]
    probes = np.random.default_rng(0).integers(0, first.geometry.shape[::-1], (400, 3))
    places = first.geometry.index_to_lps(probes)
    values = first.voxels[tuple(probes.T[::-1])].astype(int)
    for volume in volumes[1:]:
        index = volume.geometry.lps_to_index(places)
        nearest = np.rint(index).astype(int)
        assert np.abs(index - nearest).max() < 0.01
        # The files were resampled by another program, which rounds the voxels a little differently.
        assert np.abs(volume.voxels[tuple(nearest.T[::-1])].astype(int) - values).max() <= 1


def test_one_oblique_brain_in_two_formats() -> None:
    folder = DATA / "odd_nifti/niivue/demos/images"
    nifti, nrrd = read_volume(folder / "FLAIR.nii.gz"), read_volume(folder / "FLAIR.nrrd")
    assert nifti.geometry.is_close(nrrd.geometry, 0.01)
    np.testing.assert_array_equal(nifti.voxels, nrrd.voxels)


def files(*patterns: str) -> list[str]:
    found = (path for pattern in patterns for path in DATA.glob(pattern) if path.is_file())
    return sorted(str(path.relative_to(DATA)) for path in found)


@pytest.mark.parametrize(
    "name", files("ct_*/**/*image*.nii.gz", "mri_*/**/*.nii.gz", "ct_organ/**/*_ct.nii.gz", "*/*/*.nrrd", "*/*/*.mha")
)
def test_files_lie_where_simpleitk_puts_them(name: str) -> None:
    volume = read_volume(DATA / name)
    image = sitk.ReadImage(str(DATA / name))
    np.testing.assert_allclose(volume.voxels, sitk.GetArrayFromImage(image), rtol=1e-6)
    corner = [n - 1 for n in image.GetSize()]
    for index in ([0, 0, 0], corner, [corner[0], 0, 0]):
        place = image.TransformContinuousIndexToPhysicalPoint([float(v) for v in index])
        np.testing.assert_allclose(volume.geometry.index_to_lps(index), place, atol=0.01)


READ = {
    "sts_002/CT/image": (48, 143, 161),
    "sts_002/MR_T1/image": (35, 90, 115),
    "torchio_ct17": (17, 128, 88),
    "dcmqi_ct3/ct-3slice": (3, 512, 512),
    "sagittal_mr_siemens": (4, 256, 256),
    "rle_mr": (4, 256, 256),
    "jpeg_mr": (4, 256, 256),
    "nonisotropic_float_slope": (4, 28, 64),
    "oblique_mr_hitachi/hitachi/anatomical/001": (4, 64, 64),
    "oblique_ct_rtutils/one_slice_data": (1, 50, 100),
    "enhanced_mr_philips": (8, 256, 256),
}
REFUSED = {
    "missing_slice_ct": "GAP",
    "mixed_orientation_mr": "MIXED",
    "time_series_ge": "MULTI_PHASE",
    "oblique_ct_rtutils/oriented_data": "MIXED",
    "oblique_mr_hitachi": "AMBIGUOUS",
    "enhanced_siemens_xa10": "MULTI_PHASE",
    "rgb_mr": "NO_SERIES",
    "sts_002/CT/mask": "NO_SERIES",
}


@pytest.mark.parametrize("name", READ)
def test_regular_series_are_read(name: str) -> None:
    volume = read_volume(DATA / "dicom_series" / name)
    assert volume.geometry.shape == READ[name] and volume.modality in ("CT", "MR")
    low, high = Window.parse("auto").resolve(volume)
    assert low < high


@pytest.mark.parametrize("name", REFUSED)
def test_irregular_series_are_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError) as error:
        read_volume(DATA / "dicom_series" / name)
    assert error.value.code == REFUSED[name] and error.value.hint
    assert capfd.readouterr() == ("", "")


def test_an_enhanced_object_is_what_its_single_images_are() -> None:
    """The same CT in both forms, converted by another program."""
    single, enhanced = (read_volume(DATA / "dicom_series/dcmqi_ct3/23x38x3", series=n) for n in (1, 2))
    assert single.geometry.is_close(enhanced.geometry)
    np.testing.assert_array_equal(single.voxels, enhanced.voxels)
    assert enhanced.source is not None and {s.frame_number for s in enhanced.source} == {1, 2, 3}


def test_a_tilted_series_keeps_its_slices_and_can_be_put_upright() -> None:
    volume = read_volume(DATA / "dicom_series/gantry_tilt_ct")
    assert volume.geometry.is_sheared() and volume.geometry.shape == (4, 512, 512)
    straight = upright(volume)
    assert not straight.geometry.is_sheared() and straight.geometry.shape[0] == 4


def test_one_of_two_time_points_in_enhanced_objects_is_chosen() -> None:
    first, second = (read_volume(DATA / "dicom_series/enhanced_siemens_xa10", phase=n) for n in (1, 2))
    assert first.geometry == second.geometry and not np.array_equal(first.voxels, second.voxels)


@pytest.mark.parametrize(
    ("series", "converted"),
    [
        ("oblique_mr_hitachi/hitachi/anatomical/001", "oblique_mr_hitachi/hitachi/anatomical/001_ground_truth.nii.gz"),
        ("jpeg_mr/generic/compressed_jpeg/001", "jpeg_mr/generic/compressed_jpeg/001_ground_truth.nii.gz"),
    ],
)
def test_series_agree_with_their_conversion_to_nifti(series: str, converted: str) -> None:
    volume, expected = read_volume(DATA / "dicom_series" / series), read_volume(DATA / "dicom_series" / converted)
    k, j, i = np.indices(expected.geometry.shape)
    index = np.stack([i, j, k], axis=-1)
    mapped = volume.geometry.lps_to_index(expected.geometry.index_to_lps(index))
    nearest = np.rint(mapped).astype(int)
    assert np.abs(mapped - nearest).max() < 0.02
    np.testing.assert_allclose(volume.voxels[nearest[..., 2], nearest[..., 1], nearest[..., 0]], expected.voxels)


@pytest.mark.parametrize("name", files("odd_dicom/**/*", "odd_nifti/**/*"))
def test_odd_files_are_read_or_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        volume = read_volume(DATA / name)
        assert np.isfinite(volume.voxels).all()
    except InputError as error:
        assert error.code.isupper() and error.message and error.hint
        for private in ("Lestrade", "CompressedSamples", "JXD191021006", "Lastname"):
            assert private not in str(error)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", files("**/*label*.nii.gz", "**/*mask*.nii.gz", "**/aparc*.mgz", "cells/**/*manual.png")
)
def test_labels_are_whole_numbers(name: str) -> None:
    volume = read_labelmap(DATA / name)
    assert volume.voxels.dtype.kind in "iu" and volume.voxels.max() > 0
