"""From boxes on the command line to files on the disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from MedSAMSegmentLib.cli.boxes import collect_objects, read_prompts
from MedSAMSegmentLib.errors import InputError, UsageError
from MedSAMSegmentLib.inference import Session
from MedSAMSegmentLib.phantom import Phantom
from MedSAMSegmentLib.volume import OrientedBox, read_labelmap, read_volume, write_roi


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_a_box_becomes_masks_in_every_format(run, scan: Path, kidney: str, phantom: Phantom, tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("m.nii.gz", "m.seg.nrrd", "m.png")]
    wanted = [part for path in outputs for part in ("-o", path)]
    result = run("segment", scan, "--box", kidney, "--label", "left kidney", *wanted, "--json")
    assert result.status == 0
    answer = result.json
    assert answer["outputs"] == [str(path) for path in outputs] and all(path.stat().st_size for path in outputs)
    (item,) = answer["objects"]
    assert item["name"] == "left kidney" and item["complete"] and answer["model"]["name"] == "embedded"
    mask = read_labelmap(outputs[0])
    assert mask.geometry.is_close(phantom.volume.geometry)
    assert (mask.voxels == 1).sum() == item["voxels"] > 0
    assert dice(mask.voxels == 1, phantom.mask("left kidney")) > 0.5
    assert b"Segment0_Name:=left kidney" in outputs[1].read_bytes()


def test_without_json_people_read_stdout(run, scan: Path, kidney: str, tmp_path: Path) -> None:
    result = run("segment", scan, "--box", kidney, "-o", tmp_path / "m.nii.gz")
    assert result.status == 0 and "object 1" in result.out
    assert str(tmp_path / "m.nii.gz") in result.out.replace("\n", "")


def test_the_same_box_in_every_coordinate_system_gives_the_same_prompt(phantom: Phantom) -> None:
    geometry = phantom.volume.geometry
    low, high = np.array((-20.0, -30.0, -40.0)), np.array((40.0, 10.0, 25.0))
    flip = np.array((-1, -1, 1))
    texts = {"lps": [*low, *high], "ras": [*(low * flip), *(high * flip)]}
    boxes = {
        space: collect_objects(geometry, [",".join(map(str, numbers))], space, [], [], [])[0].box
        for space, numbers in texts.items()
    }
    assert np.allclose(boxes["lps"].corners_lps().min(0), low) and np.allclose(boxes["lps"].corners_lps().max(0), high)
    assert np.allclose(boxes["ras"].centre, boxes["lps"].centre) and np.allclose(boxes["ras"].size, boxes["lps"].size)
    by_index = collect_objects(geometry, ["3,4,5,10,20,9"], "ijk", [], [], ["a"])[0]
    assert by_index.name == "a" and by_index.box.mask(geometry).sum() == 7 * 16 * 4


def test_boxes_from_slicer_and_prompt_files(phantom: Phantom, tmp_path: Path) -> None:
    geometry = phantom.volume.geometry
    box = OrientedBox.from_corners_lps((-20, -30, -40), (40, 10, 25))
    write_roi(tmp_path / "r.mrk.json", [("liver", box), ("spleen", box)])
    prompts = {
        "space": "ijk",
        "objects": [
            {"name": "a", "box": [3, 4, 5, 10, 20, 9], "points": [{"position": [5, 6, 7], "positive": False}]},
            {"name": "b", "space": "ras", "box": [20, 30, -40, -40, -10, 25]},
        ],
    }
    (tmp_path / "p.json").write_text(json.dumps(prompts))
    found = collect_objects(
        geometry, ["3,4,5,10,20,9"], "ijk", [tmp_path / "r.mrk.json"], [tmp_path / "p.json"], ["first", "second"]
    )
    assert [item.name for item in found] == ["first", "second", "spleen", "a", "b"]
    ((position, inside),) = found[3].points
    assert np.allclose(position, geometry.index_to_lps((5, 6, 7))) and not inside
    assert np.allclose(found[4].box.centre, box.centre) and np.allclose(found[4].box.size, box.size)


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        '{"objects": []}',
        '{"objects": [{"name": "a"}]}',
        '{"objects": [{"box": [1, 2, 3, 4, 5, "6"]}]}',
        '{"objects": [{"box": [1, 2, 3, 4, 5, NaN]}]}',
        '{"objects": [{"box": [0, 0, 0, 9, 9, 9], "points": [7]}]}',
        '{"objects": [{"box": [0, 0, 0, 9, 9, 9], "points": [{"position": [1, 2]}]}]}',
    ],
)
def test_bad_prompt_files_are_refused(phantom: Phantom, tmp_path: Path, content: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(InputError) as caught:
        read_prompts(tmp_path / "p.json", phantom.volume.geometry)
    assert caught.value.code == "BAD_PROMPTS_FILE"


def test_names_must_be_clear(phantom: Phantom) -> None:
    geometry = phantom.volume.geometry
    boxes = ["0,0,0,9,9,9", "0,0,0,9,9,9"]
    for labels, code in ((["a", "b", "c"], "TOO_MANY_LABELS"), (["a", "a"], "DUPLICATE_NAME")):
        with pytest.raises(UsageError) as caught:
            collect_objects(geometry, boxes, "ijk", [], [], labels)
        assert caught.value.code == code


def test_a_saved_session_gives_the_same_mask_again(run, scan: Path, kidney: str, tmp_path: Path) -> None:
    session = tmp_path / "s.json"
    prompts = tmp_path / "p.json"
    corner = [int(part) for part in kidney.split(",")]
    middle = [(corner[axis] + corner[axis + 3]) // 2 for axis in range(3)]
    entry = {"name": "kidney", "box": corner, "points": [{"position": middle, "positive": True}]}
    prompts.write_text(json.dumps({"space": "ijk", "objects": [entry]}))
    first = run(
        "segment", scan, "--prompts", prompts, "--window", "liver", "--session", session, "-o", tmp_path / "a.nii.gz"
    )
    second = run("segment", scan, "--session", session, "-o", tmp_path / "b.nii.gz", "--json")
    assert first.status == second.status == 0 and second.json["settings"]["window"] == "liver"
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    conflict = run("segment", scan, "--session", session, "--plane", "axial", "-o", tmp_path / "c.nii.gz", "--json")
    assert (conflict.status, conflict.code) == (2, "OPTION_CONFLICT")


def test_options_reach_the_session(run, scan: Path, kidney: str, tmp_path: Path) -> None:
    result = run(
        *("segment", scan, "--box", kidney, "-o", tmp_path / "m.nii.gz", "--json", "--strategy", "per-slice"),
        *("--plane", "coronal", "--full-slice", "--no-cleanup", "--window", "40/300", "--device", "cpu"),
    )
    settings = result.json["settings"]
    assert settings["tracking"]["strategy"] == "per-slice" and settings["plane"] == "coronal"
    assert settings["full_slice"] and not settings["cleanup"]["clip"] and settings["window"] == "40/300"


def test_a_2d_picture_gets_a_mask_picture(run, tmp_path: Path) -> None:
    from PIL import Image

    rows, columns = np.mgrid[:90, :120]
    picture = np.where((rows - 40) ** 2 + (columns - 60) ** 2 < 400, 200, 40).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "cell.png")
    result = run("segment", tmp_path / "cell.png", "--box", "40,20,0,81,61,1", "-o", tmp_path / "mask.png", "--json")
    assert result.status == 0
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    assert mask.shape == picture.shape and dice(mask > 0, picture > 100) > 0.5


def test_ctrl_c_keeps_what_is_done(scan: Path, kidney: str, phantom: Phantom, tmp_path: Path) -> None:
    """A real process and a real interrupt: the objects finished so far are written, the status is 130."""
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGINT between processes")
    boxes = [part for _ in range(300) for part in ("--box", kidney)]
    command = [sys.executable, "-m", "MedSAMSegmentLib.cli.main", "segment", str(scan), *boxes, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = tmp_path / "session.json"  # written just before the first slice
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "m.nii"), "--session", str(started)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    deadline = time.monotonic() + 60
    while not started.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    answer = json.loads(out)
    assert answer["error"]["code"] == "CANCELLED"
    assert 1 <= len(answer["objects"]) < 300 and answer["outputs"] == [str(tmp_path / "m.nii")]
    labels = read_labelmap(tmp_path / "m.nii")
    assert labels.geometry.is_close(phantom.volume.geometry) and labels.voxels.any()


def test_the_demo_runs_offline_and_writes_everything(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("the demo must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    result = run("demo", "-o", tmp_path / "a" / "b", "--seed", "1", "--json")
    assert result.status == 0
    answer = result.json
    assert min(answer["dice"].values()) > 0.5 and len(answer["dice"]) == 4
    assert set(answer["files"]) == {"scan", "boxes", "mask", "segmentation", "picture", "session"}
    assert all(Path(path).stat().st_size > 100 for path in answer["files"].values())
    stored = Session.load(answer["files"]["session"], read_volume(answer["files"]["scan"]))
    assert set(stored.objects) == set(answer["dice"]), "the session fits the scan that was written"
    assert read_labelmap(answer["files"]["mask"]).voxels.max() == 4
