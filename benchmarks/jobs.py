"""One timed job in a process of its own: ``python -m benchmarks.jobs NAME [--slices N]`` prints one JSON object.

A process a job makes the memory honest and keeps the jobs from warming each other's caches.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from MedSAMSegmentLib.allocator import keep_freed_memory

ROWS = COLUMNS = 512
BOX_FRACTION = 0.35
"""Side of the box over that of the slice, as for a kidney or a large lesion on an abdominal CT."""


def scan(slices: int, side: float = BOX_FRACTION) -> Any:
    """A noisy CT of ``slices`` x 512 x 512 voxels with an ellipsoidal organ, and its box, ``side`` of a slice wide."""
    from MedSAMSegmentLib import Geometry, OrientedBox, Volume

    generator = np.random.default_rng(0)
    voxels = np.empty((slices, ROWS, COLUMNS), dtype=np.int16)
    y, x = np.ogrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    for picture, z in zip(voxels, np.linspace(-1, 1, slices), strict=True):
        picture[:] = generator.normal(20.0, 25.0, picture.shape)
        picture[(x / side) ** 2 + (y / side) ** 2 + z**2 <= 1] += 90
    geometry = Geometry.from_parts(voxels.shape, (0.8, 0.8, 3.0), (0.0, 0.0, 0.0), np.eye(3))
    low, high = round(COLUMNS * (1 - side) / 2), round(COLUMNS * (1 + side) / 2)
    box = OrientedBox.from_index_range(geometry, low, low, 0, high, high, slices)
    return Volume(voxels, geometry, modality="CT"), box


def random_model(name: str, device: str = "cpu") -> Any:
    """A catalog model with random weights: times and memory do not depend on their values."""
    import torch
    from MedSAMSegmentLib.checkpoints import LoadedModel, find_model
    from MedSAMSegmentLib.models.build import build_model

    torch.manual_seed(0)
    spec = find_model(name)
    network = build_model(spec).requires_grad_(False).to(device)
    return LoadedModel(spec, network, "random", torch.device(device))


def _session_job(model: Any, slices: int, **options: Any) -> dict[str, float]:
    from MedSAMSegmentLib import Session
    from MedSAMSegmentLib.inference.settings import Settings, TrackingSettings

    volume, box = scan(slices)
    # Random weights see no object: every slice of the box must be worked through all the same.
    settings = Settings(tracking=TrackingSettings(stop_empty_slices=10**6, minimum_iou=0.0), **options)
    session = Session(volume, model, "cpu", settings=settings)
    moments: list[float] = []
    started = time.perf_counter()
    session.add_object("object", box)
    session.segment("object", on_slice=lambda name, index, mask: moments.append(time.perf_counter()))
    total = time.perf_counter() - started
    result = {"first_mask": moments[0] - started, "total": total}
    session.add_object("second", box.expanded(-4.0))
    started = time.perf_counter()
    session.segment("second")
    return result | {"second_object": time.perf_counter() - started}


def embedded(slices: int) -> dict[str, float]:
    """The embedded model, cropped to the box."""
    return _session_job("embedded", slices)


def medsam2_cropped(slices: int) -> dict[str, float]:
    """The MedSAM2 architecture, cropped to the box."""
    return _session_job(random_model("medsam2"), slices)


def medsam2_full_slice(slices: int) -> dict[str, float]:
    """The MedSAM2 architecture on whole slices with this project's tracker."""
    return _session_job(random_model("medsam2"), slices, full_slice=True)


def medsam2_official(slices: int) -> dict[str, float]:
    """The MedSAM2 architecture in its authors' order: the reference job of the official program."""
    from MedSAMSegmentLib.inference.official import OfficialPrompt, OfficialTracker
    from MedSAMSegmentLib.volume import Window

    volume, _ = scan(slices)
    window = Window.parse("auto").resolve(volume)
    windowed = np.stack([(window.apply(part) * 255).astype(np.uint8) for part in volume.voxels])
    tracker = OfficialTracker(random_model("medsam2"), windowed)
    low, high = COLUMNS * (1 - BOX_FRACTION) / 2, COLUMNS * (1 + BOX_FRACTION) / 2
    started = time.perf_counter()
    first = None
    for _ in tracker.both_ways(slices // 2, [OfficialPrompt(box=(low, low, high, high))]):
        first = first or time.perf_counter() - started
    return {"first_mask": first or 0.0, "total": time.perf_counter() - started}


def wait(device: str) -> None:
    """Until the device has done what it was told."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def matmul_gflops(device: str) -> float:
    """The machine's float32 matrix product, the best of five."""
    import torch

    a, b = torch.rand(2048, 2048, device=device), torch.rand(2048, 2048, device=device)
    best = 0.0
    for _ in range(5):
        wait(device)
        started = time.perf_counter()
        torch.mm(a, b)
        wait(device)
        best = max(best, 2 * 2048**3 / (time.perf_counter() - started) / 1e9)
    return best


def matmul(slices: int) -> dict[str, float]:
    """What times of different machines are divided by: the processor's :func:`matmul_gflops`."""
    return {"gflops": matmul_gflops("cpu")}


def peak_memory_mb() -> float:
    """The most memory that this process has held."""
    # ru_maxrss counts kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


JOBS: dict[str, Callable[[int], dict[str, float]]] = {
    "matmul": matmul,
    "embedded": embedded,
    "medsam2-cropped": medsam2_cropped,
    "medsam2-full-slice": medsam2_full_slice,
    "medsam2-official": medsam2_official,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=JOBS)
    parser.add_argument("--slices", type=int, default=64)
    chosen = parser.parse_args()
    keep_freed_memory()
    result = JOBS[chosen.name](chosen.slices)
    result["peak_memory_mb"] = peak_memory_mb()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
