"""Pictures of the worst results, to look at what went wrong."""

from __future__ import annotations

import re
from pathlib import Path

from .harness import Observation, oriented_box

TRUTH_COLOUR = (255, 255, 255)
MASK_COLOUR = (240, 120, 90)


class WorstCases:
    """Keeps the objects with the lowest Dice of every group while an evaluation runs.

    Args:
        count: objects to keep a group.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: dict[str, list[Observation]] = {}

    def add(self, observation: Observation) -> None:
        """An observer for :func:`evaluate`."""
        group = self._kept.setdefault(observation.score.group, [])
        group.append(observation)
        group.sort(key=lambda item: item.score.dice)
        del group[self.count :]

    def kept(self) -> list[Observation]:
        """All kept objects, group by group, worst first."""
        return [item for group in self._kept.values() for item in group]

    def write(self, folder: Path) -> list[Path]:
        """Write one contact sheet an object: truth in white, the mask and its box in colour.

        Raises:
            OutputError: a file cannot be written.
        """
        from ..export import Layer, SheetStyle, write_contact_sheet

        paths = []
        for group, items in self._kept.items():
            for number, item in enumerate(items, start=1):
                score = item.score
                box = oriented_box(item.loaded.volume, score.box)
                surface = "" if score.nsd is None else f", NSD {score.nsd:.2f}"
                path = folder / f"{_slug(group)}-{number}.png"
                write_contact_sheet(
                    path,
                    item.loaded.volume,
                    [
                        Layer("truth", item.truth, TRUTH_COLOUR, fill=0.0),
                        Layer("mask", item.mask, MASK_COLOUR, box),
                    ],
                    SheetStyle(title=f"{score.case} · {score.object}", subtitle=f"Dice {score.dice:.2f}{surface}"),
                )
                paths.append(path)
        return paths


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
