"""Runtimes: the same results whatever computes the encoder, and never a change without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from MedSAMSegmentLib.checkpoints.folder import FOLDER_VARIABLE
from MedSAMSegmentLib.errors import InferenceError, UsageError
from MedSAMSegmentLib.inference import openvino_graph, runtime_choice, runtime_record, runtimes
from MedSAMSegmentLib.inference.predictor import make_predictor
from MedSAMSegmentLib.inference.runtime_choice import choose_runtime
from MedSAMSegmentLib.inference.runtime_parts import Part, parts_of
from MedSAMSegmentLib.inference.runtime_record import runtime_folder
from MedSAMSegmentLib.inference.runtimes import (
    ENCODER_ARCHITECTURES,
    TOLERANCE,
    CheckedPart,
    relative_difference,
    runtime_of,
    use_runtime,
)
from MedSAMSegmentLib.models.sam2 import SAM2, RememberedPointer, RememberedSlice
from small_networks import small_model

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")

PICTURE = np.random.default_rng(0).random((1, 96, 96), dtype=np.float32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "models"))
    return tmp_path


def _embedding(model: Any) -> torch.Tensor:
    encoded = make_predictor(model).encode(PICTURE)
    return encoded if isinstance(encoded, torch.Tensor) else encoded.embedding


@torch.inference_mode()
def _tracked(model: Any, slices: int = 6) -> list[torch.Tensor]:
    """Nine boxes on one slice, and two of them through further slices with all the memory there is."""
    network, seed = model.network, torch.Generator().manual_seed(0)
    images = torch.rand(slices, 1, 3, 96, 96, generator=seed)
    corners, labels = torch.tensor([[[20.0, 20], [70, 60]], [[40.0, 30], [80, 80]]]), torch.tensor([[2, 3], [2, 3]])
    many = corners[:1] + torch.arange(9)[:, None, None], labels[:1].expand(9, -1)
    first = network.encode_image(images[0])
    if not isinstance(network, SAM2):
        return [first, *(network.decode(first, *boxes).candidate_logits for boxes in ((corners, labels), many))]
    start = network.without_memory(first), first.high_resolution
    found = network.decode(*start, corners, labels)
    answers = [first.embedding, found.candidate_logits, network.decode(*start, *many).candidate_logits]
    memories, features = [], first
    for image in images[1:]:
        memory = network.encode_memory(features, found.high_res_logits, found.object_score_logits, not memories)
        memories.append((memory, found.object_pointer))
        features = network.encode_image(image)
        embedding = network.condition_on_memory(
            features,
            [RememberedSlice(memory, steps) for steps, (memory, _) in enumerate(memories)],
            [RememberedPointer(pointer, float(steps)) for steps, (_, pointer) in enumerate(memories)],
        )
        found = network.decode(embedding, features.high_resolution)
        answers += [embedding, found.candidate_logits]
    return answers


@needs_openvino
@pytest.mark.parametrize("architecture", ENCODER_ARCHITECTURES)
def test_openvino_gives_what_torch_gives_every_time(architecture: str) -> None:
    model = small_model(architecture)
    expected = _tracked(model)
    use_runtime(model, "openvino")
    for _ in range(2):
        for found, right in zip(_tracked(model), expected, strict=True):
            assert relative_difference(found, right) < TOLERANCE["openvino"]
    graphs = "".join(path.name for path in runtime_folder().glob("*.xml"))
    assert all(part.name in graphs for part in parts_of(model.network))
    assert not list(runtime_folder().glob(".partial-*"))
    use_runtime(model, "torch")
    assert runtime_of(model) == "torch"
    assert all(torch.equal(found, right) for found, right in zip(_tracked(model), expected, strict=True))


@pytest.mark.parametrize("architecture", ENCODER_ARCHITECTURES)
def test_bfloat16_in_torch_stays_near_single_precision(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "computes_bfloat16", lambda: True)  # slow where the processor cannot, but right
    model = small_model(architecture)
    expected = _tracked(model)
    use_runtime(model, "torch-bf16")
    found = _tracked(model)
    assert all(part.dtype == torch.float32 for part in found)
    assert 0 < relative_difference(found[0], expected[0]) < TOLERANCE["torch-bf16"]
    use_runtime(model, "torch")
    assert torch.allclose(_tracked(model)[0], expected[0], atol=1e-4)


@needs_openvino
def test_bfloat16_is_for_the_parts_that_bear_it_and_the_others_are_held_to_single_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtimes, "computes_bfloat16", lambda: True)
    model = small_model("sam2")
    use_runtime(model, "openvino-bf16")
    assert runtime_of(model) == "openvino-bf16"
    names = {part.name: vars(part.module)[part.method].name for part in parts_of(model.network)}
    assert names == {
        "image_encoder": "openvino-bf16",
        "memory_attention": "openvino-bf16",
        "sam_mask_decoder": "openvino",
        "memory_encoder": "openvino",
    }


@needs_openvino
def test_what_was_found_equal_is_not_compared_again_on_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("sam2")
    use_runtime(model, "openvino")
    expected = _tracked(model)
    monkeypatch.setattr(runtimes, "relative_difference", lambda *given: pytest.fail("compared again"))
    again = small_model("sam2")
    use_runtime(again, "openvino")
    assert all(torch.equal(found, right) for found, right in zip(_tracked(again), expected, strict=True))
    monkeypatch.setattr(runtime_record, "processor_name", lambda: "another processor")
    elsewhere = small_model("sam2")
    use_runtime(elsewhere, "openvino")
    with pytest.raises(pytest.fail.Exception, match="compared again"):
        _tracked(elsewhere)


@needs_openvino
def test_a_converted_network_is_read_back_and_a_damaged_or_old_one_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _embedding(small_model("sam-tiny-vit"))
    for content in (None, "damaged"):
        if content is not None:
            next(runtime_folder().glob("*.xml")).write_text(content)
        model = small_model("sam-tiny-vit")
        use_runtime(model, "openvino")
        assert relative_difference(_embedding(model), expected) < TOLERANCE["openvino"]
    monkeypatch.setattr(openvino_graph, "networks_version", lambda: "the.next")
    model = small_model("sam-tiny-vit")
    use_runtime(model, "openvino")
    _embedding(model)
    assert ["the.next" in path.name for path in openvino_graph.converted_graphs()] == [True, True]


@needs_openvino
def test_openvino_tells_nobody_that_it_is_used(tmp_path: Path) -> None:
    """Left to itself it reports every import to its makers, and keeps a name for the user in the home folder."""
    program = (
        "import sys, torch\n"
        "from MedSAMSegmentLib.inference.openvino_graph import OpenVinoPart\n"
        "from MedSAMSegmentLib.inference.runtime_parts import Part\n"
        "rectify = OpenVinoPart(Part('relu', torch.nn.ReLU(), 'forward', single=True), bfloat16=False)\n"
        "assert rectify(torch.tensor([[-1.0, 2.0]])).tolist() == [[0.0, 2.0]]\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]\n"
    )
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "CI": ""}
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, **home})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_runtime_that_differs_is_refused_on_the_first_picture() -> None:
    class Doubling(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            return [image * 2]

    answers = iter([2.0, 2.5])  # right once, then wrong

    def wrong(image: torch.Tensor) -> list[torch.Tensor]:
        return [image * next(answers)]

    with pytest.raises(InferenceError, match="differs from torch") as error:
        CheckedPart("openvino", Part("image_encoder", Doubling(), "forward"), wrong)(torch.ones(1, 3, 8, 8))
    assert error.value.code == "RUNTIME_INEXACT"


@needs_openvino
def test_the_fastest_is_measured_once_and_remembered(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@needs_openvino
def test_the_faster_runtime_is_not_used_where_it_is_inexact_and_the_user_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime_choice, "LEAST_PARAMETERS", 0)
    monkeypatch.setattr(runtime_choice, "measure", lambda *given: {"torch": 1.0, "openvino": 0.5})
    model = small_model("sam-tiny-vit")
    assert choose_runtime(model).name == runtime_of(model) == "openvino"
    with monkeypatch.context() as another_session:
        another_session.setattr(CheckedPart, "__call__", lambda *given: pytest.fail("encoded again to be checked"))
        assert choose_runtime(model).name == "openvino"
    use_runtime(model, "torch")
    (runtime_folder() / runtimes.CHECKED).unlink()
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
