"""Puts this folder on the path, so that all tests find what they share (``small_networks``), and orders the run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The run is spread over processes (pytest-xdist): each computes with one thread, or they would take turns on the cores.
# Child processes (workers, command lines) inherit it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

_WITH_SLICER = Path(__file__).parent / "slicer"
_WITH_OPENVINO = Path(__file__).parent / "inference" / "test_runtimes.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with OpenVINO, and those inside a Slicer, come last.

    OpenVINO, Qt, VTK and MRML stay loaded in the process. A run that trained a network after them ended in a
    segmentation fault, for a reason that could not be found: the same tests did not do it again.
    """
    items.sort(key=lambda item: 2 * (_WITH_SLICER in item.path.parents) + (item.path == _WITH_OPENVINO))


@pytest.fixture(scope="session", autouse=True)
def computed_by_torch() -> None:
    """Which runtime is faster depends on the computer; the tests of runtimes ask for one, all others get torch."""
    from MedSAMSegmentLib.inference import runtime_choice

    runtime_choice.LEAST_PARAMETERS = 10**12
