"""The child process that decompresses pixels: what a damaged stream does to it stays in it.

It reads one JSON object from standard input and answers on standard output, frame by frame: a line of JSON with the
type of the values, then the values; or a line with an error code.  Nothing else leaves it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

from .frames import FrameError, FrameRequest, read_frames

#: What the libraries may take beyond the pixels themselves.
_ROOM = 768 << 20
#: Copies of one file and of one frame that decoding may need at a time.
_COPIES = 12


def main() -> None:
    """Answers the request on standard input."""
    job = json.loads(sys.stdin.buffer.readline())
    requests = [FrameRequest.from_plain(plain) for plain in job["requests"]]
    answer = _private_output()
    _import_decoders(job["libraries"])
    _limit_memory(requests)
    scratch = Path(job["scratch"])
    for request in requests:
        try:
            for plane in read_frames(request, scratch):
                answer.write(json.dumps({"type": plane.dtype.str}).encode() + b"\n")
                answer.write(plane.tobytes())
            answer.flush()
        except FrameError as error:
            _give_up(answer, error.code)
            return
        except MemoryError:
            _give_up(answer, "LIMIT")
            return


def _give_up(answer: IO[bytes], code: str) -> None:
    answer.write(json.dumps({"error": code}).encode() + b"\n")
    answer.flush()


def _private_output() -> IO[bytes]:
    """Standard output for the answer alone: whatever a library prints goes nowhere."""
    own = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return os.fdopen(own, "wb")


def _import_decoders(libraries: list[str]) -> None:
    # Before the limit is set: it counts what libraries reserve, which differs from machine to machine.
    import importlib
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for name in libraries:
        importlib.import_module(name)


def _limit_memory(requests: list[FrameRequest]) -> None:
    """A limit on the address space beyond what is in use (POSIX; elsewhere the time limit alone protects)."""
    try:
        import resource

        with open("/proc/self/statm") as stream:
            used = int(stream.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return
    largest = max(Path(request.path).stat().st_size for request in requests)
    frame = max(request.bytes_a_frame for request in requests)
    limit = used + _ROOM + 3 * largest + _COPIES * frame
    hard: Any = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
