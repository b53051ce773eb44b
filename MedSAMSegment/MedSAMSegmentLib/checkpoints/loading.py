"""From a model's name to a network with weights on a device."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, UsageError
from ..models.specification import ModelSpec
from .catalog import find_model, list_models
from .weight_file import file_sha256, read_weights

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FOLDER_VARIABLE = "MEDSAMSEGMENT_MODELS"
"""Environment variable that names another folder for the weight files."""

_EMBEDDED = Path(__file__).with_name("embedded")


@dataclass(frozen=True)
class LoadedModel:
    """A network ready for inference, and what it is.

    ``weights_sha256`` is that of the file and identifies the weights in session files and provenance.
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
            Default: the file that comes with the package or lies in :func:`models_folder`; its size and hash must be
            those of the catalog where they are known.
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
        sha256 = _check_published_file(spec, path)
        weights = read_weights(path)
    network = network_with_weights(spec, weights, path.name)
    return LoadedModel(spec, network.to(place).requires_grad_(False), sha256, place)


def network_with_weights(spec: ModelSpec, weights: dict[str, Tensor], file_name: str) -> nn.Module:
    """The network of ``spec`` holding exactly ``weights``, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: ``CHECKPOINT_WRONG_ARCHITECTURE`` names the first names and shapes that differ.
    """
    network = _empty_network(spec)
    problems = _differences(network, weights)
    if problems:
        shown = "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")
        raise CheckpointError(
            "CHECKPOINT_WRONG_ARCHITECTURE",
            f"The weight file '{file_name}' does not fit the model '{spec.name}': "
            f"{len(problems)} of its tensors differ ({shown}).",
            _who_fits(weights),
        )
    network.load_state_dict(weights, strict=True, assign=True)
    return network


def models_folder() -> Path:
    """Where weight files are looked up: ``$MEDSAMSEGMENT_MODELS``, or a folder in the user's cache."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("medsamsegment", appauthor=False)) / "models"


def cached_checkpoint(spec: ModelSpec) -> Path:
    """The weight file of a model on this computer.

    Raises:
        CheckpointError: ``CHECKPOINT_MISSING`` says where to get it and where to put it.
    """
    folder = _EMBEDDED if spec.checkpoint.is_bundled else models_folder()
    path = folder / spec.checkpoint.file_name
    if path.is_file():
        return path
    if spec.checkpoint.is_bundled:
        hint = "Reinstall the package."
    else:
        origin = spec.checkpoint
        where = f"'{origin.file_name}' with a browser from {origin.url}" if origin.browser_only else origin.url
        hint = f"Download {where} and save it as '{path}', or name the file with --checkpoint FILE."
    raise CheckpointError("CHECKPOINT_MISSING", f"The weights of '{spec.name}' are not on this computer.", hint)


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


def _differences(network: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """What is missing, differs in shape or is superfluous, in that order."""
    expected = network.state_dict()
    missing = [f"'{name}' is missing" for name in expected if name not in weights]
    shapes = [
        f"'{name}' is {_shape(weights[name])}, expected {_shape(tensor)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    return missing + shapes + [f"'{name}' is unknown" for name in weights if name not in expected]


def _shape(tensor: Tensor) -> str:
    return "x".join(str(side) for side in tensor.shape) or "a number"


def _who_fits(weights: dict[str, Tensor]) -> str:
    """A hint: which models of the catalog these weights would fit; no network of the catalog takes memory here."""
    import torch

    from ..models.build import build_model

    architectures: dict[str, list[str]] = {}
    for spec in list_models():
        key = repr((spec.architecture, spec.to_dict()["hyper_parameters"]))
        architectures.setdefault(key, []).append(spec.name)
    for names in architectures.values():
        try:
            with torch.device("meta"):
                network = build_model(find_model(names[0]))
        except CheckpointError:
            continue
        if not _differences(network, weights):
            return f"These weights fit: {', '.join(names)}."
    return "These weights fit no model of the catalog."


def _check_published_file(spec: ModelSpec, path: Path) -> str:
    """SHA-256 of the file, after comparing it and the size with what the catalog knows."""
    known = spec.checkpoint
    size = path.stat().st_size
    hint = f"Delete '{path}' and get it again, or name it with --checkpoint FILE to use it as it is."
    if known.bytes is not None and size < known.bytes:
        raise CheckpointError("CHECKPOINT_TRUNCATED", f"'{path.name}' has {size:,} of {known.bytes:,} bytes.", hint)
    sha256 = file_sha256(path)
    if known.sha256 and sha256 != known.sha256:
        raise CheckpointError(
            "CHECKPOINT_ALTERED", f"'{path.name}' is not the file that '{spec.name}' was published with.", hint
        )
    return sha256
