"""Boxes in 3D Slicer's markups files (``.mrk.json``), the only place of this package that says RAS.

A markups ROI holds its centre, the lengths of its edges, and an orientation matrix, row by row, whose columns are the
directions of its edges in the file's coordinate system (Slicer's markups schema 1.0.3). Files are LPS or RAS; the two
differ in the sign of the first two components.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, OutputError
from .box import OrientedBox
from .geometry import FloatArray

SCHEMA = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"

#: RAS <-> LPS for points and for the columns of an orientation matrix.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])

#: What ``coordinateSystem`` may say; old files use Slicer's numbers.
_TO_LPS = {"LPS": np.eye(3), "1": np.eye(3), "RAS": RAS_TO_LPS, "0": RAS_TO_LPS}

_UNITS_IN_MM = {"mm": 1.0, "um": 1e-3}

#: A markups file beyond this size is not a handful of boxes.
_LARGEST_FILE = 64 << 20


def read_roi(path: str | os.PathLike[str]) -> list[tuple[str, OrientedBox]]:
    """The ROI boxes of a Slicer markups file.

    Args:
        path: a ``.mrk.json`` file with one or more markups of type ``ROI``. Markups of other types beside them are
            passed over.

    Returns:
        ``(name, box)`` for each ROI in the file's order. The name is the markup's own one, or, as Slicer does when it
        opens the file, the file's name without suffix (numbered from the second on).

    Raises:
        InputError: ``FILE_NOT_FOUND``, ``UNREADABLE_FILE``, ``NOT_A_MARKUPS_FILE``, ``NO_ROI`` (only other markups),
            ``UNSUPPORTED_ROI`` (not a box, inside out, unknown coordinate system or unit, edges not orthogonal),
            ``EMPTY_BOX``, ``BAD_BOX``.
    """
    file = Path(path)
    markups = _load(file)
    rois = [markup for markup in markups if isinstance(markup, Mapping) and markup.get("type") == "ROI"]
    if not rois:
        kinds = sorted({str(m.get("type", "unknown")) for m in markups if isinstance(m, Mapping)})
        found = f" It holds {', '.join(kinds)}." if kinds else ""
        raise InputError(
            "NO_ROI", f"{file.name} holds no ROI box.{found}", "Draw a markups ROI in Slicer and save it as .mrk.json."
        )
    stem = file.name.removesuffix(".json").removesuffix(".mrk")
    boxes = []
    for number, roi in enumerate(rois, start=1):
        name = str(roi.get("name") or "").strip() or (stem if number == 1 else f"{stem} {number}")
        boxes.append((name, _box(roi, name)))
    return boxes


def write_roi(path: str | os.PathLike[str], boxes: Iterable[tuple[str, OrientedBox]]) -> None:
    """Write boxes as ROIs of one Slicer markups file, in LPS.

    Slicer's ROIs are right-handed: a box with left-handed axes is written with its third axis turned round, which is
    the same box. The file appears only when it is complete.

    Args:
        path: the ``.mrk.json`` file; one that exists is replaced.
        boxes: ``(name, box)`` pairs.

    Raises:
        OutputError: ``UNSUPPORTED_ROI`` (edges not orthogonal), ``NOT_WRITTEN`` (no space, no permission, no folder).
    """
    content = {"@schema": SCHEMA, "markups": [_markup(name, box) for name, box in boxes]}
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=2, ensure_ascii=False, allow_nan=False)
        os.replace(temporary, target)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(
            "NOT_WRITTEN",
            f"{target.name} could not be written: {error.strerror or type(error).__name__}.",
            "Check the folder, its permissions and the free space.",
        ) from None


def _load(file: Path) -> list[Any]:
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise InputError(
                "NOT_A_MARKUPS_FILE", f"{file.name} is too large for a markups file.", "Choose a .mrk.json file."
            )
        content = json.loads(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise InputError("FILE_NOT_FOUND", f"There is no file {file.name}.", "Check the path.") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            "UNREADABLE_FILE", f"{file.name} cannot be read: {reason}.", "Check its permissions."
        ) from None
    except (ValueError, RecursionError):
        content = None
    markups = content.get("markups") if isinstance(content, Mapping) else None
    if not isinstance(markups, list):
        raise InputError(
            "NOT_A_MARKUPS_FILE",
            f"{file.name} is not a Slicer markups file.",
            "In Slicer, save the ROI in the format Markups JSON (.mrk.json).",
        )
    return markups


def _box(roi: Mapping[str, Any], name: str) -> OrientedBox:
    kind = str(roi.get("roiType", "Box"))
    if kind not in ("Box", "BoundingBox"):
        raise _unsupported(f'The ROI "{name}" is of the type {kind}, not a box.', "Draw a box ROI.")
    if roi.get("insideOut", False):
        raise _unsupported(f'The ROI "{name}" selects what is outside it.', 'Switch its option "Inside out" off.')
    system = str(roi.get("coordinateSystem", "LPS")).strip().upper()
    if system not in _TO_LPS:
        raise _unsupported(f'The ROI "{name}" has an unknown coordinate system.', "Use LPS or RAS.")
    units = roi.get("coordinateUnits", "mm")
    unit = str(units[0] if isinstance(units, list) and units else units)
    if unit not in _UNITS_IN_MM:
        raise _unsupported(f'The ROI "{name}" is not in mm or um.', "Save it in millimetres.")
    scale, to_lps = _UNITS_IN_MM[unit], _TO_LPS[system]
    # "xyz" and "radiusXYZ" are how Slicer 4's ROI nodes call the centre and half the size.
    centre = _numbers(roi, name, "center", 3) if "center" in roi else _numbers(roi, name, "xyz", 3)
    size = _numbers(roi, name, "size", 3) if "size" in roi else 2 * _numbers(roi, name, "radiusXYZ", 3)
    axes = _numbers(roi, name, "orientation", 9).reshape(3, 3) if "orientation" in roi else np.eye(3)
    box = OrientedBox(to_lps @ centre * scale, to_lps @ axes, size * scale)
    if not box.is_rectangular(1e-3):
        raise _unsupported(
            f'The edges of the ROI "{name}" are not orthogonal.', "Harden no shearing transform on a ROI."
        )
    return box


def _numbers(roi: Mapping[str, Any], name: str, key: str, count: int) -> FloatArray:
    value = roi.get(key)
    valid = isinstance(value, list) and len(value) == count
    if not valid or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in value or ()):
        raise InputError(
            "BAD_BOX", f'The ROI "{name}" lacks {count} finite numbers for "{key}".', "Save it again from Slicer."
        )
    return np.array(value, dtype=np.float64)


def _unsupported(message: str, hint: str) -> InputError:
    return InputError("UNSUPPORTED_ROI", message, hint)


def _markup(name: str, box: OrientedBox) -> dict[str, Any]:
    if not box.is_rectangular(1e-3):
        raise OutputError(
            "UNSUPPORTED_ROI",
            f'The edges of the box "{name}" are not orthogonal, which a Slicer ROI cannot hold.',
            "Give the box in mm instead of voxels of a sheared scan.",
        )
    axes = box.axes if np.linalg.det(box.axes) > 0 else box.axes * (1.0, 1.0, -1.0)
    centre = box.centre.tolist()
    return {
        "type": "ROI",
        "name": name,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "roiType": "Box",
        "center": centre,
        "orientation": (axes + 0.0).reshape(-1).tolist(),
        "size": box.size.tolist(),
        "insideOut": False,
        "controlPoints": [
            {
                "id": "1",
                "label": f"{name}-1",
                "position": centre,
                "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined",
            }
        ],
    }
