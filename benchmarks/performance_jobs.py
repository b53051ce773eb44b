"""One volume in a process of its own: ``python -m benchmarks.performance_jobs NAME [options]`` prints JSON."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from MedSAMSegmentLib.allocator import keep_freed_memory

from .jobs import BOX_FRACTION, COLUMNS, peak_memory_mb, random_model, scan

Spent = dict[str, float]


class Clock:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def spent(self) -> Spent:
        return {"total": time.perf_counter() - self._wall, "processor": time.process_time() - self._processor}


BOX_PART = 1 / 3
"""The part of a scan's slices that an object fills, where only its own slices are segmented."""


def naive(chosen: argparse.Namespace) -> Spent:
    """MedSAM2 in its authors' order: every whole slice of the scan, float32, attention as it is written down."""
    from MedSAMSegmentLib.inference.official import OfficialPrompt, OfficialTracker
    from MedSAMSegmentLib.models.memory_attention import RotaryAttention
    from MedSAMSegmentLib.volume import Window

    volume, _ = scan(chosen.slices)
    model = random_model("medsam2", chosen.device)
    for part in model.network.modules():
        if isinstance(part, RotaryAttention):
            part._values_are_narrow = lambda query: False
    low, high = COLUMNS * (1 - BOX_FRACTION) / 2, COLUMNS * (1 + BOX_FRACTION) / 2
    clock = Clock()
    window = Window.parse("auto").resolve(volume)
    windowed = np.stack([(window.apply(part) * 255).astype(np.uint8) for part in volume.voxels])
    tracker = OfficialTracker(model, windowed)
    for _ in tracker.both_ways(chosen.slices // 2, [OfficialPrompt(box=(low, low, high, high))]):
        pass
    return clock.spent()


def full_slice(chosen: argparse.Namespace) -> Spent:
    """MedSAM2 or another model on whole slices, all of the scan, with the fastest exact runtime."""
    return _segmented(chosen, random_model(chosen.model, chosen.device), full_slice=True)


def cropped(chosen: argparse.Namespace) -> Spent:
    """MedSAM2 on crops about the box, all slices of the scan."""
    return _segmented(chosen, random_model("medsam2", chosen.device))


def cropped_range(chosen: argparse.Namespace) -> Spent:
    """MedSAM2 on crops about a box that spans a third of the scan's slices, as most do."""
    return _segmented(chosen, random_model("medsam2", chosen.device), part=BOX_PART)


def embedded(chosen: argparse.Namespace) -> Spent:
    """The built-in model."""
    from MedSAMSegmentLib.checkpoints import load_model

    return _segmented(chosen, load_model("embedded", None, chosen.device))


def _segmented(chosen: argparse.Namespace, model: Any, part: float = 1.0, **options: Any) -> Spent:
    """Time from the first box to the last mask, the scan being open."""
    from MedSAMSegmentLib import OrientedBox, Session
    from MedSAMSegmentLib.inference.settings import Settings, TrackingSettings

    volume, box = scan(chosen.slices, chosen.side)
    if part < 1.0:
        low, high = round(COLUMNS * (1 - chosen.side) / 2), round(COLUMNS * (1 + chosen.side) / 2)
        count = round(chosen.slices * part)
        first = (chosen.slices - count) // 2
        box = OrientedBox.from_index_range(volume.geometry, low, low, first, high, high, first + count)
    # Random weights see no object: every slice of the box must be worked through all the same.
    settings = Settings(tracking=TrackingSettings(stop_empty_slices=10**6, minimum_iou=0.0), **options)
    session = Session(volume, model, settings=settings)
    clock = Clock()
    for number in range(chosen.objects):
        # Every box is another one, on the same slices.
        session.add_object(f"object {number}", box.expanded((-0.5 * number, -0.5 * number, 0.0)))
    session.segment()
    return clock.spent()


JOBS: dict[str, Callable[[argparse.Namespace], Spent]] = {
    "naive": naive,
    "full-slice": full_slice,
    "cropped": cropped,
    "cropped-range": cropped_range,
    "embedded": embedded,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=JOBS)
    parser.add_argument("--slices", type=int, default=64)
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--side", type=float, default=BOX_FRACTION)
    parser.add_argument("--model", default="medsam2", help="of the job full-slice")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    chosen = parser.parse_args()
    keep_freed_memory()
    if chosen.threads:
        import torch

        torch.set_num_threads(chosen.threads)
    spent = JOBS[chosen.name](chosen)
    print(json.dumps({**spent, "peak_memory_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main()
