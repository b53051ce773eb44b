"""Networks that look at the whole box again after a click: what it changes, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from box_predictor import BoxPredictor
from MedSAMSegmentLib import CancelledError, OrientedBox, Session, Volume
from MedSAMSegmentLib.checkpoints import load_model
from MedSAMSegmentLib.inference.box_clicks import clicks_on_drawn
from MedSAMSegmentLib.inference.coarse import CoarseMask, CoarseView
from MedSAMSegmentLib.models.coarse import CoarseGrid
from scenes import WINDOW, ellipsoid
from session_scene import KEY, SCENE, at, same, session

# The half-size of what a click changes, as a part of the box's half-size.
REACH = 0.35


class CorrectingPredictor(BoxPredictor):
    """Every click changes what lies about it in the whole box."""

    corrects = True

    def __init__(self, cells: tuple[int, int, int] = (32, 56, 56)) -> None:
        super().__init__(cells)
        self.corrections: list[tuple[np.ndarray, np.ndarray]] = []

    def correct(self, view: CoarseView, found: CoarseMask, places: np.ndarray, inside: np.ndarray) -> torch.Tensor:
        assert found.box == view.box and found.logits.shape == view.intensities.shape
        self.corrections.append((places, inside))
        logits = found.logits.clone()
        for place, positive in zip(places, inside, strict=True):
            away = found.grid.places() - torch.from_numpy(place).float().view(3, 1, 1, 1)
            logits[away.abs().amax(dim=0) < REACH] = 6.0 if positive else -6.0
        return logits


class After:
    """Says stop when it was asked so many times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self) -> bool:
        self.times -= 1
        return self.times < 0


def test_a_click_corrects_the_slices_about_it_and_asks_for_no_other():
    predictor = CorrectingPredictor()
    predictor.revises = True
    s = session(predictor)
    first = s.segment("object")
    predictor.forget_calls()
    second = s.refine("object", at(32, 32, KEY + 3), positive=False)
    reach = REACH * SCENE.box.size[2] / 2 / SCENE.volume.geometry.spacing[2]
    changed = {k for k in range(len(first.mask)) if (first.mask[k] != second.mask[k]).any()}
    assert {KEY + 2, KEY + 3, KEY + 4} <= changed
    assert max(abs(k - (KEY + 3)) for k in changed) <= reach + 1
    assert max(abs(k - (KEY + 3)) for k in predictor.predicted) <= reach + 3, "the rest of the box is as it was"
    rows, columns = np.nonzero((first.mask != second.mask).any(axis=0))
    assert np.abs(rows - 32).max() < 20 and np.abs(columns - 32).max() < 20
    assert len(predictor.corrections) == 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("left_handed", [False, True])
def test_a_click_counts_at_its_place_in_a_rotated_box_on_an_oblique_scan(seed: int, left_handed: bool):
    scene = ellipsoid(seed, left_handed=left_handed)
    predictor = CorrectingPredictor((48, 64, 64))
    s = Session(scene.volume, predictor, window=WINDOW)
    s.add_object("object", scene.box)
    first = s.segment("object")
    axes, half = np.asarray(scene.box.axes), np.asarray(scene.box.size) / 2
    place = np.asarray(scene.box.centre) + axes @ ([0.2, -0.3, 0.25] * half)
    second = s.refine("object", [tuple(place)], positive=False)
    local = np.stack(
        [
            scene.box.to_local(scene.volume.geometry.voxel_centres_lps(0, k))
            for k in range(scene.volume.geometry.shape[0])
        ]
    )
    about = np.abs(local - [0.2, -0.3, 0.25]).max(axis=-1)
    assert not second.mask[about < REACH - 0.15].any()
    beyond = about > REACH + 0.25
    np.testing.assert_array_equal(second.mask[beyond], first.mask[beyond])
    assert first.mask[about < REACH - 0.15].all()


