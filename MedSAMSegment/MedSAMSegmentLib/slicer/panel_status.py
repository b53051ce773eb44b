"""What the panel says: the latest sentence for the user, and how much of a run is done; no Qt."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from ..errors import CancelledError, MedSAMSegmentError


class PanelStatus:
    """See the module's text.

    Args:
        changed: called when the panel should look again.

    Attributes:
        message: the latest sentence; ``failed`` says whether it is an error, ``code`` which one.
        fraction: how much of a run is done; ``None`` when none is under way.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.message = ""
        self.failed = False
        self.code = ""
        self.fraction: float | None = None
        self._changed = changed

    @property
    def busy(self) -> bool:
        return self.fraction is not None

    def say(self, message: str, failed: bool = False) -> bool:
        """Show a sentence; returns whether it is no error."""
        self.message, self.failed = message, failed
        if not failed:
            self.code = ""
        self._changed()
        return not failed

    def has_failed(self, error: MedSAMSegmentError) -> None:
        """Show an error and what to do about it; what the user stopped is none."""
        if isinstance(error, CancelledError):
            return
        self.code = error.code
        self.say(f"{error.message} {error.hint}".strip(), failed=True)

    def begin_run(self, message: str) -> None:
        """Something that takes its time, and says how far it is, has begun."""
        self.fraction = 0.0
        self.say(message)

    def progressed(self, fraction: float) -> None:
        """So much of it is done."""
        self.fraction = fraction
        self._changed()

    def run_failed(self, error: MedSAMSegmentError) -> None:
        """It ended before its time."""
        self.fraction = None
        if isinstance(error, CancelledError):
            self.say(_("Stopped; what was found so far is kept."))
        else:
            self.has_failed(error)
