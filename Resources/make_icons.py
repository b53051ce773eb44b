"""Draws the icons of the extension and the thumbnail of its sample data.

    python Resources/make_icons.py

The thumbnail is a slice of the computed scan; no picture comes from anywhere else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from MedSAMSegmentLib.phantom import make_phantom
from MedSAMSegmentLib.volume import CT_PRESETS
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]

BACKGROUND = (34, 40, 49, 255)
BODY = (118, 126, 138, 255)
SPINE = (226, 229, 234, 255)
ORGAN = (221, 130, 101, 255)
BOX = (255, 217, 26, 255)

_OVERSAMPLING = 8
_THUMBNAIL = (260, 280)


def icon(size: int) -> Image.Image:
    """A cross-section with a box around an organ, ``size`` pixels square."""
    full = size * _OVERSAMPLING
    picture = Image.new("RGBA", (full, full), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)

    def at(*parts: float) -> list[float]:
        return [part * full for part in parts]

    pen.rounded_rectangle(at(0.0, 0.0, 1.0, 1.0), 0.16 * full, fill=BACKGROUND)
    pen.ellipse(at(0.08, 0.20, 0.92, 0.84), fill=BODY)
    pen.ellipse(at(0.43, 0.62, 0.57, 0.76), fill=SPINE)
    pen.ellipse(at(0.20, 0.32, 0.55, 0.60), fill=ORGAN)
    pen.ellipse(at(0.36, 0.36, 0.60, 0.52), fill=ORGAN)
    width = max(round(0.035 * full), 1)
    left, top, right, bottom = at(0.15, 0.27, 0.65, 0.65)
    pen.rectangle([left, top, right, bottom], outline=BOX, width=width)
    handle = 0.045 * full
    for x in (left, right):
        for y in (top, bottom):
            pen.ellipse([x - handle, y - handle, x + handle, y + handle], fill=BOX)
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def thumbnail() -> Image.Image:
    """The middle of the computed scan in the abdominal window."""
    volume = make_phantom().volume
    width, level = CT_PRESETS["abdomen"]
    index = volume.geometry.shape[0] // 2
    grey = np.clip((volume.voxels[index].astype(np.float32) - level) / width + 0.5, 0, 1)
    section = Image.fromarray((255 * grey).astype(np.uint8)).resize((_THUMBNAIL[0],) * 2, Image.Resampling.LANCZOS)
    picture = Image.new("L", _THUMBNAIL, 0)
    picture.paste(section, (0, (_THUMBNAIL[1] - section.height) // 2))
    return picture


def main() -> None:
    for path, size in (
        ("Resources/MedSAMSegment.png", 128),
        ("MedSAMSegment/Resources/Icons/MedSAMSegment.png", 128),
        ("SegmentEditorMedSAMBox/Resources/Icons/SegmentEditorMedSAMBox.png", 128),
        ("SegmentEditorMedSAMBox/SegmentEditorMedSAMBoxLib/SegmentEditorEffect.png", 64),
    ):
        icon(size).save(ROOT / path, optimize=True)
    thumbnail().save(ROOT / "MedSAMSegment/Resources/Icons/MedSAMSegmentPhantom.png", optimize=True)


if __name__ == "__main__":
    main()
