"""Boxes and clicks as the command line takes them: ``--box``, ``--roi`` and ``--prompts``.

A prompts file is JSON; positions are in its ``space`` (``lps`` mm unless it says ``ras`` or ``ijk``)::

    {
      "space": "ijk",
      "objects": [
        {
          "name": "liver",
          "box": [20, 60, 10, 120, 160, 50],              (two corners, as --box has them)
          "points": [{"position": [70, 100, 30], "positive": true}]
        }
      ]
    }
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, UsageError

if TYPE_CHECKING:
    from ..volume import Geometry, OrientedBox

SPACES = ("ijk", "lps", "ras")


@dataclass(frozen=True)
class PromptedObject:
    """One object to segment.

    Attributes:
        name: of the object.
        box: its box.
        points: clicks as ``(LPS mm, inside?)``.
    """

    name: str
    box: OrientedBox
    points: tuple[tuple[tuple[float, float, float], bool], ...] = ()


def collect_objects(
    geometry: Geometry,
    boxes: Sequence[str],
    space: str,
    rois: Sequence[Path],
    prompts: Sequence[Path],
    labels: Sequence[str],
) -> list[PromptedObject]:
    """All objects the options ask for, in the order boxes, ROI files, prompt files.

    Labels name the boxes of ``--box`` and ``--roi`` in that order; what is left over keeps its ROI's name or becomes
    ``object 1``, ``object 2`` ...

    Raises:
        UsageError: ``BAD_BOX_TEXT``, ``UNKNOWN_SPACE``, ``TOO_MANY_LABELS``, ``DUPLICATE_NAME``.
        InputError: a box is empty, reversed or outside the scan, or a file cannot be used.
    """
    from ..volume import read_roi

    check_space(space)
    drawn: list[tuple[str, OrientedBox]] = []
    for number, text in enumerate(boxes, start=1):
        drawn.append((f"object {number}", box_from_numbers(geometry, _six_numbers(text), space)))
    for path in rois:
        drawn += read_roi(path)
    if len(labels) > len(drawn):
        raise UsageError(
            "TOO_MANY_LABELS", f"There are {len(labels)} labels for {len(drawn)} boxes.", "Give one --label a box."
        )
    objects = []
    for number, (name, box) in enumerate(drawn):
        objects.append(PromptedObject(labels[number] if number < len(labels) else name, box))
    for path in prompts:
        objects += read_prompts(path, geometry)
    names = [item.name for item in objects]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError("DUPLICATE_NAME", f"Two objects are called {twice!r}.", "Name them with --label.")
    return objects


def check_space(space: str) -> None:
    """Raises ``UsageError`` (``UNKNOWN_SPACE``)."""
    if space not in SPACES:
        raise UsageError("UNKNOWN_SPACE", f"There is no coordinate system {space!r}.", f"Use {', '.join(SPACES)}.")


def box_from_numbers(geometry: Geometry, numbers: Sequence[float], space: str) -> OrientedBox:
    """A box from six numbers.

    Args:
        geometry: of the scan.
        numbers: ``i0, j0, k0, i1, j1, k1`` (upper end exclusive) for ``ijk``; two opposite corners in mm otherwise.
        space: ``"ijk"``, ``"lps"`` or ``"ras"``.

    Raises:
        InputError: ``EMPTY_BOX``, ``REVERSED_BOX``, ``BAD_BOX``, ``BOX_OUTSIDE``.
    """
    from ..volume import OrientedBox

    if space == "ijk":
        return OrientedBox.from_index_range(geometry, *numbers)
    return OrientedBox.from_corners_lps(_to_lps(geometry, numbers[:3], space), _to_lps(geometry, numbers[3:], space))


def read_prompts(path: Path, geometry: Geometry) -> list[PromptedObject]:
    """The objects of a prompts file; see the module's text.

    Raises:
        InputError: ``BAD_PROMPTS_FILE``, or a box is empty, reversed or outside the scan.
        UsageError: ``UNKNOWN_SPACE``.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _bad(path, f"it cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _bad(path, "it is not JSON") from error
    entries = content.get("objects") if isinstance(content, Mapping) else None
    if not isinstance(entries, list) or not entries:
        raise _bad(path, 'it has no list "objects"')
    default = str(content.get("space", "lps"))
    return [_object(path, number, entry, default, geometry) for number, entry in enumerate(entries, start=1)]


def _object(path: Path, number: int, entry: Any, default: str, geometry: Geometry) -> PromptedObject:
    if not isinstance(entry, Mapping):
        raise _bad(path, f"object {number} is not a JSON object")
    space = str(entry.get("space", default))
    check_space(space)
    name = str(entry.get("name") or f"object {number}")
    box = box_from_numbers(geometry, _numbers(path, name, entry.get("box"), 6), space)
    points = []
    for point in entry.get("points", ()):
        if not isinstance(point, Mapping):
            raise _bad(path, f"a point of {name!r} is not a JSON object")
        position = _to_lps(geometry, _numbers(path, name, point.get("position"), 3), space)
        points.append((position, bool(point.get("positive", True))))
    return PromptedObject(name, box, tuple(points))


def _numbers(path: Path, name: str, values: Any, count: int) -> list[float]:
    if not isinstance(values, list) or len(values) != count or not all(_is_number(value) for value in values):
        raise _bad(path, f"{name!r} needs {count} numbers for its {'box' if count == 6 else 'point'}")
    return [float(value) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _six_numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 6:
        raise UsageError("BAD_BOX_TEXT", f"{text!r} is not a box.", "Write six numbers with commas: i0,j0,k0,i1,j1,k1.")
    return numbers


def _to_lps(geometry: Geometry, position: Sequence[float], space: str) -> tuple[float, float, float]:
    import numpy as np

    from ..volume.markups import RAS_TO_LPS

    if space == "ijk":
        point = geometry.index_to_lps(position)
    else:
        point = RAS_TO_LPS @ np.asarray(position) if space == "ras" else np.asarray(position)
    return float(point[0]), float(point[1]), float(point[2])


def _bad(path: Path, reason: str) -> InputError:
    return InputError("BAD_PROMPTS_FILE", f"{path.name} is no prompts file: {reason}.", "See medsamsegment segment -h.")
