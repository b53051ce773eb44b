"""Objects without a 3-D box, by a network that looks at the whole box: how far they reach across the slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from box_predictor import BoxPredictor
from MedSAMSegmentLib import CancelledError, Geometry, Session, UsageError, Volume
from MedSAMSegmentLib.evaluation.drawn import tight_rectangle
from MedSAMSegmentLib.inference.coarse import CoarseMask, CoarseView
from MedSAMSegmentLib.phantom import make_phantom
from scenes import WINDOW

SIZE, MIDDLE = 40, 20
# The scan's axes along x, y and z, some backwards; slices along k, j and i.
DIRECTIONS = {
    "as usual": np.eye(3),
    "counted downwards": np.diag([1.0, 1.0, -1.0]),
    "turned": np.array([[0.8, 0.0, -0.6], [0.0, -1.0, 0.0], [0.6, 0.0, 0.8]]),
}


class AtOnce(BoxPredictor):
    """Finds what is bright at the first look."""

    def find(self, view: CoarseView) -> Iterator[CoarseMask]:
        *_, best = super().find(view)
        yield best


def scan(first: int, last: int, axis: int = 0, direction: np.ndarray = DIRECTIONS["as usual"]) -> Volume:
    """A bright bar of 13 x 13 voxels from one slice to another, of 1 mm voxels."""
    voxels = np.zeros((SIZE, SIZE, SIZE), np.float32)
    np.moveaxis(voxels, axis, 0)[first : last + 1, 14:27, 14:27] = 1000
    geometry = Geometry.from_parts((SIZE, SIZE, SIZE), (1.0, 1.0, 1.0), (5.0, -7.0, 11.0), direction)
    return Volume(voxels, geometry, modality="CT")


def session(volume: Volume, key: int = MIDDLE, plane: str = "axial", **options: object) -> Session:
    """With a rectangle on one slice; six slices to both sides may be guessed from it (6.5 mm)."""
    s = Session(volume, AtOnce(), window=WINDOW, plane=plane, **options)
    s.add_object("bar")
    s.add_slice_box("bar", key, (13.5, 13.5, 26.5, 26.5))
    return s


def reached(s: Session) -> tuple[int, int]:
    """First and last slice of the mask, which is the whole bar there."""
    mask = np.moveaxis(s.segment("bar").mask, s.plane.axis, 0)
    bright = np.moveaxis(s._runner.volume.voxels, s.plane.axis, 0) > 500
    used = np.flatnonzero(mask.any(axis=(1, 2)))
    np.testing.assert_array_equal(mask[used], bright[used])
    return int(used[0]), int(used[-1])


@pytest.mark.parametrize("direction", list(DIRECTIONS))
@pytest.mark.parametrize(("plane", "axis"), [("axial", 0), ("coronal", 1), ("sagittal", 2)])
def test_the_region_ends_where_the_object_does_and_grows_where_it_goes_on(
    plane: str, axis: int, direction: str
) -> None:
    s = session(scan(18, 38, axis, DIRECTIONS[direction]), plane=plane)
    first, last = reached(s)
    assert (first, last) == (18, 29), "guessed were 14 to 26; half as much again where it goes on"
    assert set(s.results["bar"].scores) == set(range(first, last + 1)), "no slice more is worked out"
    low, high = s.plane.to_slice(s._runner.volume.geometry.lps_to_index(np.stack(corners(s)))).T[2]
    assert sorted((low, high)) == pytest.approx([17.5, 29.5])


def corners(s: Session) -> tuple[np.ndarray, np.ndarray]:
    """Two opposite corners of the box that stands in for the one that was not drawn."""
    box = s.box("bar")
    half = np.asarray(box.axes) @ (np.asarray(box.size) / 2)
    return np.asarray(box.centre) - half, np.asarray(box.centre) + half


@pytest.mark.parametrize(("first", "last", "key"), [(0, 8, 4), (31, 39, 36), (20, 20, 20)])
def test_it_stays_in_the_scan_and_holds_the_slice_that_was_drawn_on(first: int, last: int, key: int) -> None:
    assert reached(session(scan(first, last), key)) == (first, last)


def test_where_nothing_is_found_the_guess_stays() -> None:
    s = session(replace(scan(0, 39), voxels=np.zeros((SIZE,) * 3, np.float32)))
    assert set(s.segment("bar").scores) == set(range(14, 27))


def test_a_diameter_and_a_drawn_slice_say_how_large_the_object_is_and_clicks_do_not() -> None:
    volume = scan(18, 22)
    to_lps = volume.geometry.index_to_lps
    made = {}
    for name in ("line", "mask", "click"):
        made[name] = s = Session(volume, AtOnce(), window=WINDOW, plane="axial")
        s.add_object("bar")
    made["line"].add_line("bar", tuple(to_lps((14, 20, 20))), tuple(to_lps((26, 20, 20))))
    made["mask"].add_mask("bar", 20, volume.voxels[20] > 500)
    made["click"].add_points("bar", [tuple(to_lps((20, 20, 20)))])
    assert reached(made["line"]) == reached(made["mask"]) == reached(made["click"]) == (18, 22)
    looks = {name: len(s._runner.predictor.views) for name, s in made.items()}
    assert looks == {"line": 2, "mask": 2, "click": 0}


@pytest.mark.parametrize("ends", [(18, 22), (2, 38)], ids=["fewer", "more"])
def test_progress_comes_to_its_end(ends: tuple[int, int]) -> None:
    """Also where the slices are others than was thought."""
    steps: list[tuple[int, int]] = []
    session(scan(*ends)).segment("bar", progress=lambda done, total, name: steps.append((done, total)))
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1)) and steps[-1][0] == steps[-1][1]


def test_stopped_after_the_first_look_it_begins_anew() -> None:
    s = session(scan(18, 29))
    with pytest.raises(CancelledError):
        s.segment("bar", cancel=lambda: True)
    assert "bar" not in s.results and s.states["bar"].track is None
    assert reached(s) == reached(session(scan(18, 29)))


def test_whoever_names_the_slices_gets_these() -> None:
    s = session(scan(2, 38))
    assert set(s.segment("bar", reach=(18, 25)).scores) == set(range(18, 26))
    with pytest.raises(UsageError, match="none of which"):
        session(scan(2, 38)).segment("bar", reach=(33, 36))


def test_later_prompts_keep_what_was_found(tmp_path: Path) -> None:
    """Also what is said beyond it, and what a file of the session comes to."""
    volume = scan(18, 38)
    s = session(volume)
    first = s.segment("bar").mask
    s.add_points("bar", [tuple(volume.geometry.index_to_lps((5, 5, 20)))], positive=False)
    assert set(s.segment("bar").scores) == set(range(18, 30))
    s.add_mask("bar", 34, volume.voxels[34] > 500)
    mask = s.segment("bar").mask
    np.testing.assert_array_equal(mask[:30], first[:30])
    np.testing.assert_array_equal(mask[34], volume.voxels[34] > 500)
    s.save(tmp_path / "s.json")
    again = Session.load(tmp_path / "s.json", volume, AtOnce())
    np.testing.assert_array_equal(again.segment("bar").mask, mask)
    s.undo()
    np.testing.assert_array_equal(s.results["bar"].mask[34], False)


def test_what_the_user_asks_of_a_slice_first_changes_nothing_later() -> None:
    s = session(scan(18, 38))
    (candidate,) = s.candidates("bar")
    assert candidate.slice_index == MIDDLE and candidate.mask[20, 20]
    assert reached(s) == (18, 29)


def test_several_rectangles_tell_where_it_begins_and_ends_and_what_lies_between() -> None:
    volume = scan(8, 34)
    s = session(volume)
    for index in (16, 27):
        s.add_slice_box("bar", index, (13.5, 13.5, 26.5, 26.5))
    assert reached(s) == (16, 27), "although the bar goes on"
    prompts = s.predictor.prompts
    for index in range(16, 28):
        assert prompts[index].rectangle_is_drawn and prompts[index].own is None
    # What is said later moves nothing.
    s.add_slice_box("bar", 30, (13.5, 13.5, 26.5, 26.5))
    assert reached(s) == (16, 30)


def test_between_two_rectangles_the_network_looks_for_itself() -> None:
    s = session(scan(8, 34))
    s.add_slice_box("bar", 26, (13.5, 13.5, 26.5, 26.5))
    assert reached(s) == (20, 26)
    assert not s._runner.plan(s.states["bar"], 2).between


def test_parts_that_stand_apart_are_kept_where_rectangles_were_drawn() -> None:
    whole = scan(8, 34)
    voxels = whole.voxels.copy()
    voxels[23:25] = 0
    s = session(Volume(voxels, whole.geometry, modality="CT"))
    for index in (16, 27):
        s.add_slice_box("bar", index, (13.5, 13.5, 26.5, 26.5))
    mask = s.segment("bar").mask
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [*range(16, 23), *range(25, 28)]


def test_a_rectangle_begins_an_object_in_one_step_and_is_previewed_on_its_slice() -> None:
    phantom = make_phantom(0)
    truth = phantom.mask("left kidney")
    index = int(truth.sum(axis=(1, 2)).argmax())
    s = Session(phantom.volume, "embedded")
    s.add_object("kidney", slice_box=(index, tight_rectangle(truth[index])))
    seen = s.preview("kidney")
    assert seen.slice_index == index and not s.results and s.needs_segmenting("kidney")
    assert 2 * (seen.mask & truth[index]).sum() / (seen.mask.sum() + truth[index].sum()) > 0.9
    s.undo()
    assert s.objects == () and not s.can_undo
    with pytest.raises(UsageError, match="no object"):
        s.preview("kidney")


def test_rectangles_give_the_same_mask_on_any_number_of_cores() -> None:
    phantom = make_phantom(0)
    truth = phantom.mask("left kidney")
    there = np.flatnonzero(truth.any(axis=(1, 2)))
    found, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            s = Session(phantom.volume, "embedded")
            s.add_object("kidney")
            for index in there[[0, len(there) // 2, -1]]:
                s.add_slice_box("kidney", int(index), tight_rectangle(truth[index]))
            found.append(s.segment("kidney"))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(found[0].logits, found[1].logits)
    mask = found[0].mask
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.93


def test_the_embedded_network_follows_an_object_from_one_rectangle_to_the_next() -> None:
    phantom = make_phantom(0)
    truth = phantom.mask("left kidney")
    there = np.flatnonzero(truth.any(axis=(1, 2)))
    first, last = int(there[len(there) // 4]), int(there[-len(there) // 4])
    s = Session(phantom.volume, "embedded", strategy="propagate")
    s.add_object("kidney")
    for index in (first, last):
        s.add_slice_box("kidney", index, tight_rectangle(truth[index]))
    found = s.segment("kidney").mask
    assert not found[:first].any() and not found[last + 1 :].any()
    found, truth = found[first : last + 1], truth[first : last + 1]
    overlap = 2 * (found & truth).sum(axis=(1, 2)) / (found.sum(axis=(1, 2)) + truth.sum(axis=(1, 2)))
    assert overlap.min() > 0.8, overlap
