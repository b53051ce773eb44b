"""Corrections: what they change, what they leave alone, and what is asked of the network again."""

from __future__ import annotations

import numpy as np
import pytest
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib import (
    UsageError,
)
from session_scene import KEY, SCENE, at, same, session


def test_a_correction_tracks_only_the_side_it_changes_and_encodes_nothing_again():
    predictor = IntensityPredictor()
    s = session(predictor)
    first = s.segment("object")
    predictor.forget_calls()
    second = s.refine("object", at(32, 32, KEY + 6), positive=False)
    assert predictor.encoded == []
    assert KEY + 6 in predictor.predicted and min(predictor.predicted) > first.key_slice
    assert len(predictor.predicted) == len(set(predictor.predicted))
    below = list(range(first.key_slice + 1))
    np.testing.assert_array_equal(second.mask[below], first.mask[below])
    assert second.mask[KEY + 6].sum() < first.mask[KEY + 6].sum()
    assert not second.mask[KEY + 6, 32, 32]


def test_segmenting_again_without_a_change_asks_the_network_nothing():
    predictor = IntensityPredictor()
    s = session(predictor)
    first = s.segment("object")
    predictor.forget_calls()
    assert same(s.segment("object"), first)
    assert predictor.predicted == [] and predictor.encoded == []


def test_a_network_that_revises_is_asked_again_only_where_a_mask_or_its_neighbours_changed():
    predictor = IntensityPredictor()
    predictor.revises = True
    s = session(predictor)
    first = s.segment("object")
    assert sorted(predictor.predicted) == sorted(2 * list(first.scores))
    predictor.forget_calls()
    assert same(s.segment("object"), first) and predictor.predicted == []
    s.refine("object", at(32, 32, KEY + 6), positive=False)
    # Slices below the key slice are tracked from it alone; it is the last to see a changed neighbour.
    assert min(predictor.predicted) == first.key_slice
    assert predictor.predicted.count(first.key_slice) == 1


def test_a_corrected_slice_is_not_changed_by_a_correction_elsewhere():
    predictor = IntensityPredictor()
    s = session(predictor)
    s.segment("object")
    one = s.refine("object", at(32, 32, KEY + 6), positive=False)
    predictor.forget_calls()
    two = s.refine("object", at(30, 30, KEY + 3), positive=False)
    assert KEY + 6 not in predictor.predicted and KEY + 3 in predictor.predicted
    np.testing.assert_array_equal(two.mask[KEY + 6], one.mask[KEY + 6])


def test_a_correction_starts_from_the_mask_the_user_saw():
    predictor = IntensityPredictor()
    s = session(predictor)
    s.segment("object")
    s.refine("object", at(32, 32, KEY + 4), positive=False)
    assert predictor.prompts[KEY + 4].own is not None and predictor.prompts[KEY + 4].prompted
    assert predictor.prompts[KEY + 5].own is None and not predictor.prompts[KEY + 5].prompted
    assert any(entry.slices == -1 and entry.conditioning for entry in predictor.banks[KEY + 5])


def test_a_positive_click_outside_the_box_widens_the_mask_there():
    s = session(cleanup=False)
    first = s.segment("object")
    outside = at(32 + 14.0 / 0.9 + 4, 31, KEY)
    assert not SCENE.box.contains(outside).any()
    second = s.refine("object", outside, positive=True)
    i, j, _ = (round(v) for v in SCENE.volume.geometry.lps_to_index(outside)[0])
    assert second.mask[KEY, j, i] and not first.mask[KEY, j, i]


def test_accepted_slices_stay_whatever_is_corrected_around_them():
    predictor = IntensityPredictor()
    s = session(predictor)
    first = s.segment("object")
    s.accept("object", [KEY + 5, KEY + 8])
    predictor.forget_calls()
    second = s.refine("object", at(32, 32, KEY + 6), positive=False)
    assert KEY + 7 in predictor.predicted and not {KEY + 5, KEY + 8} & set(predictor.predicted)
    for k in (KEY + 5, KEY + 8):
        np.testing.assert_array_equal(second.mask[k], first.mask[k])
    with pytest.raises(UsageError) as caught:
        s.add_points("object", at(32, 32, KEY + 8))
    assert caught.value.code == "SLICE_ACCEPTED"
    s.release("object", [KEY + 8])
    third = s.refine("object", at(32, 32, KEY + 8), positive=False)
    assert third.mask[KEY + 8].sum() < first.mask[KEY + 8].sum()
    np.testing.assert_array_equal(third.mask[KEY + 5], first.mask[KEY + 5])


def test_accepting_everything_freezes_the_mask():
    s = session()
    first = s.segment("object")
    s.accept("object")
    with pytest.raises(UsageError):
        s.add_points("object", at(32, 32, KEY), positive=False)
    assert (s.segment("object").mask == first.mask).all()


def test_a_drawn_slice_is_taken_exactly_as_it_is():
    s = session()
    s.segment("object")
    drawn = np.zeros((64, 64), bool)
    drawn[25:40, 20:23] = True
    drawn[33, 28] = True
    s.add_mask("object", KEY + 4, drawn)
    result = s.segment("object")
    np.testing.assert_array_equal(result.mask[KEY + 4], drawn)
    assert result.mask[KEY - 4].any()


def test_objects_on_the_same_picture_share_encoded_slices():
    predictor = IntensityPredictor()
    s = session(predictor, full_slice=True)
    s.add_object("again", SCENE.box.expanded(-3.0))
    s.segment()
    assert len(predictor.encoded) < len(predictor.predicted)
    assert len(predictor.encoded) == len(s.results["object"].scores)
