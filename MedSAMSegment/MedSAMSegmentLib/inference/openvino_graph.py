"""A part of a network as OpenVINO computes it on the CPU."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .runtime_parts import Part
from .runtime_record import networks_version, openvino_version, runtime_folder


class OpenVinoPart:
    """One graph for every size of picture and number of objects, converted once.

    It is kept in the user's cache if it has a name.

    Args:
        part: what is computed.
        bfloat16: with bfloat16 in place of single precision.
        identity: of architecture and weights, to find the converted graph again; without it the graph is not kept.
    """

    def __init__(self, part: Part, bfloat16: bool, identity: str = "") -> None:
        self._part = part
        self._module = _AsTuple(part).eval()
        self._precision = "bf16" if bfloat16 else "f32"
        self._identity = identity
        self._compiled: dict[str, Any] = {}

    def __call__(self, *given: Tensor) -> Any:
        rows = max(len(tensor) for tensor in given)
        if rows in (1, self._part.together):
            results = self._run(given)
        else:
            alone = [
                self._run(tuple(one if len(one) == 1 else one[row : row + 1] for one in given)) for row in range(rows)
            ]
            results = [torch.cat(parts) for parts in zip(*alone, strict=True)]
        return results[0] if self._part.single else results

    def _run(self, given: tuple[Tensor, ...]) -> list[Tensor]:
        size = self._part.size(given)
        if size not in self._compiled:
            self._compiled[size] = self._compile(given)
        # They live until the call returns, so the runtime may read them where they lie; its results it will overwrite.
        arrays = [tensor.float().contiguous().numpy() for tensor in given]
        return [torch.from_numpy(result.copy()) for result in self._compiled[size](arrays, share_inputs=True).values()]

    def _compile(self, given: tuple[Tensor, ...]) -> Any:
        core = _core()
        options = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        return core.compile_model(self._graph(core, given), "CPU", options)

    def _graph(self, core: Any, given: tuple[Tensor, ...]) -> Any:
        """The converted part, from the cache where it is there and can be read."""
        whose = _file_name(self._identity, self._part.name, self._part.size(given))
        path = runtime_folder() / _file_name(whose, networks_version(), f"{openvino_version()}.xml")
        if self._identity and path.is_file():
            with suppress(RuntimeError):
                return core.read_model(path)
        example = tuple(torch.zeros(tensor.shape) for tensor in given)
        shapes = [list(tensor.shape) for tensor in example]
        for argument, axis in self._part.varying:
            shapes[argument][axis] = -1
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            # A graph serves one size, so sizes are meant to become constants.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            # Traced here, as OpenVINO would trace several times: a third of the time, half of the memory (SAM ViT-B).
            traced = torch.jit.trace(self._module, example, check_trace=False, strict=False)
            graph = _converted(traced, shapes)
        if self._identity:
            with suppress(OSError, RuntimeError):  # without a cache it is only slower the next time
                _keep(graph, path)
                _forget_others(whose, path)
        return graph


class _AsTuple(nn.Module):
    """What can be converted: a module that returns a tuple."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.part = part.module
        self._single = part.single
        self._method = part.exact

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        results = self._method(*given)
        return (results,) if self._single else tuple(results)


def _converted(traced: Any, shapes: list[list[int]]) -> Any:
    """OpenVINO's graph of a traced module, lengths of -1 left open.

    By its front end: ``convert_model`` makes the same graph and takes seconds longer to start.
    """
    openvino = _openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    front_end = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # must live as long as what was read with it
    read = front_end.load(decoder)
    for index, shape in enumerate(shapes):
        place = read.get_place_by_input_index(index)
        read.set_partial_shape(place, openvino.PartialShape(shape))
        read.set_element_type(place, openvino.Type.f32)
    return front_end.convert(read)


@cache
def _openvino() -> Any:
    """The package, imported without its telemetry: left to itself it tells its makers of every import."""
    telemetry = "openvino_telemetry"
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == telemetry}
    sys.modules[telemetry] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        import openvino
    finally:
        del sys.modules[telemetry]
        sys.modules.update(hidden)
    return openvino


@cache
def _core() -> Any:
    """One for the whole process, as OpenVINO wants it, so that no graph outlives its core."""
    core = _openvino().Core()
    # Weights are read, not mapped: a file that another process replaces or damages must not matter to a graph in use.
    core.set_property({"ENABLE_MMAP": False})
    return core


def _keep(graph: Any, path: Path) -> None:
    """Write the two files of a graph; the one that is looked for appears last, and complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        _openvino().save_model(graph, written, compress_to_fp16=False)
        os.replace(written.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(written, path)


def _file_name(*words: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in "-".join(words))


def _forget_others(whose: str, path: Path) -> None:
    """Delete the graphs that an earlier version made of the same."""
    for other in converted_graphs():
        if other.name.startswith(f"{whose}-") and other.stem != path.stem:
            other.unlink(missing_ok=True)


def converted_graphs() -> list[Path]:
    """The files of the networks that were converted and kept; they can be deleted at any time."""
    return [path for path in sorted(runtime_folder().glob("*")) if path.suffix in (".xml", ".bin")]