def test_the_clicked_slice_is_shown_before_the_whole_box_is_looked_at_again():
    predictor = CorrectingPredictor()
    s, silent = session(predictor), session(CorrectingPredictor())
    before = s.segment("object").mask
    silent.segment("object")
    shown: list[tuple[int, int, np.ndarray]] = []
    s.add_points("object", at(32, 32, KEY + 3), positive=False)
    result = s.segment(
        "object", on_slice=lambda name, index, mask: shown.append((index, len(predictor.corrections), mask))
    )
    index, looks, mask = shown[0]
    assert (index, looks) == (KEY + 3, 0) and shown[1][1] == 1
    assert before[index][32, 32] and not mask[32, 32]
    assert same(result, silent.refine("object", at(32, 32, KEY + 3), positive=False)), "nothing of it is kept"
    shown.clear()
    s.add_points("object", at(32, 32, KEY - 3), positive=False)
    s.segment("object", reach=(KEY, KEY + 5), on_slice=lambda name, index, mask: shown.append((index, 0, mask)))
    assert all(mask[32, 32] for index, _, mask in shown if index == KEY - 3), "that slice is not to change"


def test_what_changes_away_from_the_click_was_not_asked_for():
    class Fickle(CorrectingPredictor):
        """Changes its mind at the other end of the box, too."""

        def correct(self, view: CoarseView, found: CoarseMask, places: np.ndarray, inside: np.ndarray) -> torch.Tensor:
            logits = super().correct(view, found, places, inside)
            logits[4:8] = -6.0
            return logits

    fickle, plain = session(Fickle()), session(CorrectingPredictor())
    fickle.segment("object")
    plain.segment("object")
    click = at(32, 32, KEY + 5)
    assert same(fickle.refine("object", click, positive=False), plain.refine("object", click, positive=False))


@pytest.mark.parametrize("inside", [True, False])
def test_a_click_inside_never_takes_away_and_one_outside_never_adds(inside: bool):
    class Contrary(CorrectingPredictor):
        """Moves the mask: adds on one side of the click what it takes away on the other."""

        def correct(self, view: CoarseView, found: CoarseMask, places: np.ndarray, inside: np.ndarray) -> torch.Tensor:
            return found.logits.roll(8, dims=2)

    s = session(Contrary(), cleanup=False)
    first = s.segment("object").mask
    click = at(44, 42, KEY) if inside else at(20, 32, KEY)
    second = s.refine("object", click, positive=inside).mask
    assert ((second & ~first) if inside else (first & ~second)).any()
    assert not ((first & ~second) if inside else (second & ~first)).any()


def test_all_clicks_are_told_with_the_mask_that_the_last_one_corrects():
    predictor = CorrectingPredictor()
    s = session(predictor)
    s.segment("object")
    s.refine("object", at(32, 32, KEY + 3), positive=False)
    s.refine("object", at(30, 34, KEY - 4), positive=True)
    assert [len(places) for places, _ in predictor.corrections] == [1, 2]
    assert [inside.tolist() for _, inside in predictor.corrections] == [[False], [False, True]]
    assert len(predictor.views) == 1


def test_clicks_given_with_the_box_count_at_once():
    predictor = CorrectingPredictor()
    s = session(predictor)
    s.add_points("object", at(32, 32, KEY + 3), positive=False)
    result = s.segment("object")
    assert len(predictor.corrections) == 1 and not result.mask[KEY + 2, 32, 32]


def test_a_drawn_slice_tells_the_whole_box_where_it_was_wrong():
    predictor = CorrectingPredictor()
    s = session(predictor, cleanup=False)
    first = s.segment("object")
    drawn = first.mask[KEY + 3].copy()
    drawn[:, 36:] = False
    s.add_mask("object", KEY + 3, drawn)
    second = s.segment("object")
    np.testing.assert_array_equal(second.mask[KEY + 3], drawn)
    ((places, inside),) = predictor.corrections
    assert inside.tolist() == [False, True], "the middle of what was too much, and of what was right"
    assert places[0, 2] > 0.2 > places[1, 2]
    lost = first.mask[KEY + 2] & ~second.mask[KEY + 2]
    assert lost.sum() > 20 and not lost[:, :30].any()
    predictor.corrections.clear()
    s.refine("object", at(28, 32, KEY - 6), positive=False)
    assert [inside.tolist() for _, inside in predictor.corrections] == [[False, True, False]], "it is remembered"


