"""Slices encoded before they are asked for, on processor cores that would be idle.

Which slices are encoded together decides the last bits of what comes out.  Groups are therefore the same whether they
are encoded ahead or when they are asked for, on one core or on many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .encoded_slices import EncodedSlices

_GROUPS_AHEAD = 8
"""So many groups wait to be asked for at most: what is encoded lies in memory."""


@dataclass(frozen=True, eq=False)
class _Group:
    slices: tuple[int, ...]
    features: Future[list[Any]]


class EncodedAhead:
    """Encoded slices as :class:`EncodedSlices` gives them, begun early.

    Only the thread that made it may use it, and only that thread touches the cache.

    Args:
        encoded: what encodes them.
        groups: the slices that will be asked for, in that order; a group is encoded together.
        workers: how many groups are worked on at a time; with 0 nothing is done ahead.
    """

    def __init__(self, encoded: EncodedSlices, groups: Iterable[Sequence[int]], workers: int) -> None:
        self._encoded = encoded
        self._groups = iter(groups if workers else ())
        self._workers = workers
        self._begun: dict[int, _Group] = {}
        self._begin_more()

    def features(self, index: int) -> Any:
        """What the network says of a slice."""
        self._take([index])
        return self._encoded.features(index)

    def picture(self, index: int) -> np.ndarray:
        """A slice as the network is shown it."""
        return self._encoded.picture(index)

    def together(self, indices: Sequence[int]) -> None:
        """Have several slices encoded."""
        self._take(indices)
        self._encoded.together(indices)

    def close(self) -> None:
        """Begin nothing more; what is encoded already is kept."""
        self._groups = iter(())
        for group in dict.fromkeys(self._begun.values()):
            if not group.features.cancel() and group.features.done() and group.features.exception() is None:
                self._keep(group)
        self._begun.clear()

    def _take(self, indices: Sequence[int]) -> None:
        """Put the groups of some slices into the cache; what nobody has begun to encode is left to be encoded now."""
        wanted = dict.fromkeys(self._begun[index] for index in indices if index in self._begun)
        mine = [group for group in wanted if group.features.cancel()]
        self._encoded.together([index for group in mine for index in group.slices])
        for group in wanted:
            for index in group.slices:
                del self._begun[index]
            if group not in mine:
                self._keep(group)
        if wanted:
            self._begin_more()

    def _keep(self, group: _Group) -> None:
        for index, features in zip(group.slices, group.features.result(), strict=True):
            self._encoded.keep(index, features)

    def _begin_more(self) -> None:
        while len(set(self._begun.values())) < _GROUPS_AHEAD:
            slices = next(self._groups, None)
            if slices is None:
                return
            missing = tuple(index for index in slices if not self._encoded.knows(index))
            if missing:
                group = _Group(missing, _helpers(self._workers).submit(self._encoded.encode, missing))
                self._begun.update(dict.fromkeys(missing, group))


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="encode ahead")
