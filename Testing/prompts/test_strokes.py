"""Scribbles, diameters and rectangles: what they say about each slice, and where an object without a box may lie."""

from __future__ import annotations

import numpy as np
import pytest
from MedSAMSegmentLib import Geometry, InputError, OrientedBox
from MedSAMSegmentLib.prompts import (
    LinePrompt,
    MaskPrompt,
    PointPrompt,
    ScribblePrompt,
    SliceBoxPrompt,
    SlicePlane,
    plan_slices,
    prompts_on_slices,
)

GEOMETRY = Geometry.from_parts((20, 60, 50), (0.8, 0.5, 3.0), (-20.0, 10.0, 100.0), np.eye(3))
PLANE = SlicePlane.of(GEOMETRY)


def lps(i: float, j: float, k: float) -> tuple[float, float, float]:
    x, y, z = GEOMETRY.index_to_lps((i, j, k))
    return float(x), float(y), float(z)


def line(*ends: tuple[float, float, float]) -> LinePrompt:
    return LinePrompt(lps(*ends[0]), lps(*ends[1]))


def test_a_scribble_on_a_slice_becomes_clicks_along_it() -> None:
    stroke = ScribblePrompt((lps(10, 20, 7), lps(30, 20, 7), lps(30, 40, 7)))
    told = prompts_on_slices(GEOMETRY, PLANE, scribbles=[stroke])
    assert told.slices == (7,)
    places = np.array([(click.x, click.y) for click in told.points[7]])
    assert len(places) == 8 and all(click.positive for click in told.points[7])
    np.testing.assert_allclose(places[[0, -1]], [(10, 20), (30, 40)], atol=0.2)
    on_path = (np.abs(places[:, 1] - 20) < 1e-6) | (np.abs(places[:, 0] - 30) < 1e-6)
    assert on_path.all()
    steps = np.linalg.norm(np.diff(places * [0.8, 0.5], axis=0), axis=1)
    assert steps.max() < 1.8 * steps.min()


def test_a_scribble_across_slices_meets_every_one_of_them() -> None:
    stroke = ScribblePrompt((lps(10, 20, 3), lps(14, 26, 8)), positive=False)
    told = prompts_on_slices(GEOMETRY, PLANE, scribbles=[stroke])
    assert told.slices == (3, 4, 5, 6, 7, 8)
    assert not any(click.positive for clicks in told.points.values() for click in clicks)
    assert len(told.inside) == 0


def test_a_scribble_of_one_place_is_one_click() -> None:
    dot = (lps(10, 20, 3),)
    for path in (dot, dot * 3):
        clicks = prompts_on_slices(GEOMETRY, PLANE, scribbles=[ScribblePrompt(path)]).points[3]
        assert [(round(c.x, 6), round(c.y, 6)) for c in clicks] == [(10, 20)]


def test_a_diameter_is_five_clicks_and_a_square_of_its_length_in_millimetres() -> None:
    told = prompts_on_slices(GEOMETRY, PLANE, lines=[line((20, 20, 9), (30, 36, 9))])
    length = np.hypot(10 * 0.8, 16 * 0.5)
    x0, y0, x1, y1 = told.squares[9]
    np.testing.assert_allclose([(x1 - x0) * 0.8, (y1 - y0) * 0.5], length)
    np.testing.assert_allclose([(x0 + x1) / 2, (y0 + y1) / 2], [25, 28])
    places = np.array([(click.x, click.y) for click in told.points[9]])
    np.testing.assert_allclose(places, [(21, 21.6), (23, 24.8), (25, 28), (27, 31.2), (29, 34.4)])


def test_a_diameter_without_a_box_makes_a_cube_about_its_middle() -> None:
    plan = plan_slices(GEOMETRY, None, lines=[line((20, 20, 9), (30, 36, 9))])
    length = np.hypot(8.0, 8.0)
    np.testing.assert_allclose(plan.box.size, length)
    np.testing.assert_allclose(plan.box.centre, lps(25, 28, 9))
    assert plan.key_slice == 9 and not plan.box_is_drawn
    assert plan.rectangle(9) == pytest.approx(plan.boxes[9]) and plan.rectangle(10) is None
    assert plan.slices == (8, 9, 10)  # of 3 mm, within 5.7 mm on either side


def test_beside_a_drawn_box_a_diameter_adds_its_clicks_only() -> None:
    box = OrientedBox.from_index_range(GEOMETRY, 18, 18, 6, 33, 38, 13)
    plan = plan_slices(GEOMETRY, box, lines=[line((20, 20, 8), (30, 36, 8))])
    assert plan.boxes == {} and len(plan.points[8]) == 5
    np.testing.assert_allclose(plan.box.size, box.size)
    np.testing.assert_allclose(plan.rectangle(8), (17.5, 17.5, 32.5, 37.5))


