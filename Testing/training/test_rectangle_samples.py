"""Slices for the network that is told rectangles: they bound the object, in the picture that is shown."""

from __future__ import annotations

import torch
from MedSAMSegmentLib.training.rectangles import RectangleBatch, make_rectangle_batch

SIZE = 64


def test_the_same_seed_and_step_give_the_same_batch() -> None:
    first, again, other = (make_rectangle_batch(3, step, 2, 2, 48) for step in (5, 5, 6))
    assert torch.equal(first.pictures, again.pictures) and torch.equal(first.places, again.places)
    assert first.pictures.shape != other.pictures.shape or not torch.equal(first.pictures, other.pictures)


def test_rectangles_bound_the_object() -> None:
    batch: RectangleBatch = make_rectangle_batch(5, 0, 8, 4, SIZE)
    count = len(batch.pictures)
    assert count > 16 and batch.pictures.shape == (count, 3, SIZE, SIZE) and batch.masks.shape == (count, SIZE, SIZE)
    assert batch.places.shape == (count, 2, SIZE, SIZE) and batch.slice_step.shape == (count,)
    assert set(batch.masks.unique().tolist()) == {0.0, 1.0}
    edges = []
    for mask, places in zip(batch.masks > 0.5, batch.places, strict=True):
        assert bool(mask.any())
        # Along columns the first map changes, along rows the second.
        assert float(places[0].diff(dim=0).abs().max()) < 1e-5 < float(places[0].diff(dim=1).abs().min())
        assert float(places[1].diff(dim=1).abs().max()) < 1e-5 < float(places[1].diff(dim=0).abs().min())
        edges.append([float(places[axis][mask].abs().max()) for axis in (0, 1)])
    found = torch.tensor(edges)
    # Most are drawn tightly: the object ends where the rectangle does; careless ones are a sixth off at most.
    assert float(found.max()) < 1.5 and float(found.min()) > 0.55
    assert 0.8 < float(found.median()) < 1.0
