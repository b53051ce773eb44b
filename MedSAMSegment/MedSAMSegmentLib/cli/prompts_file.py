"""Prompts files: JSON that holds objects with boxes, clicks, scribbles, diameters, rectangles and drawn masks.

Their form is ``prompts_file.schema.json`` beside this module, described in ``docs/prompts-file.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .positions import box_from_numbers, slice_edges, to_lps
from .prompted import PromptedObject
from .schema import first_fault

if TYPE_CHECKING:
    import numpy as np

    from ..volume import Geometry

_SCHEMA = Path(__file__).with_name("prompts_file.schema.json")


def read_prompts(path: Path, geometry: Geometry) -> list[PromptedObject]:
    """The objects of a prompts file.

    Raises:
        InputError: ``BAD_PROMPTS_FILE`` names the first fault; or a box is empty, reversed or outside the scan, or a
            label map does not fit it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _bad(path, f"it cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _bad(path, "it is not JSON") from error
    fault = first_fault(content, prompts_schema())
    if fault is not None:
        raise _bad(path, fault)
    space = content.get("space", "lps")
    return [
        _object(path, entry, f"object {number}", space, geometry)
        for number, entry in enumerate(content["objects"], start=1)
    ]


@lru_cache(maxsize=1)
def prompts_schema() -> Mapping[str, Any]:
    """The JSON Schema of prompts files."""
    return json.loads(_SCHEMA.read_text(encoding="utf-8"))


def mask_from_file(path: Path, geometry: Geometry, label: int | None = None) -> np.ndarray:
    """A drawn mask, bool (k, j, i): the voxels of a label map that hold ``label``, or any label.

    Raises:
        InputError: the file cannot be read, lies on another grid (``OTHER_GRID``), or holds no such label
            (``EMPTY_MASK``).
    """
    from ..volume import read_labelmap

    labels = read_labelmap(path)
    flat = geometry.shape[0] == 1 and labels.geometry.shape == geometry.shape
    if not flat and not labels.geometry.is_close(geometry):
        raise InputError(
            "OTHER_GRID", f"{path.name} lies on another grid than the scan.", "Save it on the scan's grid."
        )
    mask = labels.voxels > 0 if label is None else labels.voxels == label
    if not mask.any():
        what = "no labelled voxel" if label is None else f"no voxel with the label {label}"
        raise InputError("EMPTY_MASK", f"{path.name} holds {what}.", "Draw the object on at least one slice.")
    return mask


def _object(path: Path, entry: Mapping[str, Any], name: str, space: str, geometry: Geometry) -> PromptedObject:
    space = entry.get("space", space)

    def place(numbers: list[float]) -> tuple[float, float, float]:
        return to_lps(geometry, numbers, space)

    box = entry.get("box")
    return PromptedObject(
        name=entry.get("name", name),
        box=None if box is None else box_from_numbers(geometry, box, space),
        points=tuple((place(item["position"]), item.get("positive", True)) for item in entry.get("points", ())),
        scribbles=tuple(
            (tuple(map(place, item["path"])), item.get("positive", True)) for item in entry.get("scribbles", ())
        ),
        lines=tuple((place(item["start"]), place(item["end"])) for item in entry.get("lines", ())),
        slice_boxes=tuple(
            (int(item["slice"]), slice_edges(item["rectangle"])) for item in entry.get("slice_boxes", ())
        ),
        masks=tuple(
            mask_from_file(path.parent / item["file"], geometry, item.get("label")) for item in entry.get("masks", ())
        ),
    )


def _bad(path: Path, reason: str) -> InputError:
    return InputError("BAD_PROMPTS_FILE", f"{path.name} is no prompts file: {reason}.", "See docs/prompts-file.md.")
