"""From what the user drew to slices: planes, rectangles, key slice, clicks and drawn masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from MedSAMSegmentLib import Geometry, InputError, OrientedBox, UsageError
from MedSAMSegmentLib.prompts import BoxPrompt, MaskPrompt, PointPrompt, SlicePlane, plan_slices
from MedSAMSegmentLib.prompts.runs import decode_runs, encode_runs


def rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def upright(shape=(20, 60, 50), spacing=(0.8, 0.7, 3.0)) -> Geometry:
    return Geometry.from_parts(shape, spacing, (-20.0, 10.0, 100.0), np.eye(3))


def box_of(geometry: Geometry) -> OrientedBox:
    return OrientedBox.from_index_range(geometry, 10, 12, 5, 30, 40, 14)


def test_a_box_of_voxels_gives_its_slices_their_outer_edges_and_the_middle_as_key():
    plan = plan_slices(upright(), box_of(upright()))
    assert plan.plane.axis == 0
    assert plan.slices == tuple(range(5, 14))
    assert plan.key_slice == 9
    for rectangle in plan.rectangles.values():
        np.testing.assert_allclose(rectangle, (9.5, 11.5, 29.5, 39.5))
    np.testing.assert_allclose(plan.bounds(), (9.5, 11.5, 29.5, 39.5))


@pytest.mark.parametrize("seed", range(5))
def test_a_rotated_box_on_an_oblique_scan_starts_where_its_cross_section_is_largest(seed):
    geometry = Geometry.from_parts((40, 64, 64), (1.0, 1.0, 2.0), (5.0, -7.0, 30.0), rotation(seed))
    centre = geometry.index_to_lps((31.0, 33.0, 20.3))
    box = OrientedBox(centre, rotation(seed + 50), (14.0, 22.0, 30.0))
    plan = plan_slices(geometry, box)
    counts = box.mask(geometry).sum(axis=(1, 2))
    assert set(np.flatnonzero(counts)) <= set(plan.slices)
    assert plan.key_slice == 20
    assert counts[plan.key_slice] >= 0.95 * counts.max()
    for index, (x0, y0, x1, y1) in plan.rectangles.items():
        inside = np.argwhere(box.mask(geometry)[index])
        if len(inside):
            assert (inside >= [y0 - 1e-6, x0 - 1e-6]).all() and (inside <= [y1 + 1e-6, x1 + 1e-6]).all()


@pytest.mark.parametrize(("plane", "constant"), [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_an_anatomical_plane_is_found_whatever_the_order_of_the_axes(plane, constant):
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1)):
        direction = np.eye(3)[:, order] * [1, -1, 1]
        geometry = Geometry.from_parts((11, 12, 13), (1.0, 1.5, 2.0), (0, 0, 0), direction)
        cut = SlicePlane.of(geometry, plane)
        step = geometry.index_to_lps(cut.to_index((0, 0, 1))) - geometry.index_to_lps(cut.to_index((0, 0, 0)))
        assert np.argmax(np.abs(step)) == constant
        assert cut.slice_spacing == pytest.approx(np.linalg.norm(step))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_x_counts_columns_and_y_rows_of_the_slice_array(axis):
    voxels = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    geometry = Geometry.from_parts((4, 5, 6), (1, 1, 1), (0, 0, 0), np.eye(3))
    cut = SlicePlane.along(geometry, axis)
    picture = np.take(voxels, 2, axis=axis)
    assert picture.shape == cut.shape
    i, j, k = cut.to_index((3, 1, 2)).astype(int)
    assert voxels[k, j, i] == picture[1, 3]
    np.testing.assert_array_equal(cut.to_slice((i, j, k)), (3, 1, 2))


def test_an_unknown_plane_is_refused_with_the_known_ones():
    with pytest.raises(UsageError) as caught:
        plan_slices(upright(), box_of(upright()), plane="oblique")
    assert caught.value.code == "UNKNOWN_PLANE" and "sagittal" in caught.value.hint


def test_a_positive_click_outside_grows_the_box_just_enough_and_a_negative_one_does_not():
    geometry = upright()
    box = box_of(geometry)
    inside, outside = geometry.index_to_lps((20, 20, 10)), geometry.index_to_lps((35, 20, 16))
    same = plan_slices(geometry, box, [PointPrompt(tuple(inside)), PointPrompt(tuple(outside), False)])
    np.testing.assert_array_equal(same.box.corners_lps(), box.corners_lps())
    assert set(same.points) == {10}  # a "not here" beyond the box's slices has nothing to say
    grown = plan_slices(geometry, box, [PointPrompt(tuple(outside))])
    assert grown.slices == tuple(range(5, 17))
    np.testing.assert_allclose(grown.bounds(), (9.5, 11.5, 35.0, 39.5))
    assert grown.box.contains(box.corners_lps()).all()


def test_a_drawn_mask_leads_and_widens_the_plan():
    geometry = upright()
    drawn = np.zeros((60, 50), bool)
    drawn[20:45, 15:25] = True
    plan = plan_slices(geometry, box_of(geometry), masks=[MaskPrompt(0, 15, drawn)])
    assert plan.key_slice == 15 and plan.slices[-1] == 15 and plan.is_prompted(15) and not plan.is_prompted(9)
    assert plan.bounds()[3] == pytest.approx(44)
    kept = plan_slices(geometry, box_of(geometry), masks=[MaskPrompt(0, 15, drawn)], key_slice=9)
    assert kept.key_slice == 9


def test_slices_beyond_the_box_are_tracked_on_request_and_have_no_rectangle():
    plan = plan_slices(upright(), box_of(upright()), margin_mm=6.0)
    assert plan.slices == tuple(range(3, 16))
    assert set(plan.rectangles) == set(range(5, 14))
    at_the_end = plan_slices(upright(), box_of(upright()), margin_mm=1000.0)
    assert at_the_end.slices == tuple(range(20))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"box": OrientedBox((500, 500, 500), np.eye(3), (5, 5, 5))}, "BOX_OUTSIDE"),
        ({"points": [PointPrompt((500, 0, 0))]}, "POINT_OUTSIDE_SCAN"),
        ({"masks": [MaskPrompt(0, 25, np.ones((60, 50)))]}, "MASK_OUTSIDE_SCAN"),
        ({"masks": [MaskPrompt(0, 5, np.ones((50, 60)))]}, "MASK_OUTSIDE_SCAN"),
        ({"masks": [MaskPrompt(1, 5, np.ones((20, 50)))]}, "OTHER_PLANE"),
    ],
)
def test_prompts_that_do_not_fit_the_scan_are_refused(changes, code):
    with pytest.raises(InputError) as caught:
        plan_slices(upright(), **{"box": box_of(upright()), **changes})
    assert caught.value.code == code and caught.value.hint


def test_a_drawn_mask_cannot_be_changed_behind_the_back_of_whoever_holds_it():
    drawn = np.zeros((6, 5), bool)
    prompt = MaskPrompt(0, 2, drawn)
    drawn[:] = True
    assert not prompt.mask.any()
    with pytest.raises(ValueError):
        prompt.mask[0, 0] = True


def test_prompts_survive_a_dictionary_exactly():
    box = OrientedBox((1.1, -2.2, 3.3), rotation(3), (10.5, 20.25, 30.125))
    again = BoxPrompt.from_dict(BoxPrompt(box).as_dict()).box
    for name in ("centre", "axes", "size"):
        np.testing.assert_array_equal(getattr(again, name), getattr(box, name))
    point = PointPrompt((0.1, 0.2, 0.3), False)
    assert PointPrompt.from_dict(point.as_dict()) == point
    mask = MaskPrompt(1, 7, np.eye(9, 4))
    assert MaskPrompt.from_dict(mask.as_dict()).as_dict() == mask.as_dict()


@pytest.mark.parametrize("data", [{}, {"position": [1, 2], "positive": True}, {"position": [1, 2, "x"], "positive": 1}])
def test_a_damaged_point_is_refused(data):
    with pytest.raises(InputError) as caught:
        PointPrompt.from_dict(data)
    assert caught.value.code == "BAD_PROMPT"


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_run_lengths_are_exact(values, rows):
    mask = np.array(values * rows, bool).reshape(rows, -1)
    np.testing.assert_array_equal(decode_runs(encode_runs(mask)), mask)


def test_run_lengths_that_do_not_fill_the_shape_are_refused():
    with pytest.raises(ValueError):
        decode_runs({"shape": [3, 3], "runs": [4, 4]})
