"""What lies in a rectangle drawn on a slice, by the weights that come along."""

from __future__ import annotations

import pytest
import torch
from MedSAMSegmentLib.checkpoints import load_model
from MedSAMSegmentLib.models.rectangle_unet import RectangleUNet
from torch import Tensor

SIZE = 96


@pytest.fixture(scope="module")
def unet() -> RectangleUNet:
    network = load_model("embedded", device="cpu").network.rectangle_unet
    assert isinstance(network, RectangleUNet)
    return network


def pixels() -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    return rows, columns


def kidney() -> Tensor:
    """A disc with a wide bay on one side."""
    rows, columns = pixels()
    disc = (rows - 48) ** 2 + (columns - 48) ** 2 < 28**2
    return disc & ((rows - 48) ** 2 + (columns - 74) ** 2 > 20**2)


def slope() -> Tensor:
    """It fills half of its rectangle: a band from one corner to the opposite one."""
    rows, columns = pixels()
    return ((rows - columns).abs() < 14) & ((rows + columns - 96).abs() < 44)


def picture(mask: Tensor, bright: bool) -> Tensor:
    noise = 0.04 * torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    inside, outside = (0.7, 0.4) if bright else (0.35, 0.65)
    return (torch.where(mask, inside, outside)[None].expand(3, -1, -1) + noise).clamp(0.0, 1.0)


def places(mask: Tensor) -> Tensor:
    """(2, S, S) in the tight rectangle about a mask."""
    place = []
    for grid, axis in zip(reversed(pixels()), (0, 1), strict=True):
        there = torch.nonzero(mask.any(dim=axis))[:, 0]
        low, high = float(there[0]), float(there[-1]) + 1.0
        place.append((grid - (low + high) / 2) / ((high - low) / 2))
    return torch.stack(place)


def overlap(found: Tensor, truth: Tensor) -> float:
    return 2.0 * float((found & truth).sum()) / float(found.sum() + truth.sum())


@pytest.mark.parametrize("shape", [kidney, slope])
@pytest.mark.parametrize("bright", [True, False])
def test_a_rectangle_is_not_filled_but_what_lies_in_it_outlined(unet: RectangleUNet, shape, bright: bool) -> None:
    mask = shape()
    rectangle = places(mask)
    assert overlap(rectangle.abs().amax(dim=0) <= 1, mask) < 0.85
    with torch.no_grad():
        logits = unet(picture(mask, bright)[None], rectangle[None], torch.tensor([0.3]))
    assert logits.shape == (1, SIZE, SIZE)
    assert overlap(logits[0] > 0, mask) > 0.9


def test_of_two_alike_the_one_in_the_rectangle_is_outlined(unet: RectangleUNet) -> None:
    rows, columns = pixels()
    here = (rows - 48) ** 2 + (columns - 34) ** 2 < 18**2
    there = (rows - 48) ** 2 + (columns - 76) ** 2 < 16**2
    with torch.no_grad():
        logits = unet(picture(here | there, True)[None], places(here)[None], torch.tensor([0.3]))
    assert overlap(logits[0] > 0, here) > 0.9
    assert not bool((logits[0][there] > 0).any())
