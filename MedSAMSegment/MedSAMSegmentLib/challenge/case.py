"""One case of a challenge: an image and what was prompted on it.

====================  ==================================================================================================
key                   content
====================  ==================================================================================================
``imgs``              (H, W) or (H, W, 3) picture, or (D, H, W) volume; 8-bit grey values or colours
``spacing``           mm along x, y and z (volumes)
``boxes`` (2024)      (n, 4) x_min, y_min, x_max, y_max of pictures; (n, 6) x_min, y_min, z_min, x_max, y_max, z_max of
                      volumes
``boxes`` (2025)      n dictionaries with z_min, z_max and, drawn on the slice z_mid only, z_mid_x_min, z_mid_y_min,
                      z_mid_x_max, z_mid_y_max
``clicks`` (2025)     n dictionaries with lists ``fg`` and ``bg`` of clicks in array order (z, y, x)
``prev_pred`` (2025)  (D, H, W) labels of the round before
``scribbles`` (2024)  (H, W) numbers of labels where strokes were drawn; 1000 is a stroke on the background
====================  ==================================================================================================

The first box or pair of click lists belongs to label 1, the next to label 2 ... Box ends are the first and last pixel.
The organisers describe clicks as x, y, z, but their program writes them, and their example shows them, in array order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .arrays import read_arrays

_BACKGROUND_STROKE = 1000
_ON_MIDDLE_SLICE = ("z_mid_x_min", "z_mid_y_min", "z_mid_x_max", "z_mid_y_max")


@dataclass(frozen=True)
class Click:
    """A voxel inside the object, or (not ``positive``) outside it."""

    x: int
    y: int
    z: int
    positive: bool


@dataclass(frozen=True)
class PromptedLabel:
    """What is known of one label.

    Attributes:
        label: its number, from 1.
        box: first and last pixel (x0, y0, z0, x1, y1, z1), or ``None``; z is 0 in pictures.
        box_slice: the slice that x and y of the box were drawn on; ``None`` when they hold on all its slices.
        clicks: in the order of the file, inside first.
        scribble: (H, W) bool, the strokes drawn on it in a picture, or ``None``.
    """

    label: int
    box: tuple[int, int, int, int, int, int] | None
    box_slice: int | None = None
    clicks: tuple[Click, ...] = ()
    scribble: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True, eq=False)
class ChallengeCase:
    """See the module's text.

    Attributes:
        name: the file's name.
        image: uint8, (H, W), (H, W, 3) or (D, H, W).
        is_picture: the image is two-dimensional.
        spacing: mm along x, y and z.
        labels: what was prompted, by ascending label.
        previous: labels of the round before, of the image's shape, or ``None``.
    """

    name: str
    image: np.ndarray
    is_picture: bool
    spacing: tuple[float, float, float]
    labels: tuple[PromptedLabel, ...]
    previous: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the segmentation: (H, W) or (D, H, W)."""
        return self.image.shape[:2] if self.is_picture else self.image.shape


def read_case(path: Path) -> ChallengeCase:
    """Read and check one case.

    Raises:
        InputError: ``BAD_CASE`` says what is missing or makes no sense; and as
            :func:`~MedSAMSegmentLib.challenge.arrays.read_arrays`.
    """
    arrays = read_arrays(path)
    if "imgs" not in arrays:
        raise _bad(path, "it holds no 'imgs'")
    boxes, clicks, strokes = arrays.get("boxes"), arrays.get("clicks"), arrays.get("scribbles")
    if boxes is None and clicks is None and strokes is None:
        raise _bad(path, "it holds neither 'boxes' nor 'clicks' nor 'scribbles'")
    image = arrays["imgs"]
    is_picture = _is_picture(image, boxes, strokes)
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise _bad(path, f"its image has the shape {image.shape}")
    image = _eight_bit(path, image)
    size = (image.shape[1], image.shape[0], 1) if is_picture else image.shape[::-1]
    found = _boxes(path, boxes, is_picture)
    clicked = _clicks(path, clicks)
    labels = []
    for number in range(max(len(found), len(clicked))):
        box, on_slice = found[number] if number < len(found) else (None, None)
        own = clicked[number] if number < len(clicked) else ()
        if box is not None:
            box = _inside(path, number + 1, box, size)
        if any(not (0 <= c.x < size[0] and 0 <= c.y < size[1] and 0 <= c.z < size[2]) for c in own):
            raise _bad(path, f"a click of label {number + 1} lies outside the image")
        labels.append(PromptedLabel(number + 1, box, on_slice, own))
    labels = _with_scribbles(path, labels, strokes, image, is_picture)
    shape = image.shape[:2] if is_picture else image.shape
    previous = arrays.get("prev_pred")
    if previous is not None and previous.shape != shape:
        raise _bad(path, f"'prev_pred' has the shape {previous.shape}, the image {shape}")
    return ChallengeCase(path.name, image, is_picture, _spacing(path, arrays, is_picture), tuple(labels), previous)


def _is_picture(image: np.ndarray, boxes: np.ndarray | None, strokes: np.ndarray | None) -> bool:
    if image.ndim == 2 or (strokes is not None and strokes.ndim == 2):
        return True
    plain = boxes is not None and boxes.dtype != object and boxes.ndim == 2
    return image.ndim == 3 and image.shape[2] == 3 and plain and boxes is not None and boxes.shape[1] == 4


