"""What ``benchmarks.performance`` measures; each part is a function of the chosen options.

The naive way is what a straightforward program does: torch, float32, eager, whole slices, nothing kept, the network's
full attention without fusion, every slice of the scan.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .jobs import random_model, scan, wait

Measured = dict[str, dict[str, float]]

REFERENCE_MATMUL_GFLOPS = 202.0
"""float32 matrix product of the machine on which the official programs took these seconds (torch, 2 threads)."""

REFERENCE_SECONDS = {
    "medsam2 encoder 512": 0.378,
    "medsam2 memory attention 512": 0.365,
    "medsam2 decoder 512": 0.017,
    "medsam2 memory encoder 512": 0.021,
    "medsam encoder 1024": 6.0,
}
"""A slice, by stage, with the official programs there."""


def interleaved(jobs: dict[str, Callable[[], Any]], repeats: int) -> Measured:
    """Median wall and least processor seconds of every job; all jobs in turn, ``repeats`` times after a warm-up."""
    wall: dict[str, list[float]] = {name: [] for name in jobs}
    cpu: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(1 + repeats):
        for name, job in jobs.items():
            started, used = time.perf_counter(), time.process_time()
            job()
            if turn > 0:
                wall[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - used)
    return {name: {"seconds": statistics.median(wall[name]), "processor_seconds": min(cpu[name])} for name in jobs}


def stages(chosen: argparse.Namespace) -> Measured:
    """The parts of the networks on one slice, with every runtime that is there."""
    import torch
    from MedSAMSegmentLib.inference.runtimes import RUNTIMES, unavailable, use_runtime

    jobs: dict[str, Callable[[], Any]] = {}

    def add(name: str, runtime: str, job: Callable[[], Any]) -> None:
        def finished() -> None:
            job()
            wait(chosen.device)

        jobs[name if runtime == "torch" else f"{name}, {runtime}"] = finished

    with torch.inference_mode():
        for runtime in RUNTIMES:
            for name, size in (("medsam2", 512), *((("medsam", 1024),) if chosen.large else ())):
                model = random_model(name, chosen.device)
                if unavailable(runtime, model):
                    continue
                use_runtime(model, runtime)
                image = torch.rand(1, 3, size, size, device=chosen.device)
                add(f"{name} encoder {size}", runtime, partial(model.network.image_encoder, image))
                if name == "medsam2":
                    for stage, job in _tracking_stages(model.network, image).items():
                        add(f"{name} {stage}", runtime, job)
        return interleaved(dict(sorted(jobs.items())), chosen.repeats)


def _tracking_stages(network: Any, image: Any) -> dict[str, Callable[[], Any]]:
    """Decoder and memory of a SAM 2 network on one slice, with a full memory."""
    import torch
    from MedSAMSegmentLib.models.sam2 import RememberedPointer, RememberedSlice

    features = network.encode_image(image)
    box = torch.tensor([[[150.0, 150.0], [350.0, 350.0]]], device=image.device)
    corners = torch.tensor([[2, 3]], device=image.device)

    def decode(count: int = 1) -> Any:
        points, labels = box.expand(count, -1, -1), corners.expand(count, -1)
        return network.decode(network.without_memory(features), features.high_resolution, points, labels)

    found = decode()

    def remember() -> Any:
        return network.encode_memory(features, found.high_res_logits, found.object_score_logits, prompted=True)

    memory = remember()
    slices = [RememberedSlice(memory, steps) for steps in range(7)]
    pointers = [RememberedPointer(found.object_pointer, float(steps)) for steps in range(7)]
    return {
        "memory attention 512": lambda: network.condition_on_memory(features, slices, pointers),
        "decoder 512": decode,
        "decoder 512, 64 boxes": lambda: decode(64),
        "memory encoder 512": remember,
    }


def embedded(chosen: argparse.Namespace) -> Measured:
    """The built-in model: a box, its first mask, a box moved over slices already encoded, clicks, rectangles."""
    from MedSAMSegmentLib import Session
    from MedSAMSegmentLib.checkpoints import load_model
    from MedSAMSegmentLib.evaluation.drawn import tight_rectangle

    volume, box = scan(chosen.box_slices)
    model = load_model("embedded", None, chosen.device)
    first: list[float] = []

    def segment(session: Session) -> None:
        session.add_object("object", box)
        first.append(session.segment("object").timings["first_mask"])

    # The volume is open before the clock runs; every repeat has a cache of its own.
    sessions = iter([Session(volume, model) for _ in range(chosen.repeats + 1)])
    warm = Session(volume, model)
    middle, moved = chosen.box_slices // 2, box.expanded(-2.0)
    corrected, answered = Session(volume, model), list[float]()
    corrected.add_object("object", box)
    mask = corrected.segment("object").mask
    half_way = np.random.default_rng(0).uniform(-0.5, 0.5, (chosen.repeats + 1, 3)) * box.size / 2
    places = iter(np.asarray(box.centre) + half_way @ np.asarray(box.axes).T)

    def click() -> None:
        """As if the mask were wrong there."""
        place = next(places)
        i, j, k = np.rint(volume.geometry.lps_to_index(place)).astype(int)
        result = corrected.refine("object", [place], not mask[k, j, i], on_slice=lambda *shown: None)
        answered.append(result.timings["first_mask"])

    there = np.flatnonzero(mask.any(axis=(1, 2)))
    drawn = [
        (int(k), tight_rectangle(mask[k])) for k in there[[0, len(there) // 4, len(there) // 2, -len(there) // 4, -1]]
    ]

    def from_rectangles() -> None:
        session = Session(volume, model)
        session.add_object("object")
        for index, rectangle in drawn:
            session.add_slice_box("object", index, rectangle)
        session.segment("object")

    measured = interleaved(
        {
            "box": lambda: segment(next(sessions)),
            "moved": lambda: warm.preview(moved, middle),
            "click": click,
            "rectangles": from_rectangles,
        },
        chosen.repeats,
    )
    return {
        f"embedded, box of {chosen.box_slices} slices": measured["box"],
        "embedded, first mask": {"seconds": statistics.median(first[1:])},
        "embedded, box over an encoded slice": measured["moved"],
        "embedded, click": measured["click"],
        "embedded, clicked slice": {"seconds": statistics.median(answered[1:])},
        f"embedded, {len(there)} slices from five rectangles": measured["rectangles"],
    }


def volume(chosen: argparse.Namespace) -> Measured:
    """One box through a scan with the MedSAM2 architecture: the naive way and ours, interleaved."""
    names = ("naive", "full-slice", "cropped", "cropped-range")
    return _processes([(f"medsam2, {name}", name, {"slices": chosen.box_slices}) for name in names], chosen)


def growth(chosen: argparse.Namespace) -> Measured:
    """The built-in model with more slices, more objects and larger boxes."""
    jobs: list[tuple[str, str, dict[str, Any]]]
    jobs = [(f"embedded, {n} slices", "embedded", {"slices": n}) for n in chosen.slices]
    jobs += [(f"embedded, {n} objects", "embedded", {"slices": 16, "objects": n}) for n in chosen.objects]
    jobs += [(f"embedded, box side {s:g}", "embedded", {"slices": 16, "side": s}) for s in chosen.sides]
    return _processes(jobs, chosen)


def shared(chosen: argparse.Namespace) -> Measured:
    """Several objects on the same whole slices, which are encoded once; a short scan, as the large encoder is slow."""
    return _processes(
        [
            (f"{model}, whole slices, {n} objects", "full-slice", {"slices": 4, "objects": n, "model": model})
            for model in ("medsam", "medsam2")
            for n in (1, 16)
        ],
        chosen,
    )


def _processes(jobs: list[tuple[str, str, dict[str, Any]]], chosen: argparse.Namespace) -> Measured:
    """Jobs in processes of their own, which makes the memory honest, repeated in turn."""
    runs: dict[str, list[dict[str, float]]] = {label: [] for label, _, _ in jobs}
    for _ in range(chosen.repeats):
        for label, name, options in jobs:
            command = [sys.executable, "-m", "benchmarks.performance_jobs", name, "--device", chosen.device]
            command += [part for key, value in options.items() for part in (f"--{key}", str(value))]
            if chosen.threads:
                command += ["--threads", str(chosen.threads)]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[1]
            )
            if done.returncode:
                raise SystemExit(f"{label} failed:\n{done.stderr}")
            runs[label].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        label: {
            "seconds": statistics.median(run["total"] for run in results),
            "processor_seconds": min(run["processor"] for run in results),
            "peak_memory_mb": max(run["peak_memory_mb"] for run in results),
        }
        for label, results in runs.items()
    }


PARTS: dict[str, Callable[[argparse.Namespace], Measured]] = {
    "stages": stages,
    "embedded": embedded,
    "volume": volume,
    "growth": growth,
    "shared": shared,
}
