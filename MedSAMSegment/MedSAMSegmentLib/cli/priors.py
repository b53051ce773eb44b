"""``segment --prior``: segments of an earlier result, DICOM or not, to continue from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, UsageError
from .console import Output
from .prompted import PromptedObject

if TYPE_CHECKING:
    import numpy as np

    from ..volume import Geometry, OrientedBox, Volume
    from ..volume.readers.segments import StoredSegment

Priors = Annotated[
    list[str] | None,
    typer.Option(
        "--prior",
        help="[NAME=]FILE, segments of this scan to continue from, one or all: a DICOM segmentation or structure set, a"
        " .seg.nrrd, or a label map (where it holds one label, NAME names it). Its masks stay as they are, but slices"
        " with a click or a stroke are segmented anew.",
    ),
]
PriorUse = Annotated[
    str, typer.Option("--prior-as", help="mask: keep the prior's masks. box: take only their boxes, as prompts.")
]


@dataclass(frozen=True)
class PriorOptions:
    """The texts of the prior options.

    Attributes:
        texts: each ``[NAME=]FILE``.
        use: ``"mask"`` or ``"box"``.
    """

    texts: Sequence[str] = ()
    use: str = "mask"

    def check(self) -> None:
        """Raises ``UsageError`` (``UNKNOWN_PRIOR_USE``)."""
        if self.use not in ("mask", "box"):
            raise UsageError("UNKNOWN_PRIOR_USE", f"{self.use!r} is no use of a prior.", "Choose mask or box.")

    def read(self, volume: Volume, output: Output) -> dict[str, StoredSegment]:
        """The segments by the name of their object, on the scan's grid, without empty ones.

        Raises:
            InputError: a file cannot be read, belongs to another scan, or holds no such segment (``NO_SEGMENTS``).
            UsageError: ``DUPLICATE_NAME``.
        """
        from ..volume.readers.segments import read_segments

        found: dict[str, StoredSegment] = {}
        for text in self.texts:
            name, path = _split(text)
            stored = read_segments(path, volume)
            for note in stored.notes:
                output.note(note)
            if not stored.named and name is not None and len(stored.segments) == 1:
                stored = replace(stored, segments=(replace(stored.segments[0], name=name),))
            wanted = [item for item in stored.segments if item.mask.any() and name in (None, item.name)]
            if not wanted:
                listing = ", ".join(repr(item.name) for item in stored.segments)
                what = "is empty" if name is None else f"has no voxel of {name!r}"
                raise InputError("NO_SEGMENTS", f"{path.name} {what} on this scan.", f"It holds {listing}.")
            for item in wanted:
                if item.name in found:
                    raise UsageError(
                        "DUPLICATE_NAME",
                        f"Two prior segments are called {item.name!r}.",
                        "Choose one segment a file: --prior NAME=FILE.",
                    )
                found[item.name] = item
        return found

    def prompt(
        self, objects: Sequence[PromptedObject], priors: Mapping[str, StoredSegment], geometry: Geometry, axis: int
    ) -> list[PromptedObject]:
        """Prior segments as prompts: objects of the same name take them beside their own, the others are added.

        Args:
            objects: what other options prompt.
            priors: as :meth:`read` gives them.
            geometry: of the scan.
            axis: array axis across the segmented slices.
        """
        import numpy as np

        prompted = {item.name: item for item in objects}
        for name, segment in priors.items():
            item = prompted.get(name, PromptedObject(name))
            if self.use == "box":
                item = replace(item, box=item.box or _box(segment.mask, geometry))
            else:
                kept = segment.mask.copy()
                np.moveaxis(kept, axis, 0)[_corrected_slices(item, geometry, axis)] = False
                item = replace(item, masks=(kept, *item.masks), box=item.box or _box(segment.mask, geometry))
            prompted[name] = item
        return list(prompted.values())


def _split(text: str) -> tuple[str | None, Path]:
    """Name and file of ``NAME=FILE``; a file whose name holds the sign is no name."""
    name, sign, rest = text.partition("=")
    return (None, Path(text)) if not sign or Path(text).is_file() else (name, Path(rest))


def _box(mask: np.ndarray, geometry: Geometry) -> OrientedBox:
    """The smallest box of whole voxels around a mask."""
    import numpy as np

    from ..volume import OrientedBox

    places = np.argwhere(mask)[:, ::-1]
    low, high = places.min(axis=0), places.max(axis=0) + 1
    return OrientedBox.from_index_range(geometry, *map(int, low), *map(int, high))


def _corrected_slices(item: PromptedObject, geometry: Geometry, axis: int) -> list[int]:
    """Slices that clicks, strokes, lines or rectangles of today are on."""
    import numpy as np

    places = [position for position, _ in item.points]
    places += [position for path, _ in item.scribbles for position in path]
    places += [position for line in item.lines for position in line]
    numbers = {index for index, _ in item.slice_boxes}
    if places:
        numbers |= set(np.rint(geometry.lps_to_index(places)[:, 2 - axis]).astype(int).tolist())
    return sorted(number for number in numbers if 0 <= number < geometry.shape[axis])
