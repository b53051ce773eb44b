"""What computes the image encoder: torch, or OpenVINO, in single precision or with bfloat16.

The encoder is most of the work and has one input and no memory, which is why it, and only it, is handed to another
runtime.  Everything else of a network stays in torch.  Whatever computes it must give what torch gives in single
precision: the first picture of every size is encoded both ways, and a difference beyond :data:`TOLERANCE` is an error.
Nothing ever falls back to something slower or different without a word.

``auto`` is the faster of the single-precision runtimes that are installed (`runtime_choice.py`); bfloat16 changes
masks a little (mean overlap with single precision about 0.99) and has to be asked for.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import InferenceError, UsageError
from .processor import computes_bfloat16

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel

RUNTIMES = ("torch", "openvino", "torch-bf16", "openvino-bf16")

EXACT_RUNTIMES = ("torch", "openvino")
"""Those that compute in single precision throughout; ``auto`` chooses among them."""

TOLERANCE = {"torch": 0.0, "openvino": 1e-3, "torch-bf16": 0.06, "openvino-bf16": 0.06}
"""Largest root mean square difference from torch in single precision, relative to that of the embedding."""

ENCODER_ARCHITECTURES = ("sam", "sam-tiny-vit", "sam2", "efficient-tam")
"""Networks whose image encoder is large enough for a runtime of its own; the embedded network is torch's alone."""

Encode = Callable[[Tensor], list[Tensor]]


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
    """Let a runtime compute the image encoder of a model from now on, for whoever uses that model.

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
    encoder: Any = getattr(loaded.network, "image_encoder", None)
    if encoder is None or runtime_of(loaded) == name:
        return
    # The class's own way is uncovered again, or covered by an attribute of the object.
    encoder.__dict__.pop("forward", None)
    if name != "torch":
        identity = f"{loaded.spec.name}-{loaded.weights_sha256[:32]}"
        other = encode_with(encoder, name, loaded.device.type, identity)
        encoder.forward = CheckedEncoder(name, encoder.forward, other)


def runtime_of(loaded: LoadedModel) -> str:
    """The runtime that computes a model's image encoder."""
    covering = vars(getattr(loaded.network, "image_encoder", object)).get("forward")
    return covering.name if isinstance(covering, CheckedEncoder) else "torch"


class CheckedEncoder:
    """An encoder that is compared with torch in single precision on the first picture of every size.

    Args:
        name: of the runtime.
        exact: torch in single precision.
        encode: the runtime.
    """

    def __init__(self, name: str, exact: Encode, encode: Encode) -> None:
        self.name = name
        self._exact = exact
        self._encode = encode
        self._checked: set[tuple[int, ...]] = set()

    def __call__(self, image: Tensor) -> list[Tensor]:
        size = tuple(image.shape[1:])
        if size not in self._checked:
            # Some compiled graphs are right the first time only, so the second answer is compared.
            self._encode(image)
            error = relative_difference(self._encode(image)[-1], self._exact(image)[-1])
            if not error <= TOLERANCE[self.name]:
                raise InferenceError(
                    "RUNTIME_INEXACT",
                    f"The runtime {self.name} differs from torch by {error:.2g} on this computer, allowed are"
                    f" {TOLERANCE[self.name]:.2g}.",
                    "Use --runtime torch.",
                )
            self._checked.add(size)
        return self._encode(image)


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of ``expected``."""
    return float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt().clamp(min=1e-12))


def encode_with(encoder: nn.Module, name: str, device: str = "cpu", identity: str = "") -> Encode:
    """A module as one of :data:`RUNTIMES` computes it, not compared with anything.

    Args:
        encoder: one image (1, 3, H, W) -> list of feature maps.
        identity: of architecture and weights, to find the converted graph again; without it the graph is not kept.
    """
    if name == "torch":
        return encoder
    if name == "torch-bf16":
        return _AutocastEncoder(encoder, device)
    return _OpenVinoEncoder(encoder, name, identity)


class _AutocastEncoder:
    """torch with bfloat16 where it is safe (CPU, CUDA), weights of convolutions with channels last."""

    def __init__(self, encoder: nn.Module, device: str) -> None:
        from ..models.layers import channels_last

        channels_last(encoder)
        self._forward = encoder.forward
        self._device = device

    def __call__(self, image: Tensor) -> list[Tensor]:
        with torch.autocast(self._device, dtype=torch.bfloat16):
            levels = self._forward(image.contiguous(memory_format=torch.channels_last))
        return [level.float() for level in levels]


class _AsTuple(nn.Module):
    """What can be converted: a module that returns a tuple."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self._forward = encoder.forward

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._forward(image))


