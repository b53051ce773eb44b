"""DICOM series: exact where they are regular, refused with a code where they are not, and never a patient's name."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_damage import REFUSED
from dicom_phantom import COLUMNS, ROWS, Phantom, write_series
from MedSAMSegmentLib.errors import InputError
from MedSAMSegmentLib.volume import Volume, read_labelmap, read_volume
from MedSAMSegmentLib.volume.readers.dicom import list_series
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid
from random_scans import rotation


def assert_exact(volume: Volume, phantom: Phantom) -> None:
    """Every voxel of the volume has the value that was acquired at its place."""
    order = np.argsort(phantom.positions @ np.cross(phantom.row, phantom.column))
    np.testing.assert_array_equal(volume.voxels, phantom.values[order])
    for k, n in enumerate(order):
        np.testing.assert_allclose(volume.geometry.voxel_centres_lps(0, k), phantom.positions_of(n), atol=1e-6)
    assert volume.source is not None
    assert [s.sop_instance_uid for s in volume.source] == [phantom.datasets[n].SOPInstanceUID for n in order]
    assert not volume.geometry.is_left_handed


OBLIQUE = rotation(0.2, 0.15, 0.4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"step": (0, 0, -2.5)},
        {"row": OBLIQUE[:, 0], "column": OBLIQUE[:, 1]},
        {"row": (1, 0, 0), "column": (0, 0, -1)},
        {"row": (0, 1, 0), "column": (0, 0, -1)},
        {"row": (-1, 0, 0), "column": (0, -1, 0)},
        {"row": (1, 0, 0), "column": (0, -1, 0)},
        {"rescale": lambda n: (0.5, -1024)},
        {"rescale": lambda n: (1, -1024) if n % 2 else (0.5, -2000)},
        {"modality": "MR"},
        {"syntax": RLELossless},
        {"syntax": DeflatedExplicitVRLittleEndian},
    ],
    ids=[
        "up",
        "down",
        "oblique",
        "coronal",
        "sagittal",
        "prone",
        "columns-up",
        "half",
        "each",
        "MR",
        "RLE",
        "deflated",
    ],
)
def test_regular_series_are_exact(tmp_path: Path, options: dict) -> None:
    if options.get("syntax") == DeflatedExplicitVRLittleEndian:
        phantom = write_series(tmp_path / "s")
        for n, data in enumerate(phantom.datasets):
            data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            phantom.save(n)
    else:
        phantom = write_series(tmp_path / "s", **options)
    volume = read_volume(tmp_path / "s")
    assert_exact(volume, phantom)
    assert volume.modality == options.get("modality", "CT") and volume.name == "s"
    assert volume.geometry.spacing == pytest.approx((0.7, 0.8, 2.5))
    whole = all(float(v).is_integer() for v in phantom.values.reshape(-1)[:50])
    assert volume.voxels.dtype.kind in ("iu" if whole else "f") and volume.voxels.dtype.itemsize <= 4


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=["JPEG 2000", "JPEG-LS"])
def test_compressed_series_are_exact(tmp_path: Path, syntax: str) -> None:
    try:
        phantom = write_series(tmp_path / "s", syntax=syntax)
    except RuntimeError:
        pytest.skip("pydicom has no encoder for this syntax here")
    assert_exact(read_volume(tmp_path / "s"), phantom)


def test_whole_rescaled_values_stay_small_integers(tmp_path: Path) -> None:
    write_series(tmp_path / "s")
    assert read_volume(tmp_path / "s").voxels.dtype == np.int16


def test_reading_changes_no_file(tmp_path: Path) -> None:
    write_series(tmp_path / "s")
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "s").iterdir()}
    read_volume(tmp_path / "s")
    assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "s").iterdir()}


def test_jitter_of_micrometres_is_no_gap(tmp_path: Path) -> None:
    phantom = write_series(tmp_path / "s", places=(0, 1.003, 1.998, 3.0, 4.002, 5))
    np.testing.assert_array_equal(read_volume(tmp_path / "s").voxels, phantom.values)


def test_one_slice_takes_the_thickness_of_its_header(tmp_path: Path) -> None:
    phantom = write_series(tmp_path / "s", places=(0,))
    for path in (tmp_path / "s", phantom.file(0)):
        volume = read_volume(path)
        assert volume.geometry.shape == (1, ROWS, COLUMNS) and volume.geometry.spacing[2] == pytest.approx(3)
        assert any("One slice" in note for note in volume.notes)


def test_what_does_not_belong_is_left_out_and_noted(tmp_path: Path) -> None:
    phantom = write_series(tmp_path / "s")
    shutil.copy(phantom.file(2), phantom.folder / "copy of 2.dcm")
    localizer = copy.deepcopy(phantom.datasets[0])
    localizer.SOPInstanceUID = localizer.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    localizer.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    localizer.save_as(phantom.folder / "LOC.dcm", enforce_file_format=True)
    report = copy.deepcopy(phantom.datasets[0])
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.88.11")
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    report.save_as(phantom.folder / "SR.dcm", enforce_file_format=True)
    (phantom.folder / "notes.txt").write_text("hello")
    (phantom.folder / ".DS_Store").write_bytes(b"")
    volume = read_volume(phantom.folder)
    assert_exact(volume, phantom)
    assert len(volume.notes) == 3


def test_a_scout_series_beside_the_scan_is_passed_over(tmp_path: Path) -> None:
    phantom = write_series(tmp_path / "s" / "scan")
    write_series(tmp_path / "s" / "scout", places=(0,))
    assert_exact(read_volume(tmp_path / "s"), phantom)


def test_several_series_are_listed_and_chosen(tmp_path: Path) -> None:
    first = write_series(tmp_path / "s" / "a")
    second = write_series(tmp_path / "s" / "b", places=(0, 1, 2, 3), seed=1)
    with pytest.raises(InputError) as error:
        read_volume(tmp_path / "s")
    assert error.value.code == "AMBIGUOUS"
    assert "1: CT, 6 axial images of 48 x 40" in error.value.message and "2: CT, 4 axial images" in error.value.message
    assert_exact(read_volume(tmp_path / "s", series=1), first)
    assert_exact(read_volume(tmp_path / "s", series="2"), second)
    assert_exact(read_volume(tmp_path / "s", series=second.datasets[0].SeriesInstanceUID), second)
    with pytest.raises(InputError) as error:
        read_volume(tmp_path / "s", series=3)
    assert error.value.code == "NO_SERIES"
    assert [(s.number, s.modality, s.images) for s in list_series(tmp_path / "s")] == [(1, "CT", 6), (2, "CT", 4)]


def test_blank_identifiers_can_be_read_but_not_referred_to(tmp_path: Path) -> None:
    phantom = write_series(tmp_path / "s")
    for n, data in enumerate(phantom.datasets):
        raw = phantom.file(n).read_bytes()
        for uid in (data.SOPInstanceUID, data.SOPClassUID):
            raw = raw.replace(uid.encode(), bytes(len(uid)))
        phantom.file(n).write_bytes(raw)
    volume = read_volume(phantom.folder)
    assert volume.source is None and volume.modality == "CT"
    assert any("SOP Instance UID" in note for note in volume.notes)
    np.testing.assert_array_equal(volume.voxels, phantom.values)


@pytest.mark.parametrize(("code", "damage"), REFUSED, ids=[f"{n}-{code}" for n, (code, _) in enumerate(REFUSED)])
def test_bad_series_are_refused(
    tmp_path: Path, code: str, damage: Callable[[Phantom], object], capfd: pytest.CaptureFixture[str]
) -> None:
    phantom = write_series(tmp_path / "s")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of the damage while it is done
        damage(phantom)
    capfd.readouterr()
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as error:
        read_volume(phantom.folder)
    assert error.value.code == code and error.value.hint and error.value.exit_status == 3
    shown = str(error.value) + "".join(capfd.readouterr())
    assert "Mueller" not in shown and "SECRET" not in shown
    assert capfd.readouterr().err == ""
    assert error.value.__cause__ is None
    assert sorted(tmp_path.rglob("*")) == files


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("NON_UNIFORM_SPACING", {"places": (0, 1, 2, 2.05, 4, 5)}),
        ("GAP", {"places": (0, 1, 3, 4, 5)}),
        ("DUP_POSITION", {"places": (0, 1, 1, 2, 3)}),
        ("MULTI_PHASE", {"places": (0, 1, 2, 0, 1, 2)}),
    ],
)
def test_uneven_stacks_are_refused(tmp_path: Path, code: str, options: dict) -> None:
    write_series(tmp_path / "s", **options)
    with pytest.raises(InputError) as error:
        read_volume(tmp_path / "s")
    assert error.value.code == code and error.value.hint


def test_a_strange_preamble_is_accepted(tmp_path: Path) -> None:
    phantom = write_series(tmp_path / "s")
    raw = phantom.file(2).read_bytes()
    phantom.file(2).write_bytes(b"MZ" + b"\x90" * 126 + raw[128:])
    assert_exact(read_volume(phantom.folder), phantom)


def test_dicom_is_no_label_map(tmp_path: Path) -> None:
    write_series(tmp_path / "s")
    with pytest.raises(InputError) as error:
        read_labelmap(tmp_path / "s")
    assert error.value.code == "NOT_A_LABELMAP"
