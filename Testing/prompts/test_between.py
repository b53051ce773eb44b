"""Rectangles on some slices say where the object lies on those between."""

from __future__ import annotations

import itertools

import numpy as np
from MedSAMSegmentLib import Geometry, OrientedBox
from MedSAMSegmentLib.prompts import MaskPrompt, SliceBoxPrompt, plan_slices

GEOMETRY = Geometry.from_parts((20, 60, 50), (0.8, 0.7, 3.0), (-20.0, 10.0, 100.0), np.eye(3))
FIRST = SliceBoxPrompt(0, 4, (9.5, 11.5, 19.5, 31.5))
MIDDLE = SliceBoxPrompt(0, 8, (13.5, 11.5, 27.5, 23.5))
LAST = SliceBoxPrompt(0, 9, (20.5, 12.5, 30.5, 20.5))


def test_slices_between_get_rectangles_between() -> None:
    plan = plan_slices(GEOMETRY, None, boxes=[LAST, FIRST, MIDDLE])
    assert sorted(plan.between) == [5, 6, 7]
    rectangles = [np.array(plan.rectangle(index)) for index in range(4, 10)]
    for earlier, later in itertools.pairwise(rectangles):
        middle, next_middle = ((one[:2] + one[2:]) / 2 for one in (earlier, later))
        size, next_size = (one[2:] - one[:2] for one in (earlier, later))
        assert middle[0] < next_middle[0] and middle[1] > next_middle[1] and size[1] > next_size[1]
    assert plan.rectangle(8) == MIDDLE.rectangle and plan.rectangle(9) == LAST.rectangle


def test_three_rectangles_of_an_ellipsoid_say_what_the_others_are() -> None:
    def section(k: float) -> tuple[float, float, float, float]:
        part = np.sqrt(1.0 - ((k - 10) / 8.5) ** 2)
        return (25 - 12 * part, 30 - 20 * part, 25 + 12 * part, 30 + 20 * part)

    drawn = [SliceBoxPrompt(0, k, section(k)) for k in (2, 10, 18)]
    plan = plan_slices(GEOMETRY, None, boxes=drawn)
    assert sorted(plan.between) == [*range(3, 10), *range(11, 18)]
    for index in plan.between:
        np.testing.assert_allclose(plan.rectangle(index), section(index), atol=0.6)


def test_two_rectangles_say_nothing_of_what_lies_between() -> None:
    assert not plan_slices(GEOMETRY, None, boxes=[FIRST, LAST]).between


def test_a_drawn_slice_between_says_more() -> None:
    mask = np.zeros((60, 50), bool)
    mask[15:20, 12:20] = True
    plan = plan_slices(GEOMETRY, None, boxes=[FIRST, MIDDLE, LAST], masks=[MaskPrompt(0, 6, mask)])
    assert sorted(plan.between) == [5, 7]


def test_several_rectangles_say_where_the_object_begins_and_ends() -> None:
    plan = plan_slices(GEOMETRY, None, boxes=[FIRST, LAST])
    assert plan.slices == (4, 5, 6, 7, 8, 9)
    alone = plan_slices(GEOMETRY, None, boxes=[FIRST])
    assert alone.slices[0] < 4 < alone.slices[-1], "one alone does not"


def test_where_a_box_was_drawn_rectangles_correct_single_slices() -> None:
    box = OrientedBox.from_index_range(GEOMETRY, 5, 5, 2, 40, 40, 14)
    plan = plan_slices(GEOMETRY, box, boxes=[FIRST, MIDDLE, LAST])
    assert not plan.between and plan.rectangle(6) == plan.rectangles[6]
