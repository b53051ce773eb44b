"""What a request's fields mean to the session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from ..inference import Settings
    from ..volume import OrientedBox

Fields = Mapping[str, Any]


def box_of(data: Fields) -> OrientedBox:
    from ..prompts import BoxPrompt

    return BoxPrompt.from_dict(data).box


def slice_box_of(data: Fields) -> tuple[int, tuple[float, float, float, float]]:
    x0, y0, x1, y1 = (float(edge) for edge in data["rectangle"])
    return int(data["slice"]), (x0, y0, x1, y1)


def settings_of(options: Fields) -> Settings:
    """Settings from what the panel offers; everything else is the default.

    Raises:
        UsageError: ``BAD_SETTING``.
    """
    from ..inference import CleanupSettings, Settings, TrackingSettings

    kinds = {"": Settings, "tracking": TrackingSettings, "cleanup": CleanupSettings}
    try:
        parts = {name: dict(options.get(name, {})) for name in ("tracking", "cleanup")}
        plain = {name: value for name, value in options.items() if name not in parts}
        return replace(
            kinds[""](**plain),
            tracking=kinds["tracking"](**parts["tracking"]),
            cleanup=kinds["cleanup"](**parts["cleanup"]),
        )
    except TypeError as error:
        raise UsageError("BAD_SETTING", f"A setting is not known: {error}.", "Restart Slicer.") from error
