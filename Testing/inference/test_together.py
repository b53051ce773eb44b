"""Slices asked for together get the masks they get one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from MedSAMSegmentLib import Geometry, OrientedBox, Session, Volume
from MedSAMSegmentLib.checkpoints import load_model
from MedSAMSegmentLib.inference import EmbeddingCache
from MedSAMSegmentLib.inference.embedded import EmbeddedPredictor


class OneByOne:
    """The same network without its methods for several slices."""

    def __init__(self, predictor: EmbeddedPredictor) -> None:
        self._predictor = predictor

    def __getattr__(self, name: str) -> Any:
        if name in ("encode_batch", "predict_batch"):
            raise AttributeError(name)
        return getattr(self._predictor, name)


@pytest.fixture(scope="module")
def predictor() -> EmbeddedPredictor:
    return EmbeddedPredictor(load_model("embedded", None, "cpu"))


@pytest.fixture(scope="module")
def scene() -> tuple[Volume, OrientedBox]:
    voxels = np.random.default_rng(0).normal(20.0, 20.0, (20, 96, 96)).astype(np.int16)
    z, y, x = np.ogrid[-1:1:20j, -1:1:96j, -1:1:96j]
    voxels[(x / 0.45) ** 2 + (y / 0.35) ** 2 + (z / 0.8) ** 2 <= 1] += 90
    geometry = Geometry.from_parts(voxels.shape, (0.8, 0.8, 2.5), (0.0, 0.0, 0.0), np.eye(3))
    return Volume(voxels, geometry, modality="CT"), OrientedBox.from_index_range(geometry, 26, 31, 2, 70, 65, 18)


def test_slices_worked_on_together_get_the_same_masks(
    predictor: EmbeddedPredictor, scene: tuple[Volume, OrientedBox]
) -> None:
    masks = []
    for one in (predictor, OneByOne(predictor)):
        session = Session(scene[0], one)
        session.add_object("organ", scene[1])
        masks.append(session.segment("organ").mask)
    assert masks[1].sum() > 1000
    assert 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum()) >= 0.999


def test_the_number_of_cores_changes_nothing(predictor: EmbeddedPredictor, scene: tuple[Volume, OrientedBox]) -> None:
    logits = []
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            session = Session(scene[0], predictor)
            session.add_object("organ", scene[1])
            logits.append(session.segment("organ").logits)
        finally:
            torch.set_num_threads(before)
    np.testing.assert_array_equal(logits[0], logits[1])


def test_pictures_encoded_together_give_the_same_features(predictor: EmbeddedPredictor) -> None:
    pictures = np.random.default_rng(1).random((3, 3, 96, 96), dtype=np.float32)
    together = predictor.encode_batch(list(pictures))
    for picture, features in zip(pictures, together, strict=True):
        alone = predictor.encode(picture)
        np.testing.assert_array_equal(features.picture[0].numpy(), picture)
        torch.testing.assert_close(features.embedding, alone.embedding, atol=1e-4, rtol=1e-4)
        for fine, expected in zip(features.high_resolution, alone.high_resolution, strict=True):
            torch.testing.assert_close(fine, expected, atol=1e-4, rtol=1e-4)


def test_a_slice_dropped_from_the_cache_frees_its_memory(predictor: EmbeddedPredictor) -> None:
    pictures = np.random.default_rng(2).random((4, 3, 96, 96), dtype=np.float32)
    first = predictor.encode_batch(list(pictures))[0]
    tensors = [first.picture, first.embedding, *first.high_resolution]
    assert sum(one.untyped_storage().nbytes() for one in tensors) == sum(one.nbytes for one in tensors)


def test_slices_are_still_cached_when_encoded_together(
    predictor: EmbeddedPredictor, scene: tuple[Volume, OrientedBox]
) -> None:
    cache = EmbeddingCache()
    session = Session(scene[0], predictor, cache=cache)
    session.add_object("organ", scene[1])
    session.segment("organ")
    assert len(cache) == 16
    misses = cache.misses
    again = Session(scene[0], predictor, cache=cache)
    again.add_object("organ", scene[1])
    again.segment("organ")
    assert cache.misses == misses
    assert len(cache) == 16


def test_prepared_slices_need_no_encoding_when_the_object_is_segmented(
    predictor: EmbeddedPredictor, scene: tuple[Volume, OrientedBox]
) -> None:
    cache = EmbeddingCache()
    session = Session(scene[0], predictor, cache=cache)
    session.add_object("organ", scene[1])
    prepared = list(session.prepare("organ"))
    assert sorted(prepared) == list(range(2, 18))
    assert [abs(index - prepared[0]) for index in prepared] == sorted(abs(index - prepared[0]) for index in prepared)
    misses = cache.misses
    session.segment("organ")
    assert cache.misses == misses
    assert list(session.prepare("organ")) == []


def test_preparing_begins_where_the_user_looks_and_stops_when_the_cache_is_full(
    predictor: EmbeddedPredictor, scene: tuple[Volume, OrientedBox]
) -> None:
    session = Session(scene[0], predictor, window="40/400", full_slice=True, cache=EmbeddingCache())
    steps = session.prepare(around=4)
    assert [next(steps) for _ in range(3)] == [4, 3, 5]
    one = session._runner.cache.bytes // 3
    small = EmbeddingCache(limit_bytes=int(4.5 * one))
    session = Session(scene[0], predictor, window="40/400", full_slice=True, cache=small)
    assert list(session.prepare()) == [10, 9, 11, 8]
    assert small.bytes <= small.limit_bytes
    assert len(small) == 4
