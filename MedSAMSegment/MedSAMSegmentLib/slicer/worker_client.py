"""Slicer's side of the worker process: starts it when it is first needed, queues requests, and brings it back.

Nothing here waits: answers come back through callbacks, on the GUI's thread.  What the worker needs to know (the scan,
the model, everything the user said) is kept here, so that a worker that crashed, ran out of memory or had to be killed
is replaced by one that knows the same.  No Qt: a :class:`Transport` moves the bytes and a clock calls back.
"""

from __future__ import annotations

import enum
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import CancelledError, InferenceError, MedSAMSegmentError
from .protocol import VERSION, Frame, FrameReader
from .worker_exchange import ExchangeFolder
from .worker_scan import KnownScan
from .worker_transport import Timer, Transport

if TYPE_CHECKING:
    from ..volume import Volume

_logger = logging.getLogger(__name__)

_NEED_NO_SCAN = frozenset({"download", "download_terms", "import_weights", "devices"})
_GRACE_MILLISECONDS = 2000
_START_MILLISECONDS = 60_000


class State(enum.Enum):
    """What the worker is doing."""

    OFF = "off"
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    STOPPING = "stopping"


Done = Callable[[Mapping[str, Any], bytes], None]
Failed = Callable[[MedSAMSegmentError], None]
Event = Callable[[Mapping[str, Any], bytes], None]


@dataclass(eq=False)
class Job:
    """One request.

    Attributes:
        verb, fields, payload: see ``worker_verbs.py``.
        done: called with the fields and the payload of the reply.
        failed: called with the reason instead.
        event: called with everything that comes before.
        replaces: a request that still waits under the same name is dropped silently.
    """

    verb: str
    fields: Mapping[str, Any]
    payload: bytes = b""
    done: Done | None = None
    failed: Failed | None = None
    event: Event | None = None
    replaces: str = ""
    number: int = 0


