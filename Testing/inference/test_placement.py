"""The mask lies where the object is: rotated boxes, oblique, anisotropic and left-handed scans, every plane."""

from __future__ import annotations

import numpy as np
import pytest
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib import OrientedBox, Session, Volume, segment
from MedSAMSegmentLib.inference import CleanupSettings, Settings, TrackingSettings
from MedSAMSegmentLib.prompts import plan_slices
from scenes import WINDOW, ellipsoid

CLIP_ONLY = CleanupSettings(margin_mm=2.0, smooth=False, keep_component=False, fill_holes=False)


def mask_of(scene, predictor, cleanup=CLIP_ONLY, **options) -> np.ndarray:
    session = Session(scene.volume, predictor, window=WINDOW, cleanup=cleanup, **options)
    session.add_object("object", scene.box)
    return session.segment("object").mask


@pytest.mark.parametrize("plane", ["auto", "axial", "sagittal", "coronal"])
@pytest.mark.parametrize(("seed", "left_handed"), [(1, False), (2, True), (3, False)])
def test_a_rotated_box_on_an_oblique_scan_gives_the_truth_within_half_a_voxel(seed, left_handed, plane):
    scene = ellipsoid(seed, left_handed=left_handed)
    mask = mask_of(scene, IntensityPredictor(), plane=plane)
    wrong = mask != scene.truth
    assert np.abs(scene.distance[wrong]).max(initial=0.0) <= 0.5 * min(scene.volume.geometry.spacing)
    found, true = (np.argwhere(m).mean(axis=0) for m in (mask, scene.truth))
    np.testing.assert_allclose(found, true, atol=0.05)


@pytest.mark.parametrize("stride", [2, 4])
def test_coarse_logits_keep_their_place(stride):
    scene = ellipsoid(4)
    mask = mask_of(scene, IntensityPredictor(stride=stride))
    wrong = mask != scene.truth
    assert np.abs(scene.distance[wrong]).max(initial=0.0) <= 0.5 * max(scene.volume.geometry.spacing[:2])


@pytest.mark.parametrize("strategy", ["propagate", "per-slice", "hybrid"])
@pytest.mark.parametrize("full_slice", [False, True])
def test_every_strategy_and_the_full_slice_agree_on_a_clear_object(strategy, full_slice):
    scene = ellipsoid(5)
    mask = mask_of(scene, IntensityPredictor(), strategy=strategy, full_slice=full_slice)
    wrong = mask != scene.truth
    assert np.abs(scene.distance[wrong]).max(initial=0.0) <= 0.5 * min(scene.volume.geometry.spacing)


def test_the_whole_clean_up_does_not_move_a_clear_object():
    scene = ellipsoid(6)
    mask = mask_of(scene, IntensityPredictor(), cleanup=True)
    wrong = mask != scene.truth
    assert np.abs(scene.distance[wrong]).max(initial=0.0) <= max(scene.volume.geometry.spacing)
    assert abs(int(mask.sum()) - int(scene.truth.sum())) < 0.02 * scene.truth.sum()


@pytest.mark.parametrize("margin", [0.0, 3.0])
@pytest.mark.parametrize("plane", ["auto", "sagittal"])
def test_the_mask_is_clipped_by_the_true_rotated_box(margin, plane):
    scene = ellipsoid(7)
    geometry = scene.volume.geometry
    bright = Volume(np.full(geometry.shape, 1000, np.int16), geometry, modality="CT")
    settings = Settings(
        window=WINDOW,
        plane=plane,
        slice_margin_mm=margin + 3.0,
        cleanup=CleanupSettings(margin_mm=margin, smooth=False, keep_component=False, fill_holes=False),
    )
    session = Session(bright, IntensityPredictor(), settings=settings)
    session.add_object("object", scene.box)
    np.testing.assert_array_equal(session.segment("object").mask, scene.box.expanded(margin).mask(geometry))


def test_a_box_reaching_beyond_the_scan_is_segmented_up_to_the_edge():
    scene = ellipsoid(8)
    large = scene.box.expanded(40.0)
    session = Session(scene.volume, IntensityPredictor(), window=WINDOW, cleanup=CLIP_ONLY)
    session.add_object("object", large)
    wrong = session.segment("object").mask != scene.truth
    assert np.abs(scene.distance[wrong]).max(initial=0.0) <= 0.5 * max(scene.volume.geometry.spacing)


def test_a_scan_of_a_single_slice_is_segmented():
    scene = ellipsoid(9, shape=(1, 72, 80), oblique=False)
    mask = mask_of(scene, IntensityPredictor())
    assert scene.truth.any()
    wrong = mask != scene.truth
    assert np.abs(scene.distance[wrong]).max(initial=0.0) <= 0.5 * min(scene.volume.geometry.spacing)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_one_call_segments_several_boxes_and_leaves_the_voxels_alone(dtype):
    scene = ellipsoid(10, oblique=False)
    voxels = (scene.volume.voxels / 4).astype(dtype)
    volume = Volume(voxels, scene.volume.geometry)
    before = volume.voxels.tobytes()
    small = OrientedBox(scene.box.centre, scene.box.axes, (8.0, 8.0, 8.0))
    results = segment(volume, [scene.box, small], IntensityPredictor(), window="125/250", cleanup=CLIP_ONLY)
    assert list(results) == ["object 1", "object 2"]
    assert 0 < results["object 2"].voxels < results["object 1"].voxels
    assert volume.voxels.tobytes() == before and not volume.voxels.flags.writeable


def test_the_box_coordinates_say_where_every_crop_pixel_lies():
    scene = ellipsoid(11)
    predictor = IntensityPredictor()
    session = Session(scene.volume, predictor, settings=Settings(window=WINDOW, tracking=TrackingSettings()))
    session.add_object("object", scene.box)
    session.segment("object")
    geometry, cut = scene.volume.geometry, session.plane
    # Its axes in the order of columns, rows and slices, counted as these are.
    box = plan_slices(geometry, scene.box).box
    steps = geometry.index_to_lps(cut.to_index(np.eye(3))) - geometry.index_to_lps(np.zeros(3))
    assert (np.diag(np.asarray(box.axes).T @ np.asarray(steps).T) > 0).all()
    for index, prompt in list(predictor.prompts.items())[::5]:
        for size in (prompt.frame.size, prompt.frame.size // 4):
            rows, columns = np.indices((size, size))
            places = prompt.frame.to_slice(np.stack([columns, rows], axis=-1), size)
            points = np.concatenate([places, np.full((size, size, 1), float(index))], axis=-1)
            expected = box.to_local(geometry.index_to_lps(cut.to_index(points)))
            np.testing.assert_allclose(prompt.box_coordinates.grid(size), expected, atol=1e-5)
        step = geometry.index_to_lps(cut.to_index((0, 0, 1))) - geometry.index_to_lps(cut.to_index((0, 0, 0)))
        expected_step = box.to_local(box.centre + step)
        np.testing.assert_allclose(prompt.box_coordinates.per_slice, expected_step, atol=1e-9)
