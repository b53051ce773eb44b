"""Challenge cases as the organisers write them, and cases that are broken or hostile."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from MedSAMSegmentLib.challenge import Click, read_case, write_segmentation
from MedSAMSegmentLib.errors import InputError

VOLUME = np.arange(6 * 20 * 30, dtype=np.uint8).reshape(6, 20, 30)
BOX_2025 = {
    "z_min": np.int64(1),
    "z_max": np.int64(4),
    "z_mid": np.int64(2),
    "z_mid_x_min": np.int64(5),
    "z_mid_y_min": np.int64(6),
    "z_mid_x_max": np.int64(12),
    "z_mid_y_max": np.int64(9),
}


def save(folder: Path, name: str = "3D_case.npz", **arrays: Any) -> Path:
    np.savez_compressed(folder / name, **arrays)
    return folder / name


def test_a_picture_of_2024(tmp_path: Path) -> None:
    image = np.zeros((40, 50, 3), np.uint8)
    path = save(tmp_path, "2D_case.npz", imgs=image, boxes=np.array([[3, 4, 20, 30], [0, 0, 60, 9]]), spacing=[1, 1, 1])
    case = read_case(path)
    assert case.is_picture and case.shape == (40, 50) and case.image.shape == (40, 50, 3)
    assert [item.label for item in case.labels] == [1, 2]
    assert case.labels[0].box == (3, 4, 0, 20, 30, 0)
    assert case.labels[1].box == (0, 0, 0, 49, 9, 0), "what lies beyond the image is cut off"


def test_a_volume_of_2024(tmp_path: Path) -> None:
    case = read_case(save(tmp_path, imgs=VOLUME, boxes=np.array([[3, 4, 1, 20, 15, 4]]), spacing=(0.7, 0.8, 5.0)))
    assert not case.is_picture and case.shape == (6, 20, 30) and case.spacing == (0.7, 0.8, 5.0)
    assert case.labels[0].box == (3, 4, 1, 20, 15, 4) and case.labels[0].box_slice is None


def test_a_volume_of_2025_with_boxes_and_clicks(tmp_path: Path) -> None:
    clicks = [{"fg": [[2, 7, 6], [3, 8, 7]], "bg": [[1, 0, 29]]}, {"fg": [], "bg": []}]
    path = save(
        tmp_path,
        imgs=VOLUME,
        spacing=np.ones(3),
        boxes=[BOX_2025, BOX_2025],
        clicks=clicks,
        clicks_order=[["fg", "fg", "bg"], [None, None, None]],
        prev_pred=np.zeros(VOLUME.shape, np.uint8),
    )
    first, second = read_case(path).labels
    assert first.box == (5, 6, 1, 12, 9, 4) and first.box_slice == 2
    assert first.clicks == (Click(6, 7, 2, True), Click(7, 8, 3, True), Click(29, 0, 1, False)), "z, y, x in the file"
    assert second.clicks == () and second.box == first.box


def test_a_volume_of_2025_with_clicks_only(tmp_path: Path) -> None:
    case = read_case(save(tmp_path, imgs=VOLUME, spacing=np.ones(3), clicks=[{"fg": [[2, 7, 6]], "bg": []}]))
    assert case.labels[0].box is None and case.labels[0].clicks == (Click(6, 7, 2, True),)


def test_strokes_on_a_picture_of_2024(tmp_path: Path) -> None:
    strokes = np.zeros((40, 50), np.int32)
    strokes[3, 4:9], strokes[20, 30], strokes[39] = 3, 1, 1000
    case = read_case(save(tmp_path, "2D.npz", imgs=np.zeros((40, 50, 3), np.uint8), scribbles=strokes))
    assert case.is_picture and [item.label for item in case.labels] == [1, 3], "1000 is a stroke on the background"
    assert all((item.scribble == (strokes == item.label)).all() and item.box is None for item in case.labels)
    for wrong in (np.zeros((40, 50), int), strokes[:9], strokes + 0.5, np.where(strokes > 0, -1, 0), strokes[None]):
        with pytest.raises(InputError) as caught:
            read_case(save(tmp_path, "wrong.npz", imgs=np.zeros((40, 50, 3), np.uint8), scribbles=wrong))
        assert caught.value.code == "BAD_CASE"


def test_numbers_in_a_wider_type_are_the_same_picture(tmp_path: Path) -> None:
    wide = save(tmp_path, imgs=VOLUME.astype(np.float64), boxes=[[0, 0, 0, 9, 9, 3]], spacing=np.ones(3))
    assert read_case(wide).image.dtype == np.uint8 and (read_case(wide).image == VOLUME).all()


@pytest.mark.parametrize(
    "arrays",
    [
        {"boxes": [[0, 0, 0, 9, 9, 3]]},
        {"imgs": VOLUME},
        {"imgs": VOLUME, "boxes": [[0, 0, 9, 9]]},
        {"imgs": VOLUME, "boxes": [[9, 0, 0, 3, 9, 3]]},
        {"imgs": VOLUME, "boxes": [[90, 0, 0, 99, 9, 3]]},
        {"imgs": VOLUME, "boxes": [[np.nan, 0, 0, 9, 9, 3]]},
        {"imgs": VOLUME.astype(float) * 10, "boxes": [[0, 0, 0, 9, 9, 3]]},
        {"imgs": VOLUME[None], "boxes": [[0, 0, 0, 9, 9, 3]]},
        {"imgs": VOLUME, "boxes": [[0, 0, 0, 9, 9, 3]], "spacing": [1.0, 0.0, 1.0]},
        {"imgs": VOLUME, "boxes": [[0, 0, 0, 9, 9, 3]], "prev_pred": np.zeros((2, 2, 2))},
        {"imgs": VOLUME, "boxes": [{**BOX_2025, "z_mid": 5}]},
        {"imgs": VOLUME, "boxes": [{"z_min": 1}]},
        {"imgs": VOLUME, "clicks": [{"fg": [[2, 7, 99]], "bg": []}]},
        {"imgs": VOLUME, "clicks": [{"fg": [[2, 7]], "bg": []}]},
        {"imgs": VOLUME, "clicks": [{"fg": []}]},
    ],
)
def test_cases_that_make_no_sense_are_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        read_case(save(tmp_path, **arrays))
    assert caught.value.code == "BAD_CASE" and "3D_case.npz" in caught.value.message


class Harmful:
    """Unpickled carelessly, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_file_cannot_run_a_program(tmp_path: Path) -> None:
    harmful = np.empty(1, object)
    harmful[0] = Harmful(tmp_path / "harm")
    with pytest.raises(InputError) as caught:
        read_case(save(tmp_path, imgs=VOLUME, boxes=harmful))
    assert caught.value.code == "UNSAFE_FILE" and not (tmp_path / "harm").exists()