class WorkerClient:
    """See the module's text.

    Args:
        transport: moves the bytes.
        changed: called when :attr:`state` has changed.
        root: where the exchange folder is made; the system's temporary folder by default.

    Attributes:
        state: see :class:`State`.
    """

    def __init__(
        self, transport: Transport, changed: Callable[[], None] | None = None, root: str | None = None
    ) -> None:
        self.state = State.OFF
        self._transport = transport
        self._changed = changed
        self._root = root
        self._folder: ExchangeFolder | None = None
        self._scan: KnownScan | None = None
        self._queue: deque[Job] = deque()
        self._current: Job | None = None
        self._reader = FrameReader()
        self._generation = 0
        self._numbers = 0
        self._timer: Timer | None = None
        self._writing = False

    # ---- what the user does ----------------------------------------------------------------------------------------

    def open_scan(
        self,
        volume: Volume,
        options: Mapping[str, Any],
        state: Mapping[str, Any] | None = None,
        done: Done | None = None,
        failed: Failed | None = None,
    ) -> None:
        """Work on a scan from now on; the file is written step by step when the worker first needs it.

        Args:
            volume: the scan.
            options: ``model``, ``checkpoint``, ``device``, ``disk_cache_mb``, ``settings``.
            state: what the user said earlier, e.g. from a saved scene.
            done, failed: see :class:`Job`.

        Raises:
            OutputError: there is no room for the exchange file.
        """
        self._drop_waiting(CancelledError())
        if self._folder is None:
            self._folder = ExchangeFolder(self._root)
        self._scan = KnownScan(self._folder.writer(volume), dict(options), state)
        self.submit("open", done=done, failed=failed)

    def configure(self, options: Mapping[str, Any], done: Done | None = None, failed: Failed | None = None) -> None:
        """Go on with the same scan and prompts, with another model or other settings."""
        if self._scan is not None:
            self._scan.configure(options)
            self.submit("open", done=done, failed=failed, replaces="open")

    def close_scan(self) -> None:
        """Forget the scan; what is being done for it is stopped."""
        self._scan = None
        self._drop_waiting(CancelledError())
        if self._current is not None:
            self._current.done = self._current.failed = self._current.event = None
            self.cancel()
        if self.state is not State.OFF:
            self.submit("close")

    def submit(
        self,
        verb: str,
        fields: Mapping[str, Any] | None = None,
        payload: bytes = b"",
        done: Done | None = None,
        failed: Failed | None = None,
        event: Event | None = None,
        replaces: str = "",
    ) -> Job:
        """Ask for something; see :class:`Job` and ``worker_verbs.py``."""
        self._numbers += 1
        job = Job(verb, dict(fields or {}), payload, done, failed, event, replaces, self._numbers)
        if replaces:
            self._queue = deque(waiting for waiting in self._queue if waiting.replaces != replaces)
        self._queue.append(job)
        self._pump()
        return job

    def undo(self, done: Done | None = None, failed: Failed | None = None) -> None:
        """Take back the latest step; see :attr:`can_undo`."""
        if self._scan is not None and self._scan.past:
            self.submit("undo", {"state": self._scan.past[-1]}, done=done, failed=failed)

    def redo(self, done: Done | None = None, failed: Failed | None = None) -> None:
        """Take back an undo; see :attr:`can_redo`."""
        if self._scan is not None and self._scan.future:
            self.submit("redo", {"state": self._scan.future[-1]}, done=done, failed=failed)

    @property
    def can_undo(self) -> bool:
        return self._scan is not None and bool(self._scan.past)

    @property
    def can_redo(self) -> bool:
        return self._scan is not None and bool(self._scan.future)

    @property
    def content(self) -> Mapping[str, Any] | None:
        """Everything the user said about the scan, fit for JSON; ``None`` before the scan is open."""
        return None if self._scan is None else self._scan.state

    def cancel(self) -> None:
        """Stop what is being done: the worker is asked, and ended if it does not listen within two seconds."""
        job = self._current
        if job is None:
            self._drop_waiting(CancelledError())
        elif self.state is State.BUSY:
            self._transport.write(Frame({"cancel": job.number}).encode())
            self._set_timer(_GRACE_MILLISECONDS, lambda: self._lost(CancelledError(), "was stopped"))
            self._set_state(State.STOPPING)

    def shut_down(self) -> None:
        """End the worker and remove every trace of the scan."""
        self._scan = None
        self._queue.clear()
        self._current = None
        self._set_timer(None)
        self._transport.kill()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None
        self._set_state(State.OFF)

    # ---- requests --------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Send the next request, as soon as the worker is ready for it."""
        if self._current is not None or not self._queue:
            return
        if self.state is State.OFF:
            self._start()
            return
        if self.state is State.STARTING:
            return
        job = self._queue[0]
        fields = dict(job.fields)
        if job.verb not in _NEED_NO_SCAN and job.verb != "close":
            if self._scan is None:
                self._queue.popleft()
                self._fail(job, InferenceError("NO_SCAN", "No scan is open.", "Choose a volume first."))
                self._pump()
                return
            if job.verb == "open":
                if not self._written():
                    return
                fields = self._opening()
            elif self._scan.opened_by != self._generation:
                self._numbers += 1
                self._queue.appendleft(Job("open", {}, failed=self._refuse_all, number=self._numbers))
                self._pump()
                return
        self._queue.popleft()
        self._current = job
        self._set_state(State.BUSY)
        self._transport.write(Frame({"id": job.number, "verb": job.verb, **fields}, job.payload).encode())

    def _opening(self) -> dict[str, Any]:
        assert self._scan is not None
        self._scan.opened_by = self._generation
        return self._scan.opening()

    def _written(self) -> bool:
        """Whether the scan's file is complete; if not, a little more of it is written and the queue waits."""
        assert self._scan is not None
        writer = self._scan.writer
        if not writer.done and not self._writing:
            try:
                writer.step()
            except MedSAMSegmentError as error:
                self._refuse_all(error)
                return False
            self._writing = True
            self._transport.later(0, self._write_on)
        return writer.done and not self._writing

    def _write_on(self) -> None:
        self._writing = False
        self._pump()

    def _refuse_all(self, error: MedSAMSegmentError) -> None:
        if self._scan is not None:
            self._scan.opened_by = -1
        self._drop_waiting(error)

    def _drop_waiting(self, error: MedSAMSegmentError) -> None:
        waiting, self._queue = self._queue, deque()
        for job in waiting:
            self._fail(job, error)

    def _fail(self, job: Job, error: MedSAMSegmentError) -> None:
        if job.verb == "open" and self._scan is not None:
            self._scan.opened_by = -1
        if job.failed is not None:
            job.failed(error)

    # ---- the process -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._generation += 1
        self._reader = FrameReader()
        generation = self._generation
        self._set_state(State.STARTING)
        try:
            if self._folder is None:
                self._folder = ExchangeFolder(self._root)
        except MedSAMSegmentError as error:
            self._set_state(State.OFF)
            self._drop_waiting(error)
            return
        self._set_timer(_START_MILLISECONDS, lambda: self._lost(_not_started("it does not answer"), "did not answer"))
        self._transport.start(
            str(self._folder.path),
            lambda data: self._received(generation, data),
            lambda how: self._ended(generation, how),
        )

    def _received(self, generation: int, data: bytes) -> None:
        if generation != self._generation:
            return
        try:
            frames = self._reader.feed(data)
        except InferenceError as error:
            self._lost(error, "sent something unreadable")
            return
        for frame in frames:
            if generation == self._generation:
                self._take(frame)

    def _take(self, frame: Frame) -> None:
        header, job = frame.header, self._current
        if header.get("event") == "ready" and self.state is State.STARTING:
            if header.get("version") != VERSION:
                self._lost(_not_started("it is of another version"), "is of another version")
                return
            self._set_timer(None)
            self._set_state(State.IDLE)
            self._pump()
        elif job is not None and header.get("id") == job.number:
            if "event" in header:
                if job.event is not None and header["event"] != "stopping":
                    job.event(header, frame.payload)
                return
            self._set_timer(None)
            self._current = None
            self._set_state(State.IDLE)
            if "reply" in header:
                if self._scan is not None and "state" in header["reply"]:
                    self._scan.remember(job.verb, header["reply"]["state"])
                if job.done is not None:
                    job.done(header["reply"], frame.payload)
            else:
                self._fail(job, _error(header.get("error", {})))
            self._pump()

    def _ended(self, generation: int, how: str) -> None:
        if generation != self._generation or self.state is State.OFF:
            return
        if self.state is State.STARTING:
            self._lost(_not_started(how), how)
        elif self.state is State.STOPPING:
            self._lost(CancelledError(), how)
        else:
            self._lost(
                InferenceError(
                    "WORKER_DIED",
                    "The segmentation process ended unexpectedly; perhaps memory ran out.",
                    "Nothing in the scene was changed. Try again, with a smaller model or on the CPU if it recurs.",
                ),
                how,
            )

    def _lost(self, error: MedSAMSegmentError, how: str) -> None:
        """The worker is gone or of no use; the next request starts another one."""
        _logger.warning("The segmentation process %s.", how)
        self._set_timer(None)
        self._transport.kill()
        self._generation += 1
        job, self._current = self._current, None
        self._set_state(State.OFF)
        if job is not None:
            self._fail(job, error)
        self._drop_waiting(error)

    def _set_state(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            if self._changed is not None:
                self._changed()

    def _set_timer(self, milliseconds: int | None, callback: Callable[[], None] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if milliseconds is not None and callback is not None:
            self._timer = self._transport.later(milliseconds, callback)


def _error(data: Mapping[str, Any]) -> MedSAMSegmentError:
    code, message, hint = (str(data.get(name, "")) for name in ("code", "message", "hint"))
    if code == "CANCELLED":
        return CancelledError(message, hint)
    return InferenceError(code or "WORKER_FAILED", message or "The segmentation failed.", hint)


def _not_started(why: str) -> InferenceError:
    return InferenceError(
        "WORKER_NOT_STARTED",
        f"The segmentation process could not be started: {why}.",
        "Restart Slicer; if it recurs, reinstall the extension.",
    )
