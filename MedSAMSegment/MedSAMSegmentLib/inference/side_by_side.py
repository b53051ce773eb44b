"""Small pieces of one computation, each on a processor core of its own.

A small network gains little from torch's own threads: its layers are so short that the threads spend their time waiting
for one another, and where another program holds a core every layer waits for it (one box then took 17 to 70 s instead
of 5 s).  Pieces (a few slices, a mirror image) have nothing to wait for but the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

_Piece = TypeVar("_Piece")
_Made = TypeVar("_Made")

# More cores than this gain little, and every one of them holds the intermediate results of a piece.
_MOST_CORES = 8


def cores() -> int:
    """How many pieces are worked on at a time on a CPU: as many as torch may use threads, up to eight."""
    return max(1, min(torch.get_num_threads(), _MOST_CORES))


def side_by_side(work: Callable[[_Piece], _Made], pieces: Sequence[_Piece], device: torch.device) -> list[_Made]:
    """``work`` of every piece, in their order, without gradients.

    What comes out does not depend on the number of cores.  An error is raised once all that had begun has ended.

    Args:
        work: computes with torch.
        pieces: what there is to do.
        device: where ``work`` computes; on anything but a CPU the pieces follow one another.
    """
    threads = torch.get_num_threads()
    at_once = min(cores(), len(pieces)) if device.type == "cpu" else 1

    def one(piece: _Piece) -> _Made:
        # Both belong to the thread that computes.
        torch.set_num_threads(1)
        with torch.inference_mode():
            return work(piece)

    try:
        if at_once < 2:
            return [one(piece) for piece in pieces]
        begun = [_helpers(at_once).submit(one, piece) for piece in pieces]
        wait(begun)
        return [piece.result() for piece in begun]
    finally:
        torch.set_num_threads(threads)


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="side by side")
