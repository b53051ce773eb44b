"""Against a real Orthanc: what goes there comes back the same, by both protocols; what is wrong is said."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cutting_proxy import CuttingProxy
from MedSAMSegmentLib.export.dicom_seg import write_dicom_seg
from MedSAMSegmentLib.export.objects import ExportedObject
from MedSAMSegmentLib.export.rtstruct import write_rtstruct
from MedSAMSegmentLib.export.structured_report import write_structured_report
from MedSAMSegmentLib.volume import read_volume
from orthanc_server import PLUGIN, PROGRAM, WHY_NOT, Orthanc, free_port
from pacs_command import Objects, Pacs, dimse_table, web_table
from pacs_objects import NAME, PATIENT, write_study
from pydicom import dcmread

PROTOCOLS = ("dimse", "web")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_series_goes_there_is_found_and_comes_back_identical(
    protocol: str, both: Orthanc, objects: Objects, pacs: Pacs, tmp_path: Path
) -> None:
    study = objects.study
    sent = pacs("send", protocol, *study.files, *objects.results)
    assert sent.status == 0, sent.err
    assert sent.json["verified"] == both.count() == len(study.files) + 4

    studies = pacs("find", protocol, "--patient", "SECRET*").json["matches"]
    assert [(match["PatientName"], match["PatientID"], match["StudyInstanceUID"]) for match in studies] == [
        (NAME, PATIENT, study.uid)
    ]
    series = pacs("find", protocol, "--study", study.uid).json["matches"]
    assert sorted(match["Modality"] for match in series) == ["CT", "RTSTRUCT", "SEG", "SEG", "SR"]
    images = pacs("find", protocol, "--study", study.uid, "--series", study.series, "--level", "image").json["matches"]
    assert {match["SOPInstanceUID"] for match in images} == {str(data.SOPInstanceUID) for data in study.slices}

    got = pacs("get", protocol, "--study", study.uid, "-o", tmp_path / "got")
    assert got.json["objects"] == len(study.files)
    assert stat.S_IMODE(os.stat(tmp_path / "got").st_mode) == 0o700
    ours, theirs = read_volume(study.folder), read_volume(tmp_path / "got")
    assert np.array_equal(ours.voxels, theirs.voxels)
    assert np.array_equal(ours.geometry.affine, theirs.geometry.affine)

    for path in objects.results:
        original = dcmread(path)
        folder = tmp_path / path.stem
        pacs("get", protocol, "--study", study.uid, "--series", original.SeriesInstanceUID, "-o", folder)
        (file,) = folder.glob("*.dcm")
        back = dcmread(file)
        assert back == original
        if "PixelData" in original:
            assert np.array_equal(back.pixel_array, original.pixel_array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_results_of_this_program_made_of_a_fetched_series_arrive(
    protocol: str, both: Orthanc, objects: Objects, pacs: Pacs, tmp_path: Path
) -> None:
    study = objects.study
    assert pacs("send", protocol, *study.files).status == 0
    assert pacs("get", protocol, "--study", study.uid, "-o", tmp_path / "scan").status == 0
    scan = read_volume(tmp_path / "scan")
    organs = [ExportedObject("liver", study.labels == 1), ExportedObject("left kidney", study.labels == 2)]
    reference = write_dicom_seg(tmp_path / "binary.dcm", scan, organs)
    write_dicom_seg(tmp_path / "labelmap.dcm", scan, organs, "LABELMAP")
    write_dicom_seg(tmp_path / "fractional.dcm", scan, organs, "FRACTIONAL")
    write_rtstruct(tmp_path / "contours.dcm", scan, organs)
    write_structured_report(tmp_path / "report.dcm", scan, organs, reference)
    files = sorted(tmp_path.glob("*.dcm"))
    sent = pacs("send", protocol, *files)
    assert sent.status == 0, sent.err
    assert sent.json["verified"] == len(files) == 5
    assert both.count() == len(study.files) + 5
    found = pacs("find", protocol, "--study", study.uid).json["matches"]
    assert sorted(match["Modality"] for match in found) == ["CT", "RTSTRUCT", "SEG", "SEG", "SEG", "SR"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_same_file_given_again_is_not_sent_again(protocol: str, both: Orthanc, objects: Objects, pacs: Pacs) -> None:
    assert pacs("send", protocol, objects.binary).json["objects"][0]["sent_now"]
    again = pacs("send", protocol, objects.binary)
    assert again.status == 0
    assert again.json["already_there"] == 1
    assert again.json["objects"] == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_identifier_that_is_taken_by_another_object_is_noticed(
    protocol: str, both: Orthanc, objects: Objects, pacs: Pacs, tmp_path: Path
) -> None:
    """Orthanc keeps the first object and says that all went well."""
    other = dcmread(objects.contours)
    other.ROIContourSequence[0].ContourSequence[0].ContourData[0] = "99"
    other.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    assert pacs("send", protocol, objects.contours).status == 0
    assert pacs("send", protocol, tmp_path / "other.dcm").code == "UID_REUSED"
    differs = pacs("send", protocol, tmp_path / "other.dcm", "--queue", tmp_path / "another queue")
    assert differs.status == 3
    assert differs.code == "PACS_DIFFERS"
    assert "ROIContourSequence" in differs.err


def test_archive_that_only_moves_sends_to_us(
    orthanc: Orthanc, configure: Callable[..., Path], objects: Objects, pacs: Pacs, tmp_path: Path
) -> None:
    """C-MOVE: the archive connects to our port, and to nobody who is not in its list."""
    configure(
        dimse_table("move", orthanc.dicom_port, listen_port=orthanc.our_port, listen_host="127.0.0.1"),
        dimse_table("silent", orthanc.dicom_port, listen_port=free_port(), listen_host="127.0.0.1", attempts=1),
    )
    sent = pacs("send", "move", *objects.study.files[:3], objects.labelmap, objects.report)
    assert sent.status == 0, sent.err
    assert sent.json["verified"] == 5
    got = pacs("get", "move", "--study", objects.study.uid, "-o", tmp_path / "got")
    assert got.status == 0, got.err
    assert np.array_equal(read_volume(objects.study.folder).voxels[:3], read_volume(tmp_path / "got").voxels)
    silent = pacs("get", "silent", "--study", objects.study.uid, "-o", tmp_path / "nothing")
    assert silent.code in ("PACS_REFUSED", "PACS_INCOMPLETE")
    assert not (tmp_path / "nothing").exists()
    with socket.create_server(("127.0.0.1", orthanc.our_port)):
        busy = pacs("get", "move", "--study", objects.study.uid, "-o", tmp_path / "nothing")
    assert busy.code == "PACS_LISTEN"


def test_wrong_password_and_wrong_titles_are_told_apart(
    orthanc: Orthanc, configure: Callable[..., Path], objects: Objects, pacs: Pacs
) -> None:
    once = {"attempts": 1}
    configure(
        web_table("password", orthanc.url, **{**once, "password": "wrong"}),
        dimse_table("called", orthanc.dicom_port, ae_title="SOMEONE", **once),
        dimse_table("calling", orthanc.dicom_port, calling_ae_title="STRANGER", **once),
        dimse_table("nobody", free_port(), **once),
        web_table("nowhere", f"http://127.0.0.1:{free_port()}/dicom-web", **once),
        web_table("elsewhere", orthanc.url + "-not", **once),
    )
    expected = {
        "password": {"PACS_LOGIN"},
        "called": {"PACS_AE_TITLE"},
        "calling": {"PACS_AE_TITLE", "PACS_ASSOCIATION"},
        "nobody": {"PACS_UNREACHABLE"},
        "nowhere": {"PACS_UNREACHABLE"},
        "elsewhere": {"PACS_REFUSED"},
    }
    for name, codes in expected.items():
        for command in (("find", name, "--patient", "x"), ("send", name, objects.binary)):
            answer = pacs(*command)
            assert answer.status == 3
            assert answer.code in codes, command
    assert orthanc.count() == 0
    waiting = pacs("queue").json["entries"]
    assert [entry["state"] for entry in waiting] == ["waiting"] * len(expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_archive_killed_in_the_middle_of_storing_gets_the_object_when_it_is_back(
    protocol: str, orthanc: Orthanc, configure: Callable[..., Path], pacs: Pacs, tmp_path: Path
) -> None:
    study = write_study(tmp_path / "large", count=1, rows=1024, columns=1024)

    def lose() -> None:
        orthanc.kill()
        threading.Timer(0.5, orthanc.start).start()

    proxy = CuttingProxy(orthanc.dicom_port if protocol == "dimse" else orthanc.http_port, 1_000_000, lose)
    configure(
        dimse_table("dimse", proxy.port, attempts=8, wait=0.5),
        web_table("web", f"http://127.0.0.1:{proxy.port}/dicom-web", attempts=8, wait=0.5),
    )
    sent = pacs("send", protocol, *study.files)
    proxy.close()
    assert proxy.cut.is_set()
    assert sent.status == 0, sent.err
    assert sent.json["objects"][0]["attempts"] > 1
    assert orthanc.count() == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_archive_killed_in_the_middle_of_fetching_is_asked_for_the_rest(
    protocol: str, orthanc: Orthanc, configure: Callable[..., Path], pacs: Pacs, tmp_path: Path
) -> None:
    study = write_study(tmp_path / "large", count=12, rows=256, columns=256)

    def lose() -> None:
        orthanc.kill()
        threading.Timer(0.5, orthanc.start).start()

    port = orthanc.dicom_port if protocol == "dimse" else orthanc.http_port
    proxy = CuttingProxy(port, 800_000, lose, upwards=False)
    configure(
        dimse_table("direct", orthanc.dicom_port, verify="none"),
        dimse_table("dimse", proxy.port, attempts=8, wait=0.5),
        web_table("web", f"http://127.0.0.1:{proxy.port}/dicom-web", attempts=8, wait=0.5),
    )
    assert pacs("send", "direct", *study.files).status == 0
    got = pacs("get", protocol, "--study", study.uid, "--series", study.series, "-o", tmp_path / "got")
    proxy.close()
    assert proxy.cut.is_set()
    assert got.status == 0, got.err
    assert np.array_equal(read_volume(study.folder).voxels, read_volume(tmp_path / "got").voxels)
    assert list(tmp_path.glob(".medsamsegment-*")) == []


def test_series_that_cannot_be_had_leaves_nothing_behind(
    both: Orthanc, objects: Objects, pacs: Pacs, tmp_path: Path
) -> None:
    target = tmp_path / "here" / "got"
    target.parent.mkdir()
    for protocol in PROTOCOLS:
        answer = pacs("get", protocol, "--study", "1.2.3", "--series", "1.2.3.4", "-o", target)
        assert answer.code == "PACS_NOTHING_FOUND"
        assert pacs("get", protocol, "--study", "1.2.3", "-o", target).code == "PACS_NOTHING_FOUND"
        assert pacs("get", protocol, "--study", "../../etc", "-o", target).code == "BAD_UID"
    assert list(target.parent.iterdir()) == []
    target.mkdir()
    (target / "mine.txt").write_text("kept")
    assert pacs("get", "web", "--study", "1.2.3", "--series", "1.2.3.4", "-o", target).code == "FOLDER_NOT_EMPTY"
    assert [path.name for path in target.parent.rglob("*")] == ["got", "mine.txt"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 6 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.name != "posix" or os.geteuid() != 0 or mount is None:
        pytest.skip("needs root, to mount a small file system")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    return folder


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_full_disk_of_the_archive_keeps_the_object_in_the_queue(
    protocol: str, small_disk: Path, configure: Callable[..., Path], pacs: Pacs, tmp_path: Path
) -> None:
    if PROGRAM is None or PLUGIN is None:
        subprocess.run(["umount", str(small_disk)], check=True)
        pytest.skip(WHY_NOT)
    study = write_study(tmp_path / "large", count=1, rows=2048, columns=2048)
    (tmp_path / "orthanc").mkdir()
    archive = Orthanc(tmp_path / "orthanc", StorageDirectory=str(small_disk))
    try:
        archive.start()
        configure(dimse_table("dimse", archive.dicom_port, attempts=2), web_table("web", archive.url, attempts=2))
        answer = pacs("send", protocol, *study.files)
        assert answer.status == 3
        # Over DICOMweb Orthanc says no more than that it failed (HTTP 500), and hangs up with a part of the request
        # unread: on a busy machine that may be all that arrives here.
        expected = {"dimse": {"PACS_OUT_OF_SPACE"}, "web": {"PACS_BUSY", "PACS_CONNECTION_LOST"}}
        assert answer.code in expected[protocol]
        assert answer.json["left"] == 1
        archive.kill()
        archive.settings = {}
        archive.start()
        sent = pacs("send", protocol)
        assert sent.status == 0, sent.err
        assert archive.count() == 1
    finally:
        archive.finish()
        subprocess.run(["umount", str(small_disk)], check=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_full_disk_of_ours_leaves_no_folder(
    protocol: str, small_disk: Path, both: Orthanc, pacs: Pacs, tmp_path: Path
) -> None:
    try:
        study = write_study(tmp_path / "large", count=4, rows=1024, columns=1024)
        assert pacs("send", protocol, *study.files).status == 0
        answer = pacs("get", protocol, "--study", study.uid, "-o", small_disk / "got")
        assert answer.code == "DISK_FULL"
        assert list(small_disk.iterdir()) == []
        answer = pacs("send", protocol, *study.files, "--queue", small_disk / "queue")
        assert answer.code == "DISK_FULL"
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)