def test_a_rectangle_takes_the_place_of_the_boxes_and_grows_the_box_where_it_reaches_further() -> None:
    box = OrientedBox.from_index_range(GEOMETRY, 18, 18, 6, 33, 38, 13)
    plan = plan_slices(GEOMETRY, box, boxes=[SliceBoxPrompt(0, 8, (35.5, 30.5, 19.5, 20.5))])
    assert plan.rectangle(8) == (19.5, 20.5, 35.5, 30.5) and plan.is_prompted(8) and plan.key_slice == 8
    np.testing.assert_allclose(plan.rectangle(9), (17.5, 17.5, 35.5, 37.5))


def test_of_several_rectangles_on_a_slice_the_last_one_counts_and_is_cut_off_at_the_image() -> None:
    boxes = [SliceBoxPrompt(0, 8, (1, 1, 5, 5)), SliceBoxPrompt(0, 8, (30, 40, 70, 80))]
    assert prompts_on_slices(GEOMETRY, PLANE, boxes=boxes).boxes == {8: (30, 40, 49.5, 59.5)}


def test_a_drawn_mask_without_a_box_tells_the_size() -> None:
    mask = np.zeros((60, 50), bool)
    mask[10:31, 20:30] = True
    plan = plan_slices(GEOMETRY, None, masks=[MaskPrompt(0, 5, mask)])
    assert plan.key_slice == 5 and plan.slices == (4, 5, 6)  # as deep as its longest side, 10.5 mm
    np.testing.assert_allclose(plan.bounds(), (19.5, 9.5, 29.5, 30.5))


def test_clicks_alone_begin_on_their_slice_and_search_the_whole_scan() -> None:
    plan = plan_slices(GEOMETRY, None, [PointPrompt(lps(12, 30, 4)), PointPrompt(lps(12, 33, 18), False)])
    assert plan.key_slice == 4 and plan.slices == tuple(range(20))
    assert plan.rectangle(4) is None
    np.testing.assert_allclose(plan.bounds(), (-0.5, -0.5, 49.5, 59.5))


@pytest.mark.parametrize(
    ("prompts", "code"),
    [
        ({}, "NOTHING_PROMPTED"),
        ({"points": [PointPrompt(lps(12, 30, 4), False)]}, "NOTHING_PROMPTED"),
        ({"masks": [MaskPrompt(0, 5, np.zeros((60, 50), bool))]}, "NOTHING_PROMPTED"),
        ({"lines": [line((20, 20, 5), (20, 30, 8))]}, "LINE_ACROSS_SLICES"),
        ({"lines": [line((20, 20, 25), (20, 30, 25))]}, "POINT_OUTSIDE_SCAN"),
        ({"scribbles": [ScribblePrompt((lps(10, 10, 3), lps(90, 10, 3)))]}, "POINT_OUTSIDE_SCAN"),
        ({"boxes": [SliceBoxPrompt(0, 20, (1, 1, 5, 5))]}, "BOX_OUTSIDE"),
        ({"boxes": [SliceBoxPrompt(0, 2, (51, 1, 55, 5))]}, "BOX_OUTSIDE"),
        ({"boxes": [SliceBoxPrompt(1, 2, (1, 1, 5, 5))]}, "OTHER_PLANE"),
    ],
)
def test_what_says_nothing_or_does_not_fit_is_refused(prompts: dict, code: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_slices(GEOMETRY, None, **prompts)
    assert caught.value.code == code and caught.value.hint


@pytest.mark.parametrize(
    "make",
    [
        lambda: ScribblePrompt(()),
        lambda: ScribblePrompt(((1.0, 2.0),)),
        lambda: ScribblePrompt(((1.0, 2.0, float("nan")),)),
        lambda: LinePrompt((1.0, 2.0, 3.0), (1.0, 2.0, 3.0)),
        lambda: LinePrompt((1.0, 2.0), (1.0, 2.0)),
        lambda: SliceBoxPrompt(0, 3, (1.0, 2.0, 1.0, 5.0)),
        lambda: SliceBoxPrompt(0, 3, (1.0, 2.0, float("inf"), 5.0)),
        lambda: SliceBoxPrompt(4, 3, (1.0, 2.0, 3.0, 5.0)),
        lambda: LinePrompt.from_dict({"start": [1, 2, 3]}),
        lambda: ScribblePrompt.from_dict({"path": 3, "positive": True}),
        lambda: SliceBoxPrompt.from_dict({"axis": 0, "slice": 1}),
    ],
)
def test_malformed_prompts_are_refused(make) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.code == "BAD_PROMPT"


def test_prompts_read_and_write_plain_dictionaries() -> None:
    prompts = [
        ScribblePrompt(((1.0, 2.0, 3.0), (4.0, 5.0, 6.5)), positive=False),
        LinePrompt((1.0, 2.0, 3.0), (4.0, 5.0, 6.5)),
        SliceBoxPrompt(1, 7, (1.5, 2.0, 3.0, 4.25)),
    ]
    assert [type(p).from_dict(p.as_dict()) for p in prompts] == prompts
