"""A worker process without Qt: the loop a test turns by hand."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable

from MedSAMSegmentLib.slicer.worker_client import WorkerClient

_BEGIN = "from MedSAMSegmentLib.slicer.worker import main; main()"


class LoopTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ChildTransport:
    """A :class:`~MedSAMSegmentLib.slicer.worker_transport.Transport` on a real child process."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0
        self._timers: list[tuple[float, int, LoopTimer]] = []
        self._order = itertools.count()
        self._output: Callable[[bytes], None] = lambda data: None
        self._ended: Callable[[str], None] = lambda how: None

    def start(self, folder: str, output: Callable[[bytes], None], ended: Callable[[str], None]) -> None:
        self._output, self._ended = output, ended
        self.started += 1
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BEGIN, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def write(self, data: bytes) -> None:
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(data)
                self.process.stdin.flush()

    def kill(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait(10)
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def later(self, milliseconds: int, callback: Callable[[], None]) -> LoopTimer:
        timer = LoopTimer(callback)
        heapq.heappush(self._timers, (time.monotonic() + milliseconds / 1000, next(self._order), timer))
        return timer

    def turn(self) -> None:
        """Deliver what there is: bytes, the end of the process, timers that are due."""
        if self.process is not None and self.process.stdout is not None:
            ready, _, _ = select.select([self.process.stdout], [], [], 0.002)
            if ready:
                data = os.read(self.process.stdout.fileno(), 1 << 16)
                if data:
                    self._output(data)
                else:
                    code = self.process.wait(10)
                    self.process = None
                    self._ended(f"ended with the status {code}")
        while self._timers and self._timers[0][0] <= time.monotonic():
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()


class Answers:
    """Collects what comes back from one request."""

    def __init__(self) -> None:
        self.reply: dict | None = None
        self.payload = b""
        self.error = None
        self.events: list[tuple[dict, bytes]] = []

    def arguments(self) -> dict:
        return {"done": self.done, "failed": self.failed, "event": self.note}

    def done(self, reply, payload) -> None:
        self.reply, self.payload = dict(reply), payload

    def failed(self, error) -> None:
        self.error = error

    def note(self, header, payload) -> None:
        self.events.append((dict(header), payload))

    @property
    def over(self) -> bool:
        return self.reply is not None or self.error is not None

    def results(self) -> dict:
        return {header["name"]: (header, payload) for header, payload in self.events if header["event"] == "result"}


def until(transport: ChildTransport, condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Turn the loop until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the worker did not answer in time"
        transport.turn()


def ask(client: WorkerClient, transport: ChildTransport, verb: str, fields: dict | None = None, **more) -> Answers:
    """Ask and wait for the answer."""
    answers = Answers()
    client.submit(verb, fields, **answers.arguments(), **more)
    until(transport, lambda: answers.over)
    return answers
