"""What every session promises: voxels untouched, origins told, unknown choices refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib import (
    Session,
    UsageError,
    Volume,
)
from MedSAMSegmentLib.inference import Settings, labelmap
from scenes import ellipsoid
from session_scene import KEY, SCENE, at, corrected_session, session


def test_no_operation_changes_a_voxel(tmp_path):
    before, geometry = SCENE.volume.voxels.tobytes(), SCENE.volume.geometry.affine.tobytes()
    s = corrected_session()
    s.release("object")
    s.undo()
    s.save(tmp_path / "case.json")
    labelmap(s.results)
    s.remove_object("second")
    assert SCENE.volume.voxels.tobytes() == before and SCENE.volume.geometry.affine.tobytes() == geometry
    with pytest.raises(ValueError):
        s.results["object"].mask[0, 0, 0] = True


def test_the_result_says_where_it_comes_from():
    s = session(strategy="hybrid")
    result = s.refine("object", at(32, 32, KEY + 6), positive=False)
    origin = json.loads(json.dumps(dict(result.provenance)))
    assert origin["model"]["weights"] == "intensity:1" and origin["volume"] == s.fingerprint
    assert origin["settings"]["tracking"]["strategy"] == "hybrid"
    assert Settings.from_dict(origin["settings"]) == s.settings
    assert len(origin["points"]) == 1 and origin["window"] == {"low": 0.0, "high": 1000.0}


def test_the_grey_values_shown_are_those_of_the_object_and_stay_when_a_click_reaches_further_slices():
    class Watched(IntensityPredictor):
        local_contrast = True
        shown = None

        def encode(self, picture):
            self.shown = picture[1]
            return super().encode(picture)

    scene = ellipsoid(23, shape=(30, 64, 64), oblique=False, half_axes=(14.0, 11.0, 15.0))
    brighter = 40 * np.arange(30, dtype=np.int16)[:, None, None]  # so that other slices have another contrast
    volume = Volume(scene.volume.voxels + brighter, scene.volume.geometry, modality="MR")
    predictor = Watched(sizes=(64,))
    s = Session(volume, predictor, full_slice=True)
    s.add_object("whole", scene.box)
    s.add_object("inside", scene.box.expanded(-9.0))
    results = s.segment()
    windows = {name: result.provenance["window"] for name, result in results.items()}
    assert windows["whole"] != windows["inside"] and windows["whole"]["low"] > s.intensities.low
    beyond = max(results["whole"].scores) + 3
    again = s.refine("whole", [tuple(volume.geometry.index_to_lps((32, 32, beyond)))])
    assert beyond in again.scores and again.provenance["window"] == windows["whole"]
    low, high = windows["whole"]["low"], windows["whole"]["high"]
    black_to_white = np.clip((volume.voxels - low) / (high - low), 0, 1)
    added = [k for k in again.scores if k not in results["whole"].scores]
    assert any(np.allclose(predictor.shown, black_to_white[k], atol=1e-5) for k in added)


@pytest.mark.parametrize(
    ("options", "code"), [({"strategy": "magic"}, "UNKNOWN_STRATEGY"), ({"plane": "oblique"}, "UNKNOWN_PLANE")]
)
def test_unknown_choices_are_refused_at_once(options, code):
    with pytest.raises(UsageError) as caught:
        Session(SCENE.volume, IntensityPredictor(), **options)
    assert caught.value.code == code
