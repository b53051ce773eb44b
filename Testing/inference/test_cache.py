"""The embedding cache keeps what was used last, within its limit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from MedSAMSegmentLib.inference import EmbeddingCache
from MedSAMSegmentLib.inference.cache import size_in_bytes


def test_a_value_is_computed_once_and_the_least_recently_used_goes_first():
    cache = EmbeddingCache(limit_bytes=3000)
    made = []

    def make(name):
        return lambda: made.append(name) or torch.zeros(250)  # 1000 bytes

    for name in "abcab":
        cache.get(name, make(name))
    assert made == ["a", "b", "c"] and (cache.hits, cache.misses) == (2, 3)
    cache.get("d", make("d"))
    assert "c" not in cache and {"a", "b", "d"} == {name for name in "abcd" if name in cache}
    assert cache.bytes == 3000 and len(cache) == 3


def test_a_value_beyond_the_limit_is_passed_through_and_displaces_nothing():
    cache = EmbeddingCache(limit_bytes=100)
    cache.get("small", lambda: np.zeros(10, np.uint8))
    assert cache.get("large", lambda: np.ones(200, np.uint8)).all()
    assert "small" in cache and "large" not in cache


def test_clearing_forgets_everything():
    cache = EmbeddingCache()
    cache.get("a", lambda: torch.zeros(4))
    cache.clear()
    assert len(cache) == 0 and cache.bytes == 0


def test_nested_features_are_counted_whole():
    @dataclass
    class Features:
        main: torch.Tensor
        levels: tuple[torch.Tensor, ...]
        more: dict[str, np.ndarray]

    features = Features(torch.zeros(10), (torch.zeros(5, dtype=torch.float16),), {"x": np.zeros(3, np.int16)})
    assert size_in_bytes([features]) == 40 + 10 + 6
