"""Every family of networks inside a session: random weights, real parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedSAMSegmentLib import Geometry, OrientedBox, Session, Volume
from MedSAMSegmentLib.inference import make_predictor
from MedSAMSegmentLib.inference.crop import CropFrame
from MedSAMSegmentLib.inference.predictor import BoxCoordinates, SlicePrompt
from scenes import WINDOW, ellipsoid
from small_networks import ARCHITECTURES, small_model

SCENE = ellipsoid(31, shape=(14, 48, 48), oblique=False, half_axes=(12.0, 9.0, 9.0))


def session(architecture: str, **options) -> Session:
    made = Session(SCENE.volume, small_model(architecture), window=WINDOW, **options)
    made.add_object("object", SCENE.box)
    return made


def crop_prompt(frame: CropFrame, **more) -> SlicePrompt:
    scale = 2.0 / frame.size
    place = BoxCoordinates(
        np.array([-1.0, -1.0, 0.0]), np.array([scale, 0, 0]), np.array([0, scale, 0]), np.zeros(3), frame.size
    )
    return SlicePrompt(3, frame, True, (10.0, 12.0, 70.0, 80.0), place, **more)


architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


@architectures
def test_the_same_prompts_give_the_same_bits_also_from_a_file(architecture, tmp_path):
    s = session(architecture)
    s.segment("object")
    point = tuple(SCENE.volume.geometry.index_to_lps((24, 24, 9)))
    result = s.refine("object", [point], positive=False)
    s.save(tmp_path / "case.json")
    again = Session.load(tmp_path / "case.json", SCENE.volume, small_model(architecture)).segment("object")
    np.testing.assert_array_equal(again.logits, result.logits)
    np.testing.assert_array_equal(again.mask, result.mask)
    assert np.ptp(result.logits.astype(np.float32)) > 0


@architectures
@pytest.mark.parametrize("strategy", ["propagate", "per-slice", "hybrid"])
def test_every_strategy_scores_every_slice(architecture, strategy):
    result = session(architecture, strategy=strategy).segment("object")
    assert result.complete and result.key_slice in result.scores
    assert all(0.0 <= score <= 1.0 for score in result.scores.values())


@architectures
def test_a_drawn_slice_is_the_result_and_leads_the_others(architecture):
    s = session(architecture)
    before = s.segment("object")
    drawn = np.zeros((48, 48), bool)
    drawn[18:30, 20:26] = True
    away = 1 if before.key_slice + 3 <= max(before.scores) else -1
    here, beyond = before.key_slice + 2 * away, before.key_slice + 3 * away
    s.add_mask("object", here, drawn)
    after = s.segment("object")
    np.testing.assert_array_equal(after.mask[here], drawn)
    first = after.extent[0].start
    inside = drawn[after.extent[1:]]
    assert ((after.logits[here - first].astype(np.float32) > 0) != inside).mean() < 0.03
    assert not np.array_equal(after.logits[beyond - first], before.logits[beyond - first])


@architectures
def test_memory_changes_what_a_tracked_slice_becomes(architecture):
    results = []
    for capacity in (3, 0):
        s = session(architecture)
        s.predictor.memory_capacity = capacity
        s.predictor.revises = False  # a sweep shows every slice its neighbours, the key slice too
        results.append(s.segment("object"))
    with_memory, without = results
    key = with_memory.key_slice - with_memory.extent[0].start
    np.testing.assert_array_equal(with_memory.logits[key], without.logits[key])
    assert not np.array_equal(with_memory.logits[key + 1], without.logits[key + 1])


@architectures
def test_whole_slices_are_shown_at_the_size_the_network_was_trained_on(architecture):
    s = session(architecture, full_slice=True)
    result = s.segment("object")
    frame = s.states["object"].track.frame
    assert frame.size == (256 if architecture == "embedded" else 96)
    assert (frame.x0, frame.x1) == (-0.5, 47.5) and result.voxels >= 0


@architectures
def test_a_click_changes_the_slice_and_the_earlier_mask_is_shown_to_the_network(architecture):
    predictor = make_predictor(small_model(architecture))
    frame = CropFrame(0.0, 0.0, 48.0, 48.0, 96)
    features = predictor.encode(
        np.random.default_rng(0).random((2 * predictor.neighbours + 1, 96, 96), dtype=np.float32)
    )
    plain = predictor.predict(features, crop_prompt(frame), [])
    click = {"points": np.array([[40.0, 40.0]]), "labels": np.array([False])}
    clicked = predictor.predict(features, crop_prompt(frame, **click), [])
    corrected = predictor.predict(features, crop_prompt(frame, own=plain.logits, **click), [])
    assert plain.logits.dtype == torch.float32 and 0.0 <= plain.predicted_iou <= 1.0
    assert not torch.equal(plain.logits, clicked.logits) and not torch.equal(clicked.logits, corrected.logits)


def test_sam_gets_the_box_as_the_centres_of_the_outermost_pixels():
    predictor = make_predictor(small_model("sam2"))
    frame = CropFrame(-0.5, -0.5, 47.5, 47.5, 96)  # two crop pixels a pixel
    corners = frame.to_crop(np.array([[9.5, 19.5], [29.5, 39.5]])).ravel()  # pixels 10..29 and 20..39
    prompt = SlicePrompt(0, frame, True, tuple(corners), crop_prompt(frame).box_coordinates)
    points, labels = predictor._points(prompt)
    np.testing.assert_allclose(points[0], frame.to_crop(np.array([[10, 20], [29, 39]])))
    assert labels.tolist() == [[2, 3]]
    tracked = SlicePrompt(0, frame, False, tuple(corners), crop_prompt(frame).box_coordinates)
    assert predictor._points(tracked) == (None, None)


def test_a_sweep_revises_every_slice():
    swept = session("embedded").segment("object")
    unswept = session("embedded")
    unswept.predictor.revises = False
    plain = unswept.segment("object")
    assert all(
        not np.array_equal(a, b) for a, b in zip(swept.logits.astype(float), plain.logits.astype(float), strict=True)
    )


def test_tracking_begins_where_the_network_is_surest_and_stays_there():
    s = session("embedded")
    first = s.segment("object")
    middle = sorted(first.scores)[len(first.scores) // 2]
    assert abs(first.key_slice - middle) <= len(first.scores) // 4 + 1
    point = tuple(SCENE.volume.geometry.index_to_lps((24, 24, 9)))
    assert s.refine("object", [point], positive=False).key_slice == first.key_slice


def test_the_network_sees_the_contrast_about_the_box_unless_the_user_chose_a_window():
    own = Session(SCENE.volume, small_model("embedded"), window="auto")
    own.add_object("object", SCENE.box)
    shown = own.segment("object").provenance["window"]
    assert shown["low"] < shown["high"]
    assert (shown["low"], shown["high"]) != tuple(own.intensities)
    chosen = session("embedded").segment("object").provenance["window"]
    assert (chosen["low"], chosen["high"]) == tuple(session("embedded").intensities)


def test_a_box_in_the_lung_is_not_shown_black():
    voxels = np.full((8, 48, 48), -850, np.int16)
    voxels[2:6, 18:30, 18:30] = -600
    voxels[:, :4] = 40
    scan = Volume(voxels, Geometry.from_parts(voxels.shape, (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), np.eye(3)), modality="CT")
    box = OrientedBox.from_index_range(scan.geometry, 17, 17, 2, 31, 31, 6)
    lung = Session(scan, small_model("embedded"))
    lung.add_object("nodule", box)
    shown = lung.segment("nodule").provenance["window"]
    assert shown["low"] < -700 < -620 < shown["high"]
