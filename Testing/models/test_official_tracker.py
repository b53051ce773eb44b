"""The official order of a volume: which slices are visited, what is forgotten, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedSAMSegmentLib.checkpoints import LoadedModel
from MedSAMSegmentLib.errors import InputError, UsageError
from MedSAMSegmentLib.inference.official import OfficialPrompt, OfficialTracker, largest_component
from MedSAMSegmentLib.models.specification import ModelSpec
from small_networks import entry, small_network

BOX = OfficialPrompt(box=(10, 12, 30, 28))


@pytest.fixture
def tracker() -> OfficialTracker:
    slices = np.random.default_rng(0).integers(0, 256, (5, 40, 50), dtype=np.uint8)
    loaded = LoadedModel(ModelSpec.from_dict(entry()), small_network(), "", torch.device("cpu"))
    return OfficialTracker(loaded, slices)


def test_every_slice_is_visited_and_the_key_slice_in_both_passes(tracker: OfficialTracker) -> None:
    steps = list(tracker.both_ways(2, [BOX]))
    assert [step.index for step in steps] == [2, 3, 4, 2, 1, 0]
    assert [step.done for step in steps] == [1, 2, 3, 4, 5, 6]
    assert {step.total for step in steps} == {6}
    assert all(step.logits.shape == (1, 40, 50) for step in steps)
    assert np.array_equal(steps[0].logits, steps[3].logits)


def test_from_the_first_slice_there_is_one_pass(tracker: OfficialTracker) -> None:
    steps = list(tracker.both_ways(0, [BOX]))
    assert [step.index for step in steps] == [0, 1, 2, 3, 4]
    assert steps[-1].done == steps[-1].total


def test_passes_are_independent(tracker: OfficialTracker) -> None:
    both = {step.index: step.logits for step in tracker.both_ways(2, [BOX])}
    tracker.reset()
    tracker.prompt(2, 7, BOX)
    alone = dict(tracker.propagate(2, reverse=True))
    assert all(np.array_equal(both[index], alone[index]) for index in (0, 1, 2))


def test_each_slice_is_encoded_once(tracker: OfficialTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    original = tracker.network.encode_image
    monkeypatch.setattr(tracker.network, "encode_image", lambda image: encoded.append(1) or original(image))
    list(tracker.both_ways(2, [BOX]))
    assert len(encoded) == 5


def test_the_volume_is_neither_copied_nor_changed(tracker: OfficialTracker) -> None:
    before = tracker.slices.copy()
    tracker.slices.flags.writeable = False
    list(tracker.both_ways(1, [BOX]))
    assert np.array_equal(tracker.slices, before)


def test_a_drawn_mask_comes_back_as_it_was_drawn(tracker: OfficialTracker) -> None:
    mask = np.zeros((40, 50), bool)
    mask[10:30, 12:40] = True
    logits = tracker.prompt(2, 1, OfficialPrompt(mask=mask))[0]
    assert np.mean((logits > 0) != mask) < 0.02


def test_a_correction_changes_its_slice_and_those_after_it(tracker: OfficialTracker) -> None:
    tracker.prompt(0, 1, BOX)
    before = dict(tracker.propagate())
    click = OfficialPrompt(points=[(5, 5), (25, 20)], labels=[0, 1])
    corrected = tracker.prompt(3, 1, click)
    after = dict(tracker.propagate())
    assert all(np.array_equal(before[i], after[i]) for i in range(3))
    assert np.array_equal(after[3], corrected)
    assert not np.array_equal(before[3], after[3])
    assert not np.array_equal(before[4], after[4])


def test_what_cannot_be_done_is_refused(tracker: OfficialTracker) -> None:
    with pytest.raises(UsageError) as nothing:
        list(tracker.propagate())
    with pytest.raises(UsageError) as empty:
        tracker.prompt(2, 1, OfficialPrompt())
    tracker.prompt(2, 1, BOX)
    list(tracker.propagate())
    with pytest.raises(UsageError) as late:
        tracker.prompt(3, 2, BOX)
    assert [e.value.code for e in (nothing, empty, late)] == ["NOTHING_PROMPTED", "EMPTY_PROMPT", "TRACKING_STARTED"]
    loaded = LoadedModel(ModelSpec.from_dict(entry()), tracker.network, "", torch.device("cpu"))
    with pytest.raises(InputError, match="8 bits"):
        OfficialTracker(loaded, np.zeros((2, 8, 8), np.float32))


def test_the_largest_component_counts_corners_as_touching() -> None:
    mask = np.zeros((4, 6, 6), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = True  # three voxels on a diagonal
    mask[0, 4, 4:6] = True  # two beside each other
    kept = largest_component(mask)
    assert kept.sum() == 3
    assert kept[2, 2, 2]
    assert not largest_component(np.zeros((2, 3, 3), bool)).any()
