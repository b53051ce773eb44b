"""What DICOM results say about the patient, the objects and the algorithm, and what is refused instead of written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_truth import KIDNEY, LESION, LIVER, SPLEEN, exported, true_masks
from dicom_variants import PRIVATE, PRIVATE_WORDS, VariantSeries, write_variant
from MedSAMSegmentLib.errors import InputError, MedSAMSegmentError, OutputError, UsageError
from MedSAMSegmentLib.export import (
    Algorithm,
    ExportedObject,
    WriteOptions,
    check_outputs,
    check_source,
    dicom_seg,
    rtstruct,
    write_results,
)
from MedSAMSegmentLib.export.dicom_seg import write_dicom_seg
from MedSAMSegmentLib.export.rtstruct import write_rtstruct
from MedSAMSegmentLib.export.terminology import Terminology
from MedSAMSegmentLib.volume import Geometry, Volume, read_volume
from MedSAMSegmentLib.volume.readers.segments import read_segments

OPTIONS = WriteOptions(algorithm=Algorithm("embedded", "0.2.0", "c0ffee" * 10), creator="Doe^Jane")


class Scan:
    """A small CT, freely changed by a test before it is read."""

    def __init__(self, folder: Path) -> None:
        self.series: VariantSeries = write_variant("axial up", folder / "series")
        self.masks = true_masks(self.series)

    def change(self, edit: Any) -> None:
        """Edit every file."""
        for file in self.series.files:
            data = pydicom.dcmread(file)
            edit(data)
            data.save_as(file)

    @property
    def volume(self) -> Volume:
        return read_volume(self.series.path)

    @property
    def objects(self) -> list[ExportedObject]:
        return exported(self.series, self.volume, self.masks)


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    return Scan(tmp_path)


def written_seg(path: Path, scan: Scan, kind: str = "BINARY", **changes: Any) -> pydicom.Dataset:
    write_dicom_seg(path, scan.volume, changes.get("objects", scan.objects), kind, changes.get("options", OPTIONS))
    return pydicom.dcmread(path)


def test_a_segmentation_says_what_its_segments_are(scan: Scan, tmp_path: Path) -> None:
    data = written_seg(tmp_path / "a.dcm", scan)
    liver, lesion, kidney, _ = data.SegmentSequence
    assert [item.SegmentLabel for item in data.SegmentSequence] == [LIVER, LESION, KIDNEY, SPLEEN]
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert liver.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    assert kidney.SegmentedPropertyTypeCodeSequence[0].CodeValue == "64033007"
    side = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert (side.CodeValue, side.CodeMeaning) == ("7771000", "Left")
    assert lesion.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert lesion.AnatomicRegionSequence[0].CodeValue == "10200004"
    assert len({item.TrackingUID for item in data.SegmentSequence}) == 4
    for item in data.SegmentSequence:
        assert item.SegmentAlgorithmType == "SEMIAUTOMATIC" and len(item.RecommendedDisplayCIELabValue) == 3
        made_by = item.SegmentationAlgorithmIdentificationSequence[0]
        assert (made_by.AlgorithmName, made_by.AlgorithmVersion) == ("embedded", "0.2.0")
        assert "c0ffee" * 10 in made_by.AlgorithmParameters
    assert data.ContentCreatorName == "Doe^Jane" and data.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize("target", ["{}/a.dcm", "rtstruct:{}/a.dcm", "labelmap:{}/a.dcm"])
def test_it_is_filed_with_the_patient_and_has_new_identifiers(scan: Scan, tmp_path: Path, target: str) -> None:
    source = pydicom.dcmread(scan.series.files[0])
    first, second = (
        pydicom.dcmread(write_results([target.format(tmp_path)], scan.volume, scan.objects, OPTIONS).paths[0])
        for _ in range(2)
    )
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber", "StudyID"):
        assert first[keyword].value == source[keyword].value, keyword
    assert first.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert first.SeriesInstanceUID != source.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID and first.SeriesInstanceUID != second.SeriesInstanceUID


def test_the_distance_of_slices_is_the_true_one(scan: Scan, tmp_path: Path) -> None:
    """The source says Slice Thickness 3; its slices are 2.5 mm apart."""
    scan.change(lambda data: setattr(data, "SpacingBetweenSlices", "3"))
    measures = written_seg(tmp_path / "a.dcm", scan).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == float(measures.SpacingBetweenSlices) == 2.5


def test_a_label_map_is_run_length_encoded(scan: Scan, tmp_path: Path) -> None:
    data = written_seg(tmp_path / "a.dcm", scan, "LABELMAP")
    assert data.file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
    assert data.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"


def test_probabilities_are_at_least_a_half_exactly_where_the_mask_is(scan: Scan, tmp_path: Path) -> None:
    volume = scan.volume
    mask = np.zeros(volume.voxels.shape, bool)
    mask[3, 10:20, 10:20] = True
    # As after clean-up: the mask has lost an island and gained a filled hole.
    probabilities = np.where(mask, 0.9, 0.2).astype(np.float32)
    probabilities[3, 15, 15], probabilities[5, 5, 5] = 0.1, 0.8
    item = ExportedObject("liver", mask, probabilities=probabilities)
    written_seg(tmp_path / "a.dcm", scan, "FRACTIONAL", objects=[item])
    (segment,) = read_segments(tmp_path / "a.dcm", volume).segments
    assert np.array_equal(segment.mask, mask)
    assert segment.probabilities[3, 15, 15] == pytest.approx(128 / 255)
    assert segment.probabilities[5, 5, 5] == pytest.approx(127 / 255)
    assert segment.probabilities[3, 11, 11] == pytest.approx(0.9, abs=1 / 255)


def test_what_is_continued_keeps_its_identity(scan: Scan, tmp_path: Path) -> None:
    volume = scan.volume
    codes = Terminology(("123037004", "Anatomical Structure"), ("10200004", "Liver"), (1, 2, 3))
    item = ExportedObject(
        "Segment 1", scan.objects[0].mask, colour=(10, 200, 30), tracking_uid="1.2.3.4.5", codes=codes
    )
    reference = write_dicom_seg(tmp_path / "a.dcm", volume, [item], options=OPTIONS)
    (segment,) = read_segments(tmp_path / "a.dcm", volume).segments
    assert segment.tracking_uid == reference.tracking["Segment 1"] == "1.2.3.4.5"
    assert segment.codes.type == ("10200004", "SCT", "Liver") and not reference.notes
    assert np.abs(np.subtract(segment.colour, (10, 200, 30))).max() <= 1


def test_a_name_that_says_nothing_is_coded_as_tissue_and_said_so(scan: Scan, tmp_path: Path) -> None:
    item = ExportedObject("object 1", scan.objects[0].mask)
    reference = write_dicom_seg(tmp_path / "a.dcm", scan.volume, [item], options=OPTIONS)
    assert reference.data.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    assert any("'object 1'" in note for note in reference.notes)


@pytest.mark.parametrize(
    ("name", "label"),
    [("肝脏", "肝脏"), ("a\\b\n c", "a b c"), ("x" * 80, "x" * 64), ("\x00", "object 1")],
)
def test_any_name_becomes_a_valid_label(scan: Scan, tmp_path: Path, name: str, label: str) -> None:
    item = ExportedObject(name, scan.objects[0].mask)
    paths = write_results([f"{tmp_path}/a.dcm", f"rtstruct:{tmp_path}/b.dcm"], scan.volume, [item], OPTIONS).paths
    for path in paths:
        assert [segment.name for segment in read_segments(path, scan.volume).segments] == [label]


def test_another_character_set_becomes_unicode(scan: Scan, tmp_path: Path) -> None:
    def latin(data: pydicom.Dataset) -> None:
        data.SpecificCharacterSet, data.PatientName = "ISO_IR 100", "Müller^Änne"

    scan.change(latin)
    for target in (f"{tmp_path}/a.dcm", f"rtstruct:{tmp_path}/a.dcm"):
        path = write_results([target], scan.volume, scan.objects, OPTIONS).paths[0]
        assert "Müller^Änne".encode() in path.read_bytes()
        assert pydicom.dcmread(path).PatientName == "Müller^Änne"


def test_empty_and_missing_elements_of_the_source_do_no_harm(scan: Scan, tmp_path: Path) -> None:
    def strip(data: pydicom.Dataset) -> None:
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyDate", "StudyID", "AccessionNumber"):
            del data[keyword]
        del data.SliceThickness, data.PositionReferenceIndicator, data.SeriesNumber
        data.ReferringPhysicianName = None

    scan.change(strip)
    targets = [f"{tmp_path}/a.dcm", f"rtstruct:{tmp_path}/b.dcm", f"sr:{tmp_path}/c.dcm"]
    for path in write_results(targets, scan.volume, scan.objects, OPTIONS).paths:
        assert pydicom.dcmread(path).PatientID == ""


def test_values_that_break_the_standard_are_left_out_and_not_told(scan: Scan, tmp_path: Path) -> None:
    for file in scan.series.files:
        raw = file.read_bytes()
        assert raw.count(b"19410923") == 1
        file.write_bytes(raw.replace(b"19410923", b"1.1.1970"))
    written = write_results([f"{tmp_path}/a.dcm", f"rtstruct:{tmp_path}/b.dcm"], scan.volume, scan.objects, OPTIONS)
    assert any("1 header value" in note for note in written.notes) and "1970" not in str(written.notes)
    assert all(pydicom.dcmread(path).PatientBirthDate == "" for path in written.paths)


# --- what is refused


def test_results_of_other_formats_have_no_images_to_refer_to(tmp_path: Path) -> None:
    volume = Volume(np.zeros((3, 4, 5), np.int16), Geometry.from_parts((3, 4, 5), (1, 1, 1)))
    with pytest.raises(InputError) as caught:
        check_source([tmp_path / "a.dcm"], volume)
    assert caught.value.code == "NO_DICOM_SOURCE"
    check_source([tmp_path / "a.nii.gz", tmp_path / "a.csv"], volume)


@pytest.mark.parametrize(
    ("keyword", "code"), [("FrameOfReferenceUID", "NO_FRAME_OF_REFERENCE"), ("StudyInstanceUID", "NO_STUDY")]
)
def test_a_scan_without_place_or_study_is_refused(scan: Scan, tmp_path: Path, keyword: str, code: str) -> None:
    scan.change(lambda data: data.__delattr__(keyword))
    with pytest.raises(InputError) as caught:
        check_source([tmp_path / "a.dcm"], scan.volume)
    assert caught.value.code == code


def test_source_files_that_have_gone_are_missed(scan: Scan, tmp_path: Path) -> None:
    volume, objects = scan.volume, scan.objects
    scan.series.files[3].unlink()
    with pytest.raises(InputError) as caught:
        write_results([f"{tmp_path}/a.dcm"], volume, objects, OPTIONS)
    assert caught.value.code == "SOURCE_GONE" and not (tmp_path / "a.dcm").exists()


@pytest.mark.parametrize("target", ["{}/a.dcm", "rtstruct:{}/a.dcm"])
def test_nothing_but_empty_masks_is_no_result(scan: Scan, tmp_path: Path, target: str) -> None:
    empty = ExportedObject("liver", np.zeros(scan.volume.voxels.shape, bool))
    with pytest.raises(UsageError) as caught:
        write_results([target.format(tmp_path)], scan.volume, [empty], OPTIONS)
    assert caught.value.code == "EMPTY_RESULT" and os.listdir(tmp_path) == ["series"]


def test_one_empty_mask_among_others_is_kept_as_an_empty_segment(scan: Scan, tmp_path: Path) -> None:
    objects = [*scan.objects, ExportedObject("pancreas", np.zeros(scan.volume.voxels.shape, bool))]
    for target in (f"{tmp_path}/a.dcm", f"labelmap:{tmp_path}/a.dcm"):
        path = write_results([target], scan.volume, objects, OPTIONS).paths[0]
        assert not read_segments(path, scan.volume).segments[4].mask.any()


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_one_wrong_pixel_is_noticed_before_the_file_gets_its_name(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    volume, objects = scan.volume, scan.objects
    made = dicom_seg._segmentation

    def slipped(source: Any, objects: Any, stored: Any, *rest: Any) -> Any:
        wrong = stored.array.copy()
        wrong.flat[np.flatnonzero(wrong)[7]] = 0
        changed = {"labels" if stored.labels is not None else "stack": wrong}
        return made(source, objects, dicom_seg._Stored(**{"labels": None, "stack": None, **changed}), *rest)

    monkeypatch.setattr(dicom_seg, "_segmentation", slipped)
    (tmp_path / "a.dcm").write_text("yesterday's")
    with pytest.raises(OutputError) as caught:
        write_dicom_seg(tmp_path / "a.dcm", volume, objects, kind, OPTIONS)
    assert caught.value.code == "READ_BACK_FAILED"
    assert (tmp_path / "a.dcm").read_text() == "yesterday's" and sorted(os.listdir(tmp_path)) == ["a.dcm", "series"]


def test_masks_on_the_wrong_planes_are_noticed(scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """highdicom and the validator accept a stack given in reverse."""
    volume, objects = scan.volume, scan.objects
    made = dicom_seg._segmentation

    def reversed_stack(source: Any, objects: Any, stored: Any, *rest: Any) -> Any:
        return made(source, objects, dicom_seg._Stored(None, stored.array[::-1]), *rest)

    monkeypatch.setattr(dicom_seg, "_segmentation", reversed_stack)
    with pytest.raises(OutputError, match="did not read back"):
        write_dicom_seg(tmp_path / "a.dcm", volume, objects, "BINARY", OPTIONS)


def test_a_wrong_contour_is_noticed(scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, objects = scan.volume, scan.objects
    monkeypatch.setattr(rtstruct, "keyholed", lambda outer, holes: outer)
    with pytest.raises(OutputError) as caught:
        write_rtstruct(tmp_path / "a.dcm", volume, objects, OPTIONS)
    assert caught.value.code == "READ_BACK_FAILED" and not (tmp_path / "a.dcm").exists()


@pytest.mark.parametrize(
    ("targets", "code"),
    [
        (["{}/a.dcm", "rtstruct:{}/a.dcm"], "SAME_FILE"),
        (["sr:{}/a.dcm", "{}/a.csv"], "REPORT_WITHOUT_SEGMENTATION"),
        (["rtstruct:{}/a.nii"], "UNKNOWN_OUTPUT_FORMAT"),
        (["{}/nowhere/a.dcm"], "NO_FOLDER"),
    ],
)
def test_impossible_outputs_are_refused_before_any_work(tmp_path: Path, targets: list[str], code: str) -> None:
    with pytest.raises(MedSAMSegmentError) as caught:
        check_outputs([target.format(tmp_path) for target in targets])
    assert caught.value.code == code


def test_files_that_need_no_patient_hold_none(scan: Scan, tmp_path: Path) -> None:
    targets = [f"{tmp_path}/a{suffix}" for suffix in (".nii.gz", ".seg.nrrd", ".csv", ".json", ".nii")]
    for path in write_results(targets, scan.volume, scan.objects, OPTIONS).paths:
        raw = path.read_bytes()
        for word in PRIVATE_WORDS:
            assert word.encode() not in raw, path.name


def test_dicom_results_hold_no_more_of_the_patient_than_filing_needs(scan: Scan, tmp_path: Path) -> None:
    targets = [f"{tmp_path}/a.dcm", f"rtstruct:{tmp_path}/b.dcm", f"sr:{tmp_path}/c.dcm"]
    for path in write_results(targets, scan.volume, scan.objects, OPTIONS).paths:
        raw = path.read_bytes()
        for keyword in ("PatientAddress", "OperatorsName", "ProtocolName", "SeriesDescription"):
            assert PRIVATE[keyword].encode() not in raw, (path.name, keyword)
