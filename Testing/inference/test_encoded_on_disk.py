"""Encoded slices on disk: a scan opened again is answered from them, and nothing that happens to them does harm."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from MedSAMSegmentLib import Session
from MedSAMSegmentLib.inference import EmbeddingCache, EncodedOnDisk, cache
from MedSAMSegmentLib.models.sam2 import ImageFeatures
from scenes import WINDOW
from session_scene import SCENE
from small_networks import small_model

MEGABYTE = 10**6


@pytest.fixture(autouse=True)
def _everything_is_worth_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_WORTH_KEEPING_SECONDS", 0.0)


def segmented(model, folder: Path, limit: int = 50 * MEGABYTE) -> tuple[np.ndarray, int]:
    """The logits of a new session with the folder, and how many slices it had to encode."""
    encoded = []
    network = model.network
    original = network.encode_image
    network.encode_image = lambda image: encoded.append(1) or original(image)
    try:
        session = Session(SCENE.volume, model, window=WINDOW, cache=EmbeddingCache(disk=EncodedOnDisk(folder, limit)))
        session.add_object("object", SCENE.box)
        return session.segment("object").logits, len(encoded)
    finally:
        del network.encode_image


@pytest.mark.parametrize("architecture", ["sam", "sam2"])
def test_a_scan_opened_again_is_not_encoded_again(architecture: str, tmp_path: Path) -> None:
    model = small_model(architecture=architecture)
    folder = tmp_path / "encoded"
    first, encoded = segmented(model, folder)
    assert encoded > 5 and len(list(folder.iterdir())) == encoded
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    again, encoded = segmented(model, folder)
    assert encoded == 0
    np.testing.assert_array_equal(again, first)

    # Other weights say other things of the same slice.
    assert segmented(small_model(seed=1, architecture=architecture), folder)[1] > 5


def test_damaged_files_are_made_again(tmp_path: Path) -> None:
    model = small_model("sam2")
    first, count = segmented(model, tmp_path)
    cut, emptied, alien, *_ = sorted(tmp_path.iterdir())
    cut.write_bytes(cut.read_bytes()[:-100])
    emptied.write_bytes(b"")
    from safetensors.torch import save_file

    save_file({"something": torch.zeros(3)}, alien)
    again, encoded = segmented(model, tmp_path)
    assert encoded == 3 and len(list(tmp_path.iterdir())) == count
    np.testing.assert_array_equal(again, first)


def test_the_folder_keeps_to_its_limit_and_what_was_asked_for_last(tmp_path: Path) -> None:
    disk = EncodedOnDisk(tmp_path, 3 * 4000 + 1000)
    for number, name in enumerate("abc"):
        disk.write(name, torch.full((1000,), float(number)))
        for path in tmp_path.iterdir():
            os.utime(path, (path.stat().st_mtime - 10,) * 2)
    assert float(disk.read("a")[0]) == 0.0
    disk.write("d", torch.zeros(1000))
    assert disk.read("b") is None and disk.read("a") is not None and disk.read("d") is not None
    assert disk.bytes <= disk.limit_bytes
    disk.write("too large", torch.zeros(4000))
    assert disk.read("too large") is None and disk.read("a") is not None
    (tmp_path / ".part-of-a-killed-process").write_bytes(b"x")
    disk.clear()
    assert list(tmp_path.iterdir()) == []


def test_features_come_back_as_they_were(tmp_path: Path) -> None:
    disk = EncodedOnDisk(tmp_path, MEGABYTE)
    levels = torch.rand(1, 2, 8, 8), torch.rand(1, 4, 4, 4)
    features = ImageFeatures(torch.rand(1, 8, 2, 2).permute(0, 1, 3, 2), torch.rand(1, 8, 2, 2), levels)
    disk.write("features", features)
    back = disk.read("features")
    assert torch.equal(back.embedding, features.embedding) and torch.equal(back.position, features.position)
    assert all(torch.equal(a, b) for a, b in zip(back.high_resolution, levels, strict=True))
    disk.write("of another kind", {"a": torch.zeros(1)})
    assert disk.read("of another kind") is None


def test_a_folder_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model = small_model("sam2")
    expected, _ = segmented(model, tmp_path / "good")
    logits, encoded = segmented(model, tmp_path / "file" / "encoded")
    assert encoded > 5
    np.testing.assert_array_equal(logits, expected)
