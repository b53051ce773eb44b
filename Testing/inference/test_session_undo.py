"""Undo, redo, and refused prompts."""

from __future__ import annotations

import numpy as np
import pytest
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib import (
    InputError,
    UsageError,
)
from session_scene import KEY, SCENE, at, same, session


def test_undo_and_redo_restore_masks_prompts_and_objects_exactly():
    predictor = IntensityPredictor()
    s = session(predictor)
    first = s.segment("object")
    second = s.refine("object", at(32, 32, KEY + 6), positive=False)
    s.remove_object("object")
    assert s.objects == () and dict(s.results) == {}
    s.undo()
    assert s.results["object"] is second and len(s.prompts("object").points) == 1
    s.undo()
    assert s.results["object"] is first and s.prompts("object").points == ()
    s.redo()
    assert s.results["object"] is second
    predictor.forget_calls()
    assert same(s.segment("object"), second) and predictor.predicted == []
    s.undo()
    assert same(s.segment("object"), first)
    s.undo()
    assert s.objects == () and not s.can_undo
    with pytest.raises(UsageError) as caught:
        s.undo()
    assert caught.value.code == "NOTHING_TO_UNDO"


def test_a_new_prompt_after_undo_closes_the_way_forward():
    s = session()
    s.segment("object")
    s.add_points("object", at(32, 32, KEY), positive=False)
    s.undo()
    s.add_points("object", at(30, 30, KEY), positive=False)
    assert not s.can_redo
    with pytest.raises(UsageError):
        s.redo()


def test_a_refused_prompt_leaves_the_session_as_it_was():
    s = session()
    first = s.segment("object")
    with pytest.raises(InputError):
        s.add_points("object", [(0.0, 0.0, 0.0), (9e5, 0.0, 0.0)])
    for points in ([1.0, 2.0], [[1.0, 2.0]], "here", [[1.0, 2.0, float("nan")]], []):
        with pytest.raises(InputError):
            s.add_points("object", points)
    with pytest.raises(UsageError):
        s.add_object("object", SCENE.box)
    with pytest.raises(InputError):
        s.add_object("far", type(SCENE.box)((9e5, 0, 0), np.eye(3), (5, 5, 5)))
    with pytest.raises(UsageError):
        s.segment("nobody")
    assert s.results["object"] is first and s.objects == ("object",) and not s.prompts("object").points
    assert not s.needs_segmenting("object")
