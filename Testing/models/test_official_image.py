"""Images as the official programs prepare them, masks as they read them: what the rules of a specification mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from MedSAMSegmentLib.checkpoints import find_model
from MedSAMSegmentLib.errors import InputError, MedSAMSegmentError
from MedSAMSegmentLib.inference import official_image
from MedSAMSegmentLib.inference.official_resize import resize_by_area, resize_by_spline


def _picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(40, 201, shape, dtype=np.uint8)


SMALL_MEDSAM = replace(find_model("medsam"), image_size=128)
"""MedSAM's rules for a network of another size; its splines take seconds at 1024 pixels."""


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 3)])
def test_medsam_sees_the_whole_square_from_zero_to_one(shape: tuple[int, ...]) -> None:
    seen = official_image.network_input(_picture(*shape), SMALL_MEDSAM)
    assert seen.shape == (1, 3, 128, 128) and seen.dtype == np.float32
    assert seen.min() == 0 and seen.max() == 1


def test_lite_medsam_keeps_the_aspect_and_pads_with_zeros() -> None:
    seen = official_image.network_input(_picture(60, 80), find_model("lite-medsam"))
    assert seen.shape == (1, 3, 256, 256)
    assert seen[..., :192, :].max() == 1 and not seen[..., 192:, :].any()


def test_sam_keeps_the_aspect_normalises_and_pads_afterwards() -> None:
    grey = np.full((60, 80), 128, np.uint8)
    seen = official_image.network_input(grey, find_model("sam-vit-b"))
    assert seen[0, :, 0, 0] == pytest.approx(
        [(128 / 255 - m) / s for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))], abs=1e-6
    )
    assert not seen[..., 768:, :].any()


def test_an_image_of_one_value_is_no_division_by_zero() -> None:
    assert not official_image.network_input(np.full((9, 9), 7, np.uint8), SMALL_MEDSAM).any()


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_what_is_no_image_of_eight_bits_is_refused(image: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        official_image.network_input(image, find_model("medsam"))
    assert caught.value.code == "WRONG_IMAGE" and isinstance(caught.value, MedSAMSegmentError)


def test_places_go_with_the_pixels() -> None:
    corner = np.array([[80.0, 60.0]])
    there = {name: official_image.to_network(corner, find_model(name), (60, 80))[0] for name in ("medsam", "sam-vit-b")}
    assert there["medsam"].tolist() == [1024, 1024]
    assert there["sam-vit-b"].tolist() == [1024, 768]
    cut = official_image.to_network(np.array([[7.0, 11.0]]), find_model("lite-medsam"), (60, 77), box=True)
    assert cut.tolist() == [[23, 36]]


def test_whole_pixels_survive_the_way_through_millimetres() -> None:
    spec = find_model("lite-medsam")
    corners = np.array([[[36.0, 12.0], [90.0, 60.0]]])
    exact = official_image.to_network(corners, spec, (96, 128), box=True)
    for error in (-1e-12, 1e-12):
        assert (official_image.to_network(corners + error, spec, (96, 128), box=True) == exact).all()


def test_masks_come_back_to_where_the_padding_was_not() -> None:
    logits = torch.full((1, 1, 256, 256), -8.0)
    logits[..., :192, :] = 8.0  # all that an image of 60 x 80 covers
    for name in ("sam-vit-b", "lite-medsam"):
        spec = find_model(name)
        values = official_image.at_image_size(logits, spec, (60, 80))
        assert values.shape == (1, 1, 60, 80)
        assert official_image.is_inside(values, spec).all()


def test_medsam_interpolates_probabilities() -> None:
    spec = find_model("medsam")
    logits = torch.tensor([[[[20.0, -2.0]]]])
    values = official_image.at_image_size(logits, spec, (1, 4))
    assert values.min() >= 0 and values.max() <= 1
    probability = logits.sigmoid()[0, 0, 0]
    assert float(values[0, 0, 0, 1]) == pytest.approx(float(0.75 * probability[0] + 0.25 * probability[1]))
    assert official_image.is_inside(values, spec)[0, 0, 0].tolist() == [True, True, False, False]


def test_the_box_around_a_mask_stays_within_the_picture() -> None:
    mask = np.zeros((60, 80), bool)
    mask[0:10, 70:80] = True
    box = official_image.box_around(mask, find_model("lite-medsam"))
    assert box[1] == 0 and box[2] <= 256 and 215 <= box[0] <= 225 and 30 <= box[3] <= 37


def test_area_resampling_is_the_mean_of_what_a_pixel_covers() -> None:
    image = _picture(64, 96)
    means = image.reshape(16, 4, 24, 4).mean(axis=(1, 3))
    assert np.abs(resize_by_area(image, (16, 24)) - means).max() <= 0.5
    assert np.array_equal(resize_by_area(image, (128, 192)), image.repeat(2, axis=0).repeat(2, axis=1))
    assert np.abs(resize_by_area(image, (41, 61)).mean() - image.mean()) < 0.5


@pytest.mark.parametrize("size", [(100, 90), (25, 31)])
@pytest.mark.parametrize("shape", [(40, 52), (40, 52, 3)])
def test_spline_resampling_is_that_of_scikit_image(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    transform = pytest.importorskip("skimage.transform", reason="scikit-image is not installed")
    image = _picture(*shape)
    theirs = transform.resize(image, (*size, *shape[2:]), order=3, preserve_range=True, anti_aliasing=True)
    assert np.array_equal(resize_by_spline(image, size), theirs.astype(np.uint8))
