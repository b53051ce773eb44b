"""MedSAMSegment: draw one box on a CT or MRI, get a 3-D mask.

    from MedSAMSegmentLib import OrientedBox, segment
    from MedSAMSegmentLib.volume import read_volume

    volume = read_volume("scan.nii.gz")
    box = OrientedBox.from_index_range(volume.geometry, 120, 80, 30, 190, 150, 52)
    mask = segment(volume, box)["object 1"].mask

Names are imported when they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    CancelledError,
    CheckpointError,
    InferenceError,
    InputError,
    MedSAMSegmentError,
    OutputError,
    UsageError,
)

if TYPE_CHECKING:
    from .checkpoints import list_models, load_model
    from .inference import Result, Session, labelmap, segment
    from .volume import Geometry, OrientedBox, Volume, Window

_HOME = {
    "Geometry": "volume",
    "OrientedBox": "volume",
    "Volume": "volume",
    "Window": "volume",
    "Result": "inference",
    "Session": "inference",
    "labelmap": "inference",
    "segment": "inference",
    "list_models": "checkpoints",
    "load_model": "checkpoints",
}

__all__ = [
    "CancelledError",
    "CheckpointError",
    "Geometry",
    "InferenceError",
    "InputError",
    "MedSAMSegmentError",
    "OrientedBox",
    "OutputError",
    "Result",
    "Session",
    "UsageError",
    "Volume",
    "Window",
    "labelmap",
    "list_models",
    "load_model",
    "segment",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
