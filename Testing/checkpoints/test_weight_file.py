"""Weight files as people have them: whole, wrapped, cut off, mistaken for something else, or dangerous."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from MedSAMSegmentLib.checkpoints.weight_file import file_sha256, read_weights
from MedSAMSegmentLib.errors import CheckpointError

WEIGHTS = {"a.weight": torch.arange(600.0).reshape(20, 30), "a.bias": torch.ones(20), "count": torch.tensor(3)}


def _torch_bytes(content: object, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


FORMATS = {
    "torch": _torch_bytes(WEIGHTS),
    "legacy torch": _torch_bytes(WEIGHTS, legacy=True),
    "safetensors": safetensors.torch.save(WEIGHTS),
    "wrapped in model": _torch_bytes({"model": WEIGHTS}),
    "training state": _torch_bytes({"epoch": 7, "state_dict": {f"module.{k}": v for k, v in WEIGHTS.items()}}),
}


def _code(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert path.name in caught.value.message
    assert caught.value.hint
    return caught.value.code


@pytest.mark.parametrize("content", FORMATS.values(), ids=FORMATS)
def test_reads_every_usual_form(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    read = read_weights(path)
    assert read.keys() == WEIGHTS.keys()
    assert all(torch.equal(read[name], WEIGHTS[name]) for name in WEIGHTS)


def test_half_precision_files_become_single_precision(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    safetensors.torch.save_file({"a": torch.tensor([1.5, -2.0], dtype=torch.float16)}, path)
    read = read_weights(path)["a"]
    assert read.dtype == torch.float32
    assert read.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.6, 0.99])
def test_a_file_cut_off_anywhere_is_reported_and_nothing_is_read(tmp_path: Path, form: str, fraction: float) -> None:
    whole = FORMATS[form]
    path = tmp_path / "cut.pt"
    path.write_bytes(whole[: max(int(len(whole) * fraction), 12)])
    assert _code(path) in ("CHECKPOINT_TRUNCATED", "CHECKPOINT_DAMAGED")


@pytest.mark.parametrize("form", ["torch", "safetensors"])
def test_a_cut_off_download_is_called_that(tmp_path: Path, form: str) -> None:
    path = tmp_path / "cut.pt"
    path.write_bytes(FORMATS[form][:-100])
    assert _code(path) == "CHECKPOINT_TRUNCATED"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "CHECKPOINT_TRUNCATED"),
        (b"<!DOCTYPE html><html><title>Sign in</title>", "CHECKPOINT_IS_WEB_PAGE"),
        (b"\xef\xbb\xbf\n <html lang='en'>", "CHECKPOINT_IS_WEB_PAGE"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "CHECKPOINT_IS_POINTER"),
        (b"not weights at all, just a text", "CHECKPOINT_NOT_WEIGHTS"),
        (b"\x1f\x8b\x08\x00" + bytes(60), "CHECKPOINT_NOT_WEIGHTS"),
        (_torch_bytes(torch.ones(3)), "CHECKPOINT_NOT_WEIGHTS"),
        (_torch_bytes({}), "CHECKPOINT_NOT_WEIGHTS"),
        (_torch_bytes({"a": torch.ones(2), "b": "text"}), "CHECKPOINT_NOT_WEIGHTS"),
        (_torch_bytes({"a": torch.tensor([1.0, float("nan")])}), "CHECKPOINT_DAMAGED"),
    ],
)
def test_what_is_not_weights_is_recognised(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "mistaken.pt"
    path.write_bytes(content)
    assert _code(path) == code


def test_an_archive_of_something_else_is_recognised(tmp_path: Path) -> None:
    scan = tmp_path / "scan.npz"
    np.savez(scan, imgs=np.zeros((2, 3, 4)))
    assert _code(scan) == "CHECKPOINT_NOT_WEIGHTS"
    with zipfile.ZipFile(tmp_path / "letter.docx", "w") as archive:
        archive.writestr("word/document.xml", "text")
    assert _code(tmp_path / "letter.docx") == "CHECKPOINT_NOT_WEIGHTS"


class _Trap:
    """Unpickled, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (self.target, "w"))


@pytest.mark.parametrize("legacy", [True, False])
def test_code_in_a_file_is_refused_and_never_run(tmp_path: Path, legacy: bool) -> None:
    sprung = tmp_path / "sprung"
    for name, content in (
        ("torch.pt", _torch_bytes({"a": torch.ones(2), "trap": _Trap(sprung)}, legacy)),
        ("bare.pt", pickle.dumps({"trap": _Trap(sprung)}, protocol=2)),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert _code(path) == "CHECKPOINT_UNSAFE"
    assert not sprung.exists()


def test_missing_and_unreadable_files_are_told_apart(tmp_path: Path) -> None:
    assert _code(tmp_path / "nowhere.pt") == "CHECKPOINT_MISSING"
    assert _code(tmp_path) == "CHECKPOINT_UNREADABLE"
    locked = tmp_path / "locked.pt"
    locked.write_bytes(FORMATS["torch"])
    locked.chmod(0)
    if os.access(locked, os.R_OK):
        pytest.skip("this user may read every file")
    assert _code(locked) == "CHECKPOINT_UNREADABLE"


def test_the_hash_is_that_of_the_files_bytes(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("form", FORMATS)
def test_wrong_bytes_never_end_in_another_kind_of_error(tmp_path: Path, form: str) -> None:
    random = np.random.default_rng(len(form))
    path = tmp_path / "damaged.pt"
    whole = np.frombuffer(FORMATS[form], np.uint8)
    refused = 0
    for _ in range(40):
        damaged = whole.copy()
        places = random.integers(0, min(len(whole), random.choice([200, 2000, len(whole)])), size=3)
        damaged[places] = random.integers(0, 256, size=3)
        path.write_bytes(damaged.tobytes())
        try:
            assert read_weights(path)
        except CheckpointError:
            refused += 1
    assert refused > 0
