"""Damaged and hostile series: each function damages a written phantom, and ``REFUSED`` says how it must be refused."""

from __future__ import annotations

import copy
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from dicom_phantom import Phantom
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless, generate_uid


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


def rle_bomb(p: Phantom) -> None:
    """A short stream whose header promises a large image."""
    run = b"\x81\x00" * 500_000
    start = struct.pack("<16I", 2, 64, 64 + len(run), *([0] * 13))
    p.datasets[2].file_meta.TransferSyntaxUID = RLELossless
    p.datasets[2].PixelData = encapsulate([start + run + run])
    p.datasets[2]["PixelData"].VR = "OB"
    one(p, Rows=8000, Columns=8000)


def jpeg_2000_of_another_size(p: Phantom) -> None:
    """The stream itself says 30000 x 30000, the header nothing of it."""
    data = p.datasets[2]
    data.compress(JPEG2000Lossless, generate_instance_uid=False)
    raw = bytearray(data.PixelData)
    at = bytes(raw).find(b"\xff\x51")
    for offset in (6, 10, 22, 26):
        raw[at + offset : at + offset + 4] = struct.pack(">I", 30_000)
    data.PixelData = bytes(raw)
    p.save(2)


def cut_in_the_header(p: Phantom, number: int) -> None:
    p.file(number).write_bytes(p.file(number).read_bytes()[:500])


def two_files_of_one_image(p: Phantom) -> None:
    data = copy.deepcopy(p.datasets[2])
    data.PixelData = np.zeros_like(np.frombuffer(data.PixelData, np.uint16)).tobytes()
    data.save_as(p.folder / "again.dcm", enforce_file_format=True)


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
    ("MIXED", rle_bomb),
    ("PIXELS", jpeg_2000_of_another_size),
    ("UNREADABLE", lambda p: cut_in_the_header(p, 0)),
    ("UNREADABLE", lambda p: cut_in_the_header(p, 5)),
    ("DUP_POSITION", two_files_of_one_image),
    ("BAD_PIXELS", lambda p: each(p, BitsAllocated=1, BitsStored=1, HighBit=0)),
]
