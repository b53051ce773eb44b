"""What the options of ``medsamsegment segment`` say about objects.

Prompts beside boxes belong to an object by its name, ``--point liver=120,80,30``; the name may be left out where there
is one object only.  A name that no box has makes an object without a box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .positions import box_from_text, check_space, positions_from_text, slice_box_from_text
from .prompted import PromptedObject
from .prompts_file import mask_from_file, read_prompts

if TYPE_CHECKING:
    from ..volume import Geometry

_PANEL = "Prompts"

Boxes = Annotated[
    list[str] | None,
    typer.Option(
        "--box",
        help="x0,y0,z0,x1,y1,z1; by default voxel ranges i0,j0,k0,i1,j1,k1, upper end exclusive. Of a picture"
        " x0,y0,x1,y1, first and last column and row.",
        rich_help_panel=_PANEL,
    ),
]
Space = Annotated[
    str, typer.Option(help="What positions and boxes count in: ijk, or mm in lps or ras.", rich_help_panel=_PANEL)
]
Rois = Annotated[
    list[Path] | None, typer.Option("--roi", help="3D Slicer ROI file (.mrk.json).", rich_help_panel=_PANEL)
]
PromptFiles = Annotated[
    list[Path] | None,
    typer.Option("--prompts", help="JSON file with named objects and all their prompts.", rich_help_panel=_PANEL),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", help="Name of an object; one for each --box, then --roi.", rich_help_panel=_PANEL),
]
Points = Annotated[
    list[str] | None, typer.Option("--point", help="[NAME=]x,y,z inside the object.", rich_help_panel=_PANEL)
]
OutsidePoints = Annotated[
    list[str] | None, typer.Option("--outside-point", help="[NAME=]x,y,z outside the object.", rich_help_panel=_PANEL)
]
Scribbles = Annotated[
    list[str] | None,
    typer.Option("--scribble", help="[NAME=]x,y,z;x,y,z;... a stroke through the object.", rich_help_panel=_PANEL),
]
OutsideScribbles = Annotated[
    list[str] | None,
    typer.Option(
        "--outside-scribble", help="[NAME=]x,y,z;x,y,z;... a stroke beside the object.", rich_help_panel=_PANEL
    ),
]
Lines = Annotated[
    list[str] | None,
    typer.Option(
        "--line", help="[NAME=]x,y,z;x,y,z, the longest diameter on one slice (RECIST).", rich_help_panel=_PANEL
    ),
]
SliceBoxes = Annotated[
    list[str] | None,
    typer.Option(
        "--slice-box",
        help="[NAME=]SLICE:x0,y0,x1,y1, a rectangle on one slice, upper end exclusive. Without --box, several say "
        "where the object begins and ends.",
        rich_help_panel=_PANEL,
    ),
]
Masks = Annotated[
    list[str] | None,
    typer.Option(
        "--mask",
        help="[NAME=]FILE, a label map on the scan's grid with the object drawn on some slices.",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True)
class PromptOptions:
    """The texts of all prompt options, in the order of the fields' options."""

    boxes: Sequence[str] = ()
    space: str = "ijk"
    rois: Sequence[Path] = ()
    files: Sequence[Path] = ()
    labels: Sequence[str] = ()
    points: Sequence[str] = ()
    outside_points: Sequence[str] = ()
    scribbles: Sequence[str] = ()
    outside_scribbles: Sequence[str] = ()
    lines: Sequence[str] = ()
    slice_boxes: Sequence[str] = ()
    masks: Sequence[str] = ()

    @property
    def any_given(self) -> bool:
        """Whether anything is prompted."""
        return bool(self.boxes or self.rois or self.files or any(texts for texts, _ in self._by_name()))

    def objects(self, geometry: Geometry) -> list[PromptedObject]:
        """All objects the options ask for: boxes, then ROI files, then prompts files, then names that are new.

        Labels name the boxes of ``--box`` and ``--roi`` in that order, or the one object that has no box; what is left
        over keeps its ROI's name or becomes ``object 1``, ``object 2`` ...

        Raises:
            UsageError: ``BAD_BOX_TEXT``, ``BAD_POSITION_TEXT``, ``UNKNOWN_SPACE``, ``TOO_MANY_LABELS``,
                ``DUPLICATE_NAME``, ``NAME_NEEDED``.
            InputError: a box is empty, reversed or outside the scan, or a file cannot be used.
        """
        from ..volume import read_roi

        check_space(self.space)
        drawn = [
            PromptedObject(f"object {number}", box_from_text(geometry, text, self.space))
            for number, text in enumerate(self.boxes, start=1)
        ]
        for path in self.rois:
            drawn += [PromptedObject(name, box) for name, box in read_roi(path)]
        unlabelled = len(drawn)
        drawn = [replace(item, name=label) for item, label in zip(drawn, self.labels, strict=False)] + drawn[
            len(self.labels) :
        ]
        for path in self.files:
            drawn += read_prompts(path, geometry)
        found = {item.name: item for item in drawn}
        if len(found) < len(drawn):
            names = [item.name for item in drawn]
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError("DUPLICATE_NAME", f"Two objects are called {twice!r}.", "Name them with --label.")
        default = None if drawn else (self.labels[0] if self.labels else "object 1")
        nameless = self._add_by_name(geometry, found, default)
        if len(self.labels) > (unlabelled or int(nameless and default is not None)):
            raise UsageError(
                "TOO_MANY_LABELS",
                f"There are {len(self.labels)} labels for {unlabelled} boxes.",
                "Give one --label a box; other prompts take the name in front: --point NAME=x,y,z.",
            )
        return list(found.values())

    def _add_by_name(self, geometry: Geometry, found: dict[str, PromptedObject], default: str | None) -> bool:
        """Add everything but boxes to the objects; says whether a prompt without a name was among it."""
        only = next(iter(found)) if len(found) == 1 else default
        nameless = False
        for texts, read in self._by_name():
            for text in texts:
                name, rest = _split(text)
                if name is None:
                    nameless = True
                    if only is None:
                        raise UsageError(
                            "NAME_NEEDED",
                            f"{text!r} may belong to several objects.",
                            "Write its name in front: NAME=...",
                        )
                    name = only
                found[name] = read(found.get(name, PromptedObject(name)), rest, geometry)
        return nameless

    def _by_name(self) -> list[tuple[Sequence[str], Callable[[PromptedObject, str, Geometry], PromptedObject]]]:
        """The options that take a name, each with what adds one of its texts to an object."""
        return [
            (self.points, lambda item, text, geometry: self._point(item, text, geometry, True)),
            (self.outside_points, lambda item, text, geometry: self._point(item, text, geometry, False)),
            (self.scribbles, lambda item, text, geometry: self._scribble(item, text, geometry, True)),
            (self.outside_scribbles, lambda item, text, geometry: self._scribble(item, text, geometry, False)),
            (self.lines, self._line),
            (self.slice_boxes, _with_slice_box),
            (self.masks, _with_mask),
        ]

    def _point(self, item: PromptedObject, text: str, geometry: Geometry, inside: bool) -> PromptedObject:
        places = positions_from_text(geometry, text, self.space)
        return replace(item, points=(*item.points, *((place, inside) for place in places)))

    def _scribble(self, item: PromptedObject, text: str, geometry: Geometry, inside: bool) -> PromptedObject:
        path = positions_from_text(geometry, text, self.space)
        return replace(item, scribbles=(*item.scribbles, (path, inside)))

    def _line(self, item: PromptedObject, text: str, geometry: Geometry) -> PromptedObject:
        ends = positions_from_text(geometry, text, self.space)
        if len(ends) != 2:
            raise UsageError("BAD_POSITION_TEXT", f"{text!r} is not a line.", "Write its two ends: x,y,z;x,y,z.")
        return replace(item, lines=(*item.lines, (ends[0], ends[1])))


def _with_slice_box(item: PromptedObject, text: str, _: Any) -> PromptedObject:
    return replace(item, slice_boxes=(*item.slice_boxes, slice_box_from_text(text)))


def _with_mask(item: PromptedObject, text: str, geometry: Geometry) -> PromptedObject:
    return replace(item, masks=(*item.masks, mask_from_file(Path(text), geometry)))


def _split(text: str) -> tuple[str | None, str]:
    """Name and rest of ``NAME=REST``; a file whose name holds the sign is no name."""
    name, sign, rest = text.partition("=")
    if not sign or Path(text).is_file():
        return None, text
    return name, rest
