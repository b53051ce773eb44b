"""What computes the heavy parts of a network: torch, or OpenVINO, in single precision or with bfloat16.

The parts (`runtime_parts.py`) are functions of tensors alone; everything else of a network stays in torch.  Whatever
computes them must give what torch gives in single precision: the first time a part sees a size on a computer it is
computed both ways, and a difference beyond :data:`TOLERANCE` is an error.  What was found equal is remembered
(`runtime_record.py`).  Nothing ever falls back to something slower or different without a word.

``auto`` is the faster of the single-precision runtimes that are installed (`runtime_choice.py`); bfloat16 changes
masks a little (mean overlap with single precision about 0.99) and has to be asked for.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import InferenceError, UsageError
from .processor import computes_bfloat16
from .runtime_parts import ENCODER, Part, parts_of
from .runtime_record import on_this_computer, recall, record

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel

RUNTIMES = ("torch", "openvino", "torch-bf16", "openvino-bf16")

EXACT_RUNTIMES = ("torch", "openvino")
"""Those that compute in single precision throughout; ``auto`` chooses among them."""

TOLERANCE = {"torch": 0.0, "openvino": 1e-3, "torch-bf16": 0.06, "openvino-bf16": 0.06}
"""Largest root mean square difference from torch in single precision, relative to that of the result."""

ENCODER_ARCHITECTURES = ("sam", "sam-tiny-vit", "sam2", "efficient-tam")
"""Networks whose image encoder is large enough for a runtime of its own; the embedded network is torch's alone."""

CHECKED = "checked.json"
"""The record of what was compared with torch and found equal."""

Compute = Callable[..., Any]
"""Tensors -> one tensor or several."""


def check_runtime(name: str) -> None:
    """Raises ``UsageError`` (``UNKNOWN_RUNTIME``) unless ``name`` is ``"auto"`` or a runtime."""
    if name != "auto" and name not in RUNTIMES:
        raise UsageError("UNKNOWN_RUNTIME", f"There is no runtime {name!r}.", f"Use auto, {', '.join(RUNTIMES)}.")


def unavailable(name: str, loaded: LoadedModel) -> str:
    """Why a runtime cannot compute a model here, in one sentence; empty if it can."""
    if name == "torch":
        return ""
    if loaded.spec.architecture not in ENCODER_ARCHITECTURES:
        return f"The model {loaded.spec.name} is small and runs with torch in single precision only."
    if name.startswith("openvino"):
        if loaded.device.type != "cpu":
            return "OpenVINO is for computing on the CPU."
        if importlib.util.find_spec("openvino") is None:
            return "OpenVINO is not installed."
        if name == "openvino-bf16" and not computes_bfloat16():
            return "This processor cannot compute with bfloat16."
    elif loaded.device.type == "cuda":
        return "" if torch.cuda.is_bf16_supported(including_emulation=False) else "This GPU has no bfloat16."
    elif loaded.device.type != "cpu" or not computes_bfloat16():
        return "This processor cannot compute with bfloat16."
    return ""


def use_runtime(loaded: LoadedModel, name: str) -> None:
    """Let a runtime compute the heavy parts of a model from now on, for whoever uses that model.

    Args:
        loaded: the model; its network is changed in place.
        name: one of :data:`RUNTIMES`.

    Raises:
        UsageError: ``UNKNOWN_RUNTIME``, ``RUNTIME_UNAVAILABLE``.
    """
    check_runtime(name)
    reason = unavailable(name, loaded)
    if reason:
        hint = "Install it (pip install openvino), or use --runtime torch." if "installed" in reason else ""
        raise UsageError("RUNTIME_UNAVAILABLE", reason, hint or "Use --runtime torch.")
    if loaded.spec.architecture not in ENCODER_ARCHITECTURES or runtime_of(loaded) == name:
        return
    identity = identity_of(loaded)
    for each in parts_of(loaded.network):
        # The class's own way is uncovered again, or covered by an attribute of the object.
        vars(each.module).pop(each.method, None)
        own = name if each.tolerates_bfloat16 else name.removesuffix("-bf16")
        if own != "torch":
            other = compute_with(each, own, loaded.device.type, identity)
            vars(each.module)[each.method] = CheckedPart(own, each, other, identity)


def identity_of(loaded: LoadedModel) -> str:
    """Architecture and weights in one word."""
    return f"{loaded.spec.name}-{loaded.weights_sha256[:32]}"


def runtime_of(loaded: LoadedModel) -> str:
    """The runtime that computes a model's heavy parts."""
    covering = vars(getattr(loaded.network, ENCODER, object)).get("forward")
    return covering.name if isinstance(covering, CheckedPart) else "torch"


class CheckedPart:
    """A part that is compared with torch in single precision the first time it sees a size.

    Args:
        name: of the runtime.
        part: what is computed.
        compute: the runtime.
        identity: of architecture and weights, to remember sizes found equal; without it this object alone remembers.
    """

    def __init__(self, name: str, part: Part, compute: Compute, identity: str = "") -> None:
        self.name = name
        self._part = part
        self._compute = compute
        self._identity = identity
        self._checked: set[str] = set()

    def __call__(self, *given: Tensor) -> Any:
        size = self._part.size(given) + self._part.amount(given)
        if size not in self._checked:
            self._check(size, given)
        return self._compute(*given)

    def _check(self, size: str, given: tuple[Tensor, ...]) -> None:
        key = on_this_computer(f"{self._identity} {self._part.name} {size} {self.name}")
        if not self._identity or key not in recall(CHECKED):
            # Some compiled graphs are right the first time only, so the second answer is compared.
            self._compute(*given)
            found, expected = self._compared(self._compute(*given)), self._compared(self._part.exact(*given))
            error = relative_difference(found, expected)
            if not error <= TOLERANCE[self.name]:
                raise InferenceError(
                    "RUNTIME_INEXACT",
                    f"The runtime {self.name} differs from torch by {error:.2g} on this computer"
                    f" ({self._part.name.replace('_', ' ')}), allowed are {TOLERANCE[self.name]:.2g}.",
                    "Use --runtime torch.",
                )
            if self._identity:
                record(CHECKED, key, float(f"{error:.2g}"))
        self._checked.add(size)

    def _compared(self, results: Any) -> Tensor:
        compared: Tensor = results if self._part.single else results[self._part.compared]
        return compared


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of ``expected``."""
    return float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt().clamp(min=1e-12))


def compute_with(part: Part, name: str, device: str = "cpu", identity: str = "") -> Compute:
    """A part as one of :data:`RUNTIMES` computes it, not compared with anything.

    Args:
        identity: of architecture and weights, to find the converted graph again; without it the graph is not kept.
    """
    if name == "torch":
        return part.exact
    if name == "torch-bf16":
        return _AutocastPart(part, device)
    from .openvino_graph import OpenVinoPart

    return OpenVinoPart(part, bfloat16=name.endswith("bf16"), identity=identity)


class _AutocastPart:
    """torch with bfloat16 where it is safe (CPU, CUDA), weights of convolutions with channels last."""

    def __init__(self, part: Part, device: str) -> None:
        from ..models.layers import channels_last

        channels_last(part.module)
        self._part = part
        self._device = device

    def __call__(self, *given: Tensor) -> Any:
        images_last = [
            one.contiguous(memory_format=torch.channels_last) if one.ndim == 4 else one for one in given
        ]  # as the weights lie
        with torch.autocast(self._device, dtype=torch.bfloat16):
            results = self._part.exact(*images_last)
        return results.float() if self._part.single else [result.float() for result in results]
