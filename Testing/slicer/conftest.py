"""Slicer on the bench, as tests ask for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from panel_bench import shared_desktop, start_slicer


@pytest.fixture
def slicer():
    """An empty scene, before and after."""
    slicer = start_slicer()
    slicer.mrmlScene.Clear(0)
    yield slicer
    slicer.mrmlScene.Clear(0)


@pytest.fixture
def desktop():
    """The panel over an empty scene with the scan in it."""
    desktop = shared_desktop()
    desktop.begin()
    return desktop
