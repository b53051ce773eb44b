"""What the worker does while nobody asks for anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from MedSAMSegmentLib.inference import cache, encoded_folder
from MedSAMSegmentLib.prompts import BoxPrompt
from MedSAMSegmentLib.slicer.worker_exchange import VolumeWriter
from MedSAMSegmentLib.slicer.worker_verbs import Desk
from MedSAMSegmentLib.volume import Geometry, OrientedBox, Volume


def _opened(folder: Path, **options: object) -> tuple[Desk, Geometry, dict[str, object]]:
    """A desk with a small scan open, and what it said of it."""
    voxels = np.random.default_rng(0).normal(20.0, 20.0, (12, 64, 64)).astype(np.int16)
    voxels[3:9, 22:42, 22:42] += 100
    geometry = Geometry.from_parts(voxels.shape, (1.0, 1.0, 3.0), (0.0, 0.0, 0.0), np.eye(3))
    writer = VolumeWriter(folder / "scan", Volume(voxels, geometry, modality="CT"))
    while not writer.done:
        writer.step()
    desk = Desk(lambda fields, payload: None, lambda: False)
    assert not desk.idle()
    asked = {"volume": writer.description, "model": "embedded", "device": "cpu", "settings": {}, **options}
    return desk, geometry, desk.answer("open", asked, b"")[0]


def test_slices_of_a_drawn_box_are_encoded_before_they_are_asked_for(tmp_path: Path) -> None:
    desk, geometry, opened = _opened(tmp_path)
    assert opened["runtime"] == {"name": "torch", "notes": []}
    assert not desk.idle()  # a crop about a box that is not known yet cannot be encoded
    box = OrientedBox.from_index_range(geometry, 20, 20, 3, 44, 44, 9)
    desk.answer("add_object", {"name": "organ", "box": BoxPrompt(box).as_dict()}, b"")
    steps = 0
    while desk.idle():
        steps += 1
    assert steps == 6
    misses = desk.session._runner.cache.misses
    desk.answer("segment", {"names": ["organ"]}, b"")
    assert desk.session._runner.cache.misses == misses
    assert not desk.idle()


def test_encoded_slices_are_kept_on_disk_only_when_the_user_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_WORTH_KEEPING_SECONDS", 0.0)
    for megabytes in (0, 100):
        desk, geometry, _ = _opened(tmp_path, disk_cache_mb=megabytes)
        box = OrientedBox.from_index_range(geometry, 20, 20, 3, 44, 44, 9)
        desk.answer("add_object", {"name": "organ", "box": BoxPrompt(box).as_dict()}, b"")
        while desk.idle():
            pass
        assert encoded_folder().is_dir() == bool(megabytes)
    assert len(list(encoded_folder().iterdir())) == 6
