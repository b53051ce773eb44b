"""Runtimes: the same results whatever computes the encoder, and never a change without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from MedSAMSegmentLib.checkpoints.folder import FOLDER_VARIABLE
from MedSAMSegmentLib.errors import InferenceError, UsageError
from MedSAMSegmentLib.inference import runtime_choice
from MedSAMSegmentLib.inference.predictor import make_predictor
from MedSAMSegmentLib.inference.runtime_choice import choose_runtime
from MedSAMSegmentLib.inference.runtimes import (
    ENCODER_ARCHITECTURES,
    TOLERANCE,
    CheckedEncoder,
    relative_difference,
    runtime_folder,
    runtime_of,
    use_runtime,
)
from small_networks import small_model

PICTURE = np.random.default_rng(0).random((1, 96, 96), dtype=np.float32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "models"))
    return tmp_path


def _embedding(model: Any) -> torch.Tensor:
    encoded = make_predictor(model).encode(PICTURE)
    return encoded if isinstance(encoded, torch.Tensor) else encoded.embedding


@pytest.mark.parametrize("architecture", ["sam", "sam-tiny-vit", "sam2"])
def test_openvino_gives_what_torch_gives_every_time(architecture: str) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    model = small_model(architecture)
    expected = _embedding(model)
    use_runtime(model, "openvino")
    for _ in range(3):
        assert relative_difference(_embedding(model), expected) < TOLERANCE["openvino"]
    assert list(runtime_folder().glob("*.xml"))
    assert not list(runtime_folder().glob(".partial-*"))
    use_runtime(model, "torch")
    assert runtime_of(model) == "torch"
    assert torch.equal(_embedding(model), expected)


def test_a_converted_network_is_read_back_and_a_damaged_one_made_anew() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    expected = _embedding(small_model("sam-tiny-vit"))
    for content in (None, "damaged"):
        if content is not None:
            next(runtime_folder().glob("*.xml")).write_text(content)
        model = small_model("sam-tiny-vit")
        use_runtime(model, "openvino")
        assert relative_difference(_embedding(model), expected) < TOLERANCE["openvino"]


def test_a_runtime_that_differs_is_refused_on_the_first_picture() -> None:
    def exact(image: torch.Tensor) -> list[torch.Tensor]:
        return [image * 2]

    answers = iter([2.0, 2.5])  # right once, then wrong

    def wrong(image: torch.Tensor) -> list[torch.Tensor]:
        return [image * next(answers)]

    with pytest.raises(InferenceError, match="differs from torch") as error:
        CheckedEncoder("openvino", exact, wrong)(torch.ones(1, 3, 8, 8))
    assert error.value.code == "RUNTIME_INEXACT"


def test_the_fastest_is_measured_once_and_remembered(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setattr(runtime_choice, "LEAST_PARAMETERS", 0)
    first = choose_runtime(small_model("sam-tiny-vit"))
    assert "Measured once" in first.notes[-1]
    remembered = json.loads((own_cache / "runtimes" / "choice.json").read_text())
    assert {name for entry in remembered.values() for name in entry} == {"torch", "openvino"}

    def again(*given: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(runtime_choice, "measure", again)
    second = choose_runtime(small_model("sam-tiny-vit"))
    assert second.name == first.name
    assert second.notes == ()
    with pytest.raises(AssertionError, match="measured again"):  # another kind of network may fare differently
        choose_runtime(small_model("sam"))


def test_the_faster_runtime_is_not_used_where_it_is_inexact_and_the_user_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setattr(runtime_choice, "LEAST_PARAMETERS", 0)
    monkeypatch.setattr(runtime_choice, "measure", lambda *given: {"torch": 1.0, "openvino": 0.5})
    model = small_model("sam-tiny-vit")
    assert choose_runtime(model).name == runtime_of(model) == "openvino"
    with monkeypatch.context() as another_session:
        another_session.setattr(CheckedEncoder, "__call__", lambda *given: pytest.fail("encoded again to be checked"))
        assert choose_runtime(model).name == "openvino"
    use_runtime(model, "torch")
    monkeypatch.setitem(TOLERANCE, "openvino", -1.0)
    use = choose_runtime(model)
    assert use.name == runtime_of(model) == "torch"
    assert "differs from torch" in use.notes[-1] and "not used" in use.notes[-1]


@pytest.mark.parametrize("architecture", ENCODER_ARCHITECTURES)
def test_what_is_measured_has_every_kind_of_block_of_the_real_network(architecture: str) -> None:
    measured = runtime_choice._shallow(architecture)
    real = small_model(architecture).network.image_encoder
    trunk = getattr(real, "trunk", real)
    assert type(measured) is type(trunk)
    blocks = {type(part) for part in trunk.modules() if type(part).__module__ == type(trunk).__module__}
    assert blocks <= {type(part) for part in measured.modules()}


def test_a_runtime_that_is_not_there_is_refused_and_not_replaced() -> None:
    with pytest.raises(UsageError) as unknown:
        choose_runtime(small_model("sam2"), "warp-drive")
    assert unknown.value.code == "UNKNOWN_RUNTIME"
    with pytest.raises(UsageError) as unavailable:
        choose_runtime(small_model("embedded"), "openvino")
    assert unavailable.value.code == "RUNTIME_UNAVAILABLE"
    for architecture in ("embedded", "sam2"):  # not worth measuring
        assert choose_runtime(small_model(architecture)) == runtime_choice.TORCH
