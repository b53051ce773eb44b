"""Against a peer that refuses, stalls and counts: every object arrives once, whatever happens on the way."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from cutting_proxy import CuttingProxy
from pacs_command import Objects, Pacs, dimse_table
from pacs_objects import NAME, PATIENT, save, write_report, write_study
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian
from storage_peer import Peer

Configure = Callable[..., Path]


@pytest.fixture
def peers() -> Iterator[Callable[..., Peer]]:
    started: list[Peer] = []

    def start(**options: object) -> Peer:
        started.append(Peer(**options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for peer in started:
        peer.stop()


def test_labelmap_the_archive_does_not_take_goes_as_binary(
    peers: Callable[..., Peer], configure: Configure, objects: Objects, pacs: Pacs
) -> None:
    import highdicom as hd

    peer = peers(labelmap=False)
    configure(dimse_table("old", peer.port))
    answer = pacs("send", "old", objects.labelmap)
    assert answer.status == 0, answer.err
    assert answer.json["objects"][0]["replaced"]
    (kept,) = peer.kept.values()
    original = dcmread(objects.labelmap)
    assert kept.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"
    assert kept.SOPInstanceUID != original.SOPInstanceUID
    assert kept.PatientName == NAME
    binary = hd.seg.Segmentation.from_dataset(kept)
    assert [binary.get_segment_description(n).segment_label for n in (1, 2)] == ["Leber ü", "Kidney"]
    sources = [data.SOPInstanceUID for data in objects.study.slices]
    pixels = binary.get_pixels_by_source_instance(
        sources, combine_segments=True, assert_missing_frames_are_empty=True, ignore_spatial_locations=True
    )
    assert np.array_equal(pixels, objects.study.labels)

    again = pacs("send", "old", objects.labelmap)
    assert again.json["already_there"] == 1
    assert sum(peer.stores.values()) == 1


def test_report_follows_the_binary_form_of_its_segmentation(
    peers: Callable[..., Peer], configure: Configure, objects: Objects, pacs: Pacs, tmp_path: Path
) -> None:
    peer = peers(labelmap=False)
    configure(dimse_table("old", peer.port))
    report = write_report(objects.study, tmp_path / "report.dcm", objects.labelmap)
    answer = pacs("send", "old", report, objects.labelmap)
    assert answer.status == 0, answer.err
    binary, follower = peer.kept.values()
    assert binary.Modality == "SEG"
    assert follower.SOPInstanceUID != dcmread(report).SOPInstanceUID
    text = follower.to_json()
    assert str(dcmread(objects.labelmap).SOPInstanceUID) not in text
    assert text.count(str(binary.SOPInstanceUID)) == dcmread(report).to_json().count(
        str(dcmread(objects.labelmap).SOPInstanceUID)
    )
    assert pacs("send", "old", report).json["already_there"] == 1


def test_binary_form_is_read_by_another_program(objects: Objects, tmp_path: Path) -> None:
    from MedSAMSegmentLib.pacs.binary_form import write_binary_form

    reader = shutil.which("segimage2itkimage")
    if reader is None:
        pytest.skip("needs dcmqi")
    sitk = pytest.importorskip("SimpleITK")
    write_binary_form(objects.labelmap, tmp_path / "bits.dcm")
    command = [reader, "--inputDICOM", tmp_path / "bits.dcm", "--outputDirectory", tmp_path, "-t", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    for number in (1, 2):
        image = sitk.ReadImage(str(tmp_path / f"{number}.nrrd"))
        where = np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1]
        positions = [image.TransformIndexToPhysicalPoint(list(map(int, index))) for index in where[:: len(where) - 1]]
        k, j, i = np.argwhere(objects.study.labels == number)[[0, -1]].T
        expected = np.stack([-15 + 0.7 * i, -20 + 0.8 * j, 2.5 * k], axis=1)
        assert np.allclose(positions, expected)
        assert len(where) == (objects.study.labels == number).sum()


def test_binary_form_has_no_gaps_in_its_numbers(objects: Objects, tmp_path: Path) -> None:
    """Segment numbers of a label map may have gaps; those of bits may not."""
    import highdicom as hd
    from MedSAMSegmentLib.pacs.binary_form import write_binary_form

    labelmap = dcmread(objects.labelmap)
    values = labelmap.pixel_array
    labelmap.decompress(generate_instance_uid=False)
    labelmap.PixelData = np.where(values == 2, 7, values).astype(np.uint8).tobytes()
    for segment in labelmap.SegmentSequence:
        if segment.SegmentNumber == 2:
            segment.SegmentNumber = 7
    numbers = write_binary_form(save(labelmap, tmp_path / "gap.dcm"), tmp_path / "bits.dcm")
    assert numbers == [1, 7]
    bits = hd.seg.segread(tmp_path / "bits.dcm")
    assert list(bits.segment_numbers) == [1, 2]
    sources = [data.SOPInstanceUID for data in objects.study.slices]
    pixels = bits.get_pixels_by_source_instance(
        sources, combine_segments=True, assert_missing_frames_are_empty=True, ignore_spatial_locations=True
    )
    assert np.array_equal(pixels, objects.study.labels)


def test_archive_that_only_takes_uncompressed_gets_the_same_pixels(
    peers: Callable[..., Peer], configure: Configure, objects: Objects, pacs: Pacs
) -> None:
    peer = peers(syntaxes=(ImplicitVRLittleEndian,))
    configure(dimse_table("plain", peer.port))
    answer = pacs("send", "plain", objects.labelmap, objects.binary)
    assert answer.status == 0, answer.err
    for path in (objects.labelmap, objects.binary):
        original = dcmread(path)
        kept = peer.kept[original.SOPInstanceUID]
        assert kept.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert np.array_equal(kept.pixel_array, original.pixel_array)


def test_full_archive_keeps_everything_in_the_queue_until_there_is_room(
    peers: Callable[..., Peer], configure: Configure, objects: Objects, pacs: Pacs
) -> None:
    peer = peers()
    peer.status = 0xA700
    configure(dimse_table("full", peer.port, attempts=2))
    answer = pacs("send", "full", objects.binary, objects.labelmap)
    assert (answer.status, answer.code, answer.json["left"]) == (3, "PACS_OUT_OF_SPACE", 2)
    peer.status = 0x0000
    assert pacs("send", "full").json["verified"] == 2
    assert set(peer.stores.values()) == {1}


def test_refused_object_does_not_hold_up_the_others(
    peers: Callable[..., Peer], configure: Configure, objects: Objects, pacs: Pacs
) -> None:
    peer = peers()
    configure(dimse_table("picky", peer.port))
    answer = pacs("send", "picky", objects.contours, objects.binary)
    assert (answer.status, answer.code) == (3, "PACS_UNSUPPORTED")
    assert [entry["state"] for entry in answer.json["objects"]] == ["refused", "verified"]
    assert pacs("send", "picky").json["objects"] == []
    number = answer.json["objects"][0]["number"]
    left = pacs("queue", "--forget", number).json["entries"]
    assert [entry["state"] for entry in left] == ["verified"]
    assert pacs("queue", "--forget", number).code == "NO_SUCH_ENTRY"


@pytest.mark.parametrize("what", ["pixels", "elements", "patient"])
def test_what_the_archive_changed_is_noticed(
    what: str, peers: Callable[..., Peer], configure: Configure, objects: Objects, pacs: Pacs
) -> None:
    def spoil(data: object) -> None:
        if what == "pixels":
            data.PixelData = bytes([data.PixelData[0] ^ 1]) + data.PixelData[1:]
        elif what == "elements":
            data.SegmentSequence[1].SegmentLabel = "Spleen"
        else:
            data.PatientID = "CORRECTED"

    peer = peers()
    peer.spoil, peer.status = spoil, 0xB000
    configure(dimse_table("careless", peer.port))
    answer = pacs("send", "careless", objects.binary)
    if what == "patient":
        # Filing under another patient number is the archive's right (coercion); anything else is not.
        assert answer.status == 0
    else:
        assert (answer.status, answer.code) == (3, "PACS_DIFFERS")


def run_and_kill(configuration: Path, folder: Path, file: Path, when: threading.Event) -> None:
    """``medsamsegment pacs send`` in a process of its own, killed without warning when the event comes."""
    command = [sys.executable, "-m", "MedSAMSegmentLib.cli.main", "pacs", "send", "peer", str(file)]
    process = subprocess.Popen(
        [*command, "--configuration", str(configuration), "--queue", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    arrived = when.wait(60)
    process.kill()
    _, errors = process.communicate()
    assert arrived, errors.decode()


def test_killed_after_the_archive_has_it_does_not_send_twice(
    peers: Callable[..., Peer], configure: Configure, objects: Objects, pacs: Pacs, tmp_path: Path
) -> None:
    peer, killed, stored = peers(), threading.Event(), threading.Event()

    def stall() -> None:
        stored.set()
        killed.wait(60)

    peer.before_answer = stall
    configuration = configure(dimse_table("peer", peer.port))
    run_and_kill(configuration, tmp_path / "queue", objects.binary, stored)
    killed.set()
    entries = pacs("queue", "--queue", tmp_path / "queue").json["entries"]
    assert [entry["state"] for entry in entries] == ["sending"]
    answer = pacs("send", "peer", objects.binary, "--queue", tmp_path / "queue")
    assert answer.status == 0, answer.err
    assert [entry["sent_now"] for entry in answer.json["objects"]] == [False]
    assert list(peer.stores.values()) == [1]


def test_killed_in_the_middle_of_the_transfer_sends_it_the_next_time(
    peers: Callable[..., Peer], configure: Configure, pacs: Pacs, tmp_path: Path
) -> None:
    study = write_study(tmp_path / "large", count=1, rows=1024, columns=1024)
    peer, reached = peers(), threading.Event()

    def hold() -> None:
        reached.set()

    proxy = CuttingProxy(peer.port, 500_000, hold)
    configuration = configure(dimse_table("peer", proxy.port, attempts=50, wait=1))
    run_and_kill(configuration, tmp_path / "queue", study.files[0], reached)
    proxy.close()
    # The file itself is gone: the queue has its own.
    study.files[0].unlink()
    configure(dimse_table("peer", peer.port))
    answer = pacs("send", "peer", "--queue", tmp_path / "queue")
    assert answer.status == 0, answer.err
    assert list(peer.stores.values()) == [1]
    assert answer.json["verified"] == 1
    assert list((tmp_path / "queue").glob("*.dcm")) == []


def test_uncertain_object_is_not_sent_again_where_the_archive_cannot_be_asked(
    peers: Callable[..., Peer], configure: Configure, objects: Objects, pacs: Pacs, tmp_path: Path
) -> None:
    peer, killed, stored = peers(), threading.Event(), threading.Event()

    def stall() -> None:
        stored.set()
        killed.wait(60)

    peer.before_answer = stall
    configuration = configure(dimse_table("peer", peer.port, verify="none"))
    run_and_kill(configuration, tmp_path / "queue", objects.binary, stored)
    killed.set()
    answer = pacs("send", "peer", "--queue", tmp_path / "queue")
    assert (answer.status, answer.code) == (3, "PACS_UNCERTAIN")
    assert list(peer.stores.values()) == [1]


def test_two_processes_do_not_send_from_one_queue(
    peers: Callable[..., Peer], configure: Configure, objects: Objects, pacs: Pacs, tmp_path: Path
) -> None:
    from MedSAMSegmentLib.pacs.queue import SendQueue

    peer = peers()
    configure(dimse_table("peer", peer.port))
    with SendQueue(tmp_path / "queue").exclusive():
        answer = pacs("send", "peer", objects.binary, "--queue", tmp_path / "queue")
        assert (answer.status, answer.code) == (3, "QUEUE_BUSY")
    assert pacs("send", "peer", "--queue", tmp_path / "queue").json["verified"] == 1


def test_queue_is_for_our_eyes_only_and_names_nobody(
    peers: Callable[..., Peer], configure: Configure, objects: Objects, pacs: Pacs, tmp_path: Path
) -> None:
    peer = peers()
    peer.status = 0xA700
    configure(dimse_table("peer", peer.port, attempts=1))
    pacs("send", "peer", objects.binary, "--queue", tmp_path / "queue")
    assert stat.S_IMODE(os.stat(tmp_path / "queue").st_mode) == 0o700
    for path in (tmp_path / "queue").iterdir():
        assert path.name == "lock" or stat.S_IMODE(os.stat(path).st_mode) == 0o600
    database = (tmp_path / "queue" / "queue.sqlite").read_bytes()
    assert PATIENT.encode() not in database
    assert NAME.split("^")[0].encode() not in database


def test_what_is_no_dicom_object_is_refused_before_anything_is_queued(
    peers: Callable[..., Peer], configure: Configure, objects: Objects, pacs: Pacs, tmp_path: Path
) -> None:
    peer = peers()
    configure(dimse_table("peer", peer.port))
    text = tmp_path / "notes.dcm"
    text.write_text("no DICOM")
    nameless = dcmread(objects.binary)
    del nameless.StudyInstanceUID
    save(nameless, tmp_path / "nameless.dcm")
    for bad, code in ((text, "UNREADABLE_FILE"), (tmp_path / "nameless.dcm", "NOT_DICOM"), (tmp_path, "NOT_DICOM")):
        assert pacs("send", "peer", objects.binary, bad).code == code
    assert pacs("queue").json["entries"] == []
    assert not peer.kept
