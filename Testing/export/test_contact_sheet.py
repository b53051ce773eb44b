"""The picture shows the right slices, in true proportions, as a radiologist looks at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from MedSAMSegmentLib.errors import UsageError
from MedSAMSegmentLib.export import Layer, SheetStyle, draw_contact_sheet, write_contact_sheet
from MedSAMSegmentLib.export.tile import View, box_outlines, draw_tile, view_of
from MedSAMSegmentLib.phantom import make_phantom, phantom_geometry
from MedSAMSegmentLib.volume import Geometry, OrientedBox, Volume

GREEN = (0, 255, 0)


def drawn(volume: Volume, layers: list[Layer], axis: int, index: int, size: tuple[int, int]) -> np.ndarray:
    outlines = box_outlines(volume.geometry, axis, layers)
    view = View(volume.geometry, axis, *[(0, volume.voxels.shape[a]) for a in range(3) if a != axis])
    return np.asarray(draw_tile(volume, view, index, (0.0, 255.0), layers, outlines, size)).astype(int)


def test_the_contour_runs_along_the_masks_edge() -> None:
    volume = Volume(np.full((3, 40, 40), 100, np.int16), Geometry.from_parts((3, 40, 40), (1, 1, 1)))
    mask = np.zeros((3, 40, 40), bool)
    mask[1, 10:30, 10:30] = True
    picture = drawn(volume, [Layer("a", mask, GREEN, fill=0.0)], 0, 1, (400, 400))
    green = picture[..., 1] - picture[..., 0]
    assert green[200, 100] > 100 and green[100, 200] > 100, "the edge is between voxels 9 and 10: pixel 100"
    assert abs(green[200, 200]) < 5 and abs(green[20, 20]) < 5, "inside and outside keep their grey"
    assert not np.ptp(drawn(volume, [Layer("a", mask, GREEN)], 0, 0, (400, 400))), "no contour on another slice"


def test_a_rotated_box_is_drawn_as_its_cut_with_the_slice() -> None:
    volume = Volume(np.zeros((3, 40, 40), np.int16), Geometry.from_parts((3, 40, 40), (1, 1, 1)))
    turn = np.sqrt(0.5)
    box = OrientedBox(
        np.array([19.5, 19.5, 1.0]), np.array([[turn, -turn, 0], [turn, turn, 0], [0, 0, 1]]), (20, 20, 3)
    )
    picture = drawn(volume, [Layer("a", None, GREEN, box)], 0, 1, (400, 400))
    tip = 10 * (19.5 + 0.5) - 10 * 10 * np.sqrt(2)
    assert picture[200, round(tip) - 2 : round(tip) + 4].max() > 100, "the corner points to the left"
    assert picture[100:104, 100:104].max() == 0, "an upright square would have its corner here"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_however_a_scan_is_stored_it_looks_the_same(axis: int) -> None:
    """The same anatomy with its axes flipped and exchanged in the file gives the same picture."""
    shape, spacing = (20, 30, 36), (2.0, 2.5, 4.0)
    geometry = Geometry.from_parts(shape, spacing, (-30, -20, 10))
    voxels = np.random.default_rng(0).integers(0, 255, shape).astype(np.int16)
    volume = Volume(voxels, geometry)
    expected = drawn(volume, [], axis, 5, (120, 120))

    flipped_affine = geometry.affine.copy()
    flipped_affine[:3, 3] = geometry.index_to_lps((shape[2] - 1, shape[1] - 1, 0))
    flipped_affine[:3, :2] *= -1
    flipped = Volume(voxels[:, ::-1, ::-1].copy(), Geometry(shape, flipped_affine))
    index = {0: 5, 1: shape[1] - 1 - 5, 2: shape[2] - 1 - 5}[axis]
    assert np.array_equal(drawn(flipped, [], axis, index, (120, 120)), expected)

    exchanged_affine = geometry.affine[:, [1, 2, 0, 3]]
    exchanged = Volume(np.ascontiguousarray(voxels.transpose(2, 0, 1)), Geometry((36, 20, 30), exchanged_affine))
    other_axis = {0: 1, 1: 2, 2: 0}[axis]
    assert np.array_equal(drawn(exchanged, [], other_axis, 5, (120, 120)), expected)


def test_letters_and_proportions() -> None:
    geometry = phantom_geometry((10, 40, 60), (1.0, 2.0, 5.0))
    axial = View(geometry, 0, (0, 40), (0, 60))
    assert axial.letters == ("R", "L", "A", "P") and axial.millimetres == (60.0, 80.0)
    assert View(geometry, 1, (0, 10), (0, 60)).letters == ("R", "L", "S", "I")
    assert View(geometry, 2, (0, 10), (0, 40)).letters == ("A", "P", "S", "I")


def test_the_view_holds_masks_and_boxes() -> None:
    geometry = phantom_geometry((10, 40, 60), (1.0, 1.0, 5.0))
    mask = np.zeros((10, 40, 60), bool)
    mask[3, 5:9, 50:58] = True
    box = OrientedBox.from_index_range(geometry, 10, 20, 2, 20, 30, 5)
    layers = [Layer("a", mask, GREEN), Layer("b", None, GREEN, box)]
    view = view_of(geometry, 0, layers, box_outlines(geometry, 0, layers), 0.0)
    assert (view.rows, view.columns) == ((5, 30), (10, 58))


def test_a_sheet_of_an_oblique_scan_can_be_written(tmp_path: Path) -> None:
    from PIL import Image

    phantom = make_phantom(1, phantom_geometry((24, 96, 96), (3.6, 3.6, 7.0), (15, 10, 20), left_handed=True))
    path = tmp_path / "sheet.png"
    write_contact_sheet(
        path,
        phantom.volume,
        [Layer("liver", phantom.mask("liver"), GREEN, scores={9: 0.5})],
        SheetStyle(title="A" * 500),
    )
    picture = np.asarray(Image.open(path)).astype(int)
    contour = (picture[..., 1] - picture[..., 0] > 80) & (picture[..., 1] - picture[..., 2] > 80)
    assert contour.sum() > 500 and picture.shape[1] < 2000


def test_a_scan_with_nothing_on_it_is_shown_whole() -> None:
    volume = Volume(np.zeros((3, 40, 40), np.int16), Geometry.from_parts((3, 40, 40), (1, 1, 1)))
    assert draw_contact_sheet(volume, []).width > 300


def test_a_mask_of_another_grid_is_refused() -> None:
    volume = Volume(np.zeros((3, 40, 40), np.int16), Geometry.from_parts((3, 40, 40), (1, 1, 1)))
    with pytest.raises(UsageError) as caught:
        draw_contact_sheet(volume, [Layer("a", np.zeros((3, 40, 41), bool), GREEN)])
    assert caught.value.code == "MASK_SHAPE"
