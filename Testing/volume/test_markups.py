"""Slicer's ROI files: read as Slicer means them, written so that Slicer reads the same box."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from MedSAMSegmentLib.errors import InputError, OutputError
from MedSAMSegmentLib.volume import Geometry, OrientedBox, read_roi, write_roi
from random_scans import angles, rotation


def markup(**changes: object) -> dict:
    """An ROI as Slicer saves one that was not rotated, 40 x 30 x 20 mm round (10, -20, 30) LPS."""
    roi = {
        "type": "ROI",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "roiType": "Box",
        "center": [10.0, -20.0, 30.0],
        "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
        "size": [40.0, 30.0, 20.0],
        "insideOut": False,
        "controlPoints": [],
    }
    roi.update(changes)
    return {key: value for key, value in roi.items() if value is not None}


def save(folder: Path, *markups: dict, name: str = "liver.mrk.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"@schema": "", "markups": list(markups)}))
    return path


def test_an_unrotated_roi_of_slicer(tmp_path: Path) -> None:
    [(name, box)] = read_roi(save(tmp_path, markup()))
    assert name == "liver"
    corners = box.corners_lps()
    np.testing.assert_allclose(corners.min(axis=0), (-10, -35, 20))
    np.testing.assert_allclose(corners.max(axis=0), (30, -5, 40))


@pytest.mark.parametrize("system", ["RAS", "0", 0, "ras"])
def test_ras_files_mean_the_same_place(tmp_path: Path, system: object) -> None:
    turned = rotation(0.3, 0.2, 0.1)
    in_lps = markup(orientation=turned.reshape(-1).tolist())
    in_ras = markup(
        coordinateSystem=system,
        center=[-10.0, 20.0, 30.0],
        orientation=(np.diag([-1, -1, 1]) @ turned).reshape(-1).tolist(),
    )
    [(_, a)] = read_roi(save(tmp_path, in_lps))
    [(_, b)] = read_roi(save(tmp_path, in_ras))
    np.testing.assert_allclose(a.corners_lps(), b.corners_lps(), atol=1e-12)


def test_columns_of_the_orientation_are_the_edges(tmp_path: Path) -> None:
    turned = rotation(0.5, 0, 0)
    [(_, box)] = read_roi(save(tmp_path, markup(coordinateSystem="1", orientation=turned.reshape(-1).tolist())))
    tip = np.array([10, -20, 30]) + 20 * turned[:, 0]
    np.testing.assert_allclose(box.to_local(tip), (1, 0, 0), atol=1e-12)


def test_micrometres_missing_orientation_and_old_names(tmp_path: Path) -> None:
    small = markup(coordinateUnits=["um", "UCUM", "micrometer"], orientation=None)
    old = markup(center=None, size=None, orientation=None, xyz=[10, -20, 30], radiusXYZ=[20, 15, 10])
    [(_, a), (_, b)] = read_roi(save(tmp_path, small, old))
    np.testing.assert_allclose(a.size, (0.04, 0.03, 0.02))
    np.testing.assert_allclose(a.centre, (0.01, -0.02, 0.03))
    np.testing.assert_allclose(b.size, (40, 30, 20))


def test_names_and_other_markups(tmp_path: Path) -> None:
    line = {"type": "Line", "controlPoints": []}
    path = save(tmp_path, markup(), line, markup(name="spleen"), markup(roiType="BoundingBox"))
    assert [name for name, _ in read_roi(path)] == ["liver", "spleen", "liver 3"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles, angles, angles, st.booleans(), st.tuples(*[st.floats(-900, 900)] * 3), st.tuples(*[st.floats(0.1, 400)] * 3)
)
def test_round_trip_keeps_the_box(
    tmp_path: Path, a: float, b: float, c: float, mirrored: bool, centre: tuple, size: tuple
) -> None:
    box = OrientedBox(centre, rotation(a, b, c) * (1, 1, -1 if mirrored else 1), size)
    path = tmp_path / "box.mrk.json"
    write_roi(path, [("Tumour left – größer", box)])
    [(name, again)] = read_roi(path)
    assert name == "Tumour left – größer"
    np.testing.assert_array_equal(again.centre, box.centre)
    np.testing.assert_array_equal(again.size, box.size)
    assert np.linalg.det(again.axes) > 0  # Slicer's ROIs are right-handed
    points = np.random.default_rng(0).normal(size=(50, 3)) * 0.9
    probes = box.centre + points @ (box.axes * box.size / 2).T
    np.testing.assert_allclose(np.abs(again.to_local(probes)), np.abs(box.to_local(probes)), atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"type": "Plane"}, "NO_ROI"),
        ({"type": "Fiducial"}, "NO_ROI"),
        ({"roiType": "Sphere"}, "UNSUPPORTED_ROI"),
        ({"insideOut": True}, "UNSUPPORTED_ROI"),
        ({"coordinateSystem": "XYZ"}, "UNSUPPORTED_ROI"),
        ({"coordinateUnits": "furlong"}, "UNSUPPORTED_ROI"),
        ({"orientation": [1, 0.5, 0, 0, 1, 0, 0, 0, 1]}, "UNSUPPORTED_ROI"),
        ({"orientation": [0] * 9}, "BAD_BOX"),
        ({"orientation": [1, 0, 0]}, "BAD_BOX"),
        ({"center": [1, 2]}, "BAD_BOX"),
        ({"center": None}, "BAD_BOX"),
        ({"center": [1, 2, "three"]}, "BAD_BOX"),
        ({"center": [1, 2, float("nan")]}, "BAD_BOX"),
        ({"size": [40, 0, 20]}, "EMPTY_BOX"),
        ({"size": [40, -3, 20]}, "EMPTY_BOX"),
    ],
)
def test_what_is_no_box_is_refused(tmp_path: Path, changes: dict, code: str) -> None:
    with pytest.raises(InputError) as error:
        read_roi(save(tmp_path, markup(**changes)))
    assert error.value.code == code and error.value.hint


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"markups": 3}', b"\xff\xfe\x00", b"[" * 100_000, b'{"a": 1}', b"\x1f\x8b\x08"]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mrk.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_roi(path)
    assert error.value.code == "NOT_A_MARKUPS_FILE"


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_roi(tmp_path / "none.mrk.json")
    assert error.value.code == "FILE_NOT_FOUND"
    with pytest.raises(InputError) as error:
        read_roi(tmp_path)
    assert error.value.code == "UNREADABLE_FILE"


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    box = OrientedBox.from_corners_lps((0, 0, 0), (1, 1, 1))
    target = tmp_path / "taken.mrk.json"
    target.mkdir()
    with pytest.raises(OutputError) as error:
        write_roi(target, [("a", box)])
    assert error.value.code == "NOT_WRITTEN"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(OutputError):
        write_roi(tmp_path / "nowhere" / "a.mrk.json", [("a", box)])


def test_a_box_of_a_sheared_scan_is_not_a_slicer_roi(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 2] = 0.3
    box = OrientedBox.from_index_range(Geometry((9, 9, 9), affine), 1, 1, 1, 5, 5, 5)
    with pytest.raises(OutputError) as error:
        write_roi(tmp_path / "a.mrk.json", [("a", box)])
    assert error.value.code == "UNSUPPORTED_ROI" and not list(tmp_path.iterdir())
