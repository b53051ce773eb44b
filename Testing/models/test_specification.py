"""Models as data: what is accepted, and how a mistake is reported."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from MedSAMSegmentLib.errors import CheckpointError
from MedSAMSegmentLib.models.build import build_model
from MedSAMSegmentLib.models.specification import ModelSpec
from small_networks import SMALL, entry


def test_a_specification_survives_json() -> None:
    spec = ModelSpec.from_dict(entry())
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_specification_can_be_sent_to_a_worker_process() -> None:
    spec = ModelSpec.from_dict(entry())
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_a_specification_cannot_be_changed() -> None:
    spec = ModelSpec.from_dict(entry())
    with pytest.raises(TypeError):
        spec.hyper_parameters["hidden_dim"] = 3
    with pytest.raises(AttributeError):
        spec.name = "other"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"name": ""}, "name"),
        ({"image_size": 0}, "image_size"),
        ({"image_size": True}, "image_size"),
        ({"hyper_parameters": [1]}, "hyper_parameters"),
        ({"preprocessing": {"mean": [0.5], "std": [0.0]}}, "mean"),
        ({"preprocessing": {"mean": [0.5], "std": [1, 2]}}, "mean"),
        ({"preprocessing": {"mean": [0.5], "std": [1], "resize": "crop"}}, "resize"),
        ({"checkpoint": {"file_name": "a.pt", "sha256": "12"}}, "sha256"),
        ({"checkpoint": {"file_name": "../a.pt"}}, "file_name"),
        ({"checkpoint": {"file_name": "a.pt", "url": "http://example.org/a.pt"}}, "url"),
        ({"licence": {"identifier": "MIT"}}, "summary"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_entry_is_refused_and_the_field_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        ModelSpec.from_dict(entry(**changes))
    assert caught.value.code == "INVALID_MODEL_SPEC"
    assert f"'{named}'" in caught.value.message


@pytest.mark.parametrize(
    ("groups", "named"),
    [
        ({"trunk": {"depth": 3}}, "depth"),
        ({"trunc": {}}, "trunc"),
        ({"hidden_dim": -8}, "hidden_dim"),
        ({"memory_encoder": {"stride": 8}}, "memory_encoder.stride"),
        ({"trunk": {"windows": []}}, "trunk"),
        ({"neck": 7}, "neck"),
    ],
)
def test_a_hyper_parameter_no_part_knows_is_refused(groups: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        build_model(ModelSpec.from_dict(entry(hyper_parameters={**SMALL["sam2"], **groups})))
    assert caught.value.code == "INVALID_MODEL_SPEC"
    assert named in caught.value.message


def test_an_architecture_of_a_later_version_is_named() -> None:
    with pytest.raises(CheckpointError, match="'sam9'") as caught:
        build_model(ModelSpec.from_dict(entry(architecture="sam9")))
    assert caught.value.code == "UNKNOWN_ARCHITECTURE"
