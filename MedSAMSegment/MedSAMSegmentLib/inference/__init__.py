"""From a box to a mask: windows, crops, the embedding cache, slice predictors, the tracker, clean-up and sessions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .cache import EmbeddingCache
from .encoded_on_disk import EncodedOnDisk, encoded_folder
from .history import Prompts
from .predictor import BankEntry, SlicePrediction, SlicePredictor, SlicePrompt, make_predictor
from .result import Result, labelmap
from .session import Session
from .settings import STRATEGIES, CleanupSettings, Settings, TrackingSettings

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel
    from ..volume import OrientedBox, Volume
    from .session import Cancel, Progress

__all__ = [
    "STRATEGIES",
    "BankEntry",
    "CleanupSettings",
    "EmbeddingCache",
    "EncodedOnDisk",
    "Prompts",
    "Result",
    "Session",
    "Settings",
    "SlicePrediction",
    "SlicePredictor",
    "SlicePrompt",
    "TrackingSettings",
    "encoded_folder",
    "labelmap",
    "make_predictor",
    "segment",
]


def segment(
    volume: Volume,
    boxes: OrientedBox | Iterable[OrientedBox] | Mapping[str, OrientedBox],
    model: str | LoadedModel | SlicePredictor = "embedded",
    device: str = "auto",
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    **options: Any,
) -> dict[str, Result]:
    """Segment one scan from its boxes in one call.

    Args:
        volume: the scan.
        boxes: one box, several (named ``"object 1"``, ``"object 2"`` ...), or a dictionary by name.
        model, device, checkpoint: see :class:`Session`.
        progress, cancel: see :meth:`Session.segment`.
        options: further arguments of :class:`Session`: ``window``, ``plane``, ``strategy``, ``full_slice`` ...

    Returns:
        Results by name, in the boxes' order.

    Raises:
        MedSAMSegmentError: as :class:`Session` does.
    """
    from ..volume import OrientedBox

    if isinstance(boxes, OrientedBox):
        boxes = [boxes]
    named = boxes if isinstance(boxes, Mapping) else {f"object {n}": box for n, box in enumerate(boxes, start=1)}
    session = Session(volume, model, device, checkpoint=checkpoint, **options)
    for name, box in named.items():
        session.add_object(name, box)
    return session.segment(None, progress, cancel)
