"""Weights brought by hand: checked, kept, recognised again, and refused when they change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from MedSAMSegmentLib.checkpoints import cache, cached_checkpoint, find_model, import_file, verify
from MedSAMSegmentLib.checkpoints.fitting import expected_tensors
from MedSAMSegmentLib.checkpoints.loading import _checked
from MedSAMSegmentLib.errors import CheckpointError

MODEL = "medsam2-efficienttam-tiny-flare25-recist"
"""A small one, and nobody publishes its hash."""


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return {name: torch.zeros(tensor.shape) for name, tensor in expected_tensors(find_model(MODEL)).items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSAMSEGMENT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def saved(weights: dict[str, torch.Tensor], path: Path) -> Path:
    torch.save({"model": weights}, path)
    return path


def test_an_imported_file_is_found_verified_and_pinned(
    folder: Path, tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    source = saved(weights, tmp_path / "from a stick.pt")
    path = import_file(MODEL, source)
    assert path == cached_checkpoint(find_model(MODEL)) and path.read_bytes() == source.read_bytes()
    assert [(file.model, file.complete) for file in cache().files] == [(MODEL, True)]
    report = verify(MODEL)
    assert report.tensors == 455 and not report.published_as
    assert set(report.fits) == {MODEL, "efficienttam-tiny-512"}

    name = "no_mem_embed"
    other = saved(weights | {name: torch.ones(weights[name].shape)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError) as caught:
        import_file(MODEL, other)
    assert caught.value.code == "CHECKPOINT_CHANGED" and "--accept-change" in caught.value.hint
    assert path.read_bytes() == source.read_bytes(), "the file in use stays"

    path.write_bytes(other.read_bytes())
    with pytest.raises(CheckpointError) as caught:
        _checked(find_model(MODEL), path)
    assert caught.value.code == "CHECKPOINT_CHANGED"
    import_file(MODEL, other, accept_change=True)
    assert verify(MODEL).sha256 == verify(other).sha256


def test_a_file_of_another_model_is_refused_with_the_first_tensors_that_differ(
    folder: Path, tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    incomplete = {name: tensor for name, tensor in weights.items() if name != "no_obj_ptr"}
    source = saved(incomplete, tmp_path / "incomplete.pt")
    with pytest.raises(CheckpointError) as caught:
        verify(source)
    assert caught.value.code == "CHECKPOINT_WRONG_ARCHITECTURE"
    assert "1 of its tensors differ ('no_obj_ptr' is missing)" in caught.value.message
    with pytest.raises(CheckpointError) as caught:
        import_file(MODEL, source)
    assert "'no_obj_ptr' is missing" in caught.value.message and not cache().files


def test_an_imported_file_must_be_the_published_one(folder: Path, tmp_path: Path) -> None:
    spec = find_model("mobile-sam")
    zeros = {name: torch.zeros(t.shape, dtype=t.dtype) for name, t in expected_tensors(spec).items()}
    source = tmp_path / "tuned.pt"
    torch.save(zeros, source)
    with pytest.raises(CheckpointError) as caught:
        import_file("mobile-sam", source)
    assert caught.value.code in ("CHECKPOINT_WRONG_SIZE", "CHECKPOINT_TRUNCATED", "CHECKPOINT_ALTERED")
    assert "--checkpoint FILE" in caught.value.hint and not cache().files


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"<!DOCTYPE html><html>", "CHECKPOINT_IS_WEB_PAGE"), (b"", "CHECKPOINT_TRUNCATED")],
)
def test_what_is_no_weights_is_not_imported(folder: Path, tmp_path: Path, content: bytes, code: str) -> None:
    source = tmp_path / "file.pt"
    source.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        import_file(MODEL, source)
    assert caught.value.code == code and not folder.exists()
