"""Trying again what may pass, after waiting longer each time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from .failures import PacsError

#: No pause is longer than this.
LONGEST_WAIT = 60.0

Value = TypeVar("Value")


def pauses(attempts: int, wait: float) -> Iterator[float]:
    """The pauses between attempts, seconds: doubled each time, and up to a quarter more or less by chance, so that
    several clients of an archive that comes back do not all return at the same moment."""
    for attempt in range(attempts - 1):
        yield min(wait * 2**attempt, LONGEST_WAIT) * random.uniform(0.75, 1.25)


def with_retries(action: Callable[[], Value], attempts: int, wait: float) -> Value:
    """Do it, again after a pause where the failure may pass.

    Args:
        action: raises :class:`PacsError`; must be safe to repeat.
        attempts: how often at most.
        wait: the first pause, seconds.

    Raises:
        PacsError: the last one, or the first one that will not pass.
    """
    for pause in pauses(attempts, wait):
        try:
            return action()
        except PacsError as error:
            if not error.passing:
                raise
        time.sleep(pause)
    return action()
