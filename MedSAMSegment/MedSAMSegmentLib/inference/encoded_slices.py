"""The encoded slices of one crop: from the cache, or made and put there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cache import EmbeddingCache, SliceKey
from .predictor import PredictsTogether, SlicePredictor
from .sampler import SliceSampler


@dataclass(frozen=True)
class EncodedSlices:
    """See the module's text.

    Attributes:
        predictor: encodes.
        sampler: cuts the pictures.
        cache: keeps what was encoded.
        volume: the scan's fingerprint.
        model: everything beside the picture that decides what is encoded: weights and runtime.
    """

    predictor: SlicePredictor
    sampler: SliceSampler
    cache: EmbeddingCache
    volume: str
    model: str

    def knows(self, index: int) -> bool:
        """Whether a slice need not be encoded any more."""
        return self._key(index) in self.cache

    def features(self, index: int) -> Any:
        """What the network says of a slice."""
        return self.cache.get(self._key(index), lambda: self.predictor.encode(self.picture(index)))

    def together(self, indices: Sequence[int]) -> None:
        """Encode those of several slices that are not known, at once where the network can do that."""
        missing = [index for index in indices if not self.knows(index)]
        if len(missing) > 1 and isinstance(self.predictor, PredictsTogether):
            for index, features in zip(missing, self.encode(missing), strict=True):
                self.keep(index, features)

    def encode(self, indices: Sequence[int]) -> list[Any]:
        """What a network that works on several slices says of some; the cache is neither asked nor told."""
        assert isinstance(self.predictor, PredictsTogether)
        return self.predictor.encode_batch([self.picture(index) for index in indices])

    def keep(self, index: int, features: Any) -> None:
        """Put into the cache what was encoded elsewhere."""
        self.cache.put(self._key(index), features)

    def picture(self, index: int) -> np.ndarray:
        """A slice as the network is shown it, see :meth:`SlicePredictor.encode`."""
        return self.sampler.picture(index, self.predictor.neighbours)

    def _key(self, index: int) -> SliceKey:
        sampler = self.sampler
        low, high = sampler.window
        return SliceKey(self.volume, sampler.plane.axis, index, (low, high), sampler.frame, self.model)
