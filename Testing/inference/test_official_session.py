"""``full_slice`` and ``official``: a session that does what the authors' programs do.

That their results come out, given the same weights, is shown by the golden arrays (`Testing/models/test_parity.py`);
here: which program is taken, on which slices, with which prompts, and that a session stays a session.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib import CancelledError, Geometry, OrientedBox, Session, UsageError, Volume
from MedSAMSegmentLib.inference.image_predictor import ImagePredictor
from MedSAMSegmentLib.inference.official import OfficialPrompt, OfficialTracker, largest_component
from small_networks import small_model

SHAPE = (7, 40, 52)
PIXELS = np.random.default_rng(5).integers(0, 256, SHAPE, dtype=np.uint8)
SCAN = Volume(PIXELS, Geometry.from_parts(SHAPE, (1.0, 1.0, 2.0), (3.0, 4.0, 5.0), np.eye(3)))
BOX = OrientedBox.from_index_range(SCAN.geometry, 10, 12, 2, 31, 29, 5)  # slices 2 to 4
CORNERS = (10.0, 12.0, 30.0, 28.0)  # first and last pixel
BOXES_ONLY = {
    "prompts": ["box"],
    "preprocessing": {
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
        "resize": "longest-side",
        "filter": "area",
        "intensities": "min-max",
        "next_box_margin": 3,
    },
}
COMPONENT = {"preprocessing": {"mean": [0.5] * 3, "std": [0.2] * 3, "largest_component": True}}


def session(model, volume: Volume = SCAN, **options) -> Session:
    made = Session(volume, model, full_slice=True, official=True, **options)
    made.add_object("object", BOX)
    return made


def alone(model, pixels: np.ndarray, **prompt) -> np.ndarray:
    """The mask of one picture by the program for single images."""
    predictor = ImagePredictor(model)
    encoded = predictor.encode(pixels)
    found = predictor.predict(encoded, **prompt)
    return predictor.masks(encoded, found)[0, int(found.ious[0].argmax())]


@pytest.mark.parametrize("architecture", ["sam2", "efficient-tam"])
def test_memory_goes_both_ways_through_the_whole_scan(architecture: str) -> None:
    model = small_model(architecture, **COMPONENT)
    seen, progress = [], []
    s = session(model)
    result = s.segment(
        "object",
        progress=lambda done, total, name: progress.append((done, total)),
        on_slice=lambda name, index, mask: seen.append(index),
    )
    assert seen == [3, 4, 5, 6, 3, 2, 1, 0] and progress == [(n + 1, 8) for n in range(8)]
    expected = np.zeros(SHAPE, bool)
    for step in OfficialTracker(model, PIXELS).both_ways(3, [OfficialPrompt(box=CORNERS)]):
        expected[step.index] |= step.logits[0] > 0
    np.testing.assert_array_equal(result.mask, largest_component(expected))
    assert result.complete and result.key_slice == 3 and sorted(result.scores) == list(range(7))
    plain = session(small_model(architecture)).segment("object")
    np.testing.assert_array_equal(plain.mask, expected)


@pytest.mark.parametrize(
    ("architecture", "told"),
    [
        ("sam2", OfficialPrompt(points=[(12, 20), (16, 20), (20, 20), (24, 20), (28, 20)], labels=[1] * 5)),
        ("efficient-tam", OfficialPrompt(box=(10, 10, 30, 30))),
    ],
)
def test_a_diameter_goes_the_way_of_the_program_for_recist_lines(architecture: str, told: OfficialPrompt) -> None:
    model = small_model(architecture, **COMPONENT)
    s = Session(SCAN, model, full_slice=True, official=True)
    s.add_object("lesion")
    s.add_line("lesion", *(tuple(SCAN.geometry.index_to_lps(place)) for place in ((10, 20, 3), (30, 20, 3))))
    result = s.segment("lesion")
    tracker = OfficialTracker(model, PIXELS)
    mask = tracker.prompt(3, 0, told)[0] > 0
    expected = np.zeros(SHAPE, bool)
    for step in tracker.both_ways(3, [OfficialPrompt(mask=mask)]):
        expected[step.index] |= step.logits[0] > 0
    np.testing.assert_array_equal(result.mask, expected)  # all components


def test_prompts_on_further_slices_count_from_the_beginning_also_beyond_the_box() -> None:
    model = small_model("sam2")
    s = session(model)
    first = s.segment("object")
    s.add_points("object", [tuple(SCAN.geometry.index_to_lps((20, 20, 5)))], positive=False)
    assert s.needs_segmenting("object")
    second = s.segment("object")
    tracker = OfficialTracker(model, PIXELS)
    tracker.prompt(3, 0, OfficialPrompt(box=CORNERS))
    tracker.prompt(5, 0, OfficialPrompt(points=[(20, 20)], labels=[0]))
    forward = {index: logits[0] > 0 for index, logits in tracker.propagate(3)}
    for index in (4, 5, 6):
        np.testing.assert_array_equal(second.mask[index], forward[index])
    assert not np.array_equal(first.mask, second.mask)


def test_boxes_follow_masks_from_the_middle_of_the_box_to_its_ends() -> None:
    model = small_model("sam-tiny-vit", **BOXES_ONLY)
    seen = []
    result = session(model).segment("object", on_slice=lambda name, index, mask: seen.append(index))
    assert seen == [3, 4, 2]
    np.testing.assert_array_equal(result.mask[3], alone(model, PIXELS[3], boxes=np.array([CORNERS])))
    assert not result.mask[[0, 1, 5, 6]].any() and sorted(result.scores) == [2, 3, 4]


def test_a_rectangle_on_a_slice_is_a_box_of_its_own() -> None:
    model = small_model("sam-tiny-vit", **BOXES_ONLY)
    s = session(model)
    s.add_slice_box("object", 4, (11.5, 14.5, 24.5, 26.5))  # smaller: the middle of the box still comes first
    seen = []
    result = s.segment("object", on_slice=lambda name, index, mask: seen.append(index))
    assert seen == [3, 4, 2]
    for index, box in ((4, (12, 15, 24, 26)), (3, CORNERS)):
        np.testing.assert_array_equal(result.mask[index], alone(model, PIXELS[index], boxes=np.array([box])))


@pytest.mark.parametrize(
    ("architecture", "changes", "strategy"),
    [("sam", {}, "propagate"), ("sam-tiny-vit", BOXES_ONLY, "per-slice"), ("sam2", {}, "per-slice")],
)
def test_slices_that_stand_for_themselves_go_through_the_program_for_images(architecture, changes, strategy) -> None:
    model = small_model(architecture, **changes)
    result = session(model, strategy=strategy).segment("object")
    for index in (2, 3, 4):
        np.testing.assert_array_equal(result.mask[index], alone(model, PIXELS[index], boxes=np.array([CORNERS])))
    assert result.extent[0] == slice(2, 5)


def test_a_picture_with_clicks_goes_through_the_program_for_images() -> None:
    model = small_model("sam2")
    picture = Volume(PIXELS[:1], Geometry.from_parts((1, 40, 52), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3)))
    s = Session(picture, model, full_slice=True, official=True)
    s.add_object("object")
    s.add_points("object", [tuple(picture.geometry.index_to_lps((20, 20, 0)))])
    expected = alone(model, PIXELS[0], points=np.array([[[20.0, 20.0]]]), labels=np.array([[1]]), multimask=True)
    np.testing.assert_array_equal(s.segment("object").mask[0], expected)


def test_eight_bits_are_taken_as_they_are_and_others_through_the_window() -> None:
    model = small_model("sam")
    wide = Volume(PIXELS.astype(np.int16) * 10 - 500, SCAN.geometry, modality="CT")
    direct = session(model).segment("object")
    windowed = session(model, wide, window="775/2550").segment("object")
    np.testing.assert_array_equal(windowed.mask, direct.mask)
    assert direct.provenance["window"] == {"low": 0.0, "high": 255.0}
    chosen = session(model, window="100/60").segment("object")
    assert chosen.provenance["window"] == {"low": 70.0, "high": 130.0}
    assert not np.array_equal(chosen.logits, direct.logits)


def test_cancelling_keeps_what_is_done_and_the_next_call_begins_again() -> None:
    s = session(small_model("sam"))
    calls = iter([False, True])
    with pytest.raises(CancelledError):
        s.segment("object", cancel=lambda: next(calls))
    part = s.results["object"]
    assert not part.complete and sorted(part.scores) == [2, 3] and s.needs_segmenting("object")
    whole = s.segment("object")
    assert whole.complete and sorted(whole.scores) == [2, 3, 4] and not s.needs_segmenting("object")
    assert s.segment("object") is whole  # nothing new was said


def test_accepted_slices_stay_and_a_file_repeats_the_mask(tmp_path) -> None:
    model = small_model("sam")
    s = session(model)
    first = s.segment("object")
    s.accept("object", [2])
    s.add_points("object", [tuple(SCAN.geometry.index_to_lps((20, 20, 3)))], positive=False)
    second = s.segment("object")
    np.testing.assert_array_equal(second.mask[2], first.mask[2])
    assert not np.array_equal(second.logits[1], first.logits[1])
    s.save(tmp_path / "case.json")
    again = Session.load(tmp_path / "case.json", SCAN, model)
    assert again.settings.official
    np.testing.assert_array_equal(again.segment("object").mask, second.mask)


def test_each_slice_is_encoded_once_for_all_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    for architecture, slices in (("sam", 3), ("sam2", 7)):
        model = small_model(architecture)
        encoded = []
        original = model.network.encode_image
        monkeypatch.setattr(model.network, "encode_image", lambda x, e=encoded, o=original: e.append(1) or o(x))
        s = session(model)
        s.add_object("another", BOX.expanded(-2.0))
        s.segment()
        assert len(encoded) == slices


def test_what_has_no_official_program_is_refused_at_once() -> None:
    for model in (small_model("embedded"), IntensityPredictor()):
        with pytest.raises(UsageError) as caught:
            Session(SCAN, model, full_slice=True, official=True)
        assert caught.value.code == "NO_OFFICIAL_PROGRAM"
    with pytest.raises(UsageError) as conflict:
        Session(SCAN, small_model("sam"), official=True)
    assert conflict.value.code == "OPTION_CONFLICT"


def test_the_scan_is_never_changed() -> None:
    before = SCAN.voxels.tobytes()
    session(small_model("sam2")).segment("object")
    assert SCAN.voxels.tobytes() == before and torch.is_inference_mode_enabled() is False
