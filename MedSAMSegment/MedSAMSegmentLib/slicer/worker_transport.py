"""What a :class:`~.worker_client.WorkerClient` needs of the program it lives in: a child process and a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


class Transport(Protocol):
    """A child process and a clock."""

    def start(self, folder: str, output: Callable[[bytes], None], ended: Callable[[str], None]) -> None:
        """Start the worker; ``ended`` is called once with how it ended, also when it never began."""
        ...

    def write(self, data: bytes) -> None: ...

    def kill(self) -> None:
        """End the worker at once; ``ended`` is not called any more."""
        ...

    def later(self, milliseconds: int, callback: Callable[[], None]) -> Timer:
        """Call back once."""
        ...
