"""DICOM series: exact where they are regular, refused with a code where they are not, and never a patient's name."""

from __future__ import annotations

import copy
import os
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_phantom import COLUMNS, ROWS, Phantom, write_series
from MedSAMSegmentLib.errors import InputError
from MedSAMSegmentLib.volume import Volume, read_labelmap, read_volume
from MedSAMSegmentLib.volume.readers.dicom import list_series
from processor_time import processor_seconds
from pydicom.encaps import encapsulate
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


# --- what must be refused: each function damages a written series and returns the code it must be refused with


def each(phantom: Phantom, **values: object) -> None:
    for n, data in enumerate(phantom.datasets):
        for name, value in values.items():
            setattr(data, name, value)
        phantom.save(n)


def one(phantom: Phantom, **values: object) -> None:
    for name, value in values.items():
        setattr(phantom.datasets[2], name, value)
    phantom.save(2)


def patch(path: Path, tag: bytes, value: bytes) -> None:
    """Overwrite the value of an explicit-VR element in place."""
    raw = path.read_bytes()
    at = raw.find(tag)
    length = struct.unpack("<H", raw[at + 6 : at + 8])[0]
    path.write_bytes(raw[: at + 8] + value[:length].ljust(length) + raw[at + 8 + length :])


def empty_folder(p: Phantom) -> None:
    for file in p.folder.iterdir():
        file.unlink()


def text_files(p: Phantom) -> None:
    for file in p.folder.iterdir():
        file.write_text("not dicom")


def bomb(p: Phantom) -> None:
    data = p.datasets[0]
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    p.save(0)
    raw = p.file(0).read_bytes()
    end = 132 + 12 + struct.unpack("<I", raw[140:144])[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 200 << 20))
    body += b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    p.file(0).write_bytes(raw[:end] + body)


def nested(p: Phantom) -> None:
    levels = 5000
    opening = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    p.file(0).write_bytes(p.file(0).read_bytes() + opening * levels + closing * levels)


def lying_length(p: Phantom) -> None:
    raw = p.file(2).read_bytes()
    at = raw.find(b"\x10\x00\x20\x00LO")
    p.file(2).write_bytes(raw[: at + 6] + struct.pack("<H", 65530) + raw[at + 8 :])


def links(p: Phantom) -> None:
    p.file(2).unlink()
    os.symlink("/etc/passwd", p.file(2))
    os.symlink("/", p.folder / "loop")


def repeated(p: Phantom) -> None:
    data = copy.deepcopy(p.datasets[2])
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.save_as(p.folder / "again.dcm", enforce_file_format=True)


def two_phases(p: Phantom) -> None:
    for n, data in enumerate(p.datasets):
        second = copy.deepcopy(data)
        second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        second.AcquisitionNumber = 2
        second.save_as(p.folder / f"second{n}.dcm", enforce_file_format=True)


def corrupt_jpeg_2000(p: Phantom) -> None:
    one_file = p.datasets[2]
    one_file.file_meta.TransferSyntaxUID = JPEG2000Lossless
    one_file.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(200)])
    one_file["PixelData"].VR = "OB"
    p.save(2)


def video(p: Phantom) -> None:
    p.datasets[2].file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")
    p.datasets[2].PixelData = encapsulate([bytes(100)])
    p.datasets[2]["PixelData"].VR = "OB"
    p.save(2)


REFUSED: list[tuple[str, Callable[[Phantom], object]]] = [
    ("NO_SERIES", empty_folder),
    ("NO_SERIES", text_files),
    ("GAP", lambda p: p.file(2).write_bytes(b"")),
    ("UNREADABLE", lambda p: p.file(0).write_bytes(b"")),
    ("UNREADABLE", lambda p: p.file(5).write_bytes(b"rubbish")),
    ("BAD_PIXELS", lambda p: one(p, Rows=65535, Columns=65535)),
    ("BAD_PIXELS", lambda p: each(p, Rows=65535, Columns=65535)),
    ("BAD_PIXELS", lambda p: each(p, Rows=0)),
    ("BOMB", bomb),
    ("MIXED", lambda p: one(p, Rows=8000, Columns=8000)),
    ("UNREADABLE", nested),
    ("GAP", lying_length),
    ("NO_GEOMETRY", lambda p: patch(p.file(2), b"\x20\x00\x32\x00DS", b"nan\\nan\\nan")),
    ("NO_GEOMETRY", lambda p: patch(p.file(2), b"\x28\x00\x30\x00DS", b"Mueller^Anna")),
    ("NO_GEOMETRY", lambda p: each(p, ImagePositionPatient=None)),
    ("NO_GEOMETRY", lambda p: one(p, ImageOrientationPatient=["1", "0", "0"])),
    ("BAD_ORIENTATION", lambda p: each(p, ImageOrientationPatient=["1", "0", "0", "1", "0", "0"])),
    ("BAD_ORIENTATION", lambda p: each(p, ImageOrientationPatient=["2", "0", "0", "0", "1", "0"])),
    ("BAD_SPACING", lambda p: each(p, PixelSpacing=["0", "0"])),
    ("BAD_SPACING", lambda p: each(p, PixelSpacing=["-0.7", "0.7"])),
    ("BAD_RESCALE", lambda p: each(p, RescaleSlope="0")),
    ("BAD_UID", lambda p: each(p, SeriesInstanceUID="../../../..PWNED")),
    ("GAP", links),
    ("BAD_PIXELS", lambda p: each(p, SamplesPerPixel=3, PhotometricInterpretation="RGB")),
    ("BAD_PIXELS", lambda p: each(p, PhotometricInterpretation="PALETTE COLOR")),
    ("NO_SERIES", lambda p: each(p, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")),
    ("MULTI_FRAME", lambda p: each(p, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=6)),
    ("MIXED", lambda p: one(p, PatientID="OTHER")),
    ("MIXED", lambda p: one(p, FrameOfReferenceUID=generate_uid())),
    ("MIXED", lambda p: one(p, PixelSpacing=["0.9", "0.7"])),
    ("MIXED", lambda p: one(p, ImageOrientationPatient=["1", "0", "0", "0", "0", "-1"])),
    ("MIXED", lambda p: one(p, ImagePositionPatient=["-10", "-40", "105"])),
    ("PIXELS", video),
    ("PIXELS", corrupt_jpeg_2000),
    ("TRUNCATED", lambda p: one(p, BitsAllocated=32, BitsStored=32, HighBit=31)),
    ("TRUNCATED", lambda p: one(p, PixelData=bytes(1000))),
    ("TRUNCATED", lambda p: p.file(2).write_bytes(p.file(2).read_bytes()[:-60])),
    ("GAP", lambda p: p.file(3).unlink()),
    ("DUP_POSITION", repeated),
    ("MULTI_PHASE", two_phases),
    ("NO_SERIES", lambda p: each(p, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
]


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
    started = processor_seconds()
    with pytest.raises(InputError) as error:
        read_volume(phantom.folder)
    assert processor_seconds() - started < 2
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
