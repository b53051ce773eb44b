"""From a scan's units to the grey values a network sees: CT windows and percentiles.

Presets are named after what they show. Radiology writes them as width/level (abdomen "400/40": 400 HU wide round 40
HU); where a user types two numbers, this project writes **LEVEL/WIDTH**, so that window is ``40/400``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .volume import Volume

#: CT presets as (width, level) in HU.
CT_PRESETS: dict[str, tuple[float, float]] = {
    "abdomen": (400, 40),
    "liver": (150, 60),
    "lung": (1500, -600),
    "mediastinum": (350, 50),
    "bone": (2000, 500),
    "brain": (80, 40),
    "stroke": (40, 40),
}

#: The preset ``auto`` takes for CT: soft tissue, wide enough for fat, organs and contrast-filled vessels.
AUTOMATIC_CT_PRESET = "abdomen"

#: Lower and upper percentile of the voxels that are not background, for MR and everything else without fixed units.
PERCENTILES = (0.5, 99.5)

#: At most about this many voxels are looked at for percentiles.
_SAMPLE_SIZE = 1_000_000

#: A smallest value filling more of the scan than this is background, as zero is (scans that were z-scored, for
#: example).
_BACKGROUND_FRACTION = 0.05


class IntensityRange(NamedTuple):
    """The values that become black (``low``) and white (``high``), in the scan's units."""

    low: float
    high: float

    def apply(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """A copy of the array, of the same shape, as float32 with ``low`` at 0, ``high`` at 1, clipped to 0..1."""
        scaled = np.array(array, dtype=np.float32)
        scaled -= np.float32(self.low)
        scaled *= np.float32(1.0 / (self.high - self.low))
        return np.clip(scaled, 0.0, 1.0, out=scaled)


@dataclass(frozen=True)
class Window:
    """How intensities are chosen; make one with :meth:`parse`.

    Attributes:
        name: ``"auto"``, ``"percentile"``, a CT preset, or ``LEVEL/WIDTH``.
        level: middle of a fixed window in the scan's units; None where it depends on the scan.
        width: extent of a fixed window; None where it depends on the scan.
    """

    name: str
    level: float | None = None
    width: float | None = None

    @classmethod
    def parse(cls, text: str) -> Window:
        """A window from what a user types.

        Args:
            text: one of

                * ``auto``: CT (by modality, or by its values when the file does not say) gets the preset ``abdomen``,
                  everything else ``percentile``;
                * ``percentile``: the 0.5 and 99.5 percentiles of the voxels that are not background;
                * ``abdomen``, ``liver``, ``lung``, ``mediastinum``, ``bone``, ``brain``, ``stroke``: CT presets;
                * ``LEVEL/WIDTH`` such as ``40/400`` or ``-600/1500``: the middle and the extent in the scan's units.

        Raises:
            UsageError: ``BAD_WINDOW``.
        """
        name = text.strip().lower()
        if name in ("auto", "percentile"):
            return cls(name)
        if name in CT_PRESETS:
            width, level = CT_PRESETS[name]
            return cls(name, level, width)
        try:
            level, width = (float(part) for part in name.split("/"))
        except ValueError:
            level, width = math.nan, math.nan
        if not (math.isfinite(level) and math.isfinite(width)):
            raise UsageError(
                "BAD_WINDOW",
                f'"{text}" is not a window.',
                f"Use auto, percentile, {', '.join(CT_PRESETS)}, or LEVEL/WIDTH such as 40/400.",
            )
        if width <= 0:
            raise UsageError(
                "BAD_WINDOW",
                f'The window "{text}" has the width {width:g}, which must be positive.',
                "Give the level first and the width second, such as 40/400.",
            )
        return cls(name, level, width)

    def resolve(self, volume: Volume) -> IntensityRange:
        """The values that become black and white on this scan.

        Returns:
            ``(low, high)`` in the scan's units with ``low < high``, also for a scan of one single value.
        """
        window = self
        if self.name == "auto":
            window = Window.parse(AUTOMATIC_CT_PRESET if is_ct(volume) else "percentile")
        if window.level is None or window.width is None:
            return percentile_range(volume)
        return IntensityRange(window.level - window.width / 2, window.level + window.width / 2)

    def apply(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """A copy of the array as float32 in 0..1, for a window of fixed level and width.

        Raises:
            UsageError: ``BAD_WINDOW`` for ``auto`` and ``percentile``: these depend on the scan, so use
                ``window.resolve(volume).apply(array)``.
        """
        if self.level is None or self.width is None:
            raise UsageError(
                "BAD_WINDOW", f'The window "{self.name}" depends on the scan.', "Resolve it on a scan first."
            )
        return IntensityRange(self.level - self.width / 2, self.level + self.width / 2).apply(array)


def is_ct(volume: Volume) -> bool:
    """True if the modality says CT or, where it says nothing, if the values look like Hounsfield units.

    Hounsfield units put air at -1000 and fat at -100, so a CT has a good part of its voxels well below zero and no more
    than metal far above; MR magnitudes are not negative and z-scored images are small.
    """
    if volume.modality:
        return volume.modality == "CT"
    sample = _sample(volume.voxels)
    low, high = np.percentile(sample, (1, 99.9))
    return bool(-4096 <= low <= -60 and -100 < high <= 8192)


def percentile_range(volume: Volume) -> IntensityRange:
    """The 0.5 and 99.5 percentiles of the voxels that are not background.

    Background is zero, and also the smallest value where it fills more than a twentieth of the scan. At most about a
    million voxels, evenly spread, are looked at.
    """
    sample = _sample(volume.voxels)
    background = sample == 0
    darkest = sample == sample.min()
    if np.count_nonzero(darkest) > _BACKGROUND_FRACTION * sample.size:
        background |= darkest
    foreground = sample[~background]
    low, high = np.percentile(foreground if foreground.size else sample, PERCENTILES)
    if not high > low:
        low, high = float(sample.min()), float(sample.max())
    if not high > low:
        high = low + 1.0
    return IntensityRange(float(low), float(high))


def _sample(voxels: NDArray[Any]) -> NDArray[Any]:
    """Evenly spread voxels, shape (n,); a view where nothing needs to be left out."""
    flat = voxels.reshape(-1)
    step = max(1, flat.size // _SAMPLE_SIZE)
    # A step that shares a factor with a row or a slice would visit the same columns again and again.
    while step > 1 and any(math.gcd(step, n) > 1 for n in voxels.shape if n > 1):
        step += 1
    return flat[::step]
