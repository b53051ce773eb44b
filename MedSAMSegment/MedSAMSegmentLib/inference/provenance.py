"""Where a mask comes from: everything one needs to make it again, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..version import SOFTWARE_VERSION

if TYPE_CHECKING:
    from ..volume import IntensityRange, OrientedBox
    from .history import Prompts
    from .settings import Settings


@dataclass(frozen=True)
class ModelIdentity:
    """Name in the catalog, architecture, and the SHA-256 of the weight file (or the predictor's own identity)."""

    name: str
    architecture: str
    weights: str

    def as_dict(self) -> dict[str, str]:
        return {"name": self.name, "architecture": self.architecture, "weights": self.weights}


def provenance(
    model: ModelIdentity,
    volume: str,
    settings: Settings,
    box: OrientedBox | None,
    prompts: Prompts,
    shown: IntensityRange,
    runtime: str = "torch",
) -> dict[str, Any]:
    """Software, model, scan, settings and prompts of one object.

    Args:
        model: the network.
        volume: the scan's fingerprint.
        settings: how.
        box: as drawn, if one was drawn.
        prompts: all of them.
        shown: the grey values the network really saw as black and white; with local contrast they differ from object
            to object and from the window in ``settings``.
        runtime: what computed the network's heavy parts.
    """
    from ..prompts import BoxPrompt

    return {
        "software": {"name": "medsamsegment", "version": SOFTWARE_VERSION},
        "model": model.as_dict(),
        "runtime": runtime,
        "volume": volume,
        "window": {"low": float(shown.low), "high": float(shown.high)},
        "settings": settings.as_dict(),
        "box": None if box is None else BoxPrompt(box).as_dict(),
        "points": [point.as_dict() for point in prompts.points],
        "slice_boxes": [rectangle.as_dict() for rectangle in prompts.boxes],
        "scribbles": [scribble.as_dict() for scribble in prompts.scribbles],
        "lines": [line.as_dict() for line in prompts.lines],
        "drawn_slices": sorted(mask.slice_index for mask in prompts.masks),
        "accepted_slices": sorted(prompts.locked()),
    }
