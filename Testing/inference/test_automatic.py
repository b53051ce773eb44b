"""Automatic mask generation: what is asked, what is kept, and how slices become objects."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from MedSAMSegmentLib.errors import CancelledError, UsageError
from MedSAMSegmentLib.inference.automatic import AutomaticSettings, FoundMask, find_masks
from MedSAMSegmentLib.inference.automatic_filters import (
    crop_boxes,
    keep_best,
    point_grid,
    touches_cut_edge,
    without_small_regions,
)
from MedSAMSegmentLib.inference.automatic_volume import LinkSettings, find_in_slices, link_slices, slice_picture
from MedSAMSegmentLib.inference.image_predictor import EncodedImage, MaskCandidates
from MedSAMSegmentLib.prompts import SlicePlane
from MedSAMSegmentLib.volume import Geometry, IntensityRange, Volume
from scipy import ndimage


class RegionPredictor:
    """Asked with a point, it answers with the connected region of equal grey about it, a smaller and a larger one.

    The first mask is the region itself and estimated well, the others are poor; on black it finds nothing.
    """

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.pictures: list[tuple[int, ...]] = []

    def encode(self, image: np.ndarray) -> EncodedImage:
        self.pictures.append(image.shape)
        return EncodedImage(torch.from_numpy(image.copy()), (int(image.shape[0]), int(image.shape[1])))

    def predict(
        self,
        encoded: EncodedImage,
        points: np.ndarray,
        labels: np.ndarray,
        *,
        mask_logits: torch.Tensor | None = None,
        multimask: bool = False,
    ) -> MaskCandidates:
        if mask_logits is not None:
            return self._once_more(encoded, points, mask_logits, multimask)
        assert multimask and points.shape[1:] == (1, 2) and (labels == 1).all()
        self.batches.append(len(points))
        picture = np.asarray(encoded.features)
        regions = np.zeros(picture.shape, int)
        for value in np.unique(picture[picture > 0]):
            labels_of_value, _ = ndimage.label(picture == value)
            regions += np.where(labels_of_value > 0, labels_of_value + regions.max(), 0)
        answers: dict[int, list[torch.Tensor]] = {}
        logits, ious = [], []
        for x, y in np.floor(points[:, 0]).astype(int):
            if regions[y, x] not in answers:
                region = (regions == regions[y, x]) & (picture > 0)
                distance = ndimage.distance_transform_edt(region) - ndimage.distance_transform_edt(~region)
                answers[regions[y, x]] = [torch.from_numpy((distance + s) * 10).float() for s in (0.0, -4.0, 4.0)]
            logits += answers[regions[y, x]]
            ious += [0.95, 0.5, 0.5]
        shape = (len(points), 3, *picture.shape)
        return MaskCandidates(torch.stack(logits).reshape(shape), torch.tensor(ious).reshape(len(points), 3))

    def _once_more(
        self, encoded: EncodedImage, points: np.ndarray, mask_logits: torch.Tensor, multimask: bool
    ) -> MaskCandidates:
        """A mask that came from its point becomes the whole region about that point, well estimated."""
        assert not multimask and mask_logits.shape == (len(points), 1, *encoded.shape)
        assert mask_logits.abs().max() <= 32
        again = self.predict(encoded, points, np.ones((len(points), 1), int), multimask=True)
        return MaskCandidates(again.logits[:, :1], torch.full((len(points), 1), 0.99))

    def at_image_size(self, logits: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        assert tuple(logits.shape[-2:]) == shape
        return logits


def picture_with_discs() -> tuple[np.ndarray, list[np.ndarray]]:
    """Black with three discs of different grey, the last one small."""
    rows, columns = np.mgrid[:120, :160]
    discs = [(rows - y) ** 2 + (columns - x) ** 2 < r * r for y, x, r in ((40, 40, 22), (80, 110, 30), (20, 145, 4))]
    image = np.zeros((120, 160), np.uint8)
    for number, disc in enumerate(discs):
        image[disc] = 60 * (number + 1)
    return image, discs


def same(found: list[FoundMask], discs: list[np.ndarray]) -> bool:
    return len(found) == len(discs) and all(any((item.mask() == disc).all() for item in found) for disc in discs)


def test_every_object_is_found_once() -> None:
    image, discs = picture_with_discs()
    found = find_masks(RegionPredictor(), image, AutomaticSettings(points_per_side=32))
    assert same(found, discs)
    disc = next(item for item in found if item.mask()[40, 40])
    assert disc.box == (19, 19, 61, 61) and disc.area == discs[0].sum()
    assert disc.predicted_iou == pytest.approx(0.95) and 0.95 <= disc.stability_score <= 1
    assert disc.mask()[int(disc.point[1]), int(disc.point[0])], "the point that asked for it lies in it"


def test_the_size_of_the_batches_changes_nothing() -> None:
    image, discs = picture_with_discs()
    for size in (1, 7, 1000):
        predictor = RegionPredictor()
        assert same(find_masks(predictor, image, AutomaticSettings(16, points_per_batch=size)), discs)
        assert sum(predictor.batches) == 256 and max(predictor.batches) == min(size, 256)


def test_crops_find_what_the_coarse_grid_misses() -> None:
    image, discs = picture_with_discs()
    coarse = AutomaticSettings(points_per_side=10)
    assert same(find_masks(RegionPredictor(), image, coarse), discs[:2])
    predictor = RegionPredictor()
    found = find_masks(predictor, image, AutomaticSettings(points_per_side=10, crop_layers=1))
    assert same(found, discs) and len(predictor.pictures) == 5
    small = next(item for item in found if item.mask()[20, 145])
    assert small.crop != (0, 0, 160, 120) and small.crop[0] <= 137 and small.crop[2] == 160


def test_poorly_estimated_and_unstable_masks_are_dropped() -> None:
    image, discs = picture_with_discs()
    assert find_masks(RegionPredictor(), image, AutomaticSettings(16, predicted_iou_threshold=0.96)) == []
    # Moving the cut-off by a pixel (ten logits) shrinks and grows the small disc most.
    strict = AutomaticSettings(32, stability_score_offset=10.0, stability_score_threshold=0.8)
    assert same(find_masks(RegionPredictor(), image, strict), discs[:2])
    everything = find_masks(RegionPredictor(), image, AutomaticSettings(16, predicted_iou_threshold=0.0))
    assert len(everything) > 2, "with no threshold the poor masks stay, too"


def test_every_mask_can_be_asked_for_once_more() -> None:
    """The second answer counts, for the filters, too: parts and wholes that were estimated poorly became the region."""
    image, discs = picture_with_discs()
    predictor = RegionPredictor()
    found = find_masks(predictor, image, AutomaticSettings(16, points_per_batch=100, refine=True))
    assert same(found, discs) and all(item.predicted_iou == pytest.approx(0.99) for item in found)
    assert max(predictor.batches) <= 100 and sum(predictor.batches) == 256 * 4
    disc = next(item for item in found if item.mask()[40, 40])
    assert disc.mask()[int(disc.point[1]), int(disc.point[0])]


def test_progress_and_cancelling() -> None:
    image, _ = picture_with_discs()
    seen: list[tuple[int, int]] = []
    settings = AutomaticSettings(8, points_per_batch=10, crop_layers=1)
    find_masks(RegionPredictor(), image, settings, lambda done, total: seen.append((done, total)))
    assert seen == [(number, 35) for number in range(1, 36)]
    with pytest.raises(CancelledError):
        find_masks(RegionPredictor(), image, settings, cancel=lambda: True)


def test_small_holes_and_islands_can_be_removed() -> None:
    image, discs = picture_with_discs()
    image[38:40, 38:40] = 0
    settings = AutomaticSettings(32, stability_score_threshold=0, minimum_region_area=9)
    found = find_masks(RegionPredictor(), image, settings)
    assert same(found, discs)


@pytest.mark.parametrize("wrong", [{"points_per_side": 0}, {"box_nms_threshold": 1.5}, {"crop_layers": -1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError) as caught:
        AutomaticSettings(**wrong)
    assert caught.value.code == "BAD_SETTING"


# ---- filters ---------------------------------------------------------------------------------------------------------


def test_grid_points_lie_in_the_middle_of_equal_cells() -> None:
    grid = point_grid(4)
    assert grid.shape == (16, 2)
    assert np.allclose(grid[:5], [[0.125, 0.125], [0.375, 0.125], [0.625, 0.125], [0.875, 0.125], [0.125, 0.375]])


def test_crops_cover_the_image_and_overlap() -> None:
    crops = crop_boxes((300, 500), layers=2, overlap_ratio=0.3)
    assert [layer for layer, _ in crops] == [0] + [1] * 4 + [2] * 16 and crops[0][1] == (0, 0, 500, 300)
    for layer in (1, 2):
        count = np.zeros((300, 500), int)
        for number, (x0, y0, x1, y1) in crops:
            if number == layer:
                count[y0:y1, x0:x1] += 1
        assert count.min() == 1 and count.max() == 4
    (_, (_, _, x1, _)), (_, (x0, _, _, _)) = crops[1], crops[3]
    assert x1 - x0 == int(0.3 * 300)


def test_of_overlapping_boxes_the_best_stays() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 80, (60, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 40, (60, 2))], axis=1)
    scores = rng.uniform(size=60)

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
        shared = float(np.prod(np.maximum(sides, 0)))
        return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)

    kept: list[int] = []
    for index in np.argsort(-scores):
        if all(overlap(boxes[index], boxes[other]) <= 0.3 for other in kept):
            kept.append(int(index))
    assert keep_best(boxes, scores, 0.3).tolist() == kept and 1 < len(kept) < 60
    assert keep_best(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []


def test_masks_cut_off_by_a_crop_are_recognised() -> None:
    crop, shape = (100, 0, 300, 200), (400, 300)
    boxes = np.array(
        [[110, 50, 180, 90], [150, 50, 299, 90], [150, 0, 180, 90], [150, 50, 180, 195], [150, 50, 180, 150]]
    )
    assert touches_cut_edge(boxes, crop, shape).tolist() == [True, False, False, True, False]


def test_small_regions() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:25, 5:25] = True
    mask[10:12, 10:12] = False
    mask[15:20, 15:20] = False
    mask[30:32, 30:32] = True
    cleaned, changed = without_small_regions(mask, 10)
    assert changed and cleaned[10, 10] and not cleaned[17, 17] and not cleaned[30:32, 30:32].any()
    again, changed = without_small_regions(cleaned, 10)
    assert not changed and (again == cleaned).all()
    only_small, _ = without_small_regions(mask[28:34, 28:34], 100)
    assert only_small.all(), "four pixels in a picture smaller than the limit: all background is a hole"
    tiny = np.zeros((40, 40), bool)
    tiny[3:5, 3:5] = tiny[20:23, 20:23] = True
    largest, _ = without_small_regions(tiny, 50)
    assert largest[21, 21] and not largest[3, 3]


# ---- volumes ---------------------------------------------------------------------------------------------------------


def found(mask: np.ndarray, iou: float = 0.9) -> FoundMask:
    whole = FoundMask(
        mask.shape,
        slice(0, mask.shape[0]),
        slice(0, mask.shape[1]),
        mask,
        iou,
        1.0,
        (0.0, 0.0),
        (0, 0, *mask.shape[::-1]),
    )
    return whole.with_mask(mask)


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> np.ndarray:
    grid = np.stack(np.mgrid[: shape[0], : shape[1], : shape[2]], axis=-1)
    return ((grid - centre) ** 2).sum(axis=-1) < radius**2


def test_slices_become_objects_along_every_axis() -> None:
    shape = (24, 26, 28)
    truths = [ball(shape, (11, 9, 9), 7.5), ball(shape, (14, 18, 20), 6.5)]
    voxels = (truths[0] * 100 + truths[1] * 200).astype(np.int16)
    volume = Volume(voxels, Geometry.from_parts(shape, (1.0, 1.0, 1.0)))
    for axis in range(3):
        plane = SlicePlane.along(volume.geometry, axis)
        pictures = {
            index: partial(slice_picture, volume, plane, index, IntensityRange(0, 255)) for index in range(plane.slices)
        }
        settings = AutomaticSettings(points_per_side=9, stability_score_threshold=0.5)
        objects = link_slices(dict(find_in_slices(RegionPredictor(), pictures, settings)), axis)
        assert len(objects) == 2 and objects[0].voxels > objects[1].voxels
        for item, truth in zip(objects, truths, strict=True):
            mask = item.mask(shape)
            assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.95 and mask.sum() == item.voxels
            assert not (mask & ~truth).any() and item.confidence == pytest.approx(0.95, abs=0.03)


def test_a_missed_slice_is_bridged_and_a_longer_gap_is_not() -> None:
    truth = ball((12, 30, 30), (5.5, 15, 15), 13)
    masks = {index: [found(truth[index])] for index in range(12)}
    masks[4] = []
    (item,) = link_slices(masks, 0)
    bridged = item.mask(truth.shape)[4]
    assert 4 in item.blocks and 4 not in item.scores and 4 not in item.found
    assert 2 * (bridged & truth[4]).sum() / (bridged.sum() + truth[4].sum()) > 0.95
    assert len(link_slices(masks, 0, LinkSettings(gap_slices=0))) == 2
    masks[5] = []
    assert len(link_slices(masks, 0)) == 2


def test_parts_and_wholes_keep_their_own_objects() -> None:
    whole, part = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    whole[2:18, 2:18], part[4:10, 4:10] = True, True
    masks = {0: [found(whole), found(part)], 1: [found(part), found(whole)], 2: [found(whole), found(part)]}
    objects = link_slices(masks, 0)
    assert [item.voxels for item in objects] == [3 * 256, 3 * 36]


def test_short_objects_are_dropped_but_not_from_a_single_slice() -> None:
    mask = np.zeros((20, 20), bool)
    mask[5:9, 5:9] = True
    assert link_slices({3: [found(mask)], 4: [], 5: []}, 0) == []
    assert len(link_slices({3: [found(mask)]}, 0)) == 1
    assert link_slices({0: [], 1: []}, 0) == [] and link_slices({}, 0) == []


def test_slices_done_before_cancelling_are_not_lost() -> None:
    image, _ = picture_with_discs()
    asked = iter([False] * 6)
    kept = []
    with pytest.raises(CancelledError):
        for index, masks in find_in_slices(
            RegionPredictor(),
            {k: lambda: image for k in range(9)},
            AutomaticSettings(16),
            cancel=lambda: next(asked, True),
        ):
            kept.append((index, len(masks)))
    assert kept == [(0, 3)], "four batches a slice: the second slice is cut short"
