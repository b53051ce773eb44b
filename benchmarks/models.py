"""Time and memory of every model side by side: ``python -m benchmarks.models`` (docs/models.md).

Models that differ in their weights only are one row.  The weights are random: times and memory do not depend on them.
Every model has a process of its own and does two things: it looks at one slice (the encoder), and it segments one
object through a few slices of 512 x 512 voxels from a 3-D box, each slice of the box worked through.  Seconds are those
of the clock and those of the processor: on a machine that does something else at the same time the clock says little.
``--write`` puts the table between its two marks in docs/models.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from MedSAMSegmentLib.allocator import keep_freed_memory

from .jobs import matmul_gflops, peak_memory_mb, random_model, scan
from .page import put_between_marks

REPOSITORY = Path(__file__).resolve().parents[1]
COLUMNS = (
    "models",
    "parameters (million)",
    "picture",
    "encoder, clock s",
    "encoder, processor s",
    "reference encoder s",
    "job, clock s",
    "job, processor s",
    "peak memory MB",
)

REFERENCE_ENCODER = {
    "medsam2": 0.378,
    "medsam2-efficienttam-tiny-flare25-recist": 0.125,
    "medsam2-efficienttam-small-flare25-recist": 0.418,
    "lite-medsam": 1.09,
    "mobile-sam": 3.3,
    "sam2.1-tiny": 1.87,
    "medsam": 11.6,
}
"""Seconds of the official encoders on another machine: torch 2.13, float32, 2 threads of a processor whose matrix
product reaches 202 GFLOP/s."""


def measure(name: str, slices: int, repeats: int) -> dict[str, Any]:
    """One model, in this process."""
    import numpy as np
    import torch
    from MedSAMSegmentLib import Session
    from MedSAMSegmentLib.checkpoints import load_model
    from MedSAMSegmentLib.inference.settings import Settings, TrackingSettings

    model = load_model(name, device="cpu") if name == "embedded" else random_model(name)
    size, channels = model.spec.image_size, model.spec.preprocessing.channels
    picture = torch.from_numpy(np.random.default_rng(0).random((1, channels, size, size), np.float32))
    encoder = model.network.image_encoder if name == "embedded" else model.network.encode_image
    with torch.inference_mode():
        encoder(picture)
        encoded = [_timed(lambda: encoder(picture)) for _ in range(repeats)]

    volume, box = scan(slices)
    # Random weights see no object: every slice of the box must be worked through all the same.
    settings = Settings(tracking=TrackingSettings(stop_empty_slices=10**6, minimum_iou=0.0))
    session = Session(volume, model, "cpu", settings=settings)
    session.add_object("object", box)
    job = _timed(lambda: session.segment("object"))
    return {
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "size": size,
        "encoder": [min(column) for column in zip(*encoded, strict=True)],
        "job": job,
        "peak_memory_mb": peak_memory_mb(),
    }


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def groups(names: Sequence[str]) -> list[list[str]]:
    """Models of the catalog, those together that differ in their weights only."""
    from MedSAMSegmentLib.checkpoints import list_models

    found: dict[str, list[str]] = {}
    for spec in list_models():
        if not names or spec.name in names:
            entry = spec.to_dict()
            parts = ("architecture", "hyper_parameters", "image_size", "preprocessing")
            found.setdefault(repr([entry[part] for part in parts]), []).append(spec.name)
    return list(found.values())


def table(rows: Sequence[tuple[list[str], dict[str, Any]]], slices: int, gflops: float, threads: int) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for names, result in rows:
        reference = [f"{REFERENCE_ENCODER[name]:.3g}" for name in names if name in REFERENCE_ENCODER]
        cells = (
            ", ".join(names),
            f"{result['parameters'] / 1e6:.1f}",
            str(result["size"]),
            *(f"{seconds:.2f}" for seconds in result["encoder"]),
            *(reference[:1] or [""]),
            *(f"{seconds:.1f}" for seconds in result["job"]),
            f"{result['peak_memory_mb']:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return "\n".join(
        [
            *lines,
            "",
            f"The job is one box through {slices} slices; {threads} of {os.cpu_count()} cores of {platform.machine()}, "
            f"no GPU, matrix product {gflops:.0f} GFLOP/s (the reference's machine: 202), load of the machine at the "
            f"end {busy:.1f}.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="names of the catalog, default all")
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3, help="of the encoder, after one run to warm up")
    parser.add_argument("--write", action="store_true", help="put the table into docs/models.md")
    parser.add_argument("--keep", type=Path, help="file for the results: an interrupted run is gone on with")
    parser.add_argument("--here", action="store_true", help="measure one model in this process, print JSON")
    chosen = parser.parse_args()
    keep_freed_memory()
    if chosen.here:
        print(json.dumps(measure(chosen.models[0], chosen.slices, chosen.repeats)))
        return
    kept = json.loads(chosen.keep.read_text()) if chosen.keep and chosen.keep.is_file() else {}
    rows = []
    for names in groups(chosen.models):
        if names[0] in kept:
            rows.append((names, kept[names[0]]))
            continue
        command = [sys.executable, "-m", "benchmarks.models", names[0], "--here"]
        options = ["--slices", str(chosen.slices), "--repeats", str(chosen.repeats)]
        finished = subprocess.run([*command, *options], capture_output=True, text=True, check=False, cwd=REPOSITORY)
        if finished.returncode:
            raise SystemExit(f"{names[0]} failed:\n{finished.stderr}")
        rows.append((names, json.loads(finished.stdout.splitlines()[-1])))
        print(f"{names[0]}: {finished.stdout.strip()}", file=sys.stderr)
        if chosen.keep:
            kept[names[0]] = rows[-1][1]
            chosen.keep.write_text(json.dumps(kept))
    import torch

    text = table(rows, chosen.slices, matmul_gflops("cpu"), torch.get_num_threads())
    print(text)
    if chosen.write:
        put_between_marks("times", text)


if __name__ == "__main__":
    main()