def test_a_bare_pickle_in_place_of_an_array_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    path = save(tmp_path, imgs=VOLUME)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("boxes.npy", header.getvalue() + pickle.dumps({"not": "an array"}))
    with pytest.raises(InputError) as caught:
        read_case(path)
    assert caught.value.code == "UNSAFE_FILE"


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, imgs=VOLUME, boxes=[[0, 0, 0, 9, 9, 3]])
    content = path.read_bytes()
    for damaged, code in ((content[:-60], "TRUNCATED_FILE"), (b"%PDF" * 50, "WRONG_FORMAT"), (b"", "WRONG_FORMAT")):
        path.write_bytes(damaged)
        with pytest.raises(InputError) as caught:
            read_case(path)
        assert caught.value.code == code
    with pytest.raises(InputError) as caught:
        read_case(tmp_path / "none.npz")
    assert caught.value.code == "FILE_NOT_FOUND"


def test_segmentations_are_what_the_evaluation_loads(tmp_path: Path) -> None:
    labels = (VOLUME > 100).astype(np.uint8)
    write_segmentation(tmp_path / "3D_case.npz", labels)
    stored = np.load(tmp_path / "3D_case.npz", allow_pickle=False)
    assert stored.files == ["segs"] and stored["segs"].dtype == np.uint8 and (stored["segs"] == labels).all()
    assert [path.name for path in tmp_path.iterdir()] == ["3D_case.npz"]
