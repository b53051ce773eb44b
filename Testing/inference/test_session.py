"""A session: corrections, undo, cancel, files, and what it asks of the network."""

from __future__ import annotations

import json

import numpy as np
import pytest
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib import (
    CancelledError,
    CheckpointError,
    InferenceError,
    InputError,
    OutputError,
    Session,
    UsageError,
    Volume,
)
from MedSAMSegmentLib.inference import Settings, labelmap
from scenes import WINDOW, ellipsoid

SCENE = ellipsoid(21, shape=(30, 64, 64), oblique=False, half_axes=(14.0, 11.0, 24.0))
KEY = 15


def session(predictor=None, **options) -> Session:
    made = Session(SCENE.volume, predictor or IntensityPredictor(), window=WINDOW, **options)
    made.add_object("object", SCENE.box)
    return made


def at(i: float, j: float, k: float) -> list[tuple[float, float, float]]:
    return [tuple(SCENE.volume.geometry.index_to_lps((i, j, k)))]


def same(a, b) -> bool:
    return bool((a.mask == b.mask).all() and (a.logits == b.logits).all() and dict(a.scores) == dict(b.scores))


# ---- progress, first mask, cancel ----------------------------------------------------------------------------------


def test_the_key_slice_comes_first_and_the_others_outwards_in_turn():
    predictor, seen, shown = IntensityPredictor(), [], []
    s = session(predictor)
    result = s.segment(
        "object",
        progress=lambda done, total, name: seen.append((done, total, name)),
        on_slice=lambda name, index, mask: shown.append((index, mask)),
    )
    key = result.key_slice
    assert [index for index, _ in shown][:5] == [key, key + 1, key - 1, key + 2, key - 2]
    assert shown[0][1].shape == (64, 64) and shown[0][1].sum() > 100
    assert seen[0] == (1, len(seen), "object") and seen[-1] == (len(seen), len(seen), "object")
    assert len(seen) == len(shown) == len(result.scores)
    assert 0 < result.timings["first_mask"] < result.timings["total"]
    assert all(0 <= score <= 1 for score in result.scores.values())


def test_cancelling_keeps_what_is_done_and_going_on_asks_only_for_the_rest():
    whole = session().segment("object")
    predictor = IntensityPredictor()
    s = session(predictor)
    with pytest.raises(CancelledError):
        s.segment("object", cancel=lambda: len(predictor.predicted) >= 7)
    part = s.results["object"]
    assert not part.complete and len(part.scores) == 7 and s.needs_segmenting("object")
    done = sorted(part.scores)
    np.testing.assert_array_equal(part.mask[done], whole.mask[done])
    others = sorted(set(range(30)) - set(done))
    assert not part.mask[others].any()
    predictor.forget_calls()
    rest = s.segment("object")
    assert rest.complete and same(rest, whole) and not s.needs_segmenting("object")
    assert not set(predictor.predicted) & set(done)
    assert len(predictor.predicted) == len(whole.scores) - 7


def test_cancelling_a_correction_keeps_the_other_slices_of_the_earlier_mask():
    predictor = IntensityPredictor()
    s = session(predictor)
    first = s.segment("object")
    s.add_points("object", at(32, 32, KEY + 5), positive=False)
    predictor.forget_calls()
    with pytest.raises(CancelledError):
        s.segment("object", cancel=lambda: len(predictor.predicted) >= 1)
    part = s.results["object"]
    assert part.mask[KEY + 5].sum() < first.mask[KEY + 5].sum()
    others = [k for k in range(30) if k != KEY + 5]
    np.testing.assert_array_equal(part.mask[others], first.mask[others])
    assert not part.complete and s.segment("object").complete


def test_a_network_that_fails_gives_a_typed_error_and_keeps_what_was_done():
    class Failing(IntensityPredictor):
        def predict(self, features, prompt, bank):
            if len(self.predicted) == 4:
                raise RuntimeError("cuDNN error: something low-level\nat line 3")
            return super().predict(features, prompt, bank)

    s = session(Failing())
    with pytest.raises(InferenceError) as caught:
        s.segment("object")
    assert caught.value.code == "NETWORK_FAILED" and "\n" not in caught.value.message
    assert len(s.results["object"].scores) == 4 and not s.results["object"].complete


# ---- corrections ---------------------------------------------------------------------------------------------------


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


# ---- the memory ----------------------------------------------------------------------------------------------------


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


# ---- undo and redo -------------------------------------------------------------------------------------------------


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


# ---- files ---------------------------------------------------------------------------------------------------------


def corrected_session() -> Session:
    """Two rounds of clicks, a drawn slice, a locked one and a second object."""
    s = session()
    s.segment("object")
    s.refine("object", at(32, 32, KEY + 6), positive=False)
    s.accept("object", [KEY - 5])
    drawn = np.zeros((64, 64), bool)
    drawn[25:40, 25:35] = True
    s.add_mask("object", KEY - 8, drawn)
    s.add_object("second", SCENE.box.expanded(-4.0))
    s.segment()
    s.refine("object", at(30, 34, KEY + 2), positive=False)
    return s


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


# ---- promises ------------------------------------------------------------------------------------------------------


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
