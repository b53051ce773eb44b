"""What a session remembers from slice to slice, and where it stops."""

from __future__ import annotations

import numpy as np
import pytest
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib import (
    Session,
)
from scenes import WINDOW, ellipsoid
from session_scene import KEY, SCENE, session


def test_the_bank_holds_the_key_slice_then_the_nearest_ones_of_the_same_side():
    predictor = IntensityPredictor()
    key = session(predictor).segment("object").key_slice
    bank = predictor.banks[key + 6]
    assert [(entry.slices, entry.rank, entry.conditioning) for entry in bank] == [
        (-6, 0, True),
        (-1, 1, False),
        (-2, 2, False),
        (-3, 3, False),
    ]
    assert [entry.millimetres for entry in bank] == pytest.approx([-15.0, -2.5, -5.0, -7.5])
    assert predictor.banks[key] == ()


def test_thin_slices_are_remembered_at_a_distance():
    scene = ellipsoid(22, shape=(60, 64, 64), spacing=(0.9, 0.9, 0.5), oblique=False, half_axes=(12.0, 12.0, 13.0))
    predictor = IntensityPredictor()
    s = Session(scene.volume, predictor, window=WINDOW, plane="axial")
    s.add_object("object", scene.box)
    key = s.segment("object").key_slice
    assert [entry.slices for entry in predictor.banks[key + 15]] == [-15, -1, -5, -9]


def test_slices_that_were_not_convincing_are_not_remembered():
    class Doubtful(IntensityPredictor):
        def predict(self, features, prompt, bank):
            prediction = super().predict(features, prompt, bank)
            poor = prompt.slice_index == KEY + 2
            return type(prediction)(prediction.logits, 0.1 if poor else 0.9, prediction.object_score)

    predictor = Doubtful()
    session(predictor).segment("object")
    assert KEY + 2 not in predictor.remembered and KEY + 3 in predictor.remembered
    assert -1 not in [entry.slices for entry in predictor.banks[KEY + 3]]


def test_tracking_stops_where_the_object_has_ended():
    predictor = IntensityPredictor()
    s = Session(SCENE.volume, predictor, window=WINDOW)
    tall = type(SCENE.box)(SCENE.box.centre, SCENE.box.axes, SCENE.box.size * [1, 1, 1.5])
    s.add_object("object", tall)
    result = s.segment("object")
    last = int(np.flatnonzero(result.mask.any(axis=(1, 2)))[-1])
    assert max(predictor.predicted) == last + 3
    assert result.complete and result.extent[0].stop > last + 4


@pytest.mark.parametrize("revises", [False, True])
def test_progress_reaches_its_end_also_where_the_object_ended_early(revises):
    predictor, seen = IntensityPredictor(), []
    predictor.revises = revises
    s = Session(SCENE.volume, predictor, window=WINDOW)
    s.add_object("object", type(SCENE.box)(SCENE.box.centre, SCENE.box.axes, SCENE.box.size * [1, 1, 1.5]))
    s.segment("object", progress=lambda done, total, name: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, total in seen} == {len(seen)}


def test_per_slice_prompts_every_slice_and_remembers_none():
    predictor = IntensityPredictor()
    session(predictor, strategy="per-slice").segment("object")
    assert predictor.remembered == [] and all(bank == () for bank in predictor.banks.values())
    assert all(prompt.prompted and prompt.below is None for prompt in predictor.prompts.values())


def test_hybrid_prompts_again_only_where_confidence_falls():
    class Doubtful(IntensityPredictor):
        def predict(self, features, prompt, bank):
            prediction = super().predict(features, prompt, bank)
            poor = prompt.slice_index == KEY + 4 and not prompt.prompted
            return type(prediction)(prediction.logits, 0.2 if poor else 0.95, prediction.object_score)

    predictor = Doubtful()
    result = session(predictor, strategy="hybrid").segment("object")
    twice = {k for k in predictor.predicted if predictor.predicted.count(k) == 2}
    assert KEY + 4 in twice and len(twice) <= 3  # the object's two ends may be doubtful, too
    assert result.scores[KEY + 4] > 0.6
