"""Session files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib import (
    CheckpointError,
    InputError,
    OutputError,
    Session,
    Volume,
)
from session_scene import KEY, SCENE, at, corrected_session, same, session


def test_a_session_file_gives_the_same_masks_and_a_saved_copy_the_same_file(tmp_path):
    s = corrected_session()
    s.save(tmp_path / "case.json")
    again = Session.load(tmp_path / "case.json", SCENE.volume, IntensityPredictor())
    results = again.segment()
    assert list(results) == ["object", "second"]
    for name, result in results.items():
        assert same(result, s.results[name])
    again.save(tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_bytes() == (tmp_path / "case.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case.json", "copy.json"]
    assert (tmp_path / "case.json").stat().st_size < 20_000


def test_a_session_saved_before_it_was_segmented_gives_the_same_mask_too(tmp_path):
    s = session()
    s.add_points("object", at(32, 32, KEY + 3), positive=False)
    s.save(tmp_path / "case.json")
    again = Session.load(tmp_path / "case.json", SCENE.volume, IntensityPredictor())
    assert same(again.segment("object"), s.segment("object"))


def test_a_session_file_is_bound_to_its_scan_and_weights(tmp_path):
    path = tmp_path / "case.json"
    session().save(path)
    changed = SCENE.volume.voxels.copy()
    changed[3, 4, 5] += 1
    with pytest.raises(InputError) as caught:
        Session.load(path, Volume(changed, SCENE.volume.geometry), IntensityPredictor())
    assert caught.value.code == "OTHER_SCAN"
    retyped = Volume(SCENE.volume.voxels.astype(np.float32), SCENE.volume.geometry, name="another name")
    assert Session.load(path, retyped, IntensityPredictor()).objects == ("object",)
    other = IntensityPredictor()
    other.identity = "intensity:2"
    with pytest.raises(CheckpointError) as wrong:
        Session.load(path, SCENE.volume, other)
    assert wrong.value.code == "OTHER_WEIGHTS"


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("settings"),
        lambda c: c.update(version=99),
        lambda c: c.update(format="something else"),
        lambda c: c["settings"]["tracking"].update(strategy="magic"),
        lambda c: c["settings"]["cleanup"].pop("margin_mm"),
        lambda c: c["objects"][0]["box"].update(size=[1, 2]),
        lambda c: c["objects"][0].update(rounds=[]),
        lambda c: c["objects"][0]["rounds"][0].update(points=[{"position": "here"}]),
    ],
)
def test_a_damaged_session_file_is_refused_in_one_sentence(tmp_path, change):
    path = tmp_path / "case.json"
    session().save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        Session.load(path, SCENE.volume, IntensityPredictor())
    assert caught.value.code == "BAD_SESSION_FILE" and caught.value.hint


def test_files_that_are_no_sessions_and_folders_that_do_not_exist_are_typed_errors(tmp_path):
    (tmp_path / "text.json").write_text("hello")
    for name in ("text.json", "absent.json"):
        with pytest.raises(InputError):
            Session.load(tmp_path / name, SCENE.volume, IntensityPredictor())
    with pytest.raises(OutputError):
        session().save(tmp_path / "absent" / "case.json")
    assert [path.name for path in tmp_path.iterdir()] == ["text.json"]
