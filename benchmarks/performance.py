"""Where the time goes, ours against the naive way: ``python -m benchmarks.performance`` (docs/performance.md).

    python -m benchmarks.performance --parts stages embedded --repeats 3 --json numbers.json --plots plots
    python -m benchmarks.performance --parts growth --slices 16 64 256 1024 --objects 1 4 16 64
    python -m benchmarks.performance --parts volume --box-slices 64
    python -m benchmarks.performance --parts stages --large --device cuda      # the table of a graphics card

Repeats are interleaved, so that whatever else the machine does disturbs all alike, and beside the wall clock the
processor time is given, which other programs disturb less.  Where a model's own weights are not part of the package
they are random: times do not depend on their values.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from MedSAMSegmentLib.allocator import keep_freed_memory

from .jobs import matmul_gflops
from .performance_parts import PARTS, REFERENCE_MATMUL_GFLOPS, REFERENCE_SECONDS, Measured


def machine(device: str) -> dict[str, Any]:
    """What was measured on."""
    import torch
    from MedSAMSegmentLib.inference.processor import processor_flags, processor_name

    return {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": sorted(f for f in processor_flags() if f.startswith(("avx512", "amx", "avx2"))),
        "system": platform.system(),
        "torch": torch.__version__,
        "float32_matmul_gflops": matmul_gflops(device),
    }


def show(on: dict[str, Any], measured: Measured) -> None:
    """The table. The last column divides the reference's work (time x machine) by ours."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{on['device']}, {on['threads']} threads, matmul {on['float32_matmul_gflops']:.0f} GFLOP/s")
    for column in ("what", "s", "processor s", "peak MB", "vs. reference x"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, values in measured.items():
        reference = REFERENCE_SECONDS.get(name)
        work = values["seconds"] * on["float32_matmul_gflops"]
        cells = [f"{values[key]:.3f}" if key in values else "-" for key in ("seconds", "processor_seconds")]
        cells.append(f"{values['peak_memory_mb']:.0f}" if "peak_memory_mb" in values else "-")
        table.add_row(name, *cells, f"{reference * REFERENCE_MATMUL_GFLOPS / work:.2f}" if reference else "-")
    Console().print(table)


def plot(measured: Measured, path: Path) -> None:
    """Seconds of everything measured, as bars (logarithmic)."""
    from matplotlib.figure import Figure

    names = list(measured)[::-1]
    figure = Figure(figsize=(9, 0.4 + 0.32 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(names, [measured[name]["seconds"] for name in names])
    axes.set_xscale("log")
    axes.set_xlabel("seconds")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--threads", type=int, help="of torch; default as torch decides")
    parser.add_argument("--large", action="store_true", help="stages: MedSAM's encoder (ViT-B, 1024 x 1024), too")
    parser.add_argument("--box-slices", type=int, default=64, help="slices of the box in the parts embedded and volume")
    parser.add_argument("--slices", type=int, nargs="+", default=[16, 64, 256, 1024], help="growth with slices")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 4, 16, 64], help="growth with objects")
    parser.add_argument("--sides", type=float, nargs="+", default=[0.1, 0.35, 0.8], help="growth with the box's side")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--plots", type=Path, help="write a plot of each part into this folder")
    chosen = parser.parse_args()
    keep_freed_memory()
    if chosen.threads:
        import torch

        torch.set_num_threads(chosen.threads)
    on = machine(chosen.device)
    content: dict[str, Any] = {"machine": on, "parts": {}}
    for part in chosen.parts:
        measured = PARTS[part](chosen)
        content["parts"][part] = measured
        show(on, measured)
        if chosen.plots is not None:
            chosen.plots.mkdir(parents=True, exist_ok=True)
            plot(measured, chosen.plots / f"{part}.png")
        if chosen.json is not None:
            chosen.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
