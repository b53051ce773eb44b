"""Bad input: one clear sentence, the right exit status, a stable code, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from MedSAMSegmentLib.export import write_nifti_array
from MedSAMSegmentLib.phantom import phantom_geometry
from MedSAMSegmentLib.volume import Geometry


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that must stay empty."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def refused(run, out: Path, status: int, *arguments: object) -> str:
    """Run ``segment`` expecting a refusal; returns its code."""
    result = run("segment", *arguments, "-o", out / "m.nii.gz", "-o", out / "m.seg.nrrd", "--json")
    assert result.status == status
    error = result.json["error"]
    assert set(error) == {"code", "message", "hint"} and error["message"] and error["hint"]
    assert error["code"] in result.err and "Traceback" not in result.err
    assert not list(out.iterdir())
    return error["code"]


@pytest.mark.parametrize(
    ("box", "status", "code"),
    [
        ("5,5,5,5,9,9", 3, "EMPTY_BOX"),
        ("9,9,9,5,5,5", 3, "REVERSED_BOX"),
        ("500,500,500,600,600,600", 3, "BOX_OUTSIDE"),
        ("nan,0,0,5,5,5", 3, "BAD_BOX"),
        ("1,2,3", 2, "BAD_BOX_TEXT"),
        ("a,b,c,d,e,f", 2, "BAD_BOX_TEXT"),
    ],
)
def test_boxes(run, scan: Path, out: Path, box: str, status: int, code: str) -> None:
    assert refused(run, out, status, scan, "--box", box) == code


@pytest.mark.parametrize(
    ("box", "code"), [("-900,-900,-900,-800,-800,-800", "BOX_OUTSIDE"), ("1,1,1,1,5,5", "EMPTY_BOX")]
)
@pytest.mark.parametrize("space", ["lps", "ras"])
def test_boxes_in_millimetres(run, scan: Path, out: Path, box: str, code: str, space: str) -> None:
    assert refused(run, out, 3, scan, "--box", box, "--space", space) == code


def nifti(path: Path, array: np.ndarray, **header: object) -> Path:
    """A NIfTI file with whatever content and header."""
    import nibabel

    image = nibabel.Nifti1Image(array, np.eye(4))
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def bad_scan(kind: str, folder: Path) -> Path:
    voxels = np.random.default_rng(0).normal(0, 100, (6, 20, 20)).astype(np.float32)
    path = folder / "bad.nii"
    if kind == "nan":
        voxels[2, 3, 4] = np.nan
    if kind == "infinite":
        voxels[2, 3, 4] = np.inf
    if kind in ("nan", "infinite"):
        return nifti(path, voxels)
    if kind == "4-D":
        return nifti(path, np.zeros((6, 20, 20, 3), np.float32))
    if kind == "RGB":
        return nifti(path, np.zeros((6, 20, 20), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nifti(path, voxels)
    content = bytearray(path.read_bytes())
    if kind == "zero spacing":
        content[76:92] = np.array([1, 0, 1, 1], "<f4").tobytes()  # pixdim
    if kind == "truncated":
        content = content[: len(content) // 2]
    if kind == "empty":
        content = bytearray()
    if kind == "wrong type":
        content = bytearray(b"%PDF-1.7 this is no scan" * 50)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("nan", "NON_FINITE_VOXELS"),
        ("infinite", "NON_FINITE_VOXELS"),
        ("4-D", "FOUR_DIMENSIONAL"),
        ("RGB", "RGB_VOLUME"),
        ("zero spacing", "BAD_SPACING"),
        ("truncated", "TRUNCATED_FILE"),
        ("empty", "EMPTY_FILE"),
        ("wrong type", "WRONG_FORMAT"),
    ],
)
def test_scans(run, out: Path, tmp_path: Path, kind: str, code: str) -> None:
    path = bad_scan(kind, tmp_path)
    assert refused(run, out, 3, path, "--box", "2,2,1,9,9,4") == code
    info = run("info", path, "--json")
    assert (info.status, info.code) == (3, code), "info refuses for the same reason"


def test_a_scan_that_is_not_there(run, out: Path, tmp_path: Path) -> None:
    assert refused(run, out, 3, tmp_path / "none.nii.gz", "--box", "0,0,0,5,5,5") == "FILE_NOT_FOUND"


def test_a_folder_without_dicom(run, out: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "readme.txt").write_text("nothing")
    assert refused(run, out, 3, tmp_path / "folder", "--box", "0,0,0,5,5,5") == "NO_SERIES"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder(run, out: Path, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    try:
        assert refused(run, out, 3, folder, "--box", "0,0,0,5,5,5").startswith("UNREADABLE")
    finally:
        folder.chmod(0o700)


def test_a_single_slice_is_a_scan(run, tmp_path: Path) -> None:
    """One slice is no error: the mask has one slice, too."""
    rng = np.random.default_rng(0)
    voxels = rng.normal(0, 5, (1, 40, 40)).astype(np.float32)
    voxels[0, 10:30, 12:28] += 100
    write_nifti_array(tmp_path / "s.nii.gz", voxels, phantom_geometry((1, 40, 40), (1, 1, 5)))
    result = run("segment", tmp_path / "s.nii.gz", "--box", "12,10,0,28,30,1", "-o", tmp_path / "m.nii.gz", "--json")
    assert result.status == 0 and result.json["objects"][0]["voxels"] > 0
    info = run("info", tmp_path / "s.nii.gz", "--json")
    assert any("single slice" in warning for warning in info.json["warnings"])


def test_a_missing_checkpoint(run, scan: Path, kidney: str, out: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MEDSAMSEGMENT_MODELS", str(tmp_path))
    assert refused(run, out, 4, scan, "--box", kidney, "--model", "medsam2") == "CHECKPOINT_MISSING"
    missing = tmp_path / "mine.safetensors"
    assert refused(run, out, 4, scan, "--box", kidney, "--checkpoint", missing).startswith("CHECKPOINT")
    (tmp_path / "damaged.safetensors").write_bytes(b"\0" * 100)
    assert refused(run, out, 4, scan, "--box", kidney, "--checkpoint", tmp_path / "damaged.safetensors").startswith(
        "CHECKPOINT"
    )


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--model", "medsam-9000"], "UNKNOWN_MODEL"),
        (["--window", "rainbow"], "BAD_WINDOW"),
        (["--window", "40/0"], "BAD_WINDOW"),
        (["--plane", "diagonal"], "UNKNOWN_PLANE"),
        (["--strategy", "guess"], "UNKNOWN_STRATEGY"),
        (["--space", "mni"], "UNKNOWN_SPACE"),
        (["--device", "abacus"], "UNKNOWN_DEVICE"),
        (["--series", "1"], "SERIES_WITHOUT_DICOM"),
        (["--label", "a", "--label", "b"], "TOO_MANY_LABELS"),
        (["--no-such-option"], "USAGE"),
    ],
)
def test_wrong_options(run, scan: Path, kidney: str, out: Path, options: list[str], code: str) -> None:
    assert refused(run, out, 2, scan, "--box", kidney, *options) == code


def test_nothing_to_segment(run, scan: Path, out: Path) -> None:
    assert refused(run, out, 2, scan) == "NO_BOX"


def test_outputs_are_checked_before_the_scan_is_read(run, tmp_path: Path) -> None:
    for output, status, code in (
        (tmp_path / "m.bmp", 2, "UNKNOWN_OUTPUT_FORMAT"),
        (tmp_path / "nowhere" / "m.nii.gz", 3, "NO_FOLDER"),
        (tmp_path, 2, "UNKNOWN_OUTPUT_FORMAT"),
    ):
        result = run("segment", tmp_path / "none.nii", "--box", "0,0,0,5,5,5", "-o", output, "--json")
        assert (result.status, result.code) == (status, code)


def test_an_old_result_survives_a_refusal(run, scan: Path, tmp_path: Path) -> None:
    old = tmp_path / "m.nii.gz"
    old.write_text("old")
    assert run("segment", scan, "--box", "5,5,5,5,5,5", "-o", old).status == 3
    assert old.read_text() == "old" and list(tmp_path.iterdir()) == [old]


def test_a_box_between_two_slices(run, out: Path, tmp_path: Path) -> None:
    geometry = Geometry.from_parts((6, 20, 20), (1, 1, 5))
    write_nifti_array(tmp_path / "s.nii.gz", np.random.default_rng(0).normal(size=(6, 20, 20)), geometry)
    code = refused(run, out, 3, tmp_path / "s.nii.gz", "--space", "lps", "--box", "3,3,11,9,9,13")
    assert code == "BOX_BETWEEN_SLICES"


def test_errors_for_people_are_one_sentence_and_a_hint(run, tmp_path: Path) -> None:
    result = run("info", tmp_path / "none.nii")
    assert result.status == 3 and result.out == ""
    assert result.err.startswith("FILE_NOT_FOUND ") and len(result.err.strip().splitlines()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX")
def test_an_output_that_cannot_be_written_whole(out: Path, tmp_path: Path) -> None:
    """The system refuses more than 2 kB a file; the mask of a speckled scan is larger."""
    write_nifti_array(tmp_path / "s.nii.gz", np.zeros((8, 64, 64), np.int16), phantom_geometry((8, 64, 64), (1, 1, 3)))
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        "from MedSAMSegmentLib.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "segment", tmp_path / "s.nii.gz", "--box", "9,9,1,50,50,7"]
    result = subprocess.run(
        [*map(str, command), "-o", str(out / "m.nii"), "--json"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 3 and json.loads(result.stdout)["error"]["code"] == "WRITE_FAILED"
    assert not list(out.iterdir())
