"""The worker as a ``QProcess``: moves bytes and keeps time for a :class:`~.worker_client.WorkerClient`.

Everything happens in the GUI's event loop, by signals; no thread and no polling.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import qt

from .worker_command import worker_command

_logger = logging.getLogger(__name__)


class QtTimer:
    """Calls back once; keeps itself alive until then."""

    def __init__(self, milliseconds: int, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._fire)
        self._timer.start(milliseconds)

    def cancel(self) -> None:
        self._callback = None
        self._timer.stop()

    def _fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class QtTransport:
    """A :class:`~.worker_transport.Transport`.

    Args:
        python: the interpreter; by default Slicer's.
    """

    def __init__(self, python: str | None = None) -> None:
        self._python = python
        self._process: Any = None
        self._timers: list[QtTimer] = []

    @property
    def process_id(self) -> int:
        """Of the worker, 0 when there is none."""
        return 0 if self._process is None else int(self._process.processId())

    def start(self, folder: str, output: Callable[[bytes], None], ended: Callable[[str], None]) -> None:
        self.kill()
        process = qt.QProcess()
        self._process = process

        def read_output() -> None:
            if process is self._process:
                output(bytes(process.readAllStandardOutput().data()))

        def read_errors() -> None:
            text = bytes(process.readAllStandardError().data()).decode("utf-8", "replace").strip()
            if text:
                _logger.info("segmentation process: %s", text)

        def finished(code: int = 0, status: Any = None) -> None:
            if process is self._process:
                read_output()
            if process is self._process:
                self._process = None
                ended(f"ended with the status {code}")

        def failed(error: Any) -> None:
            if process is self._process and error == qt.QProcess.FailedToStart:
                self._process = None
                ended("there is no Python to run it")

        process.connect("readyReadStandardOutput()", read_output)
        process.connect("readyReadStandardError()", read_errors)
        process.connect("finished(int,QProcess::ExitStatus)", finished)
        process.connect("errorOccurred(QProcess::ProcessError)", failed)
        program, *arguments = worker_command(folder, self._python)
        process.start(program, arguments)

    def write(self, data: bytes) -> None:
        if self._process is not None:
            self._process.write(qt.QByteArray(data))

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.waitForFinished(1000)
            with contextlib.suppress(AttributeError):
                process.deleteLater()

    def later(self, milliseconds: int, callback: Callable[[], None]) -> QtTimer:
        self._timers = [timer for timer in self._timers if timer._callback is not None]
        timer = QtTimer(milliseconds, callback)
        self._timers.append(timer)
        return timer
