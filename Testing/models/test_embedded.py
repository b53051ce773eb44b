"""The embedded network: what its prompts mean, and that it works at every crop size."""

from __future__ import annotations

import pytest
import torch
from MedSAMSegmentLib.models.embedded import IMAGE_MEAN, IMAGE_SCALE, EmbeddedNetwork, SlicePrompts, build_embedded
from MedSAMSegmentLib.models.layers import Convolution3d, Enlargement3d
from MedSAMSegmentLib.models.sam2 import RememberedPointer, RememberedSlice


@pytest.fixture(scope="module")
def network() -> EmbeddedNetwork:
    torch.manual_seed(0)
    return build_embedded(
        channels=(8, 16, 16, 24), blocks=(1, 1, 1, 1), dim=32, decoder_widths=(16, 8), memory_dim=16
    ).eval()


def _prompts(size: int, **given: object) -> SlicePrompts:
    axis = (torch.arange(size // 2) * 2 + 0.5 - size / 2) / (size / 4)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return SlicePrompts(torch.stack([x, y, torch.zeros_like(x)])[None], torch.tensor([0.2]), **given)


@pytest.mark.parametrize("size", [48, 96, 160])
def test_it_tracks_at_every_crop_size(network: EmbeddedNetwork, size: int) -> None:
    with torch.inference_mode():
        features = network.encode_slices(torch.rand(1, 3, size, size))
        first = network.segment_slice(network.without_memory(features), features.high_resolution, _prompts(size))
        memory = network.remember(features, first)
        embedding = network.condition_on_memory(
            features, [RememberedSlice(memory, 0)], [RememberedPointer(first.object_pointer, 1.0)]
        )
        second = network.segment_slice(embedding, features.high_resolution, _prompts(size, below=first.logits))
    assert first.logits.shape == second.logits.shape == (1, 1, size // 2, size // 2)
    assert 0.0 <= float(second.iou) <= 1.0
    assert not torch.equal(first.logits, second.logits)


def test_a_batch_of_objects_gives_what_each_gives_alone(network: EmbeddedNetwork) -> None:
    with torch.inference_mode():
        features = network.encode_slices(torch.rand(1, 3, 64, 64))
        near = _prompts(64)
        far = SlicePrompts(near.box_coordinates * 2.0, near.slice_step * 3)
        both = SlicePrompts(
            torch.cat([near.box_coordinates, far.box_coordinates]), torch.cat([near.slice_step, far.slice_step])
        )
        embedding = network.without_memory(features)
        alone = [network.segment_slice(embedding, features.high_resolution, item).logits for item in (near, far)]
        together = network.segment_slice(embedding, features.high_resolution, both).logits
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)


def test_clicks_are_seen_where_they_are_and_as_what_they_are(network: EmbeddedNetwork) -> None:
    points = torch.tensor([[[20.0, 40.0], [50.0, 10.0]]])
    maps = network._maps(_prompts(64, points=points, labels=torch.tensor([[1, 0]])))
    positive, negative = maps[0, -2], maps[0, -1]
    for drawn, (x, y) in ((positive, (20.0, 40.0)), (negative, (50.0, 10.0))):
        row, column = divmod(int(drawn.argmax()), 32)
        assert abs(column * 2 + 0.5 - x) <= 1.0
        assert abs(row * 2 + 0.5 - y) <= 1.0
    assert float(network._maps(_prompts(64))[0, -2:].abs().max()) == 0.0


def test_padding_points_leave_no_mark(network: EmbeddedNetwork) -> None:
    points = torch.tensor([[[20.0, 40.0]]])
    maps = network._maps(_prompts(64, points=points, labels=torch.tensor([[-1]])))
    assert float(maps[0, -2:].abs().max()) == 0.0


def test_the_box_map_is_inside_between_its_faces_only(network: EmbeddedNetwork) -> None:
    place = _prompts(64).box_coordinates
    inside = network._maps(_prompts(64))[0, 6] > 0.5
    assert torch.equal(inside, (place[0].abs() <= 1).all(0))
    assert 0 < int(inside.sum()) < inside.numel()


def test_it_is_small() -> None:
    assert sum(p.numel() for p in build_embedded().parameters()) < 5_000_000


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1)])
def test_the_fast_convolution_is_the_one_of_training(kernel: int, stride: int) -> None:
    convolution = Convolution3d(6, 8, kernel, stride=stride, padding=kernel // 2)
    image = torch.rand(1, 6, 9, 10, 11)
    training = convolution(image)
    with torch.inference_mode():
        torch.testing.assert_close(convolution(image), training, atol=1e-5, rtol=1e-5)


def test_the_fast_enlargement_is_the_one_of_training() -> None:
    enlargement = Enlargement3d(6, 4, 2, stride=2)
    image = torch.randn(2, 6, 3, 5, 4)
    with torch.no_grad():
        fast = enlargement(image)
    torch.testing.assert_close(fast, enlargement(image).detach())


def test_slices_are_encoded_as_any_picture_is(network: EmbeddedNetwork) -> None:
    pictures = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        quickly = network.encode_slices(pictures)
        plainly = network.encode_image((pictures - IMAGE_MEAN) / IMAGE_SCALE)
    torch.testing.assert_close(quickly.embedding, plainly.embedding)
    torch.testing.assert_close(quickly.high_resolution, plainly.high_resolution, rtol=1e-4, atol=1e-5)
