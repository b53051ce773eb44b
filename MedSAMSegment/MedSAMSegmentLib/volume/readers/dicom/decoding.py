"""Starts the child processes that decompress pixels, and keeps their time."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ....private_folder import private_folder
from .frames import BY_GDCM, FrameError, FrameRequest

#: Seconds that a child may take to start, and for each frame besides a share for its size.
_START_SECONDS = 60.0
_FRAME_SECONDS = 10.0
_SECONDS_A_MEGABYTE = 2.0

_LONGEST_LINE = 200
_PACKAGES = Path(__file__).resolve().parents[4]

_BEGIN = (
    "import sys; sys.path[:] = sys.argv[1:]; from MedSAMSegmentLib.volume.readers.dicom.decoder import main; main()"
)


def decode_frames(requests: Sequence[FrameRequest], syntaxes: set[str]) -> Iterator[NDArray[Any]]:
    """Stored values (rows, columns) of all requested frames, request by request, decoded by a child process.

    Args:
        requests: what to read.
        syntaxes: the transfer syntaxes among them; each needs other libraries.

    Raises:
        FrameError: as :func:`~.frames.read_frames`; code LIMIT when the child ran out of its memory or time, or died;
            NO_DECODER when it could not be started.
    """
    libraries = ["numpy", "pydicom.pixels"] + (["SimpleITK"] if syntaxes & set(BY_GDCM) else [])
    with private_folder() as scratch:
        job = {
            "requests": [request.as_plain() for request in requests],
            "scratch": str(scratch),
            "libraries": libraries,
        }
        child = _start()
        watch = _Watch(child)
        try:
            yield from _frames(child, watch, requests, json.dumps(job).encode() + b"\n")
        finally:
            watch.stop()
            child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()


def _frames(
    child: subprocess.Popen[bytes], watch: _Watch, requests: Sequence[FrameRequest], job: bytes
) -> Iterator[NDArray[Any]]:
    assert child.stdin is not None and child.stdout is not None
    watch.allow(_START_SECONDS)
    try:
        child.stdin.write(job)
        child.stdin.close()
    except OSError:
        raise FrameError("NO_DECODER") from None
    for request in requests:
        for _ in request.frames:
            seconds = _FRAME_SECONDS + _SECONDS_A_MEGABYTE * request.bytes_a_frame / 2**20
            watch.allow(seconds + (_START_SECONDS if watch.fresh else 0.0))
            plane = _frame(child.stdout, request)
            # The consumer's own time is not the child's.
            watch.stop()
            watch.fresh = False
            yield plane


def _frame(stream: IO[bytes], request: FrameRequest) -> NDArray[Any]:
    line = stream.readline(_LONGEST_LINE)
    try:
        said = json.loads(line)
    except ValueError:
        raise FrameError("LIMIT") from None
    if "error" in said:
        raise FrameError(str(said["error"]))
    kind = np.dtype(said["type"])
    if kind.kind not in "iuf" or kind.itemsize * 8 > max(request.bits, 16):
        raise FrameError("PIXELS")
    size = request.rows * request.columns * kind.itemsize
    values = stream.read(size)
    if len(values) != size:
        raise FrameError("LIMIT")
    return np.frombuffer(values, kind).reshape(request.rows, request.columns)


def _start() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # Isolated, with the very paths of this process: a folder called like a library, in the working directory of
    # whoever reads the scan, is never imported.
    paths = [str(Path(entry).resolve()) for entry in sys.path if entry] + [str(_PACKAGES)]
    try:
        return subprocess.Popen(
            [_python(), "-I", "-c", _BEGIN, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
    except OSError:
        raise FrameError("NO_DECODER") from None


def _python() -> str:
    """The interpreter as a program; an application that embeds Python has one of another name beside it."""
    if "python" in Path(sys.executable or "").name.lower():
        return sys.executable
    return shutil.which("PythonSlicer") or sys.executable or "python3"


class _Watch:
    """Kills a child that takes longer than it may.

    Attributes:
        fresh: whether the child has not answered yet.
    """

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self._timer: threading.Timer | None = None
        self.fresh = True

    def allow(self, seconds: float) -> None:
        """Begin to count anew."""
        self.stop()
        self._timer = threading.Timer(seconds, self._child.kill)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """Stop counting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