def test_a_slice_drawn_as_it_was_found_asks_for_nothing():
    predictor = CorrectingPredictor()
    s = session(predictor, cleanup=False)
    first = s.segment("object")
    s.add_mask("object", KEY + 3, first.mask[KEY + 3])
    second = s.segment("object")
    np.testing.assert_array_equal(second.mask[: KEY + 3], first.mask[: KEY + 3])
    np.testing.assert_array_equal(second.mask[KEY + 4 :], first.mask[KEY + 4 :])


def test_what_the_network_makes_of_a_rectangle_counts_as_drawn():
    class LeftHalf(CorrectingPredictor):
        def predict(self, features, prompt, bank):
            found = super().predict(features, prompt, bank)
            if not prompt.rectangle_is_drawn:
                return found
            logits = found.logits.clone()
            logits[:, logits.shape[1] // 2 :] = -8.0
            return replace(found, logits=logits)

    predictor = LeftHalf()
    s = session(predictor, cleanup=False)
    first = s.segment("object")
    s.add_slice_box("object", KEY + 3, (17.5, 10.5, 46.5, 53.5))
    second = s.segment("object")
    ((places, inside),) = predictor.corrections
    assert inside.tolist() == [False, True] and places[0, 2] > 0 > places[1, 2]
    lost = first.mask[KEY + 2] & ~second.mask[KEY + 2]
    assert lost.sum() > 20 and not lost[:, :30].any()
    s.segment("object")
    assert len(predictor.corrections) == 1, "it is told once"


def test_drawn_masks_become_clicks_in_the_middle_of_errors():
    found, drawn = np.zeros((2, 64, 64), bool)
    found[10:30, 10:30] = True
    drawn[10:30, 10:20] = True
    drawn[40:51, 40:51] = True
    drawn[60, 60] = True
    clicks = dict(clicks_on_drawn(found, drawn))
    assert clicks.pop((45, 45)) is True
    (missed,) = [place for place, inside in clicks.items() if not inside]
    assert 14 <= missed[0] < 26 and missed[1] in (24, 25)
    (kept,) = [place for place, inside in clicks.items() if inside]
    assert drawn[kept] and found[kept]
    assert list(clicks_on_drawn(np.zeros((8, 8), bool), np.zeros((8, 8), bool))) == []


def test_a_correction_that_was_stopped_ends_as_one_that_was_not():
    whole = session(CorrectingPredictor())
    whole.segment("object")
    expected = whole.refine("object", at(32, 32, KEY + 3), positive=False)
    for stop in range(6):
        predictor = CorrectingPredictor()
        s = session(predictor)
        s.segment("object")
        with pytest.raises(CancelledError):
            s.refine("object", at(32, 32, KEY + 3), positive=False, cancel=After(stop))
        assert same(s.segment("object"), expected), stop


def test_undo_and_a_saved_session_come_back_to_the_same_masks(tmp_path):
    s = session(CorrectingPredictor())
    first = s.segment("object")
    second = s.refine("object", at(32, 32, KEY + 3), positive=False)
    third = s.refine("object", at(40, 30, KEY - 4), positive=False)
    s.save(tmp_path / "session.json")
    again = Session.load(tmp_path / "session.json", SCENE.volume, CorrectingPredictor())
    assert same(again.segment("object"), third)
    s.undo()
    assert same(s.segment("object"), second)
    s.undo()
    assert same(s.segment("object"), first)
    s.redo()
    assert same(s.segment("object"), second)


def test_accepted_slices_stay_whatever_the_whole_box_says():
    s = session(CorrectingPredictor(), cleanup=False)
    first = s.segment("object")
    s.accept("object", [KEY + 2])
    second = s.refine("object", at(32, 32, KEY + 3), positive=False)
    np.testing.assert_array_equal(second.mask[KEY + 2], first.mask[KEY + 2])
    assert (second.mask[KEY + 1] != first.mask[KEY + 1]).any()


def test_an_earlier_correction_of_a_slice_is_kept_by_a_later_one_elsewhere():
    s = session(CorrectingPredictor())
    s.segment("object")
    second = s.refine("object", at(32, 32, KEY + 6), positive=False)
    third = s.refine("object", at(32, 32, KEY - 6), positive=False)
    np.testing.assert_array_equal(third.mask[KEY + 4 :], second.mask[KEY + 4 :])
    assert (third.mask[KEY - 6] != second.mask[KEY - 6]).any()


@pytest.mark.parametrize("kind", [BoxPredictor, CorrectingPredictor])
def test_a_click_beyond_the_box_grows_the_box_and_moves_nothing(kind: type[BoxPredictor]):
    """What was found before lies where it lay, though the box is a larger one now."""
    s = session(kind())
    first = s.segment("object")
    i, j, _ = SCENE.volume.geometry.lps_to_index(np.asarray(SCENE.box.centre))
    outside = at(i + SCENE.box.size[0] / 2 / SCENE.volume.geometry.spacing[0] + 3, j, KEY)
    assert not SCENE.box.contains(outside).any()
    second = s.refine("object", outside, positive=True)
    away = np.arange(first.mask.shape[2]) < i + 4
    # The grid is another one, so the border may differ by a part of a cell.
    assert (first.mask != second.mask)[..., away].sum() < 0.03 * first.mask.sum()
    assert second.mask[KEY].sum() > first.mask[KEY].sum()


def test_what_was_found_can_be_carried_to_the_grid_about_a_larger_box():
    grid = CoarseGrid((16, 24, 24))
    box = SCENE.box
    found = CoarseMask(grid.places().square().sum(dim=0).sqrt() * -8.0 + 6.0, grid, (2, 1, 0), box)
    centre, size = np.add(box.centre, [1.0, -2.0, 1.5]), np.multiply(box.size, [1.2, 1.4, 1.15])
    larger = OrientedBox(centre, box.axes, size)
    moved = found.about(larger)
    assert moved.box == larger and found.about(box) is found
    # Where the larger grid's cells lie in the first box.
    places = np.stack(np.meshgrid(*(grid.place(n).numpy() for n in range(3)), indexing="ij"), axis=-1)
    local = np.zeros_like(places)
    local[..., [2, 1, 0]] = places
    lps = np.asarray(larger.centre) + (local * np.asarray(larger.size) / 2) @ np.asarray(larger.axes).T
    before = box.to_local(lps)
    expected = np.linalg.norm(before, axis=-1) * -8.0 + 6.0
    seen = np.abs(before).max(axis=-1) < grid.reach - 0.1
    assert seen.mean() > 0.4
    np.testing.assert_allclose(moved.logits.numpy()[seen], expected[seen], atol=0.5)
    assert (moved.logits.numpy()[np.abs(before).max(axis=-1) > grid.reach + 0.01] < -5).all()


@pytest.mark.parametrize(("left_value", "right_value"), [(300, 300), (150, 300)])
def test_the_embedded_network_leaves_out_a_body_that_was_clicked_on_as_another(left_value: int, right_value: int):
    """Two bodies fill the box's halves; the box does not say which is meant."""
    scene = ellipsoid(5, shape=(24, 64, 64), oblique=False)
    voxels = np.zeros((24, 64, 64), np.int16)
    rows, columns = np.mgrid[:64, :64]
    left = np.zeros(voxels.shape, bool)
    left[6:18] = (rows - 32) ** 2 / 12**2 + (columns - 20) ** 2 / 9**2 < 1
    right = left[..., ::-1].copy()
    voxels[left], voxels[right] = left_value, right_value
    voxels += np.random.default_rng(0).normal(0, 20, voxels.shape).astype(np.int16)
    volume = Volume(voxels, scene.volume.geometry, modality="CT")
    both = np.argwhere(left | right)
    (k0, j0, i0), (k1, j1, i1) = both.min(axis=0), both.max(axis=0) + 1
    box = OrientedBox.from_index_range(volume.geometry, i0, j0, k0, i1, j1, k1)
    s = Session(volume, load_model("embedded", device="cpu"))
    s.add_object("object", box)
    s.segment("object")
    mask = s.refine("object", [tuple(volume.geometry.index_to_lps((43, 32, 12)))], positive=False).mask
    assert 2 * (mask & left).sum() / (mask.sum() + left.sum()) > 0.9
    again = s.refine("object", [tuple(volume.geometry.index_to_lps((41, 32, 9)))], positive=False).mask
    assert not (again & ~mask & ~left).any(), "saying so twice brings nothing of it back"
    # Slices that the click reaches are worked out anew: the other body's border may move by some voxels.
    assert (again ^ mask).sum() < 0.01 * mask.sum()
