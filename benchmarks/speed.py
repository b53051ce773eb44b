"""Speed and memory side by side: ``python -m benchmarks.speed`` (README: timings).

Every job runs in a fresh process, the repeats interleaved, so that a noisy machine disturbs all alike. Times are also
given relative to the machine's matrix product, which makes them comparable with the reference figures of the official
MedSAM2 program: 50.8 s for this job on a machine of 202 GFLOP/s (torch, float32, 2 threads).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .jobs import JOBS

REFERENCE_SECONDS, REFERENCE_GFLOPS, REFERENCE_SLICES = 50.8, 202.0, 64


def run_job(name: str, slices: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.jobs", name, "--slices", str(slices)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    if finished.returncode:
        raise SystemExit(f"{name} failed:\n{finished.stderr}")
    return json.loads(finished.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--slices", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    chosen = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in chosen.jobs}
    for _ in range(chosen.repeats):
        for name in chosen.jobs:
            runs[name].append(run_job(name, chosen.slices))
    median = {
        name: {key: statistics.median(run[key] for run in results) for key in results[0]}
        for name, results in runs.items()
    }
    show(median, chosen.slices)
    if chosen.json is not None:
        content = {"slices": chosen.slices, "cores": os.cpu_count(), "median": median, "runs": runs}
        chosen.json.write_text(json.dumps(content, indent=1))


def show(median: dict[str, dict[str, float]], slices: int) -> None:
    """The table; the last column divides the reference's work (time x machine) by ours."""
    table = Table(title=f"One box on {slices} x 512 x 512, median, {os.cpu_count()} cores, no GPU")
    for column in ("job", "first mask s", "whole box s", "second object s", "peak MB", "vs. reference x"):
        table.add_column(column, justify="left" if column == "job" else "right")
    gflops = median.get("matmul", {}).get("gflops")
    for name, values in median.items():
        if name == "matmul":
            continue
        ratio = "-"
        if gflops:
            reference = REFERENCE_SECONDS * REFERENCE_GFLOPS * slices / REFERENCE_SLICES
            ratio = f"{reference / (values['total'] * gflops):.1f}"
        cells = [f"{values[key]:.2f}" if key in values else "-" for key in ("first_mask", "total", "second_object")]
        table.add_row(name, *cells, f"{values['peak_memory_mb']:.0f}", ratio)
    console = Console()
    console.print(table)
    if gflops:
        console.print(f"float32 matrix product: {gflops:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