class _OpenVinoEncoder:
    """OpenVINO on the CPU; one graph a picture size, converted once and kept in the user's cache if it has a name."""

    def __init__(self, encoder: nn.Module, name: str, identity: str) -> None:
        self._module = _AsTuple(encoder).eval()
        self._precision = "bf16" if name.endswith("bf16") else "f32"
        self._identity = identity
        self._compiled: dict[tuple[int, ...], Any] = {}

    def __call__(self, image: Tensor) -> list[Tensor]:
        size = (1, *image.shape[1:])
        if size not in self._compiled:
            self._compiled[size] = self._compile(size)
        # Graphs are made for one picture: batches gain nothing.  Pictures and results are copied into and out of the
        # runtime's buffers.
        found = [
            [
                torch.from_numpy(level.copy())
                for level in self._compiled[size]([one.numpy()], share_inputs=False).values()
            ]
            for one in image.float().contiguous().split(1)
        ]
        return [torch.cat(levels) if len(levels) > 1 else levels[0] for levels in zip(*found, strict=True)]

    def _compile(self, size: tuple[int, ...]) -> Any:
        core = _core()
        options = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        return core.compile_model(self._graph(core, size), "CPU", options)

    def _graph(self, core: Any, size: tuple[int, ...]) -> Any:
        """The converted encoder, from the cache where it is there and can be read."""
        import openvino

        name = f"{self._identity}-{'x'.join(map(str, size))}-{openvino.__version__.split('-')[0]}.xml"
        path = runtime_folder() / "".join(c if c.isalnum() or c in "-." else "_" for c in name)
        if self._identity and path.is_file():
            with suppress(RuntimeError):
                return core.read_model(path)
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            # A graph serves one size, so sizes are meant to become constants.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            # Traced here, as OpenVINO would trace several times: a third of the time, half of the memory (SAM ViT-B).
            traced = torch.jit.trace(self._module, torch.zeros(size), check_trace=False, strict=False)
            graph = openvino.convert_model(traced, input=[size])
        if self._identity:
            with suppress(OSError, RuntimeError):  # without a cache it is only slower the next time
                _keep(graph, path)
        return graph


@cache
def _core() -> Any:
    """One for the whole process, as OpenVINO wants it, so that no graph outlives its core."""
    import openvino

    core = openvino.Core()
    # Weights are read, not mapped: a file that another process replaces or damages must not matter to a graph in use.
    core.set_property({"ENABLE_MMAP": False})
    return core


def _keep(graph: Any, path: Path) -> None:
    """Write the two files of a graph; the one that is looked for appears last, and complete."""
    import openvino

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        openvino.save_model(graph, written, compress_to_fp16=False)
        os.replace(written.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(written, path)


def runtime_folder() -> Path:
    """Where converted graphs and the measured choice are kept: beside the models, in the user's cache."""
    from ..checkpoints.folder import models_folder

    return models_folder().parent / "runtimes"


def converted_graphs() -> list[Path]:
    """The files of the networks that were converted and kept; they can be deleted at any time."""
    return [path for path in sorted(runtime_folder().glob("*")) if path.suffix in (".xml", ".bin")]
