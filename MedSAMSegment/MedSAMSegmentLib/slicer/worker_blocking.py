"""The worker for scripts, which wait: bytes are delivered and time passes while one waits, and only then.  No Qt."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO

from .worker_command import worker_command

_logger = logging.getLogger(__name__)

_READ_BYTES = 1 << 16
_LOOK_SECONDS = 0.1
"""Nothing is waited for longer than this at a time, so that Ctrl+C is heard on every system."""


class BlockingTimer:
    """Calls back once, unless it was cancelled."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class BlockingTransport:
    """A :class:`~.worker_transport.Transport` whose callbacks come from :meth:`wait`.

    Args:
        python: the interpreter; by default Slicer's.
    """

    def __init__(self, python: str | None = None) -> None:
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        self._arrived: queue.SimpleQueue[tuple[subprocess.Popen[bytes], bytes]] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, BlockingTimer]] = []
        self._order = itertools.count()
        self._output: Callable[[bytes], None] = lambda data: None
        self._ended: Callable[[str], None] = lambda how: None

    def start(self, folder: str, output: Callable[[bytes], None], ended: Callable[[str], None]) -> None:
        self.kill()
        self._output, self._ended = output, ended
        pipe = subprocess.PIPE
        # Windows would open a console window for it.
        hidden = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
        try:
            process = subprocess.Popen(
                worker_command(folder, self._python), stdin=pipe, stdout=pipe, stderr=pipe, creationflags=hidden
            )
        except OSError:
            self.later(0, lambda: ended("there is no Python to run it"))
            return
        self._process = process
        assert process.stdout is not None and process.stderr is not None
        threading.Thread(target=self._read, args=(process, process.stdout), daemon=True).start()
        threading.Thread(target=_log, args=(process.stderr,), daemon=True).start()

    def write(self, data: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            # A process that is gone is noticed by the end of its output.
            with contextlib.suppress(OSError):
                self._process.stdin.write(data)
                self._process.stdin.flush()

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()

    def later(self, milliseconds: int, callback: Callable[[], None]) -> BlockingTimer:
        timer = BlockingTimer(callback)
        heapq.heappush(self._timers, (time.monotonic() + milliseconds / 1000, next(self._order), timer))
        return timer

    def wait(self, condition: Callable[[], bool]) -> None:
        """Deliver what arrives until something is so."""
        while not condition():
            pause = _LOOK_SECONDS
            if self._timers:
                pause = min(pause, max(self._timers[0][0] - time.monotonic(), 0.0))
            with contextlib.suppress(queue.Empty):
                self._deliver(*self._arrived.get(timeout=pause) if pause else self._arrived.get_nowait())
            while self._timers and self._timers[0][0] <= time.monotonic():
                callback = heapq.heappop(self._timers)[2].callback
                if callback is not None:
                    callback()

    def _deliver(self, process: subprocess.Popen[bytes], data: bytes) -> None:
        if process is not self._process:
            return
        if data:
            self._output(data)
            return
        self.kill()
        self._ended(f"ended with the status {process.returncode}")

    def _read(self, process: subprocess.Popen[bytes], pipe: IO[bytes]) -> None:
        """Of a thread: hand over what the worker writes, and at its end nothing."""
        with pipe:
            while data := pipe.read1(_READ_BYTES):  # type: ignore[attr-defined]
                self._arrived.put((process, data))
        self._arrived.put((process, b""))


def _log(pipe: IO[bytes]) -> None:
    """Of a thread: what the worker says to people goes to the log."""
    with pipe:
        for line in pipe:
            _logger.info("segmentation process: %s", line.decode("utf-8", "replace").rstrip())
