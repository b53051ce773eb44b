"""The worker process: holds the session, reads requests from stdin and answers on stdout.

    {"id": 7, "verb": "segment", "names": ["liver"]}       a request
    {"id": 7, "event": "progress", "fraction": 0.4}        while it works
    {"id": 7, "reply": {...}}  or  {"id": 7, "error": {"code": ..., "message": ..., "hint": ...}}
    {"cancel": 7}                                          at any time

Requests are answered one after the other; between them slices are encoded that will be asked for.
A second thread reads stdin, so that cancelling is heard at once, and when
stdin ends (Slicer has quit or crashed) the process ends there and then.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

from ..allocator import keep_freed_memory
from ..errors import InferenceError, MedSAMSegmentError
from ..private_folder import PREFIX
from .protocol import VERSION, Frame, FrameReader

_READ_BYTES = 1 << 16


class Worker:
    """See the module's text.

    Args:
        source: file descriptor that requests are read from.
        target: file descriptor that answers are written to.
        folder: the exchange folder, removed when stdin ends without a word.
    """

    def __init__(self, source: int, target: int, folder: Path | None) -> None:
        self._source = source
        self._target = target
        self._folder = folder
        self._requests: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._current: int | None = None
        self._cancelled: set[int] = set()

    def serve(self) -> NoReturn:
        """Answer requests until stdin ends, which ends the process."""
        from .worker_verbs import Desk

        self._send({"event": "ready", "version": VERSION, "process": os.getpid()})
        threading.Thread(target=self._listen, name="stdin", daemon=True).start()
        desk = Desk(self._emit, lambda: self._current in self._cancelled)
        while True:
            while self._requests.empty() and desk.idle():
                pass
            frame = self._requests.get()
            header = dict(frame.header)
            self._current = header.pop("id", None)
            verb = str(header.pop("verb", ""))
            try:
                if self._current in self._cancelled:
                    raise_cancelled()
                fields, payload = desk.answer(verb, header, frame.payload)
            except Exception as error:
                if not isinstance(error, MedSAMSegmentError):
                    traceback.print_exc()
                self._send({"id": self._current, "error": as_typed(error).as_dict()})
            else:
                self._send({"id": self._current, "reply": fields}, payload)

    def _listen(self) -> None:
        reader = FrameReader()
        while data := os.read(self._source, _READ_BYTES):
            for frame in reader.feed(data):
                if "cancel" in frame.header:
                    self._cancelled.add(frame.header["cancel"])
                    self._send({"id": frame.header["cancel"], "event": "stopping"})
                else:
                    self._requests.put(frame)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)

    def _emit(self, fields: dict[str, Any], payload: bytes) -> None:
        self._send({"id": self._current, **fields}, payload)

    def _send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        data = memoryview(Frame(header, payload).encode())
        with self._lock:
            while data:
                data = data[os.write(self._target, data) :]


def raise_cancelled() -> NoReturn:
    from ..errors import CancelledError

    raise CancelledError()


def as_typed(error: Exception) -> MedSAMSegmentError:
    """Any failure as an error that says what to do."""
    if isinstance(error, MedSAMSegmentError):
        return error
    if isinstance(error, ImportError):
        missing = (error.name or "a package").partition(".")[0]
        return InferenceError(
            "NOT_INSTALLED",
            f"The Python package '{missing}' is not installed in Slicer.",
            "Press 'Install what is missing...' in the module MedSAMSegment: it says what it would install.",
        )
    if isinstance(error, MemoryError):
        return InferenceError(
            "OUT_OF_MEMORY", "There is not enough memory.", "Close other programs, or choose a smaller model."
        )
    return InferenceError(
        "WORKER_FAILED", f"The segmentation failed ({type(error).__name__}).", "The log of Slicer says where."
    )


def main() -> NoReturn:
    """Begin; ``sys.argv[1]`` is the exchange folder."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C in the terminal is Slicer's business
    source, target = _private_streams()
    with contextlib.suppress(OSError):
        # Where memory runs out, Linux shall end this process and not Slicer.
        Path("/proc/self/oom_score_adj").write_text("800")
    keep_freed_memory()
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    Worker(source, target, folder if folder is not None and folder.name.startswith(PREFIX) else None).serve()


def _private_streams() -> tuple[int, int]:
    """Descriptors for frames; what anyone else reads from stdin is empty, what they print goes to stderr."""
    source, target = os.dup(0), os.dup(1)
    if sys.platform == "win32":
        import msvcrt

        for descriptor in (source, target):
            msvcrt.setmode(descriptor, os.O_BINARY)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return source, target


if __name__ == "__main__":
    main()
