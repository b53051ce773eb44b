"""What is known of the scan a worker works on: enough to tell another worker, and to undo what the user said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .worker_exchange import VolumeWriter

_STEPS = frozenset(
    {
        "add_object",
        "move_object",
        "remove_object",
        "add_points",
        "add_scribble",
        "add_line",
        "add_slice_box",
        "add_mask",
        "accept",
        "release",
    }
)
"""Verbs that undo takes back."""

_UNDO_STEPS = 64


@dataclass
class KnownScan:
    """See the module's text.

    Attributes:
        writer: of the scan's file.
        options: ``model``, ``checkpoint``, ``device``, ``disk_cache_mb``, ``settings``.
        state: everything the user said, fit for JSON; ``None`` before the scan is open.
        opened_by: number of the worker that has it open; -1 for none.
        past, future: earlier states that undo, and later ones that redo goes to, the nearest last.
    """

    writer: VolumeWriter
    options: dict[str, Any]
    state: Mapping[str, Any] | None
    opened_by: int = -1
    past: list[Mapping[str, Any] | None] = field(default_factory=list)
    future: list[Mapping[str, Any] | None] = field(default_factory=list)

    def configure(self, options: Mapping[str, Any]) -> None:
        """Go on with another model or other settings."""
        self.options = dict(options)
        if self.state is not None:
            # Other weights than the prompts were given with are the user's choice, and no mistake.
            self.state = {**self.state, "model": {"name": "", "architecture": "", "weights": ""}}

    def opening(self) -> dict[str, Any]:
        """What a worker is told before anything else."""
        return {"volume": self.writer.description, "state": self.state, **self.options}

    def remember(self, verb: str, state: Mapping[str, Any]) -> None:
        """Keep what the user has said after a request, and the way back."""
        if verb in _STEPS:
            self.past.append(self.state)
            del self.past[:-_UNDO_STEPS]
            self.future.clear()
        elif verb == "undo" and self.past:
            self.past.pop()
            self.future.append(self.state)
        elif verb == "redo" and self.future:
            self.future.pop()
            self.past.append(self.state)
        self.state = state
