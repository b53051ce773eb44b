"""How long something takes, whatever else the machine does."""

from __future__ import annotations

import os


def processor_seconds() -> float:
    """Processor time that this process and its finished children have taken."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
