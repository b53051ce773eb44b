"""Models without memory: from slice to slice by the last mask, until what is found is no longer the object."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedSAMSegmentLib import Geometry, OrientedBox, Session, UsageError, Volume
from MedSAMSegmentLib.inference.appearance import appearance_of, coverage, likeness
from threshold_sam import threshold_model

SLICES = 20
WINDOW = "500/1000"
OBJECT, BESIDE, DARK = 700, 950, 200


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.indices((64, 64))
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def middle_of(k: int) -> float:
    """The object leans: on each slice it lies a little further to the right."""
    return 20 + 1.2 * k


def scan(last: int = 14, beside: bool = False) -> Volume:
    """A leaning column on slices 2 to ``last``; ``beside`` it something brighter, whose place it is then."""
    voxels = np.full((SLICES, 64, 64), DARK, np.int16)
    for k in range(SLICES):
        if beside:
            voxels[k][:, round(middle_of(k) + (9 if k <= last else -7)) :] = BESIDE
        if 2 <= k <= last:
            voxels[k][disc(middle_of(k), 30, 6)] = OBJECT
    return Volume(voxels, Geometry.from_parts(voxels.shape, (1.0, 1.0, 3.0), (0.0, 0.0, 0.0), np.eye(3)), modality="CT")


def column(volume: Volume, k: int) -> np.ndarray:
    return volume.voxels[k] == OBJECT


def session(volume: Volume, model=None, box=(8, 18, 2, 56, 43, 20), **options) -> Session:
    made = Session(volume, model or threshold_model(), window=WINDOW, **options)
    made.add_object("object", OrientedBox.from_index_range(volume.geometry, *box))
    return made


def start(s: Session, k: int = 8) -> None:
    """Tell the object's place on one slice."""
    x = middle_of(k)
    s.add_slice_box("object", k, (x - 6.5, 23.5, x + 6.5, 36.5))


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    """Dice coefficient."""
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


def asked(s: Session) -> list[dict]:
    return s.predictor.network.asked


def test_a_leaning_object_is_followed_within_a_box_that_holds_more() -> None:
    volume = scan()
    volume = Volume(np.where(disc(12, 40, 3), OBJECT, volume.voxels).astype(np.int16), volume.geometry, modality="CT")
    s = session(volume, cleanup=False)
    start(s)
    result = s.segment("object")
    for k in range(2, 15):
        assert overlap(result.mask[k], disc(middle_of(k), 30, 6)) > 0.9, k
    assert not result.mask[:, 39:43, 8:13].any()


def test_each_slice_is_asked_with_the_box_about_the_mask_before_a_little_wider() -> None:
    s = session(scan())
    start(s)
    result = s.segment("object")
    frame = s.states["object"].track.frame
    second = asked(s)[1]
    assert second["labels"].tolist() == [[2, 3]]
    corners = frame.to_slice(second["points"][0].numpy(), frame.size)
    margin = 20 / 1024 * (frame.x1 - frame.x0)
    first = [np.flatnonzero(column(s.volume, 8).any(axis)) for axis in (0, 1)]
    low, high = (np.array([part[end] for part in first]) for end in (0, -1))
    np.testing.assert_allclose(corners, [low - margin, high + margin], atol=0.8)
    assert result.key_slice == 8


def test_it_ends_where_something_else_takes_the_objects_place() -> None:
    volume = scan(last=11, beside=True)
    s = session(volume, cleanup=False)
    start(s)
    result = s.segment("object")
    assert [k for k in range(SLICES) if result.mask[k].any()] == list(range(2, 12))
    assert max(result.scores) == 14  # three slices without it, then it has ended
    assert result.scores[12] < 0.5 < result.scores[11]


def test_a_mask_that_slid_onto_its_neighbour_is_no_longer_like_the_object() -> None:
    volume = scan(beside=True)
    network = threshold_model().network
    picture = torch.from_numpy(volume.voxels[8].astype(np.float32) / 1000)[None, None]
    embedding = network.encode_image(picture)[0]
    grid = (64, 64)
    here, neighbour, half = (
        coverage(torch.from_numpy(np.where(mask, 1.0, -1.0)), grid)
        for mask in (
            disc(middle_of(8), 30, 6),
            disc(middle_of(8) + 14, 30, 6),
            disc(middle_of(8), 30, 6) | disc(middle_of(8) + 14, 30, 6),
        )
    )
    known = [appearance_of(embedding, here)]
    assert likeness(embedding, here, known) == 1.0
    assert likeness(embedding, neighbour, known) < 0.1
    assert likeness(embedding, half, known) == pytest.approx(0.5, abs=0.05)
    assert likeness(embedding, here * 0, known) == 0.0
    assert appearance_of(embedding, here * 0) is None and appearance_of(embedding, here * 0 + 1) is None


@pytest.mark.parametrize("understands", [["box", "points", "mask"], ["box"]])
def test_the_mask_before_is_shown_where_the_network_knows_masks(understands: list[str]) -> None:
    s = session(scan(), threshold_model(prompts=understands))
    start(s)
    s.segment("object")
    shown = [call["mask"] is not None for call in asked(s)]
    assert not shown[0] and all(known == ("mask" in understands) for known in shown[1:])


