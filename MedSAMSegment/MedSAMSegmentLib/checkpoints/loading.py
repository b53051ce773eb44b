"""From a model's name to a network with weights on a device."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, UsageError
from ..models.specification import ModelSpec
from .catalog import find_model
from .fitting import differences, wrong_architecture
from .folder import models_folder
from .integrity import Sums, check_pinned, check_published, remember, sums_of
from .weight_file import file_sha256, read_weights

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_EMBEDDED = Path(__file__).with_name("embedded")
_REINSTALL = "Reinstall the package."


@dataclass(frozen=True)
class LoadedModel:
    """A network ready for inference, and what it is.

    ``weights_sha256`` is that of the file (of the sums of both files, where a part has its own) and identifies the
    weights in session files and provenance.
    """

    spec: ModelSpec
    network: nn.Module
    weights_sha256: str
    device: torch.device


def load_model(name: str, checkpoint: str | os.PathLike[str] | None = None, device: str = "auto") -> LoadedModel:
    """Build a model of the catalog and load its weights strictly.

    Args:
        name: of the catalog, e.g. ``"embedded"`` or ``"medsam2"``.
        checkpoint: the user's own weight file for that architecture (it may be fine-tuned: no hash is asked for).
            Default: the file that comes with the package, or was downloaded or imported; its size and hash must be
            those of the catalog where they are known, or those it had when it was first used here.
        device: ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Raises:
        UsageError: ``UNKNOWN_MODEL``, ``UNKNOWN_DEVICE``, ``DEVICE_UNAVAILABLE``.
        CheckpointError: the file is missing, damaged, unsafe, altered or of another architecture; nothing is loaded.
    """
    spec = find_model(name)
    place = choose_device(device)
    if checkpoint is not None:
        path = Path(checkpoint).expanduser()
        weights, sha256 = read_weights(path), file_sha256(path)
    else:
        path = cached_checkpoint(spec)
        sums = _checked(spec, path)
        weights, sha256 = read_weights(path), sums.sha256
        for part in spec.optional_parts:
            further = path.with_name(part.file_name)
            if not further.is_file():
                raise _not_here(spec, _REINSTALL)
            weights = {**weights, **read_weights(further)}
            sha256 = hashlib.sha256(f"{sha256} {file_sha256(further)}".encode()).hexdigest()
    network = network_with_weights(spec, weights, path.name)
    if checkpoint is None and not spec.checkpoint.is_bundled:
        remember(spec, sums)
    return LoadedModel(spec, network.to(place).requires_grad_(False), sha256, place)


def network_with_weights(spec: ModelSpec, weights: dict[str, Tensor], file_name: str) -> nn.Module:
    """The network of ``spec`` holding exactly ``weights``, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: ``CHECKPOINT_WRONG_ARCHITECTURE`` names the first names and shapes that differ.
    """
    network = _empty_network(spec.for_tensors(weights))
    problems = differences(network.state_dict(), weights)
    if problems:
        raise wrong_architecture(spec, problems, weights, file_name)
    network.load_state_dict(weights, strict=True, assign=True)
    return network


def cached_checkpoint(spec: ModelSpec) -> Path:
    """The weight file of a model on this computer.

    Raises:
        CheckpointError: ``CHECKPOINT_MISSING`` says how to get it.
    """
    folder = _EMBEDDED if spec.checkpoint.is_bundled else models_folder()
    path = folder / spec.checkpoint.file_name
    if path.is_file():
        return path
    if spec.checkpoint.is_bundled:
        hint = _REINSTALL
    else:
        origin = spec.checkpoint
        by_browser = f"Save '{origin.file_name}' with a browser from {origin.url} and run"
        by_itself = (
            f"Run 'medsamsegment models download {spec.name}' (from {origin.url}), or, with a file that you have,"
        )
        start = by_browser if origin.browser_only and not origin.mirrors else by_itself
        hint = f"{start} 'medsamsegment models import {spec.name} FILE'; or name the file with --checkpoint FILE."
    raise _not_here(spec, hint)


def _not_here(spec: ModelSpec, hint: str) -> CheckpointError:
    return CheckpointError("CHECKPOINT_MISSING", f"The weights of '{spec.name}' are not on this computer.", hint)


def choose_device(name: str) -> torch.device:
    """The torch device of that name; ``"auto"`` takes a GPU where there is one.

    Raises:
        UsageError: ``UNKNOWN_DEVICE`` or ``DEVICE_UNAVAILABLE``.
    """
    import torch

    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError):
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UsageError("UNKNOWN_DEVICE", f"There is no device '{name}'.", "Use auto, cpu, cuda or mps.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError("DEVICE_UNAVAILABLE", f"This computer offers no device '{name}'.", "Use --device cpu.")
    if device.type == "mps" and not has_mps:
        raise UsageError("DEVICE_UNAVAILABLE", f"This computer offers no device '{name}'.", "Use --device cpu.")
    return device


def _empty_network(spec: ModelSpec) -> nn.Module:
    """The network with parameters of no particular value, which are about to be replaced.

    Drawing initial values takes seconds for the larger models, so torch's initialisers do nothing here.  (Building on
    the ``meta`` device would do it too, but makes torch import its compiler, which takes longer than it saves.)
    """
    from torch.overrides import TorchFunctionMode

    from ..models.build import build_model

    class WithoutInitialisation(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__module__", "") == "torch.nn.init":
                return args[0] if args else (kwargs or {})["tensor"]
            return func(*args, **(kwargs or {}))

    with WithoutInitialisation():
        return build_model(spec)


def _checked(spec: ModelSpec, path: Path) -> Sums:
    """Size and hashes of the model's own file, after comparing them with what is known of it."""
    sums = sums_of(path)
    if not spec.checkpoint.is_bundled:
        hint = (
            f"Delete '{path}' and get it again, or name it with --checkpoint FILE to use it as it is (for a model "
            "that you tuned yourself)."
        )
        check_published(spec, sums, path.name, hint)
        check_pinned(spec, sums, path.name, hint)
    return sums
