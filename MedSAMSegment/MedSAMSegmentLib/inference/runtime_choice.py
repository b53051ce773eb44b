"""Which runtime is the faster one on this computer: measured once, then remembered.

What differs between computers is how well torch and OpenVINO use the processor, and that shows in a shallow image
encoder as in a deep one of the same kind, so a shallow one is measured: the large ones take minutes and gigabytes to
convert.  The record ``choice.json`` holds one entry for every processor, number of threads, architecture and version
of torch and OpenVINO; anything new is measured anew.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import InferenceError
from ..models.prompt_encoder import FIRST_CORNER, SECOND_CORNER
from ..models.sam2 import SAM2, RememberedPointer, RememberedSlice
from .runtime_parts import ENCODER, Part
from .runtime_record import on_this_computer, recall, record
from .runtimes import (
    CHECKED,
    EXACT_RUNTIMES,
    check_runtime,
    compute_with,
    identity_of,
    runtime_of,
    unavailable,
    use_runtime,
)

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel

_REPEATS = 3
_PICTURE = 512

# A runtime that converts a network first must take at most this part of the time to be worth it.
_WORTHWHILE = 0.75

CHOICE = "choice.json"

LEAST_PARAMETERS = 4_000_000
"""Smaller networks stay with torch: converting them takes longer than they ever save."""


@dataclass(frozen=True)
class RuntimeUse:
    """The runtime in use, and what the user should be told about it (empty if nothing)."""

    name: str
    notes: tuple[str, ...] = ()


TORCH = RuntimeUse("torch")


def choose_runtime(loaded: LoadedModel, wanted: str = "auto") -> RuntimeUse:
    """Let a model be computed by the runtime wanted, or by the fastest that computes in single precision.

    Where only one can compute the model nothing is measured.

    Raises:
        UsageError: ``UNKNOWN_RUNTIME``, or the one asked for is not available (``RUNTIME_UNAVAILABLE``).
    """
    check_runtime(wanted)
    if wanted != "auto":
        use_runtime(loaded, wanted)
        return RuntimeUse(wanted)
    candidates = [name for name in EXACT_RUNTIMES if not unavailable(name, loaded)]
    if sum(parameter.numel() for parameter in loaded.network.parameters()) < LEAST_PARAMETERS:
        candidates = ["torch"]
    if len(candidates) == 1:
        use_runtime(loaded, candidates[0])
        return RuntimeUse(candidates[0])
    notes: tuple[str, ...] = ()
    key = on_this_computer(loaded.spec.architecture)
    seconds = _seconds(recall(CHOICE).get(key))
    if set(seconds) != set(candidates):
        seconds = measure(loaded.spec.architecture, candidates)
        told = ", ".join(f"{name} {1000 * taken:.0f} ms" for name, taken in seconds.items())
        notes = (f"Measured once on this computer, a small network of this kind takes with {told}.",)
        record(CHOICE, key, seconds)
    fastest = min(seconds, key=lambda name: seconds[name] / (1.0 if name == "torch" else _WORTHWHILE))
    return _if_exact(loaded, fastest, notes)


def measure(architecture: str, candidates: Sequence[str]) -> dict[str, float]:
    """Seconds a picture with each runtime, for a shallow network of an architecture.

    Repeats are interleaved, so that whatever else the computer does disturbs all alike.
    """
    encoder = Part(ENCODER, _shallow(architecture).eval(), "forward")
    image = torch.rand(1, 3, _PICTURE, _PICTURE)
    seconds: dict[str, float] = {}
    with torch.inference_mode():
        ways = {name: compute_with(encoder, name) for name in candidates}
        for repeat in range(_REPEATS + 1):
            for name, encode in ways.items():
                begun = time.perf_counter()
                encode(image)
                taken = time.perf_counter() - begun
                if repeat:  # the first time converts
                    seconds[name] = min(seconds.get(name, taken), taken)
    return seconds


def _shallow(architecture: str) -> nn.Module:
    """The trunk of an architecture with all its kinds of blocks, but few of them."""
    from ..models.hiera import Hiera
    from ..models.tiny_vit import TinyViT
    from ..models.vision_transformer import VisionTransformer

    if architecture == "sam2":
        return Hiera(stages=(1, 1, 3, 1), global_attention_blocks=(4,))
    if architecture == "sam-tiny-vit":
        return TinyViT(depths=(1, 1, 2, 1), classes=0)
    return VisionTransformer(
        embed_dim=384,
        depth=4,
        heads=6,
        global_attention_blocks=(3,),
        position_grid=_PICTURE // 16,
        relative_positions=architecture == "sam",
    )


def _if_exact(loaded: LoadedModel, name: str, notes: tuple[str, ...]) -> RuntimeUse:
    """Use a runtime unless it proves to be inexact for this model: then torch, and the user is told."""
    if runtime_of(loaded) == name:
        return RuntimeUse(name, notes)  # as it was found for an earlier session with this model
    use_runtime(loaded, name)
    key = on_this_computer(f"{identity_of(loaded)} {name}")
    if name != "torch" and key not in recall(CHECKED):
        try:
            _try(loaded)
        except InferenceError as error:
            use_runtime(loaded, "torch")
            return RuntimeUse("torch", (*notes, f"{error.message} It is not used."))
        record(CHECKED, key, True)
    return RuntimeUse(name, notes)


@torch.inference_mode()
def _try(loaded: LoadedModel) -> None:
    """Every part once, on noise: a box, and a second slice that remembers it."""
    network: Any = loaded.network
    side = int(loaded.spec.image_size)
    features = network.encode_image(torch.rand(1, 3, side, side, device=loaded.device))
    corners = torch.tensor([[[side / 4, side / 4], [side / 2, side / 2]]], device=loaded.device)
    labels = torch.tensor([[FIRST_CORNER, SECOND_CORNER]], device=loaded.device)
    if not isinstance(network, SAM2):
        network.decode(features, corners, labels)
        return
    found = network.decode(network.without_memory(features), features.high_resolution, corners, labels)
    memory = network.encode_memory(features, found.high_res_logits, found.object_score_logits, prompted=True)
    network.condition_on_memory(features, [RememberedSlice(memory, 0)], [RememberedPointer(found.object_pointer, 1.0)])


def _seconds(remembered: object) -> dict[str, float]:
    """What was measured before; nothing where the record does not hold times."""
    if not isinstance(remembered, dict) or not all(isinstance(taken, float) for taken in remembered.values()):
        return {}
    return remembered
