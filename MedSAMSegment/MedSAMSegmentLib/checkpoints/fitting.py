"""Whether weights fit a model: every name and shape of the architecture, nothing missing, nothing left over."""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from ..errors import CheckpointError
from ..models.specification import ModelSpec
from .catalog import list_models

if TYPE_CHECKING:
    from torch import Tensor

_SHOWN = 3


def check_fits(spec: ModelSpec, weights: Mapping[str, Tensor], name: str) -> None:
    """Compare weights with what the model's network expects, without building it in memory.

    Raises:
        CheckpointError: ``CHECKPOINT_WRONG_ARCHITECTURE`` names the first names and shapes that differ, and the models
            that the weights do fit.
    """
    problems = differences(expected_tensors(spec.for_tensors(weights)), weights)
    if problems:
        raise wrong_architecture(spec, problems, weights, name)


def wrong_architecture(
    spec: ModelSpec, problems: list[str], weights: Mapping[str, Tensor], name: str
) -> CheckpointError:
    """The error for weights with these ``problems``."""
    shown = "; ".join(problems[:_SHOWN]) + ("; ..." if len(problems) > _SHOWN else "")
    fitting = models_that_fit(weights)
    return CheckpointError(
        "CHECKPOINT_WRONG_ARCHITECTURE",
        f"The weight file '{name}' does not fit the model '{spec.name}': "
        f"{len(problems)} of its tensors differ ({shown}).",
        f"These weights fit: {', '.join(fitting)}." if fitting else "These weights fit no model of the catalog.",
    )


@lru_cache(maxsize=64)
def expected_tensors(spec: ModelSpec) -> Mapping[str, Tensor]:
    """Names and shapes of a model's tensors; they hold no values and take no memory."""
    import torch

    from ..models.build import build_model

    with torch.device("meta"):
        return types.MappingProxyType(build_model(spec).state_dict())


def differences(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """What is missing, differs in shape or is superfluous, in that order."""
    missing = [f"'{name}' is missing" for name in expected if name not in weights]
    shapes = [
        f"'{name}' is {_shape(weights[name])}, expected {_shape(tensor)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    return missing + shapes + [f"'{name}' is unknown" for name in weights if name not in expected]


def mismatches(weights: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """For every model of the catalog, how the weights differ from it; models of one architecture share a list."""
    lists: dict[str, list[str]] = {}
    result = {}
    for spec in list_models():
        spec = spec.for_tensors(weights)
        key = repr((spec.architecture, spec.image_size, spec.to_dict()["hyper_parameters"]))
        if key not in lists:
            lists[key] = differences(expected_tensors(spec), weights)
        result[spec.name] = lists[key]
    return result


def models_that_fit(weights: Mapping[str, Tensor]) -> list[str]:
    """The models of the catalog that the weights could be loaded into."""
    return [name for name, problems in mismatches(weights).items() if not problems]


def _shape(tensor: Tensor) -> str:
    return "x".join(str(side) for side in tensor.shape) or "a number"