def test_a_drawn_slice_leads_its_neighbours() -> None:
    volume = scan()
    s = session(volume, threshold_model(prompts=["box"]), cleanup=False)
    s.add_mask("object", 6, column(volume, 6))
    result = s.segment("object")
    assert result.key_slice == 6
    np.testing.assert_array_equal(result.mask[6], column(volume, 6))
    assert overlap(result.mask[7], column(volume, 7)) > 0.95


def test_a_correction_on_a_second_slice_is_followed_from_there() -> None:
    volume = scan()
    s = session(volume, threshold_model(prompts=["box"]), cleanup=False)
    wrong = disc(48, 40, 4)
    s.add_mask("object", 8, wrong)  # nothing is there on the next slices
    before = s.segment("object")
    assert not before.mask[10].any()
    x = middle_of(11)
    s.add_slice_box("object", 11, (x - 6.5, 23.5, x + 6.5, 36.5))
    after = s.segment("object")
    np.testing.assert_array_equal(after.mask[8], wrong)
    for k in (10, 11, 12, 14):
        assert overlap(after.mask[k], column(volume, k)) > 0.95


def test_between_rectangles_every_slice_is_asked_with_what_lies_between() -> None:
    volume = scan(beside=True)  # what the mask would slide onto is no temptation
    s = Session(volume, threshold_model(prompts=["box"]), window=WINDOW, cleanup=False)
    s.add_object("object")
    for k in (4, 8, 12):
        x = middle_of(k)
        s.add_slice_box("object", k, (x - 6.5, 23.5, x + 6.5, 36.5))
    result = s.segment("object")
    frame = s.states["object"].track.frame
    assert sorted(result.scores) == list(range(4, 13)) and len(asked(s)) == 9
    edges = sorted(frame.to_slice(call["points"][0].numpy(), frame.size)[0, 0] for call in asked(s))
    np.testing.assert_allclose(edges, [middle_of(k) - 6 for k in range(4, 13)], atol=0.8)
    for k in range(4, 13):
        assert overlap(result.mask[k], column(volume, k)) > 0.9, k


def test_clicks_and_their_kin_are_refused_by_a_model_that_was_trained_with_boxes() -> None:
    s = session(scan(), threshold_model(prompts=["box"]))
    inside, other = (tuple(s.volume.geometry.index_to_lps((middle_of(8), j, 8))) for j in (30, 34))
    for give in (
        lambda: s.add_points("object", [inside]),
        lambda: s.add_scribble("object", [inside, other]),
        lambda: s.add_line("object", inside, other),
    ):
        with pytest.raises(UsageError) as caught:
            give()
        assert caught.value.code == "PROMPT_NOT_TRAINED" and "boxes only" in caught.value.message
    assert s.prompts("object").points == ()
    s.add_object("without a box")
    s.add_line("without a box", inside, other)  # says how large it is
    assert s.segment("without a box").mask[8].any()
    s.add_object("of no known size")
    with pytest.raises(UsageError) as unknown:
        s.add_points("of no known size", [inside])
    assert unknown.value.code == "PROMPT_NOT_TRAINED"


def test_an_estimate_that_was_not_trained_is_not_taken_for_one() -> None:
    for trained, expected in ((True, 0.9), (False, 1.0)):
        s = session(scan(), threshold_model(estimates_overlap=trained))
        start(s)
        assert s.segment("object").scores[8] == pytest.approx(expected)  # the masks are perfectly stable


def test_one_click_is_enough_and_its_three_meanings_can_be_seen() -> None:
    volume = scan()
    s = Session(volume, threshold_model(), window=WINDOW, cleanup=False)
    s.add_object("object")
    s.add_points("object", [tuple(volume.geometry.index_to_lps((middle_of(8), 30, 8)))])
    offered = s.candidates("object")
    assert [candidate.score for candidate in offered] == sorted((c.score for c in offered), reverse=True)
    assert len(offered) == 3 and {candidate.slice_index for candidate in offered} == {8}
    np.testing.assert_array_equal(offered[0].mask, column(volume, 8))
    result = s.segment("object")
    for k in (2, 8, 14):
        assert overlap(result.mask[k], column(volume, k)) > 0.95
    s.add_mask("object", 8, offered[0].mask)
    assert s.segment("object").key_slice == 8


def test_a_click_corrects_the_mask_that_was_shown() -> None:
    volume = scan(beside=True)
    s = session(volume, cleanup=False, strategy="per-slice", box=(20, 20, 8, 60, 41, 9))
    first = s.segment("object")
    beside = (volume.voxels[8] == BESIDE) & first.mask[8]
    assert beside.any() and column(volume, 8).any()
    outside = tuple(volume.geometry.index_to_lps((middle_of(8) + 14, 30, 8)))
    second = s.refine("object", [outside], positive=False)
    assert asked(s)[-1]["mask"] is not None and asked(s)[-1]["labels"].tolist() == [[0]]
    assert overlap(second.mask[8], column(volume, 8)) > 0.8 > overlap(first.mask[8], column(volume, 8))
