"""From a model's name to a network: what is found, what fits, and what the user reads when it does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from MedSAMSegmentLib.checkpoints import cached_checkpoint, find_model, list_models, load_model, models_folder, verify
from MedSAMSegmentLib.checkpoints.catalog import read_catalog
from MedSAMSegmentLib.checkpoints.loading import choose_device
from MedSAMSegmentLib.errors import CheckpointError, UsageError
from MedSAMSegmentLib.models.build import build_model


@pytest.fixture(scope="module")
def embedded_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_model(find_model("embedded")).state_dict()


@pytest.fixture
def embedded_file(embedded_state: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    path = tmp_path / "own.safetensors"
    safetensors.torch.save_file(embedded_state, path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSAMSEGMENT_MODELS", str(tmp_path))
    return tmp_path


def test_the_catalog_says_of_every_model_what_one_must_know() -> None:
    models = list_models()
    assert models[0].name == "embedded"
    assert {"medsam2", "sam2.1-tiny", "sam2.1-large", "sam2.0-small"} <= {spec.name for spec in models}
    for spec in models:
        assert spec.title and spec.licence.identifier and spec.licence.summary
        origin = spec.checkpoint
        names_the_file = origin.url.endswith((origin.file_name, "/download"))
        assert origin.is_bundled or origin.browser_only or names_the_file
        assert spec.checkpoint.is_bundled or spec.checkpoint.provenance


def test_listing_models_loads_no_network_library() -> None:
    code = (
        "import sys; from MedSAMSegmentLib.checkpoints import list_models; list_models();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'safetensors', 'platformdirs')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_users_own_weights_are_loaded_as_they_are(
    embedded_file: Path, embedded_state: dict[str, torch.Tensor]
) -> None:
    model = load_model("embedded", checkpoint=embedded_file, device="cpu")
    loaded = model.network.state_dict()
    assert all(torch.equal(loaded[name], embedded_state[name]) for name in embedded_state)
    assert model.spec is find_model("embedded")
    assert len(model.weights_sha256) == 64
    assert model.device.type == "cpu"
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


@pytest.mark.parametrize(("number", "tensor"), [(0, "click_stem.weight"), (1, "head.weight")])
def test_weights_may_lack_a_part_that_is_optional(
    embedded_state: dict[str, torch.Tensor], tmp_path: Path, number: int, tensor: str
) -> None:
    path = tmp_path / "own.safetensors"
    part = find_model("embedded").optional_parts[number]
    fewer = {name: value for name, value in embedded_state.items() if not name.startswith(part.prefix)}
    safetensors.torch.save_file(fewer, path)
    model = load_model("embedded", checkpoint=path, device="cpu")
    assert getattr(model.network, part.prefix.removesuffix(".")) is None
    assert set(model.network.state_dict()) == set(fewer)
    assert verify(path).fits == ("embedded",) and verify("embedded").fits == ("embedded",)
    # Half a part is none.
    broken = {name: value for name, value in embedded_state.items() if name != f"{part.prefix}{tensor}"}
    safetensors.torch.save_file(broken, path)
    with pytest.raises(CheckpointError) as caught:
        load_model("embedded", checkpoint=path)
    assert caught.value.code == "CHECKPOINT_WRONG_ARCHITECTURE" and tensor in str(caught.value)


def test_optional_parts_come_with_the_package_and_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from MedSAMSegmentLib.checkpoints import loading

    here = cached_checkpoint(find_model("embedded"))
    whole = load_model("embedded", device="cpu")
    assert whole.network.corrector is not None and bool(whole.network.corrector.click_stem.weight.any())
    assert whole.network.rectangle_unet is not None and bool(whole.network.rectangle_unet.head.weight.any())
    assert load_model("embedded", checkpoint=here, device="cpu").weights_sha256 != whole.weights_sha256
    monkeypatch.setattr(loading, "_EMBEDDED", tmp_path)
    shutil.copy(here, tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_model("embedded", device="cpu")
    assert caught.value.code == "CHECKPOINT_MISSING" and "Reinstall" in caught.value.hint


def test_weights_of_another_architecture_are_refused_by_name(embedded_file: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_model("medsam2", checkpoint=embedded_file)
    assert caught.value.code == "CHECKPOINT_WRONG_ARCHITECTURE"
    assert "'image_encoder.trunk.pos_embed' is missing" in caught.value.message
    assert "embedded" in caught.value.hint


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_one_different_tensor_is_enough_and_is_named(
    embedded_state: dict[str, torch.Tensor], tmp_path: Path, change: str
) -> None:
    state = dict(embedded_state)
    name = "memory_attention.norm.weight"
    if change == "missing":
        del state[name]
    elif change == "shape":
        state[name] = torch.ones(3)
    else:
        name = "extra.weight"
        state[name] = torch.ones(3)
    path = tmp_path / "changed.safetensors"
    safetensors.torch.save_file(state, path)
    with pytest.raises(CheckpointError) as caught:
        load_model("embedded", checkpoint=path)
    assert caught.value.code == "CHECKPOINT_WRONG_ARCHITECTURE"
    assert name in caught.value.message
    assert "1 of its tensors" in caught.value.message


def test_missing_weights_come_with_the_commands_that_get_them(folder: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_model("medsam2")
    assert caught.value.code == "CHECKPOINT_MISSING"
    assert caught.value.exit_status == 4
    assert find_model("medsam2").checkpoint.url in caught.value.hint
    assert "medsamsegment models download medsam2" in caught.value.hint
    assert "medsamsegment models import medsam2 FILE" in caught.value.hint
    assert "--checkpoint" in caught.value.hint


def test_a_file_in_the_models_folder_is_found(folder: Path) -> None:
    spec = find_model("medsam2-2411")
    (folder / spec.checkpoint.file_name).write_bytes(b"x")
    assert cached_checkpoint(spec) == folder / spec.checkpoint.file_name


def test_a_published_file_that_is_too_short_or_altered_is_not_opened(folder: Path) -> None:
    for name, code in (("medsam2", "CHECKPOINT_TRUNCATED"), ("sam2.1-small", "CHECKPOINT_TRUNCATED")):
        (folder / find_model(name).checkpoint.file_name).write_bytes(b"PK\x03\x04 something else")
        with pytest.raises(CheckpointError) as caught:
            load_model(name)
        assert caught.value.code == code


def test_the_models_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDSAMSEGMENT_MODELS", raising=False)
    assert "medsamsegment" in str(models_folder())
    assert models_folder().is_absolute()


def test_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(UsageError) as caught:
        load_model("medsam-2")
    assert caught.value.code == "UNKNOWN_MODEL"
    assert "'medsam2'" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "code"), [("tpu", "UNKNOWN_DEVICE"), ("", "UNKNOWN_DEVICE"), ("cuda:99", "DEVICE_UNAVAILABLE")]
)
def test_devices_that_are_not_there_are_refused(name: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_device(name)
    assert caught.value.code == code


@pytest.mark.parametrize("content", ["{", "[]", '{"models": [{"hyper_parameters": "nowhere"}]}'])
def test_a_damaged_catalog_is_reported(tmp_path: Path, content: str) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(content)
    with pytest.raises(CheckpointError) as caught:
        read_catalog(path)
    assert caught.value.code == "INVALID_MODEL_SPEC"
