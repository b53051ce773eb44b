"""All kinds of prompts, through the command line to a mask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from MedSAMSegmentLib.cli.results import shown_window
from MedSAMSegmentLib.export import write_nifti_array
from MedSAMSegmentLib.inference import Session
from MedSAMSegmentLib.phantom import Phantom
from MedSAMSegmentLib.volume import OrientedBox, Volume, read_labelmap


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def truth(phantom: Phantom) -> np.ndarray:
    return phantom.mask("left kidney")


@pytest.fixture(scope="module")
def middle(truth: np.ndarray) -> int:
    """The slice with most of the kidney."""
    return int(truth.sum(axis=(1, 2)).argmax())


@pytest.fixture(scope="module")
def drawn(phantom: Phantom, truth: np.ndarray, middle: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kidney drawn on its middle slice."""
    labels = np.zeros(truth.shape, np.uint8)
    labels[middle] = truth[middle]
    path = tmp_path_factory.mktemp("drawn") / "drawn.nii.gz"
    write_nifti_array(path, labels, phantom.volume.geometry)
    return path


def test_a_diameter_is_enough(run, scan: Path, truth: np.ndarray, middle: int, tmp_path: Path) -> None:
    rows, columns = np.nonzero(truth[middle])
    ends = rows.argmin(), rows.argmax()
    line = ";".join(f"{columns[end]},{rows[end]},{middle}" for end in ends)
    result = run("segment", scan, "--line", line, "--label", "kidney", "-o", tmp_path / "m.nii.gz", "--json")
    assert result.status == 0, result.err
    (item,) = result.json["objects"]
    assert item["name"] == "kidney" and item["key_slice"] == middle
    assert dice(read_labelmap(tmp_path / "m.nii.gz").voxels == 1, truth) > 0.4


def test_a_drawn_slice_is_kept_and_continued(
    run, scan: Path, truth: np.ndarray, drawn: Path, middle: int, tmp_path: Path
) -> None:
    result = run("segment", scan, "--mask", f"kidney={drawn}", "-o", tmp_path / "m.nii.gz", "--json")
    assert result.status == 0, result.err
    mask = read_labelmap(tmp_path / "m.nii.gz").voxels == 1
    assert (mask[middle] == truth[middle]).all() and mask.sum() > mask[middle].sum()


def test_rectangles_scribbles_and_clicks_together(
    run, scan: Path, kidney: str, truth: np.ndarray, middle: int, tmp_path: Path
) -> None:
    rows, columns = np.nonzero(truth[middle])
    y, x = int(np.median(rows)), int(np.median(columns[rows == int(np.median(rows))]))
    rectangle = f"{middle}:{columns.min()},{rows.min()},{columns.max() + 1},{rows.max() + 1}"
    session = tmp_path / "s.json"
    result = run(
        *(
            "segment",
            scan,
            "--box",
            kidney,
            "--slice-box",
            rectangle,
            "--scribble",
            f"{x},{y},{middle};{x + 1},{y},{middle}",
        ),
        *("--outside-point", f"2,2,{middle}", "--session", session, "-o", tmp_path / "m.nii.gz", "--json"),
    )
    assert result.status == 0, result.err
    assert dice(read_labelmap(tmp_path / "m.nii.gz").voxels == 1, truth) > 0.5
    stored = json.loads(session.read_text())
    assert "scribbles" in json.dumps(stored) and "rectangle" in json.dumps(stored)


def test_clicks_alone_are_refused_by_a_model_that_needs_a_box(run, scan: Path, tmp_path: Path) -> None:
    result = run("segment", scan, "--point", "10,10,5", "-o", tmp_path / "m.nii.gz", "--json")
    assert (result.status, result.code) == (2, "BOX_NEEDED") and not list(tmp_path.iterdir())


def test_candidates_are_written_to_choose_from(run, scan: Path, kidney: str, truth: np.ndarray, tmp_path: Path) -> None:
    target = tmp_path / "m.seg.nrrd"
    result = run("segment", scan, "--box", kidney, "--label", "kidney", "--multimask", "-o", target, "--json")
    assert result.status == 0, result.err
    (item,) = result.json["objects"]
    scores = [candidate["score"] for candidate in item["candidates"]]
    assert item["name"] == "kidney" and scores == sorted(scores, reverse=True) and item["candidates"][0]["pixels"] > 0
    assert b"Segment0_Name:=kidney candidate 1" in target.read_bytes()


def test_contact_sheets_show_what_the_network_was_shown_or_the_user_chose(phantom: Phantom, truth: np.ndarray) -> None:
    volume = Volume(np.clip(phantom.volume.voxels, 20, 100), phantom.volume.geometry, "CT")
    places = np.argwhere(truth)[:, ::-1]
    box = OrientedBox.from_index_range(volume.geometry, *places.min(axis=0), *(places.max(axis=0) + 1))
    session = Session(volume)
    session.add_object("kidney", box)
    session.segment("kidney")
    window = shown_window(session).resolve(volume)
    assert window == pytest.approx(session.states["kidney"].track.window) and window == pytest.approx((20, 100), abs=5)
    chosen = Session(volume, window="40/300")
    chosen.add_object("kidney", box)
    chosen.segment("kidney")
    assert shown_window(chosen).resolve(volume) == pytest.approx((-110, 190))
