"""``medsamsegment challenge``: folders of cases in, folders of segmentations out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from MedSAMSegmentLib.phantom import Phantom
from MedSAMSegmentLib.volume import Window

ORGANS = ("left kidney", "spleen")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def extent(mask: np.ndarray) -> tuple[list[int], list[int]]:
    """First and last voxel as x, y, z."""
    places = np.argwhere(mask)[:, ::-1]
    return places.min(axis=0).tolist(), places.max(axis=0).tolist()


@pytest.fixture
def case(phantom: Phantom) -> dict[str, Any]:
    """The small abdomen as the challenges store it: windowed to 8 bits."""
    window = Window.parse("abdomen").resolve(phantom.volume)
    image = np.rint(window.apply(phantom.volume.voxels) * 255).astype(np.uint8)
    return {"imgs": image, "spacing": np.array([3.6, 3.6, 7.0])}


def truth(phantom: Phantom) -> list[np.ndarray]:
    return [phantom.mask(name) for name in ORGANS]


def test_volumes_with_boxes_on_all_slices_or_on_the_middle_one(
    run, case: dict[str, Any], phantom: Phantom, tmp_path: Path
) -> None:
    (tmp_path / "imgs").mkdir()
    whole, middle = [], []
    for mask in truth(phantom):
        (x0, y0, z0), (x1, y1, z1) = extent(mask)
        whole.append([x0, y0, z0, x1, y1, z1])
        z = int(np.median(np.argwhere(mask)[:, 0]))
        (u0, v0, _), (u1, v1, _) = extent(mask[z][None])
        middle.append(
            {"z_min": z0, "z_max": z1, "z_mid": z, "z_mid_x_min": u0, "z_mid_y_min": v0, "z_mid_x_max": u1}
            | {"z_mid_y_max": v1}
        )
    np.savez_compressed(tmp_path / "imgs" / "3D_2024.npz", **case, boxes=np.array(whole))
    np.savez_compressed(tmp_path / "imgs" / "3D_2025.npz", **case, boxes=middle)
    result = run("challenge", tmp_path / "imgs", tmp_path / "segs", "--json")
    assert result.status == 0, result.err
    assert [entry["case"] for entry in result.json["cases"]] == ["3D_2024.npz", "3D_2025.npz"]
    for name in ("3D_2024.npz", "3D_2025.npz"):
        segs = np.load(tmp_path / "segs" / name)["segs"]
        assert segs.dtype == np.uint8 and segs.shape == case["imgs"].shape and set(np.unique(segs)) == {0, 1, 2}
        for label, mask in enumerate(truth(phantom), start=1):
            assert dice(segs == label, mask) > 0.5


def test_clicks_correct_the_round_before(run, case: dict[str, Any], phantom: Phantom, tmp_path: Path) -> None:
    (tmp_path / "imgs").mkdir()
    kidney = phantom.mask("left kidney")
    (x0, y0, z0), (x1, y1, z1) = extent(kidney)
    z, y, x = np.argwhere(kidney)[len(np.argwhere(kidney)) // 2].tolist()
    far = [z, y, min(x1 + 2, kidney.shape[2] - 1)]
    for name, more in (("a.npz", {}), ("b.npz", {"clicks": [{"fg": [[z, y, x]], "bg": [far]}]})):
        boxes = np.array([[x0, y0, z0, x1, y1, z1]])
        np.savez_compressed(tmp_path / "imgs" / name, **case, boxes=boxes, **more)
    # Without a box, what the round before found tells the size.
    previous = kidney.astype(np.uint8)
    np.savez_compressed(tmp_path / "imgs" / "c.npz", **case, clicks=[{"fg": [[z, y, x]], "bg": []}], prev_pred=previous)
    result = run("challenge", tmp_path / "imgs", tmp_path / "segs", "--json")
    assert result.status == 0, result.err
    found = {name: np.load(tmp_path / "segs" / f"{name}.npz")["segs"] for name in "abc"}
    assert found["b"][z, y, x] == 1 and not found["b"][tuple(far)]
    assert all(dice(item == 1, kidney) > 0.5 for item in found.values())


def test_pictures(run, tmp_path: Path) -> None:
    (tmp_path / "imgs").mkdir()
    rows, columns = np.mgrid[:90, :120]
    disc = (rows - 40) ** 2 + (columns - 60) ** 2 < 400
    image = np.where(disc[..., None], [200, 150, 160], [60, 20, 40]).astype(np.uint8)
    np.savez_compressed(tmp_path / "imgs" / "2D_cell.npz", imgs=image, boxes=np.array([[40, 20, 80, 60]]))
    assert run("challenge", tmp_path / "imgs", tmp_path / "segs").status == 0
    segs = np.load(tmp_path / "segs" / "2D_cell.npz")["segs"]
    assert segs.shape == (90, 120) and segs.dtype == np.uint8 and dice(segs == 1, disc) > 0.5


def test_a_broken_case_does_not_stop_the_others(run, case: dict[str, Any], phantom: Phantom, tmp_path: Path) -> None:
    (tmp_path / "imgs").mkdir()
    (x0, y0, z0), (x1, y1, z1) = extent(phantom.mask("left kidney"))
    for name in ("a.npz", "c.npz"):
        np.savez_compressed(tmp_path / "imgs" / name, **case, boxes=np.array([[x0, y0, z0, x1, y1, z1]]))
    (tmp_path / "imgs" / "b.npz").write_bytes(b"PK no archive")
    np.savez_compressed(tmp_path / "imgs" / "d.npz", spacing=np.ones(3))
    result = run("challenge", tmp_path / "imgs", tmp_path / "segs", "--json")
    assert (result.status, result.code) == (3, "CASES_FAILED") and "b.npz" in result.json["error"]["message"]
    assert [entry["case"] for entry in result.json["cases"]] == ["a.npz", "c.npz"]
    assert [(entry["case"], entry["error"]["code"]) for entry in result.json["failed"]] == [
        ("b.npz", "TRUNCATED_FILE"),
        ("d.npz", "BAD_CASE"),
    ]
    assert sorted(path.name for path in (tmp_path / "segs").iterdir()) == ["a.npz", "c.npz"]


def test_folders_that_cannot_be_used(run, tmp_path: Path) -> None:
    assert run("challenge", tmp_path / "none", tmp_path / "segs", "--json").code == "NO_CASES"
    np.savez_compressed(tmp_path / "a.npz", imgs=np.zeros((4, 8, 8), np.uint8), boxes=np.array([[0, 0, 0, 5, 5, 3]]))
    assert run("challenge", tmp_path, tmp_path, "--json").code == "SAME_FOLDER"
    (tmp_path / "file").write_text("")
    assert run("challenge", tmp_path, tmp_path / "file", "--json").code == "NO_FOLDER"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT between processes")
def test_ctrl_c_keeps_the_cases_done(case: dict[str, Any], phantom: Phantom, tmp_path: Path) -> None:
    (tmp_path / "imgs").mkdir()
    (x0, y0, z0), (x1, y1, z1) = extent(phantom.mask("left kidney"))
    for number in range(200):
        path = tmp_path / "imgs" / f"{number:03d}.npz"
        np.savez_compressed(path, **case, boxes=np.array([[x0, y0, z0, x1, y1, z1]]))
    command = ["challenge", str(tmp_path / "imgs"), str(tmp_path / "segs"), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "MedSAMSegmentLib.cli.main", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("segs/[0-9]*.npz")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    answer = json.loads(out)
    assert answer["error"]["code"] == "CANCELLED" and 1 <= len(answer["cases"]) < 200
    assert sorted(path.name for path in (tmp_path / "segs").iterdir()) == [item["case"] for item in answer["cases"]]
