"""Volumes, diameters and intensities of shapes whose numbers are known; as CSV, JSON and a structured report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_truth import exported, true_masks
from dicom_variants import write_variant
from hypothesis import given, settings
from hypothesis import strategies as st
from MedSAMSegmentLib.export import Algorithm, ExportedObject, WriteOptions, write_results
from MedSAMSegmentLib.export.measurements import measure
from MedSAMSegmentLib.export.structured_report import measurement_groups
from MedSAMSegmentLib.volume import Geometry, Volume, read_volume


def scan(shape: tuple[int, int, int], spacing: tuple[float, float, float], modality: str = "CT") -> Volume:
    values = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    return Volume(values, Geometry.from_parts(shape, spacing, (5, -7, 30)), modality)


def test_a_block_has_the_size_of_its_voxels() -> None:
    volume = scan((8, 40, 50), (0.5, 0.8, 3.0))
    mask = np.zeros(volume.voxels.shape, bool)
    mask[2:5, 10:30, 5:15] = True  # 9 mm x 16 mm x 5 mm
    result = measure(volume, ExportedObject("a", mask))
    assert result.voxels == 600 and result.volume_mm3 == pytest.approx(9 * 16 * 5)
    # Outlines cut the corners by half a pixel, so a diagonal is a little short of that of the voxels.
    assert result.long_axis_mm == pytest.approx(np.hypot(16, 5), rel=0.02)
    assert result.axis_slice == 2 and result.who_product_mm2 == result.long_axis_mm * result.short_axis_mm
    assert result.diameter_3d_mm == pytest.approx(np.sqrt(9**2 + 16**2 + 5**2), rel=0.05)
    assert result.centroid_lps == pytest.approx((5 + 9.5 * 0.5, -7 + 19.5 * 0.8, 30 + 3 * 3.0))


def test_an_ellipse_has_its_two_axes_in_the_slice_where_it_is_largest() -> None:
    volume = scan((5, 120, 120), (0.5, 0.5, 4.0))
    y, x = (np.mgrid[:120, :120] - 60) * 0.5
    turned, across = x * np.cos(0.6) + y * np.sin(0.6), -x * np.sin(0.6) + y * np.cos(0.6)
    mask = np.stack([(turned / 20) ** 2 + (across / 8) ** 2 < size for size in (0.3, 0.6, 0.5, 1.0, 0.2)])
    result = measure(volume, ExportedObject("a", mask))
    assert result.axis_slice == 3
    assert result.long_axis_mm == pytest.approx(40, abs=0.6) and result.short_axis_mm == pytest.approx(16, abs=0.6)


def test_two_parts_in_one_slice_are_not_one_diameter() -> None:
    volume = scan((2, 60, 60), (1, 1, 3))
    mask = np.zeros(volume.voxels.shape, bool)
    mask[0, 5:10, 5:10], mask[0, 50:58, 50:58] = True, True
    result = measure(volume, ExportedObject("a", mask))
    assert result.long_axis_mm < 12 < 60 < result.diameter_3d_mm


def test_diameters_are_true_on_leaning_slices() -> None:
    """A gantry tilt shears the grid; distances within a slice do not change."""
    affine = np.eye(4)
    affine[:3, 1] = (0, np.cos(0.3), np.sin(0.3))
    affine[:3, 2] = (0, 0, 3)
    volume = Volume(np.zeros((4, 50, 50), np.int16), Geometry((4, 50, 50), affine))
    y, x = np.mgrid[:50, :50] - 25
    mask = np.zeros((4, 50, 50), bool)
    mask[1] = x**2 + y**2 < 15.5**2
    result = measure(volume, ExportedObject("a", mask))
    assert result.long_axis_mm == pytest.approx(31, abs=0.8) and result.short_axis_mm == pytest.approx(31, abs=0.8)
    assert result.volume_mm3 == pytest.approx(mask.sum() * 3 * np.cos(0.3))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_diameters_of_any_mask_agree_with_searching_all_pairs(seed: int) -> None:
    from MedSAMSegmentLib.export.contours import outlines

    rng = np.random.default_rng(seed)
    volume = scan((1, 12, 12), (0.7, 1.3, 2.0))
    mask = rng.random((1, 12, 12)) < 0.5
    mask[0, 6, 6] = True
    result = measure(volume, ExportedObject("a", mask), axis=0)
    longest = 0.0
    for outer, _ in outlines(mask[0]):
        points = outer * (1.3, 0.7)
        longest = max(longest, float(np.linalg.norm(points[:, None] - points[None], axis=-1).max()))
    assert result.long_axis_mm == pytest.approx(longest)
    assert 0 < result.short_axis_mm <= result.long_axis_mm + 1e-9 <= result.diameter_3d_mm + 1e-6


def test_intensities_are_those_of_the_voxels_inside() -> None:
    volume = scan((4, 20, 20), (1, 1, 1))
    mask = np.random.default_rng(1).random(volume.voxels.shape) > 0.7
    found = measure(volume, ExportedObject("a", mask)).intensities
    inside = volume.voxels[mask].astype(float)
    assert (found.mean, found.deviation) == pytest.approx((inside.mean(), inside.std()))
    assert (found.minimum, found.maximum) == (inside.min(), inside.max())
    assert found.percentiles[95] == pytest.approx(np.percentile(inside, 95))


def test_tables_hold_one_record_an_object(tmp_path: Path) -> None:
    volume = scan((4, 20, 20), (1, 1, 2))
    mask = np.zeros(volume.voxels.shape, bool)
    mask[1:3, 5:9, 5:9] = True
    objects = [ExportedObject('Läsion "1", links', mask), ExportedObject("nothing", np.zeros_like(mask))]
    options = WriteOptions(algorithm=Algorithm("embedded", "0.2.0", "ab" * 32))
    table, record = write_results([tmp_path / "m.csv", tmp_path / "m.json"], volume, objects, options).paths
    rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
    assert [row["name"] for row in rows] == ['Läsion "1", links', "nothing"]
    assert float(rows[0]["volume_ml"]) == 0.064 and rows[1]["volume_ml"] == "0.0" and rows[1]["long_axis_mm"] == ""
    content = json.loads(record.read_text("utf-8"))
    assert content["intensity_unit"] == "HU" and content["model"] == {"name": "embedded", "weights": "ab" * 32}
    assert content["objects"][0]["intensity_mean"] == pytest.approx(volume.voxels[mask].mean(), abs=1e-3)
    assert content["objects"][1]["intensity_mean"] is None


@pytest.mark.parametrize(("variant", "quantity"), [("axial up", "112031"), ("MR without rescale", "110852")])
def test_a_structured_report_holds_the_same_numbers_and_refers_to_the_segmentation(
    tmp_path: Path, variant: str, quantity: str
) -> None:
    import highdicom

    series = write_variant(variant, tmp_path / "series")
    volume = read_volume(series.path, **series.options)
    objects = exported(series, volume, true_masks(series))
    objects.insert(1, ExportedObject("pancreas", np.zeros(volume.voxels.shape, bool)))
    options = WriteOptions(algorithm=Algorithm("embedded", "0.2.0", "ab" * 32), creator="Doe^Jane")
    report, seg = write_results([f"sr:{tmp_path}/sr.dcm", f"{tmp_path}/seg.dcm"], volume, objects, options).paths
    segmentation, read = pydicom.dcmread(seg), pydicom.dcmread(report)
    groups = measurement_groups(read)
    assert [(uid, number) for uid, number, _ in groups] == [(segmentation.SOPInstanceUID, n) for n in (1, 3, 4, 5)]
    for item, (_, _, numbers) in zip([objects[0], *objects[2:]], groups, strict=True):
        result = measure(volume, item)
        found = {(code, unit): value for code, unit, value in reversed(numbers)}
        assert found["118565006", "mm3"] == pytest.approx(result.volume_mm3, abs=1e-3)
        assert found["103339001", "mm"] == pytest.approx(result.long_axis_mm, abs=1e-3)
        assert found["103340004", "mm"] == pytest.approx(result.short_axis_mm, abs=1e-3)
        means = [value for code, _, value in numbers if code == quantity]
        assert means[0] == pytest.approx(result.intensities.mean, abs=1e-3) and len(means) == 5
    # An independent reader understands it as TID 1500.
    content = highdicom.sr.srread(report).content
    tracked = [group.tracking_uid for group in content.get_volumetric_roi_measurement_groups()]
    by_number = {int(item.SegmentNumber): item.TrackingUID for item in segmentation.SegmentSequence}
    assert tracked == [by_number[n] for n in (1, 3, 4, 5)]
    referenced = {
        str(image.ReferencedSOPInstanceUID)
        for study in read.CurrentRequestedProcedureEvidenceSequence
        for group in study.ReferencedSeriesSequence
        for image in group.ReferencedSOPSequence
    }
    assert str(segmentation.SOPInstanceUID) in referenced and read.StudyInstanceUID == segmentation.StudyInstanceUID
