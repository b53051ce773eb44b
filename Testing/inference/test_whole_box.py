"""Networks that look at the whole box first: where things are, and what a correction changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from box_predictor import BoxPredictor
from MedSAMSegmentLib import CancelledError, OrientedBox, Session, Volume, Window
from MedSAMSegmentLib.checkpoints import load_model
from MedSAMSegmentLib.inference import make_predictor
from MedSAMSegmentLib.inference.coarse import CoarseMask, view_box
from MedSAMSegmentLib.inference.predictor import BoxCoordinates
from MedSAMSegmentLib.models.coarse import CoarseGrid
from MedSAMSegmentLib.prompts import plan_slices
from scenes import WINDOW, ellipsoid
from session_scene import KEY, SCENE, at, same, session


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("left_handed", [False, True])
def test_a_rotated_box_on_an_oblique_scan_gives_the_mask_within_half_a_voxel(seed: int, left_handed: bool):
    scene = ellipsoid(seed, left_handed=left_handed)
    before = scene.volume.voxels.copy()
    s = Session(scene.volume, BoxPredictor((48, 64, 64)), window=WINDOW)
    s.add_object("object", scene.box)
    mask = s.segment("object").mask
    wrong = mask != scene.truth
    assert np.abs(scene.distance[wrong]).max(initial=0.0) < 0.5 * max(scene.volume.geometry.spacing)
    np.testing.assert_array_equal(scene.volume.voxels, before)


def test_the_network_sees_the_box_along_its_own_axes_whatever_the_grid_of_the_scan():
    """A grey value that rises linearly along each box axis is seen so, averaged over cells coarser than voxels."""
    scene = ellipsoid(4, shape=(40, 150, 160), spacing=(0.3, 0.3, 1.0))
    geometry, grid = scene.volume.geometry, CoarseGrid((16, 24, 24))
    points = np.stack([geometry.voxel_centres_lps(0, k) for k in range(geometry.shape[0])])
    plan = plan_slices(geometry, scene.box)
    local = plan.box.to_local(points)
    seen = []
    for axis in range(3):
        rising = Volume((500 + 200 * local[..., axis]).astype(np.float32), geometry, modality="CT")
        view = view_box(rising, plan, Window.parse(WINDOW).resolve(rising), grid)
        along = view.axes.index(axis)
        shape = [1, 1, 1]
        shape[along] = -1
        expected = np.broadcast_to(0.5 + 0.2 * grid.place(along).numpy().reshape(shape), grid.cells)
        # Where the margin about the box leaves the scan, the scan's edge repeats.
        inner = tuple(slice(n // 4, -(n // 4)) for n in grid.cells)
        np.testing.assert_allclose(view.intensities[inner], expected[inner], atol=0.01)
        seen.append(along)
    assert sorted(seen) == [0, 1, 2]


def test_the_mask_does_not_depend_on_how_the_axes_of_the_box_are_counted():
    """Slicer counts a box's axes to the right, to the front and up, a voxel range along the scan's own."""
    scene = ellipsoid(4)
    model, masks = load_model("embedded", device="cpu"), []
    axes, size = np.asarray(scene.box.axes), np.asarray(scene.box.size)
    for order, signs in (([0, 1, 2], [1, 1, 1]), ([0, 1, 2], [-1, -1, 1]), ([2, 0, 1], [1, -1, 1])):
        s = Session(scene.volume, model, window=WINDOW)
        s.add_object("object", OrientedBox(scene.box.centre, axes[:, order] * signs, size[order]))
        masks.append(s.segment("object").mask)
    assert masks[0].any()
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])


def test_a_rectangle_on_a_slice_is_what_the_network_sees_of_that_slice():
    predictor = BoxPredictor()
    predictor.revises = True
    s = session(predictor)
    s.segment("object")
    predictor.forget_calls()
    s.add_slice_box("object", KEY + 4, (25.5, 24.5, 33.5, 40.5))
    s.segment("object")
    prompt = predictor.prompts[KEY + 4]
    assert prompt.own is None and prompt.below is None and prompt.above is None, "what was found there is wrong"
    corners = prompt.frame.to_crop(np.array([[25.5, 24.5], [33.5, 40.5]]))
    place, step = prompt.box_coordinates, prompt.box_coordinates.per_slice
    edges = [place.origin + u * place.per_u + v * place.per_v for u, v in corners]
    np.testing.assert_allclose(edges, [(-1, -1, 0), (1, 1, 0)], atol=1e-9)
    np.testing.assert_allclose(step, predictor.prompts[KEY + 5].box_coordinates.per_slice)


def test_the_slice_axis_of_the_grid_is_the_one_slices_are_stacked_along():
    geometry = SCENE.volume.geometry
    turned = OrientedBox(
        SCENE.box.centre, np.asarray(SCENE.box.axes)[:, [2, 0, 1]], np.asarray(SCENE.box.size)[[2, 0, 1]]
    )
    for box in (SCENE.box, turned):
        plan = plan_slices(geometry, box)
        view = view_box(SCENE.volume, plan, Window.parse(WINDOW).resolve(SCENE.volume), CoarseGrid())
        stacked = np.asarray(view.box.axes)[:, view.axes[0]]
        assert abs(stacked @ geometry.direction[:, 2]) == pytest.approx(1.0)
        depth = view.box.size[view.axes[0]]
        assert view.slice_step == pytest.approx(geometry.spacing[2] / (depth / 2))


def test_a_network_that_revises_works_out_every_slice_from_what_was_found_on_it_and_beside_it():
    predictor = BoxPredictor()
    predictor.revises = True
    result = session(predictor).segment("object")
    assert sorted(predictor.predicted) == sorted(result.scores)
    for prompt in predictor.prompts.values():
        assert prompt.below is not None and prompt.above is not None and prompt.own is not None
    np.testing.assert_array_equal(result.mask, session(BoxPredictor()).segment("object").mask)


def test_the_first_look_is_shown_before_the_rest_is_done():
    shown: list[tuple[int, int]] = []
    s = session(BoxPredictor())
    result = s.segment("object", on_slice=lambda name, index, mask: shown.append((index, int(mask.sum()))))
    assert shown[0] == (result.key_slice, 0), "the first answer holds nothing in this test"
    assert dict(shown)[result.key_slice] > 0 and {index for index, _ in shown} == set(result.scores)
    assert result.timings["first_mask"] < result.timings["total"]


def test_it_can_be_stopped_between_two_looks_and_begun_anew():
    predictor = BoxPredictor()
    s = session(predictor)
    with pytest.raises(CancelledError):
        s.segment("object", cancel=lambda: True)
    assert predictor.encoded == [] and "object" not in s.results and s.needs_segmenting("object")
    assert same(s.segment("object"), session(BoxPredictor()).segment("object"))


def test_the_box_alone_needs_no_single_slice():
    predictor = BoxPredictor()
    result = session(predictor).segment("object")
    assert predictor.encoded == [] and predictor.predicted == [] and len(predictor.views) == 1
    assert set(result.scores) == set(range(min(result.scores), max(result.scores) + 1))
    assert all(0.0 < score <= 1.0 for score in result.scores.values())


def test_other_strategies_go_from_slice_to_slice():
    predictor = BoxPredictor()
    result = session(predictor, strategy="propagate").segment("object")
    assert predictor.views == [] and set(predictor.predicted) == set(result.scores)


def test_a_click_changes_its_surroundings_and_nothing_else():
    predictor = BoxPredictor()
    s = session(predictor)
    first = s.segment("object")
    second = s.refine("object", at(32, 32, KEY + 3), positive=False)
    changed = first.mask != second.mask
    assert not second.mask[KEY + 3, 32, 32] and changed[KEY + 3].sum() > 8
    rows, columns = np.nonzero(changed.any(axis=0))
    assert np.abs(rows - 32).max() <= 8 and np.abs(columns - 32).max() <= 8
    np.testing.assert_array_equal(second.mask[:KEY], first.mask[:KEY])
    assert len(predictor.views) == 1, "the box is looked at once"


def test_a_correction_is_carried_on_until_a_slice_needs_none():
    class Stubborn(BoxPredictor):
        """Carries a hole on for two slices."""

        def predict(self, features, prompt, bank):
            made = super().predict(features, prompt, bank)
            if not len(prompt.points) and abs(prompt.slice_index - (KEY + 3)) <= 2:
                made = type(made)(torch.minimum(made.logits, torch.minimum(prompt.below, prompt.above)), 0.9, 5.0)
            return made

    predictor = Stubborn()
    s = session(predictor)
    first = s.segment("object")
    second = s.refine("object", at(32, 32, KEY + 3), positive=False)
    holes = [k for k in range(len(first.mask)) if (first.mask[k] & ~second.mask[k]).any()]
    assert holes == [KEY + 1, KEY + 2, KEY + 3, KEY + 4, KEY + 5]
    asked = set(predictor.predicted)
    assert asked == {KEY, *holes, KEY + 6}, "the first slice without a change ends it"


def test_segmenting_again_asks_the_network_nothing():
    predictor = BoxPredictor()
    s = session(predictor)
    s.segment("object")
    first = s.refine("object", at(32, 32, KEY + 3), positive=False)
    predictor.forget_calls()
    assert same(s.segment("object"), first)
    assert predictor.predicted == [] and len(predictor.views) == 1


def test_a_saved_session_finds_the_same_mask(tmp_path):
    s = session(BoxPredictor())
    s.segment("object")
    s.refine("object", at(32, 32, KEY + 3), positive=False)
    kept = s.refine("object", at(40, 30, KEY - 4), positive=True)
    s.save(tmp_path / "session.json")
    again = Session.load(tmp_path / "session.json", SCENE.volume, BoxPredictor())
    assert same(again.segment("object"), kept)


def test_the_embedded_network_glances_and_looks_again_with_what_it_believed_in_mind():
    scene = ellipsoid(31, shape=(14, 48, 48), oblique=False, half_axes=(12.0, 9.0, 9.0))
    predictor = make_predictor(load_model("embedded", device="cpu"))
    window = Window.parse(WINDOW).resolve(scene.volume)
    view = view_box(scene.volume, plan_slices(scene.volume.geometry, scene.box), window, predictor.grid)
    glance, *looks = predictor.find(view)
    # The first answer, which somebody waits for, is a coarse one.
    assert glance.logits.numel() < predictor.grid.cells[0] * predictor.grid.cells[1] * predictor.grid.cells[2] / 3
    assert len(looks) > 1
    coarse, image = predictor.network.coarse, torch.from_numpy(view.intensities)[None]
    step, regions = torch.tensor([view.slice_step]), coarse.find_regions(image)
    believed = torch.nn.functional.interpolate(glance.logits[None, None], predictor.grid.cells, mode="trilinear")[0]
    for look in looks:
        assert look.grid == predictor.grid
        with torch.inference_mode():
            believed = coarse(image, step, regions, believed)
        torch.testing.assert_close(look.logits, believed[0])


@pytest.mark.parametrize("seed", range(4))
def test_a_mask_seen_upright_is_what_it_would_be_anyhow(seed: int) -> None:
    random = np.random.default_rng(seed)
    axes = ((0, 1, 2), (2, 0, 1))[seed % 2]
    found = CoarseMask(
        torch.from_numpy(random.normal(size=(6, 9, 8)).astype(np.float32)), CoarseGrid((6, 9, 8)), axes, SCENE.box
    )
    steps = np.zeros((3, 3))
    steps[[0, 1, 2], axes] = random.uniform(0.05, 0.2, 3) * random.choice([-1, 1], 3)
    origin = np.zeros(3)
    origin[list(axes)] = random.uniform(-0.3, 0.3, 3) - 16 * steps.sum(axis=0)[list(axes)] * [0, 1, 1]
    place = BoxCoordinates(origin, per_u=steps[2], per_v=steps[1], per_slice=steps[0], frame_size=32)
    seen, upright, anyhow = found.seen_from(place, 40), found._seen_upright(place, 40), found._seen_anyhow(place, 40)
    for slices_up in range(-12, 13):
        torch.testing.assert_close(upright(slices_up), anyhow(slices_up), atol=1e-4, rtol=1e-4)
        assert torch.equal(seen(slices_up), upright(slices_up))
    tilted = replace(place, per_u=place.per_u + 1e-3 * place.per_v)
    assert torch.equal(found.seen_from(tilted, 40)(1), found._seen_anyhow(tilted, 40)(1))
