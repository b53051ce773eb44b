"""Slices encoded before they are asked for are the ones that would be encoded then."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from MedSAMSegmentLib.inference.encoded_ahead import EncodedAhead

GROUPS = [[0], [1, 2], [3, 4], [5, 6]]


@dataclass
class Slices:
    """Counts in place of encoding; ``gate`` holds back whoever encodes in another thread than the test's."""

    known: dict[int, str] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    made: list[tuple[tuple[int, ...], bool]] = field(default_factory=list)
    entered: threading.Event = field(default_factory=threading.Event)
    fails: bool = False

    def knows(self, index: int) -> bool:
        return index in self.known

    def encode(self, indices: Sequence[int]) -> list[Any]:
        elsewhere = threading.current_thread() is not threading.main_thread()
        if elsewhere:
            self.entered.set()
            assert self.gate.wait(timeout=30)
        if self.fails:
            raise RuntimeError("no memory")
        self.made.append((tuple(indices), elsewhere))
        return [f"slice {index}" for index in indices]

    def together(self, indices: Sequence[int]) -> None:
        missing = [index for index in indices if index not in self.known]
        if len(missing) > 1:
            for index, features in zip(missing, self.encode(missing), strict=True):
                self.keep(index, features)

    def features(self, index: int) -> str:
        if index not in self.known:
            self.keep(index, self.encode([index])[0])
        return self.known[index]

    def keep(self, index: int, features: str) -> None:
        assert threading.current_thread() is threading.main_thread(), "the cache belongs to one thread"
        self.known[index] = features


def _asked_for(ahead: EncodedAhead) -> list[str]:
    found = []
    for group in GROUPS:
        ahead.together(group)
        found += [ahead.features(index) for index in group]
    return found


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_same_groups_are_encoded_however_many_cores_are_idle(workers: int) -> None:
    slices = Slices()
    slices.gate.set()
    found = _asked_for(EncodedAhead(slices, GROUPS, workers))  # type: ignore[arg-type]
    assert found == [f"slice {index}" for index in range(7)]
    assert sorted(group for group, _ in slices.made) == [tuple(group) for group in GROUPS]
    assert workers or not any(elsewhere for _, elsewhere in slices.made)


def test_what_nobody_has_begun_is_encoded_by_the_one_who_needs_it() -> None:
    slices = Slices()
    ahead = EncodedAhead(slices, GROUPS, 1)  # type: ignore[arg-type]
    assert slices.entered.wait(timeout=30)  # the only worker is held back with the first group
    ahead.together([3, 4, 5, 6])
    assert slices.made == [((3, 4, 5, 6), False)]
    slices.gate.set()
    assert _asked_for(ahead) == [f"slice {index}" for index in range(7)]
    assert slices.made[1:] == [((0,), True), ((1, 2), True)]


def test_slices_that_are_known_are_not_encoded_again() -> None:
    slices = Slices(known={1: "kept", 3: "kept", 4: "kept"})
    slices.gate.set()
    found = _asked_for(EncodedAhead(slices, GROUPS, 1))  # type: ignore[arg-type]
    assert [index for index, features in enumerate(found) if features == "kept"] == [1, 3, 4]
    assert {group for group, _ in slices.made} == {(0,), (2,), (5, 6)}


def test_closed_early_it_keeps_what_is_done_and_begins_nothing_more() -> None:
    slices = Slices()
    many = [[index] for index in range(100)]
    ahead = EncodedAhead(slices, many, 1)  # type: ignore[arg-type]
    slices.gate.set()
    assert ahead.features(0) == "slice 0"
    ahead.close()
    made = len(slices.made)
    assert 1 <= made <= 10 and len(slices.known) <= made
    assert ahead.features(99) == "slice 99"
    assert len(slices.made) <= made + 2, "what had begun ends, and nothing but the slice asked for is begun"


def test_a_failure_elsewhere_is_the_callers() -> None:
    slices = Slices(fails=True)
    slices.gate.set()
    ahead = EncodedAhead(slices, GROUPS, 1)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="no memory"):
        ahead.features(0)
    ahead.close()
    assert slices.known == {}
