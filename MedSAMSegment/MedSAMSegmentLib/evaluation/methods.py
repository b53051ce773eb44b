"""Methods by name: the classical baselines, and every model of the catalog behind a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..prompts import LinePrompt, MaskPrompt, SliceBoxPrompt
from ..volume import OrientedBox, Volume
from .baselines import BASELINES
from .drawn import Drawn
from .harness import Method

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel
    from ..inference import Session


class SessionMethod:
    """A model under test: one session a scan, so that its objects share encoded slices.

    Args:
        model: a name of the catalog, a loaded model, or any slice predictor.
        device, checkpoint, options: as ``Session`` takes them; a model given by name is loaded once.
    """

    def __init__(
        self,
        model: str | LoadedModel | Any = "embedded",
        device: str = "auto",
        checkpoint: str | Path | None = None,
        **options: Any,
    ) -> None:
        from ..checkpoints import load_model

        self._model = load_model(model, checkpoint, device) if isinstance(model, str) else model
        self._options = options
        self.settings = {"model": model, **options} if isinstance(model, str) else dict(options)

    def __call__(self, volume: Volume, boxes: Sequence[OrientedBox]) -> Iterator[np.ndarray]:
        from ..inference import Session

        session = Session(volume, self._model, **self._options)
        for number, box in enumerate(boxes, start=1):
            name = f"object {number}"
            session.add_object(name, box)
            yield session.segment(name).mask
            # Only the encoded slices are shared; results of a scan with many objects would fill the memory.
            session.remove_object(name)

    def begin(self, volume: Volume) -> SessionConversation:
        """See :class:`~MedSAMSegmentLib.evaluation.harness.Correctable`."""
        from ..inference import Session

        return SessionConversation(Session(volume, self._model, **self._options))


class SessionConversation:
    """One object after another in one session."""

    _NAME = "object"

    def __init__(self, session: Session) -> None:
        self._session = session
        self.plane = session.plane

    def segment(self, drawn: Drawn) -> np.ndarray:
        """See :class:`~MedSAMSegmentLib.evaluation.harness.Conversation`."""
        session, name = self._session, self._NAME
        if name in session.objects:
            session.remove_object(name)
        session.add_object(name, drawn if isinstance(drawn, OrientedBox) else None)
        if isinstance(drawn, (SliceBoxPrompt, tuple)):
            for one in drawn if isinstance(drawn, tuple) else (drawn,):
                session.add_slice_box(name, one.slice_index, one.rectangle)
        elif isinstance(drawn, LinePrompt):
            session.add_line(name, drawn.start, drawn.end)
        elif isinstance(drawn, MaskPrompt):
            session.add_mask(name, drawn.slice_index, drawn.mask)
        return session.segment(name).mask

    def click(self, position_lps: tuple[float, float, float], inside: bool) -> np.ndarray:
        """See :class:`~MedSAMSegmentLib.evaluation.harness.Conversation`."""
        return self._session.refine(self._NAME, [position_lps], inside).mask


def find_method(name: str, device: str = "auto", checkpoint: str | Path | None = None, **options: Any) -> Method:
    """A baseline or a model by its name.

    Raises:
        UsageError: ``UNKNOWN_MODEL``: neither.
        CheckpointError: the model's weights cannot be loaded.
    """
    if name in BASELINES:
        return BASELINES[name]
    return SessionMethod(name, device, checkpoint, **options)
