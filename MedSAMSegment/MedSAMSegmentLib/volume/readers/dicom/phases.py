"""Tells apart the phases, echoes or time points that one series holds at the same positions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ...geometry import FloatArray
from .headers import PHASE_ELEMENTS, SliceHeader

#: Two slices closer than this fraction of the usual step, or than this in mm, are at one position.
_SAME_POSITION = 0.01
_SAME_POSITION_MM = 1e-3

_WORDS = {
    "AcquisitionNumber": "acquisition",
    "TemporalPositionIdentifier": "time point",
    "TriggerTime": "trigger time in the heart beat",
    "EchoTime": "echo time",
    "DiffusionBValue": "diffusion weighting",
    "StackID": "stack",
    "ImageType": "kind of image",
    "AcquisitionTime": "acquisition time",
    "": "the order of the images",
}


@dataclass(frozen=True)
class Phases:
    """How a series divides.

    Attributes:
        slices: headers of each phase, the lowest value first.
        by: in plain words what tells them apart, e.g. ``"echo time"``; never a value.
    """

    slices: list[list[SliceHeader]]
    by: str


@dataclass(frozen=True, eq=False)
class Places:
    """Slices in order along their normal.

    Attributes:
        slices: the headers.
        heights: position along the normal in mm.
        number: of each slice's position, 0, 1, 2 ...; slices at one position have the same.
    """

    slices: list[SliceHeader]
    heights: FloatArray
    number: FloatArray

    @property
    def repeated(self) -> int:
        """How many slices lie at the position of another one."""
        return len(self.slices) - int(self.number[-1]) - 1


def in_order(slices: Sequence[SliceHeader], normal: FloatArray) -> Places:
    """Slices, all with a position, sorted along a normal; those at one position in the order of instance and frame."""
    heights = np.array([header.position for header in slices]) @ normal
    steps = np.diff(np.sort(heights))
    apart = steps[steps > _SAME_POSITION_MM]
    tolerance = max(_SAME_POSITION_MM, _SAME_POSITION * float(np.median(apart))) if apart.size else np.inf
    order = sorted(range(len(slices)), key=lambda n: (heights[n], slices[n].instance_number or 0, slices[n].frame or 0))
    sorted_heights = heights[order]
    number = np.concatenate([[0], np.cumsum(np.diff(sorted_heights) > tolerance)])
    return Places([slices[n] for n in order], sorted_heights, number)


def split_phases(places: Places) -> Phases | None:
    """The phases of slices that share positions; None where nothing tells them apart.

    A phase visits no position twice. What differs between phases is looked for in the elements made for it, then in
    pairs of them (the echoes of several time points), and at last in the order of the instance numbers.
    """
    for size in (1, 2):
        for elements in combinations(PHASE_ELEMENTS, size):
            groups: dict[tuple[str, ...], list[tuple[SliceHeader, int]]] = {}
            for header, place in zip(places.slices, places.number.tolist(), strict=True):
                groups.setdefault(tuple(header.phase[name] for name in elements), []).append((header, place))
            if _is_division(groups.values()):
                ordered = [groups[key] for key in sorted(groups, key=_ascending)]
                return Phases([[header for header, _ in group] for group in ordered], _in_words(elements))
    return _by_order(places)


def _is_division(groups: Iterable[list[tuple[SliceHeader, int]]]) -> bool:
    divided = [[place for _, place in group] for group in groups]
    # A value that differs from slice to slice says nothing.
    return len(divided) > 1 and all(1 < len(group) == len(set(group)) for group in divided)


def _by_order(places: Places) -> Phases | None:
    """Consecutive images of equal number, each run of which visits every position once."""
    _, counts = np.unique(places.number, return_counts=True)
    if len(counts) < 2 or len(set(counts.tolist())) != 1 or any(s.instance_number is None for s in places.slices):
        return None
    images = sorted(
        zip(places.slices, places.number.tolist(), strict=True),
        key=lambda item: (item[0].instance_number or 0, item[0].frame or 0),
    )
    length = len(counts)
    runs = [images[start : start + length] for start in range(0, len(images), length)]
    if not _is_division(runs):
        return None
    return Phases([[header for header, _ in run] for run in runs], _WORDS[""])


def _ascending(key: tuple[str, ...]) -> list[tuple[float, str]]:
    """Numbers by their value, then text."""
    parts = []
    for text in key:
        try:
            parts.append((float(text), text))
        except ValueError:
            parts.append((np.inf, text))
    return parts


def _in_words(elements: tuple[str, ...]) -> str:
    return " and ".join(_WORDS[name] for name in elements)
