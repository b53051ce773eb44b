"""From boxes on the command line to files on the disk."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from MedSAMSegmentLib.inference import Session
from MedSAMSegmentLib.phantom import Phantom
from MedSAMSegmentLib.volume import read_labelmap, read_volume


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


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has neither SIGINT between processes nor terminals such as these"
)
def test_ctrl_c_keeps_what_is_done(scan: Path, kidney: str, phantom: Phantom, tmp_path: Path) -> None:
    """A real process, a real interrupt: objects finished by then are written, the status is 130."""
    import pty

    boxes = [part for _ in range(300) for part in ("--box", kidney)]
    command = [sys.executable, "-m", "MedSAMSegmentLib.cli.main", "segment", str(scan), *boxes, "--json"]
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "m.nii")],
        stdout=subprocess.PIPE,
        stderr=end,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(end)
    shown = b""

    def finished_objects() -> float:
        """As the progress bar on the terminal says: slices done of all those of 300 objects."""
        steps = re.findall(rb"(\d+)/(\d+)", shown)
        return 300 * int(steps[-1][0]) / int(steps[-1][1]) if steps else 0.0

    try:
        while finished_objects() < 1.5 and (more := _read(terminal)):
            shown += more
        process.send_signal(signal.SIGINT)
        while more := _read(terminal):
            shown += more
        out, _ = process.communicate(timeout=240)
    finally:
        process.kill()
        os.close(terminal)
    assert process.returncode == 130, shown[-2000:]
    answer = json.loads(out)
    assert answer["error"]["code"] == "CANCELLED"
    assert 1 <= len(answer["objects"]) < 300 and answer["outputs"] == [str(tmp_path / "m.nii")]
    labels = read_labelmap(tmp_path / "m.nii")
    assert labels.geometry.is_close(phantom.volume.geometry) and labels.voxels.any()


def _read(terminal: int) -> bytes:
    """What a program wrote to its terminal; nothing once it has ended."""
    ready, _, _ = select.select([terminal], [], [], 240)
    assert ready, "the program says nothing any more"
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux: nobody has the other end open.
        return b""


def test_ctrl_c_in_the_demo_keeps_the_organs_done(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupt comes with the first slice of the second organ."""
    from contextlib import contextmanager

    from MedSAMSegmentLib.cli import demo
    from MedSAMSegmentLib.cli.console import Output

    interrupted: list[str] = []

    @contextmanager
    def interrupting(output: Output, description: str):
        def update(done: int, total: int, what: str) -> None:
            # Once: a second Ctrl-C ends the program at once.
            if what == "spleen" and not interrupted:
                interrupted.append(what)
                signal.raise_signal(signal.SIGINT)

        yield update

    monkeypatch.setattr(demo, "OBJECTS", ("left kidney", "spleen"))
    monkeypatch.setattr(Output, "progress", interrupting)
    result = run("demo", "-o", tmp_path, "--json")
    answer = result.json
    assert (result.status, result.code) == (130, "CANCELLED")
    assert answer["dice"]["left kidney"] > 0.5
    assert all(Path(path).is_file() for path in answer["files"].values()) and "mask" in answer["files"]


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


def test_encoded_slices_are_kept_on_disk_and_deleted_when_asked(
    run, scan: Path, kidney: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MedSAMSegmentLib.inference import cache, encoded_folder
    from MedSAMSegmentLib.inference.runtime_record import runtime_folder

    monkeypatch.delenv("MEDSAMSEGMENT_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_WORTH_KEEPING_SECONDS", 0.0)
    done = run("segment", scan, "--box", kidney, "-o", tmp_path / "a.nii.gz", "--json")
    assert done.status == 0 and not encoded_folder().exists()
    done = run("segment", scan, "--box", kidney, "-o", tmp_path / "b.nii.gz", "--disk-cache", 100, "--json")
    assert done.status == 0 and list(encoded_folder().iterdir())
    assert read_labelmap(tmp_path / "a.nii.gz").voxels.tolist() == read_labelmap(tmp_path / "b.nii.gz").voxels.tolist()
    graphs = [runtime_folder() / name for name in ("medsam.xml", "medsam.bin")]
    runtime_folder().mkdir(parents=True)
    for path in (*graphs, runtime_folder() / "choice.json"):
        path.write_bytes(bytes(5000))
    deleted = run("models", "clean", "--encoded", "--yes", "--json")
    assert deleted.json["deleted_bytes"] > 20_000 and not list(encoded_folder().iterdir())
    assert [path.name for path in runtime_folder().iterdir()] == ["choice.json"], "what was measured stays"
    assert run("models", "clean", "medsam2", "--encoded", "--json").code == "OPTION_CONFLICT"
