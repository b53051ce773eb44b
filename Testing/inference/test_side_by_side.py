"""Work spread over processor cores gives what one core gives, and leaves torch as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from MedSAMSegmentLib.inference.side_by_side import side_by_side

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_pieces_keep_their_order_and_need_no_gradients(threads: int) -> None:
    weights = torch.ones(4, requires_grad=True)
    made = side_by_side(lambda piece: (piece, (weights * piece).requires_grad), range(20), CPU)
    assert made == [(piece, False) for piece in range(20)]
    assert torch.get_num_threads() == threads


def test_pieces_run_at_the_same_time_where_there_are_cores_for_them(threads: int) -> None:
    meeting = threading.Barrier(threads)
    side_by_side(lambda piece: meeting.wait(timeout=30), range(threads), CPU)


def test_an_error_arrives_after_all_that_had_begun_has_ended(threads: int) -> None:
    ended = []

    def work(piece: int) -> None:
        if piece == 0:
            raise RuntimeError("the first piece fails")
        ended.append(piece)

    with pytest.raises(RuntimeError, match="the first piece fails"):
        side_by_side(work, range(3), CPU)
    assert sorted(ended) == ([1, 2] if threads > 1 else [])
    assert torch.get_num_threads() == threads
