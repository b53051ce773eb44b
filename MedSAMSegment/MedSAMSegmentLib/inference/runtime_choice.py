"""Which runtime is the fastest for a model on this computer: measured once, then remembered.

The file ``choice.json`` in the user's cache holds one entry for every processor, number of threads, kind of encoder
and version of torch and OpenVINO; anything new is measured anew.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InferenceError, OutputError
from ..version import SOFTWARE_VERSION
from .processor import processor_name
from .runtimes import EXACT_RUNTIMES, check_runtime, runtime_folder, unavailable, use_runtime

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel

_REPEATS = 3

# A runtime that converts a network first must be faster by this to be worth it.
_WORTHWHILE = 0.9

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
    notes: list[str] = []
    key, path = _key(loaded), runtime_folder() / "choice.json"
    seconds = _remembered(path).get(key)
    if seconds is None or set(seconds) - set(candidates):
        seconds, notes = measure(loaded, candidates)
        with suppress(OSError, OutputError):  # a computer that cannot remember measures again
            _remember(path, key, seconds)
    fastest = min(seconds, key=lambda name: seconds[name] / (1.0 if name == "torch" else _WORTHWHILE))
    use_runtime(loaded, fastest)
    return RuntimeUse(fastest, tuple(notes))


def measure(loaded: LoadedModel, candidates: list[str]) -> tuple[dict[str, float], list[str]]:
    """Seconds a picture with each runtime that computes the encoder exactly, and remarks for the user.

    Repeats are interleaved, so that whatever else the computer does disturbs all alike.
    """
    encoder: Any = loaded.network.image_encoder
    image = torch.rand(1, 3, *(2 * (int(loaded.spec.image_size),)), device=loaded.device)
    seconds: dict[str, float] = {}
    notes: list[str] = []
    usable: dict[str, Any] = {}
    with torch.inference_mode():
        for name in candidates:
            use_runtime(loaded, name)
            try:
                encoder(image)
            except InferenceError as error:
                notes.append(f"{error.message} It is not used.")
            else:
                usable[name] = encoder.forward
        for _ in range(_REPEATS):
            for name, forward in usable.items():
                begun = time.perf_counter()
                forward(image)
                taken = time.perf_counter() - begun
                seconds[name] = min(seconds.get(name, taken), taken)
    told = ", ".join(f"{name} {taken:.2f} s" for name, taken in seconds.items())
    notes.append(f"Measured once on this computer for {loaded.spec.name}, a slice takes with {told}.")
    return seconds, notes


def _key(loaded: LoadedModel) -> str:
    import openvino

    return " | ".join(
        [
            processor_name(),
            f"{torch.get_num_threads()} threads",
            f"{loaded.spec.name} {loaded.spec.image_size}",
            f"torch {torch.__version__}",
            f"openvino {openvino.__version__}",
            SOFTWARE_VERSION,
        ]
    )


def _remembered(path: Path) -> dict[str, dict[str, float]]:
    """What was measured before; nothing where the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): {str(n): float(s) for n, s in entry.items()} for key, entry in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remember(path: Path, key: str, seconds: dict[str, float]) -> None:
    from ..export.atomic import atomic_path

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({**_remembered(path), key: seconds}, indent=1), encoding="utf-8")