def _eight_bit(path: Path, image: np.ndarray) -> np.ndarray:
    """The challenges window all images to 8 bits; some files keep the numbers in a wider type."""
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind not in "biuf" or not np.isfinite(image).all():
        raise _bad(path, "its image does not consist of finite numbers")
    if image.min() < 0 or image.max() > 255:
        raise _bad(path, f"its image has values from {image.min():g} to {image.max():g} instead of 0 to 255")
    return np.rint(image).astype(np.uint8)


def _with_scribbles(
    path: Path, labels: list[PromptedLabel], strokes: np.ndarray | None, image: np.ndarray, is_picture: bool
) -> list[PromptedLabel]:
    """The labels, and those that only strokes were drawn for, by their number."""
    if strokes is None:
        return labels
    if not is_picture or image.shape[2:] not in ((), (3,)) or strokes.shape != image.shape[:2]:
        raise _bad(path, f"'scribbles' of the shape {strokes.shape} belong to no picture of the shape {image.shape}")
    if strokes.dtype.kind not in "biu" and not (strokes.dtype.kind == "f" and (strokes == np.trunc(strokes)).all()):
        raise _bad(path, "'scribbles' must hold the numbers of labels")
    known = {item.label: item for item in labels}
    for number in np.unique(strokes).astype(int).tolist():
        if number in (0, _BACKGROUND_STROKE):
            continue
        if not 0 < number < 2**16:
            raise _bad(path, f"'scribbles' holds the label {number}")
        known[number] = replace(known.get(number, PromptedLabel(number, None)), scribble=strokes == number)
    if not known:
        raise _bad(path, "nothing is drawn in 'scribbles'")
    return [known[number] for number in sorted(known)]


def _boxes(
    path: Path, boxes: np.ndarray | None, is_picture: bool
) -> list[tuple[tuple[int, int, int, int, int, int], int | None]]:
    """Each label's box and, where its x and y hold on one slice only, that slice."""
    if boxes is None or boxes.size == 0:
        return []
    if boxes.dtype == object and all(isinstance(item, Mapping) for item in boxes.ravel()):
        return [_box_of_dictionary(path, item) for item in boxes.ravel()]
    columns = 4 if is_picture else 6
    try:
        numbers = np.asarray(boxes, np.float64).reshape(-1, columns if boxes.ndim == 1 else boxes.shape[-1])
    except (TypeError, ValueError):
        numbers = np.empty((0, 0))
    if numbers.shape[1] != columns or not np.isfinite(numbers).all():
        raise _bad(path, f"'boxes' must hold {columns} numbers for each label")
    found: list[tuple[tuple[int, int, int, int, int, int], int | None]] = []
    for row in np.trunc(numbers).astype(int).tolist():
        x0, y0, z0, x1, y1, z1 = row if columns == 6 else (row[0], row[1], 0, row[2], row[3], 0)
        found.append(((x0, y0, z0, x1, y1, z1), None))
    return found


def _box_of_dictionary(path: Path, entry: Mapping[str, Any]) -> tuple[tuple[int, int, int, int, int, int], int | None]:
    try:
        z0, z1, middle = (_whole(entry[key]) for key in ("z_min", "z_max", "z_mid"))
        x0, y0, x1, y1 = (_whole(entry[key]) for key in _ON_MIDDLE_SLICE)
    except (KeyError, TypeError, ValueError):
        raise _bad(path, f"a box lacks one of z_min, z_max, z_mid, {', '.join(_ON_MIDDLE_SLICE)}") from None
    if not z0 <= middle <= z1:
        raise _bad(path, "the middle slice of a box lies outside the box")
    return (x0, y0, z0, x1, y1, z1), middle


def _clicks(path: Path, clicks: np.ndarray | None) -> list[tuple[Click, ...]]:
    if clicks is None:
        return []
    found = []
    try:
        for entry in clicks.ravel():
            own: list[Click] = []
            for key, positive in (("fg", True), ("bg", False)):
                for z, y, x in entry[key]:
                    own.append(Click(_whole(x), _whole(y), _whole(z), positive))
            found.append(tuple(own))
    except (KeyError, TypeError, ValueError, IndexError):
        raise _bad(path, "'clicks' must hold lists 'fg' and 'bg' of (z, y, x) for each label") from None
    return found


def _inside(
    path: Path, label: int, box: tuple[int, int, int, int, int, int], size: tuple[int, ...]
) -> tuple[int, int, int, int, int, int]:
    """The part of a box within the image.  Raises ``InputError`` for a reversed box, or one outside it."""
    low, high = box[:3], box[3:]
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise _bad(path, f"the box of label {label} ends before it begins")
    first = [max(a, 0) for a in low]
    last = [min(b, n - 1) for b, n in zip(high, size, strict=True)]
    if any(a > b for a, b in zip(first, last, strict=True)):
        raise _bad(path, f"the box of label {label} lies outside the image")
    return first[0], first[1], first[2], last[0], last[1], last[2]


def _spacing(path: Path, arrays: Mapping[str, np.ndarray], is_picture: bool) -> tuple[float, float, float]:
    if is_picture or "spacing" not in arrays:
        return 1.0, 1.0, 1.0
    try:
        x, y, z = (float(value) for value in np.asarray(arrays["spacing"]).ravel())
    except (TypeError, ValueError):
        raise _bad(path, "'spacing' must hold three numbers") from None
    if not all(math.isfinite(value) and value > 0 for value in (x, y, z)):
        raise _bad(path, "'spacing' must hold positive numbers")
    return x, y, z


def _whole(value: Any) -> int:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return int(number)


def _bad(path: Path, reason: str) -> InputError:
    return InputError(
        "BAD_CASE", f"{path.name} is no case of a challenge: {reason}.", "See medsamsegment challenge -h."
    )
