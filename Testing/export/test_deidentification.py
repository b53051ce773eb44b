"""De-identified results and series: nothing of the patient in any byte, and everything still fits together."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_truth import dciodvfy_errors, exported, true_masks
from dicom_variants import PRIVATE, PRIVATE_WORDS, write_variant
from MedSAMSegmentLib.errors import InputError, MedSAMSegmentError, OutputError, UsageError
from MedSAMSegmentLib.export import Algorithm, ExportedObject, WriteOptions, write_results
from MedSAMSegmentLib.export.deidentified_series import write_deidentified_series
from MedSAMSegmentLib.export.deidentify import Deidentification, read_key
from MedSAMSegmentLib.volume import Volume, read_volume
from MedSAMSegmentLib.volume.readers.segments import read_segments
from pydicom.dataset import Dataset

KEY = Deidentification(bytes(range(32)))
OPTIONS = WriteOptions(
    algorithm=Algorithm("embedded", "0.2.0", "c0ffee" * 10), creator="Doe^Jane", deidentification=KEY
)

#: Planted where a scanner, an archive or a careless export puts such things.
DEEP_WORDS = (
    "Hinterseer",
    "Vierthaler",
    "OLDPID-3301",
    "SENDER-AE",
    "POLYGLOT",
    "20261102",
    "101512.345678",
    "Doe^Jane",
)
TARGETS = ("{}/seg.dcm", "labelmap:{}/map.dcm", "fractional:{}/part.dcm", "rtstruct:{}/rt.dcm", "sr:{}/sr.dcm")


class Scan:
    """A series that names its patient in standard, nested and private elements, file meta and preamble."""

    def __init__(self, folder: Path, variant: str = "axial up") -> None:
        series = write_variant(variant, folder / "series")
        # Digits alone turn up by chance among identifiers and coordinates.
        words = [PRIVATE["PatientID"], PRIVATE["DeviceSerialNumber"], *(w for w in PRIVATE_WORDS if len(w) > 6)]
        self.words = [word.encode() for word in (*words, *DEEP_WORDS)]
        self.uids: set[bytes] = set()
        for file in series.files:
            data = pydicom.dcmread(file)
            plant(data)
            data.save_as(file)
            self.uids |= {uid.encode() for uid in instance_uids(data)}
        self.volume: Volume = read_volume(series.path, **series.options)
        self.masks = true_masks(series)
        self.objects: list[ExportedObject] = exported(series, self.volume, self.masks)

    def betrayed_by(self, path: Path) -> list[bytes]:
        raw = path.read_bytes()
        # Text in UTF-16, as some private elements hold it, would be another way to keep it.
        wide = [word.decode().encode("utf-16-le") for word in self.words]
        return [word for word in (*self.words, *self.uids, *wide) if word in raw]


def plant(data: Any) -> None:
    data.preamble = b"POLYGLOT".ljust(128, b"\0")
    data.file_meta.SourceApplicationEntityTitle = "SENDER-AE"
    data.StudyTime = data.AcquisitionTime = "101512.345678"
    data.OtherPatientIDs = "OLDPID-3301"
    data.ImageComments = "Vierthaler called about this"
    data.ManufacturerModelName = "Scanner of Quellmalz"
    person, physician = Dataset(), Dataset()
    person.CodeValue, person.CodingSchemeDesignator, person.CodeMeaning = "1", "99X", "Hinterseer"
    physician.PersonIdentificationCodeSequence = [person]
    physician.InstitutionName = PRIVATE["InstitutionName"]
    data.RequestAttributesSequence = [Dataset()]
    data.RequestAttributesSequence[0].RequestedProcedureDescription = "for Hinterseer"
    data.OperatorIdentificationSequence = [physician]
    data.ReferencedImageSequence = [Dataset()]
    data.ReferencedImageSequence[0].ReferencedSOPClassUID = data.SOPClassUID
    data.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.826.0.1.3680043.8.498.55555"
    data.ReferencedImageSequence[0].private_block(0x0011, "ACME", create=True).add_new(1, "LO", "Hinterseer")
    block = data.private_block(0x0029, "ACME HIDDEN", create=True)
    block.add_new(1, "PN", PRIVATE["PatientName"])
    block.add_new(2, "UN", b"Quellmalz")
    block.add_new(3, "SQ", [Dataset()])


def instance_uids(data: Dataset) -> Iterator[str]:
    for element in data.iterall():
        if element.VR == "UI" and not str(element.value).startswith("1.2.840.10008."):
            yield str(element.value)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return Scan(tmp_path_factory.mktemp("deidentification"))


@pytest.fixture(scope="module")
def results(scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("results")
    written = write_results([target.format(folder) for target in TARGETS], scan.volume, scan.objects, OPTIONS)
    assert any("not guaranteed" in note for note in written.notes)
    return list(written.paths)


@pytest.fixture(scope="module")
def series(scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deidentified") / "images"
    assert write_deidentified_series(folder, scan.volume, KEY) == len(scan.masks["Liver"])
    return folder


def test_without_the_option_the_same_results_do_name_the_patient(scan: Scan, tmp_path: Path) -> None:
    options = replace(OPTIONS, deidentification=None)
    for path in write_results(
        [target.format(tmp_path) for target in TARGETS], scan.volume, scan.objects, options
    ).paths:
        assert {b"Quellmalz", b"Doe^Jane"} & set(scan.betrayed_by(path)) and scan.uids & set(scan.betrayed_by(path))


def test_no_byte_of_a_result_names_the_patient(scan: Scan, results: list[Path]) -> None:
    assert len(results) == len(TARGETS)
    for path in results:
        assert scan.betrayed_by(path) == [], path.name


def test_no_byte_of_the_series_names_the_patient(scan: Scan, series: Path) -> None:
    files = sorted(series.iterdir())
    assert [file.name for file in files] == [f"{n:04d}.dcm" for n in range(1, len(files) + 1)]
    for file in files:
        assert scan.betrayed_by(file) == []
        assert not any(element.tag.is_private for element in pydicom.dcmread(file).iterall())
    assert stat.S_IMODE(series.stat().st_mode) == 0o700


def test_every_file_says_how_it_was_deidentified(results: list[Path], series: Path) -> None:
    for path in (*results, next(series.iterdir())):
        data = pydicom.dcmread(path)
        assert data.PatientIdentityRemoved == "YES" and "not guaranteed" in str(data.DeidentificationMethod)
        assert data.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert data.PatientName == data.PatientID != "" and data.PatientBirthDate == ""


def test_results_belong_to_the_series_deidentified_with_the_same_key(
    scan: Scan, results: list[Path], series: Path
) -> None:
    volume = read_volume(series)
    assert np.array_equal(volume.voxels, scan.volume.voxels)
    assert np.allclose(volume.geometry.affine, scan.volume.geometry.affine)
    image = pydicom.dcmread(next(series.iterdir()))
    for path in results:
        data = pydicom.dcmread(path)
        assert (data.StudyInstanceUID, data.PatientID) == (image.StudyInstanceUID, image.PatientID)
        if data.Modality in ("SEG", "RTSTRUCT"):
            stored = read_segments(path, volume)
            assert not stored.notes
            for segment, item in zip(stored.segments, scan.objects, strict=True):
                expected = item.mask
                if data.get("SegmentationType") == "LABELMAP" and item.name == "Liver":
                    expected = item.mask & ~scan.objects[1].mask
                assert segment.name == item.name and np.array_equal(segment.mask, expected)
    uids = {pydicom.dcmread(file).SOPInstanceUID for file in series.iterdir()}
    seg = pydicom.dcmread(results[0])
    referenced = {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referenced and referenced <= uids
    report = next(pydicom.dcmread(path) for path in results if path.name == "sr.dcm")
    named = {str(element.value) for element in report.iterall() if element.keyword == "ReferencedSOPInstanceUID"}
    assert str(seg.SOPInstanceUID) in named and named - {str(seg.SOPInstanceUID)} <= uids


def test_another_key_gives_other_identifiers_and_the_original_scan_is_another_scan(
    scan: Scan, results: list[Path], tmp_path: Path
) -> None:
    other = replace(OPTIONS, deidentification=Deidentification(b"\1" * 32))
    path = write_results([f"{tmp_path}/a.dcm"], scan.volume, scan.objects, other).paths[0]
    ours, theirs = pydicom.dcmread(results[0]), pydicom.dcmread(path)
    assert ours.StudyInstanceUID != theirs.StudyInstanceUID and ours.PatientID != theirs.PatientID
    with pytest.raises(InputError) as caught:
        read_segments(path, scan.volume)
    assert caught.value.code == "OTHER_FRAME_OF_REFERENCE"


@pytest.mark.parametrize("variant", ["enhanced CT", "gantry tilt", "RLE"])
def test_other_kinds_of_series(variant: str, tmp_path: Path) -> None:
    scan = Scan(tmp_path, variant)
    targets = [f"{tmp_path}/seg.dcm", f"rtstruct:{tmp_path}/rt.dcm"]
    paths = write_results(targets, scan.volume, scan.objects, OPTIONS).paths
    write_deidentified_series(tmp_path / "clean", scan.volume, KEY)
    volume = read_volume(tmp_path / "clean")
    for path in paths:
        assert scan.betrayed_by(path) == []
        for segment, item in zip(read_segments(path, volume).segments, scan.objects, strict=True):
            assert np.array_equal(segment.mask, item.mask)
    assert all(scan.betrayed_by(file) == [] for file in (tmp_path / "clean").iterdir())


def test_the_validator_has_nothing_to_object(results: list[Path], series: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("the Debian package dicom3tools is not installed")
    for path in results:
        if path.name != "map.dcm":  # which the validator does not know
            assert dciodvfy_errors(path) == [], path.name


def test_results_made_of_a_deidentified_series_are_valid(scan: Scan, series: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, deidentification=None, creator="")
    volume = read_volume(series)
    paths = write_results([target.format(tmp_path) for target in TARGETS], volume, scan.objects, options).paths
    for path in paths:
        assert scan.betrayed_by(path) == []
        data = pydicom.dcmread(path)
        assert data.PatientIdentityRemoved == "YES" and data.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        if shutil.which("dciodvfy") is not None and path.name != "map.dcm":
            assert dciodvfy_errors(path) == [], path.name


@pytest.mark.parametrize("label", ["Quellmalz liver", "liver of PID 7719 XQ", "LESION ANNEGRET"])
def test_a_label_that_names_the_patient_is_refused(scan: Scan, tmp_path: Path, label: str) -> None:
    objects = [replace(scan.objects[0], name=label)]
    for target in TARGETS[:4]:
        with pytest.raises(UsageError) as caught:
            write_results([target.format(tmp_path)], scan.volume, objects, OPTIONS)
        assert caught.value.code == "LABEL_IDENTIFIES" and "uellmalz" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_slips_through_is_found_in_the_file_and_not_kept(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgets(self: Deidentification, data: Any) -> None:
        data.PatientComments = "Frau Quellmalz"

    monkeypatch.setattr(Deidentification, "apply_to_result", forgets)
    with pytest.raises(OutputError) as caught:
        write_results([f"{tmp_path}/a.dcm"], scan.volume, scan.objects, OPTIONS)
    assert caught.value.code == "NOT_DEIDENTIFIED" and list(tmp_path.iterdir()) == []


def test_images_with_text_burned_in_are_refused(tmp_path: Path) -> None:
    series = write_variant("axial up", tmp_path / "series")
    data = pydicom.dcmread(series.files[2])
    data.BurnedInAnnotation = "YES"
    data.save_as(series.files[2])
    with pytest.raises(MedSAMSegmentError) as caught:
        write_deidentified_series(tmp_path / "out", read_volume(series.path), KEY)
    assert caught.value.code == "BURNED_IN_TEXT" and os.listdir(tmp_path) == ["series"]


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    made = read_key(tmp_path / "project.key")
    assert read_key(tmp_path / "project.key") == made and len(made.key) == 32
    assert stat.S_IMODE((tmp_path / "project.key").stat().st_mode) == 0o600
    (tmp_path / "project.key").chmod(0o644)
    (tmp_path / "no.key").write_text("secret")
    (tmp_path / "no.key").chmod(0o600)
    for name, code in (("project.key", "KEY_PERMISSIONS"), ("no.key", "BAD_KEY")):
        with pytest.raises(InputError) as caught:
            read_key(tmp_path / name)
        assert caught.value.code == code
