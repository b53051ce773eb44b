"""Slices and the whole box that they lie in show the same scan, and are read as at inference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from MedSAMSegmentLib.inference.coarse import CoarseMask
from MedSAMSegmentLib.inference.predictor import BoxCoordinates
from MedSAMSegmentLib.models.coarse import CoarseGrid
from MedSAMSegmentLib.training.detail_samples import DetailBatch, make_detail_batch, sampled
from MedSAMSegmentLib.training.details import on_slices
from MedSAMSegmentLib.volume import OrientedBox

GRID = CoarseGrid()
SIZE = 64


@pytest.fixture(scope="module")
def batch() -> DetailBatch:
    return make_detail_batch(5, 0, 12, 4, SIZE, GRID)


def test_the_same_seed_and_step_give_the_same_batch() -> None:
    first, again, other = (make_detail_batch(3, step, 2, 2, 48, GRID) for step in (5, 5, 6))
    assert torch.equal(first.pictures, again.pictures) and torch.equal(first.intensities, again.intensities)
    assert not torch.equal(first.pictures, other.pictures)


def test_shapes_and_ranges(batch: DetailBatch) -> None:
    assert batch.intensities.shape == (12, *GRID.cells)
    assert batch.pictures.shape == batch.masks.shape == (12, 4, 3, SIZE, SIZE)
    assert batch.box_coordinates.shape == (12, 4, 3, SIZE // 2, SIZE // 2)
    for values in (batch.pictures, batch.intensities):
        assert float(values.min()) >= 0.0 and float(values.max()) < 1.0001
    assert set(batch.masks.unique().tolist()) == {0.0, 1.0}
    assert float((batch.masks[:, :, 1].amax(dim=(2, 3)) > 0).float().mean()) > 0.6


def test_grid_and_slices_show_the_same_scan(batch: DetailBatch) -> None:
    """What the grid holds, read on the slices, looks like them: places agree to less than a cell."""
    read = on_slices(batch.intensities, batch, GRID.reach)[:, 1]
    shown = F.avg_pool2d(batch.pictures[:, :, 1].flatten(0, 1), 2)
    alike = []
    for one, other in zip(read, shown, strict=True):
        inside = one > -1.0
        pair = torch.stack([one[inside], other[inside]])
        if float(pair.std(dim=1).min()) > 0.05:
            alike.append(float(torch.corrcoef(pair)[0, 1]))
    assert len(alike) > 20
    assert np.median(alike) > 0.9


def test_whole_boxes_are_read_on_slices_as_at_inference(batch: DetailBatch) -> None:
    logits = torch.randn(len(batch.intensities), *GRID.cells, generator=torch.Generator().manual_seed(1))
    found = on_slices(logits, batch, GRID.reach).unflatten(0, (12, 4))
    box = OrientedBox(np.zeros(3), np.eye(3), np.full(3, 2.0))
    half = SIZE // 2
    for number in range(3):
        place = batch.box_coordinates[number, 1].double()
        steps = [float(place[axis].flatten()[1 if axis == 0 else half] - place[axis, 0, 0]) for axis in (0, 1)]
        coordinates = BoxCoordinates(
            origin=place[:, 0, 0].numpy(),
            per_u=np.array([steps[0], 0.0, 0.0]),
            per_v=np.array([0.0, steps[1], 0.0]),
            per_slice=np.array([0.0, 0.0, float(batch.slice_step[number])]),
            frame_size=half,
        )
        at_inference = CoarseMask(logits[number], GRID, (2, 1, 0), box).seen_from(coordinates, half)
        for row, slices_up in enumerate((-1, 0, 1)):
            torch.testing.assert_close(found[number, 1, row], at_inference(slices_up), atol=2e-3, rtol=0.0)


def test_the_grid_is_read_where_it_lies() -> None:
    z, y, x = torch.meshgrid(torch.arange(10.0), torch.arange(30.0), torch.arange(40.0), indexing="ij")
    scan = z * 100 + y * 3 + x / 10
    places = torch.linspace(1.0, 8.0, 12), torch.linspace(3.0, 27.0, 9), torch.linspace(4.0, 36.0, 9)
    expected = places[0][:, None, None] * 100 + places[1][:, None] * 3 + places[2] / 10
    torch.testing.assert_close(sampled(scan, places), expected, atol=0.02, rtol=0.0)
