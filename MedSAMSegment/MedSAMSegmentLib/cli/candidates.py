"""``segment --multimask``: all masks a model offers for one slice of each object, for the user to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .console import Output, new_table

if TYPE_CHECKING:
    from ..inference import Session
    from ..volume import OrientedBox, Volume, Window


@dataclass(frozen=True, eq=False)
class OfferedMask:
    """One mask on offer.

    Attributes:
        name: of the object.
        number: from 1, the one the model is surest of first; 0 where there is no choice.
        slice_index: where.
        mask: bool (rows, columns) of the slice.
        score: estimated overlap x stability, 0..1.
    """

    name: str
    number: int
    slice_index: int
    mask: np.ndarray
    score: float

    @property
    def title(self) -> str:
        """Name of the mask in files."""
        return f"{self.name} candidate {self.number}" if self.number else self.name


def offered_in(session: Session) -> list[OfferedMask]:
    """What the model offers for every object of a session, on its key slice.

    Raises:
        UsageError, InputError, InferenceError: as ``Session.candidates``.
    """
    return [
        OfferedMask(name, number, item.slice_index, item.mask, item.score)
        for name in session.objects
        for number, item in enumerate(session.candidates(name), start=1)
    ]


def write_offered(
    offered: list[OfferedMask],
    volume: Volume,
    axis: int,
    targets: list[str],
    window: Window,
    title: str,
    subtitle: str,
    boxes: Mapping[str, OrientedBox] | None = None,
) -> list[Path]:
    """Write every mask on offer as an object of its own; pictures show the objects' ``boxes``.

    Raises:
        OutputError: a file cannot be written.
        UsageError: ``NO_RESULTS`` where nothing is on offer.
    """
    from ..export import ExportedObject, SheetStyle, WriteOptions, write_results

    objects = []
    for item in offered:
        mask = np.zeros(volume.voxels.shape, bool)
        np.moveaxis(mask, axis, 0)[item.slice_index] = item.mask
        box = (boxes or {}).get(item.name)
        objects.append(ExportedObject(item.title, mask, box, {item.slice_index: item.score}))
    options = WriteOptions(sheet=SheetStyle(axis, window, title, subtitle))
    return list(write_results(targets, volume, objects, options).paths)


def describe_offered(offered: list[OfferedMask]) -> list[dict[str, Any]]:
    """By object, for machines."""
    return [
        {
            "name": name,
            "candidates": [
                {
                    "name": item.title,
                    "slice": item.slice_index,
                    "score": round(item.score, 4),
                    "pixels": int(np.count_nonzero(item.mask)),
                }
                for item in offered
                if item.name == name
            ],
        }
        for name in dict.fromkeys(item.name for item in offered)
    ]


def show_offered(output: Output, offered: list[OfferedMask], written: list[Path]) -> None:
    """A table of the masks, and the files."""
    from rich.text import Text

    table = new_table()
    for heading in ("mask", "slice", "pixels", "score"):
        table.add_column(heading, justify="left" if heading == "mask" else "right")
    for item in offered:
        pixels = int(np.count_nonzero(item.mask))
        table.add_row(Text(item.title), str(item.slice_index), f"{pixels:,}", f"{item.score:.2f}")
    output.say(table)
    for path in written:
        output.say(Text(str(path)))
