"""The generator draws what its documentation says: reproducible samples whose boxes fit their masks."""

from __future__ import annotations

import torch
from MedSAMSegmentLib.models.coarse import CoarseGrid
from MedSAMSegmentLib.training.fields import Randomness, SmoothField, bspline_weights
from MedSAMSegmentLib.training.samples import SampleOptions, make_batch
from MedSAMSegmentLib.training.volume_samples import make_volume_batch, presence_loss


def test_the_same_seed_and_step_give_the_same_batch() -> None:
    options = SampleOptions(slices=2, size=64)
    first, again = make_batch(3, 5, 4, options), make_batch(3, 5, 4, options)
    other = make_batch(3, 6, 4, options)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.images, other.images)


def test_shapes_and_ranges() -> None:
    batch = make_batch(1, 0, 6, SampleOptions(slices=3, size=96))
    assert batch.images.shape == (6, 5, 96, 96)
    assert batch.masks.shape == batch.images.shape
    assert batch.box_coordinates.shape == (6, 3, 3, 48, 48)
    assert float(batch.images.min()) >= 0.0
    assert float(batch.images.max()) <= 1.0
    assert set(batch.masks.unique().tolist()) <= {0.0, 1.0}
    assert bool(torch.isfinite(batch.images).all())


def test_a_tight_box_holds_its_mask_and_is_not_much_larger() -> None:
    batch = make_batch(2, 0, 60, SampleOptions(slices=1, size=96, jitter=0.0, looks=1))
    filled = 0
    for image_mask, rectangle, inside in zip(
        batch.masks[:, 1], batch.rectangles[:, 0], batch.inside[:, 0], strict=True
    ):
        if not bool(image_mask.any()):
            continue
        assert bool(inside), "a mask lies on a slice beyond the ends of its box"
        rows, columns = torch.nonzero(image_mask, as_tuple=True)
        x0, y0, x1, y1 = rectangle.tolist()
        # The survey that finds the box samples the object at finite steps: thin tips may stand out a little.
        slack = 3.0
        assert columns.min() >= x0 - slack
        assert columns.max() <= x1 + slack
        assert rows.min() >= y0 - slack
        assert rows.max() <= y1 + slack
        filled += 1
    assert filled > 30


def test_box_coordinates_agree_with_the_rectangle() -> None:
    batch = make_batch(4, 0, 8, SampleOptions(slices=1, size=96, looks=1))
    for place, rectangle, inside in zip(
        batch.box_coordinates[:, 0], batch.rectangles[:, 0], batch.inside[:, 0], strict=True
    ):
        if not bool(inside):
            continue
        within = (place[0].abs() <= 1) & (place[1].abs() <= 1)
        rows, columns = torch.nonzero(within, as_tuple=True)
        x0, y0, x1, y1 = rectangle.tolist()
        # Pixel c of the half-resolution grid has its centre at 2c + 0.5 of the crop.
        assert abs(columns.min() * 2 + 0.5 - max(x0, 0.5)) <= 2.0
        assert abs(columns.max() * 2 + 0.5 - min(x1, 94.5)) <= 2.0
        assert abs(rows.min() * 2 + 0.5 - max(y0, 0.5)) <= 2.0
        assert abs(rows.max() * 2 + 0.5 - min(y1, 94.5)) <= 2.0


def test_smooth_fields_do_not_depend_on_the_grid_they_are_read_on() -> None:
    field = SmoothField.random(Randomness.from_seed(1), 2, 1.0, 3.0)
    axis = torch.linspace(-2, 2, 9)
    dense = field.on_grid((axis, axis, axis))
    sparse = field.on_grid((axis[::2], axis[1:4], axis[-1:]))
    assert torch.allclose(dense[:, ::2, 1:4, -1:], sparse, atol=1e-5)
    assert torch.allclose(bspline_weights(axis, 8, -3.0, 3.0).sum(1), torch.ones(9), atol=1e-5)


def test_volumes_hold_the_object_between_the_faces_of_a_tight_box() -> None:
    grid = CoarseGrid((16, 32, 32))
    batches = [make_volume_batch(5, step, 4, grid, bodies=0.5) for step in range(8)]
    again = make_volume_batch(5, 3, 4, grid, bodies=0.5)
    assert torch.equal(batches[3].intensities, again.intensities) and torch.equal(batches[3].masks, again.masks)
    share = []
    for batch in batches:
        assert batch.intensities.shape == batch.masks.shape == (4, *grid.cells)
        assert float(batch.intensities.min()) >= 0.0 and float(batch.intensities.max()) <= 1.0
        place = torch.stack(torch.meshgrid(*(grid.place(axis) for axis in range(3)), indexing="ij"))
        inside = place.abs().amax(0) <= 1.0
        mask = batch.masks > 0.5
        assert bool(mask.flatten(1).any(dim=1).all())
        share += (mask & inside).sum(dim=(1, 2, 3)).div(mask.sum(dim=(1, 2, 3))).tolist()
    # Careless boxes cut the object; tight ones, which are most, hold all of it.
    assert sorted(share)[len(share) // 2] > 0.97
    assert min(share) > 0.5


def test_a_thin_end_that_is_missing_is_a_worse_presence_than_a_dent_of_its_size() -> None:
    truth = torch.zeros(1, 16, 24, 24)
    truth[:, 4:12, 6:16, 6:16] = 1.0
    truth[:, 4:12, 10:12, 16:20] = 1.0
    without_end, with_dent = truth.clone(), truth.clone()
    without_end[:, 4:12, 10:12, 16:20] = 0.0
    with_dent[:, 4:12, 6:8, 6:10] = 0.0
    exact, shortened, dented = (float(presence_loss(12.0 * m - 6.0, truth)) for m in (truth, without_end, with_dent))
    assert exact < 0.01 and dented < 2.0 * exact
    assert shortened > 10.0 * dented
